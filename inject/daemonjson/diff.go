package daemonjson

import (
	"bytes"
	"fmt"
	"strings"
)

// contextLines is how many lines a diff shows around a change.
const contextLines = 3

// maxTable bounds the work of finding common lines. Beyond it everything
// between the first and the last change counts as changed.
const maxTable = 1 << 22

// diffLine is one line of a diff: ' ' for both files, '-' and '+' for one.
type diffLine struct {
	mark byte
	line string
}

// diff shows how before becomes after in the unified form.
func diff(name string, before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s (after the change)\n", name, name)
	all := compare(lines(before), lines(after))
	for start := 0; start < len(all); {
		first, last := hunk(all, start)
		if first == last {
			break
		}
		writeHunk(&out, all, first, last)
		start = last
	}
	return out.String()
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
}

// compare lines both texts up along their longest common subsequence.
func compare(a, b []string) []diffLine {
	head, tail := 0, 0
	for head < len(a) && head < len(b) && same(a[head], b[head]) {
		head++
	}
	for tail < len(a)-head && tail < len(b)-head && same(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	var all []diffLine
	for _, line := range a[:head] {
		all = append(all, diffLine{' ', line})
	}
	all = append(all, compareMiddle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, line := range a[len(a)-tail:] {
		all = append(all, diffLine{' ', line})
	}
	return all
}

// same compares two lines without their ends: the last one has none.
func same(a, b string) bool { return strings.TrimSuffix(a, "\n") == strings.TrimSuffix(b, "\n") }

func compareMiddle(a, b []string) []diffLine {
	common := commonLengths(a, b)
	var all []diffLine
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && common(i, j) > 0 && same(a[i], b[j]):
			all = append(all, diffLine{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || (i < len(a) && common(i+1, j) >= common(i, j+1)):
			all = append(all, diffLine{'-', a[i]})
			i++
		default:
			all = append(all, diffLine{'+', b[j]})
			j++
		}
	}
	return all
}

// commonLengths returns a func that says how many lines a[i:] and b[j:] have
// in common: none, when finding out would be too much work.
func commonLengths(a, b []string) func(i, j int) int {
	if (len(a)+1)*(len(b)+1) > maxTable {
		return func(int, int) int { return 0 }
	}
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if same(a[i], b[j]) {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return func(i, j int) int { return table[i][j] }
}

// hunk finds the next range of changes that lie close together, with the lines
// around them; first == last when there is none.
func hunk(all []diffLine, start int) (first, last int) {
	first, last = start, start
	quiet := 0 // lines without a change since the last one
	for i := start; i < len(all); i++ {
		if all[i].mark == ' ' {
			quiet++
			if last > start && quiet > 2*contextLines {
				break
			}
			continue
		}
		if last == start {
			first = max(start, i-contextLines)
		}
		last, quiet = i+1, 0
	}
	if last == start {
		return start, start
	}
	return first, min(len(all), last+contextLines)
}

func writeHunk(out *strings.Builder, all []diffLine, first, last int) {
	line := map[byte]int{'-': 1, '+': 1} // numbers of the hunk's first line in both files
	count := map[byte]int{}
	for i, c := range all[:last] {
		into := line
		if i >= first {
			into = count
		}
		if c.mark != '+' {
			into['-']++
		}
		if c.mark != '-' {
			into['+']++
		}
	}
	for mark := range line {
		if count[mark] == 0 {
			line[mark]-- // as diff -u numbers a range with nothing in it
		}
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", line['-'], count['-'], line['+'], count['+'])
	for _, c := range all[first:last] {
		fmt.Fprintf(out, "%c%s\n", c.mark, strings.TrimSuffix(c.line, "\n"))
	}
}
