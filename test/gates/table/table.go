// Package table is what the suite over all engines hands on: how many starts
// there were through each gate on each engine, and what became of them.
//
// The suite writes a Report as JSON. People read the same as tables in
// Markdown, and docs/compatibility.md has them between two marks, from where
// Tables reads them back.
package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/test/engine"
)

// Row is what became of the starts through one gate on one engine.
type Row struct {
	Engine  string       `json:"engine"`
	Variant string       `json:"variant"`
	Gate    string       `json:"gate"`
	About   engine.About `json:"about"`
	Starts  int          `json:"starts"`
	// With counts the starts whose first instruction saw everything, Refused
	// those that failed and said why.
	With    int `json:"with_secrets"`
	Refused int `json:"failed_with_reason"`
	// Without counts all others: there must be none.
	Without int `json:"without"`
	// Note says what else was measured; may be empty.
	Note string `json:"note,omitempty"`
}

// Report is one run of the suite.
type Report struct {
	Date    time.Time `json:"date"`
	Kernel  string    `json:"kernel"`
	Machine string    `json:"machine"`
	Rows    []Row     `json:"rows"`
}

// Read reads the JSON that the suite has written.
func Read(file string) (r Report, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("read the counts: %w", err)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("read the counts in %s: %w", file, err)
	}
	return r, nil
}

// Write writes the JSON.
func (r Report) Write(file string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the counts: %w", err)
	}
	return os.WriteFile(file, append(content, '\n'), 0o644)
}

// header is the head of the table of counts.
var header = []string{"engine", "variant", "gate", "starts", "with secrets", "failed with reason", "without"}

// Markdown is the engines, the table of counts, and what else was measured.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Counted on %s: %s, Linux %s.\n\n", r.Date.Format(time.DateOnly), r.Machine, r.Kernel)
	var engines, notes []string
	for _, row := range r.Rows {
		if line := fmt.Sprintf("- %s, %s: %v\n", row.Engine, row.Variant, row.About); !slices.Contains(engines, line) {
			engines = append(engines, line)
		}
		if row.Note != "" {
			notes = append(notes, fmt.Sprintf("- %s, %s, %s: %s\n", row.Engine, row.Variant, row.Gate, row.Note))
		}
	}
	b.WriteString(strings.Join(engines, "") + "\n")
	const line = "| %-6s | %-12s | %-22s | %6v | %12v | %18v | %7v |\n"
	fmt.Fprintf(&b, line, header[0], header[1], header[2], header[3], header[4], header[5], header[6])
	b.WriteString("|--------|--------------|------------------------|-------:|-------------:|-------------------:|--------:|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, line, row.Engine, row.Variant, row.Gate, row.Starts, row.With, row.Refused, row.Without)
	}
	if len(notes) > 0 {
		b.WriteString("\n" + strings.Join(notes, ""))
	}
	return b.String()
}

// The marks between which a document has what Markdown wrote.
const (
	begin = "<!-- counts: begin, written by make test-engines -->\n"
	end   = "<!-- counts: end -->\n"
)

// ErrNoMarks says that a document has no place for the counts.
var ErrNoMarks = errors.New("the marks of the counts are not there: " + strings.TrimSpace(begin) + " … " + strings.TrimSpace(end))

// Put puts the counts into a document.
func (r Report) Put(document string) (string, error) {
	before, _, after, err := cut(document)
	if err != nil {
		return "", err
	}
	return before + begin + r.Markdown() + end + after, nil
}

func cut(document string) (before, counts, after string, err error) {
	before, rest, begun := strings.Cut(document, begin)
	counts, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return "", "", "", ErrNoMarks
	}
	return before, counts, after, nil
}

// Rows reads the counts that a document has; a row comes without About and Note.
func Rows(document string) (rows []Row, err error) {
	_, counts, _, err := cut(document)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(counts) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| "+header[0]) {
			continue
		}
		row, err := parse(strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func parse(cells []string) (row Row, err error) {
	if len(cells) != len(header) {
		return row, fmt.Errorf("%d columns, want %d", len(cells), len(header))
	}
	for i, into := range []*string{&row.Engine, &row.Variant, &row.Gate} {
		*into = strings.TrimSpace(cells[i])
	}
	for i, into := range []*int{&row.Starts, &row.With, &row.Refused, &row.Without} {
		if _, err := fmt.Sscan(cells[3+i], into); err != nil {
			return row, fmt.Errorf("column %s: %w", header[3+i], err)
		}
	}
	return row, nil
}
