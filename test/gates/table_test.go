//go:build engines

package gates_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/test/gates/table"
)

// row counts what becomes of the starts through one gate in one world. Its
// methods may be called side by side.
type row struct {
	table.Row
	t  *testing.T
	w  *world
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
	if !r.w.explains(err) {
		r.Without++
		r.t.Errorf("a start failed and did not say why: %v", err)
		return
	}
	r.Refused++
}

// starts is how many were counted so far.
func (r *row) starts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Starts
}

// note adds to what was measured.
func (r *row) note(format string, values ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Note != "" {
		r.Note += "; "
	}
	r.Note += fmt.Sprintf(format, values...)
}

// explains says whether an error names the agent as what did not let a
// container start. Where nobody listens at the plugin's socket, or nobody
// answers there, the engine says so itself.
func (w *world) explains(err error) bool {
	if err == nil {
		return false
	}
	for _, part := range []string{"quaymaster: ", w.Plugin() + ".sock", `plugin "` + w.Plugin() + `" not found`, `driver "` + w.Plugin() + `"`} {
		if strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
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
	r := &row{Row: table.Row{Engine: w.kind.String(), Variant: w.variant, Gate: gate, About: w.about}, t: t, w: w}
	results.mu.Lock()
	defer results.mu.Unlock()
	results.rows = append(results.rows, r)
	return r
}

// publish prints the tables, and writes the JSON if there is a file for it.
func (o *outcome) publish(w io.Writer, file string) error {
	if len(o.rows) == 0 {
		return nil
	}
	report := table.Report{Date: time.Now().UTC(), Kernel: kernel(), Machine: fmt.Sprintf("a machine of %d cores", runtime.NumCPU())}
	for _, r := range o.rows {
		report.Rows = append(report.Rows, r.Row)
	}
	fmt.Fprintf(w, "\n%s\n", report.Markdown())
	if file == "" {
		return nil
	}
	return report.Write(file)
}

// kernel is the version of the machine's.
func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}

// owed says whether the agent itself makes up for a start that failed so: none
// was there to ask.
func (w *world) owed(err error) bool {
	return w.explains(err) && (!strings.Contains(err.Error(), "quaymaster: ") || strings.Contains(err.Error(), inject.NoAgent))
}
