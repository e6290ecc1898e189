//go:build engines

package gates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/engine"
)

// row is what became of the starts through one gate in one world. Its methods
// may be called side by side.
type row struct {
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

	t  *testing.T
	mu sync.Mutex
}

// saw counts a start whose container has reported what it saw. wrong is what
// is wrong with that, and fails the test.
func (r *row) saw(wrong error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Starts++
	if wrong != nil {
		r.Without++
		r.t.Errorf("a container started WITHOUT its secrets: %v", wrong)
		return
	}
	r.With++
}

// failed counts a start that failed. An error that does not say what the gate
// had against it fails the test: whoever started the container could not know.
func (r *row) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Starts++
	if err == nil || !strings.Contains(err.Error(), "quaymaster: ") {
		r.Without++
		r.t.Errorf("a start failed and did not say why: %v", err)
		return
	}
	r.Refused++
}

// outcome is everything that was counted.
type outcome struct {
	mu   sync.Mutex
	rows []*row
}

// results are those of this run of the tests.
var results outcome

// row begins the row of a gate in a world.
func (w *world) row(t *testing.T, gate string) *row {
	r := &row{Engine: w.kind.String(), Variant: w.variant, Gate: gate, About: w.about, t: t}
	results.mu.Lock()
	defer results.mu.Unlock()
	results.rows = append(results.rows, r)
	return r
}

// publish prints the table, and writes the JSON if there is a file for it.
func (o *outcome) publish(w io.Writer, file string) error {
	if len(o.rows) == 0 {
		return nil
	}
	_, err := io.WriteString(w, o.table())
	if file == "" {
		return err
	}
	content, failed := json.MarshalIndent(map[string]any{"date": time.Now().UTC(), "kernel": kernel(), "rows": o.rows}, "", "  ")
	return errors.Join(err, failed, os.WriteFile(file, append(content, '\n'), 0o644))
}

// table is for people, and for docs/compatibility.md.
func (o *outcome) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nLinux %s\n", kernel())
	said := map[string]bool{}
	for _, r := range o.rows {
		if line := fmt.Sprintf("- %s, %s: %v\n", r.Engine, r.Variant, r.About); !said[line] {
			said[line] = true
			b.WriteString(line)
		}
	}
	const line = "| %-6s | %-12s | %-16s | %6v | %12v | %18v | %7v |\n"
	fmt.Fprintf(&b, "\n"+line, "engine", "variant", "gate", "starts", "with secrets", "failed with reason", "without")
	b.WriteString("|--------|--------------|------------------|-------:|-------------:|-------------------:|--------:|\n")
	for _, r := range o.rows {
		fmt.Fprintf(&b, line, r.Engine, r.Variant, r.Gate, r.Starts, r.With, r.Refused, r.Without)
	}
	return b.String()
}

// kernel is the version of the machine's.
func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}
