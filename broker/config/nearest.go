package config

// nearest returns the candidate that a slip of the keyboard makes of name.
func nearest(name string, candidates []string) string {
	best, fewest := "", len(name)
	for _, candidate := range candidates {
		if d := distance(name, candidate); d <= (len(candidate)+1)/3 && d < fewest {
			best, fewest = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
