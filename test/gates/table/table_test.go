package table

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/test/engine"
)

// TestCompatibility holds docs/compatibility.md to what the suite writes: it
// has counts of both engines, which add up, and no start without secrets.
func TestCompatibility(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Rows(string(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range engine.Kinds {
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Engine == kind.String() }) {
			t.Errorf("there is no row of the engine %q", kind)
		}
	}
	for _, r := range rows {
		if r.Without != 0 || r.Starts == 0 || r.Starts != r.With+r.Refused {
			t.Errorf("%+v", r)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	about := engine.About{Engine: "20.10"}
	report := Report{Date: time.Unix(0, 0).UTC(), Kernel: "6.1", Machine: "a machine of 2 cores", Rows: []Row{
		{Engine: "debian", Variant: "plain", Gate: "runtime, compose", About: about, Starts: 3, With: 2, Refused: 1},
		{Engine: "newest", Variant: "cgroup-v2", Gate: "cdi", About: about, Starts: 1, Without: 1, Note: "50 containers"},
	}}
	file := filepath.Join(t.TempDir(), "engines.json")
	if err := report.Write(file); err != nil {
		t.Fatal(err)
	}
	read, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	document, err := read.Put("# Title\n" + begin + "old\n" + end + "the rest\n")
	if err != nil || !strings.HasPrefix(document, "# Title\n") || !strings.HasSuffix(document, "the rest\n") || strings.Contains(document, "old") {
		t.Fatal(document, err)
	}
	if !strings.Contains(document, "- debian, plain: Docker Engine 20.10") || !strings.Contains(document, "- newest, cgroup-v2, cdi: 50 containers") {
		t.Error(document)
	}
	rows, err := Rows(document)
	if err != nil {
		t.Fatal(err)
	}
	for i := range report.Rows {
		report.Rows[i].About, report.Rows[i].Note = engine.About{}, ""
	}
	if !slices.Equal(rows, report.Rows) {
		t.Errorf("%+v, want %+v", rows, report.Rows)
	}
	again, err := read.Put(document)
	if err != nil || again != document {
		t.Errorf("the second time it is another document: %v\n%s", err, again)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := (Report{}).Put("# no marks\n"); !errors.Is(err, ErrNoMarks) {
		t.Error(err)
	}
	if _, err := Rows("# no marks\n"); !errors.Is(err, ErrNoMarks) {
		t.Error(err)
	}
	for _, line := range []string{"| debian | plain |", "| debian | plain | cdi | 1 | 1 | many | 0 |"} {
		if rows, err := Rows(begin + line + "\n" + end); err == nil {
			t.Errorf("%q is read as %+v", line, rows)
		}
	}
}
