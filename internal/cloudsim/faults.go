package cloudsim

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault is one way in which a server misbehaves. What is zero does not happen;
// a fault that only delays lets the request through afterwards.
type Fault struct {
	Delay  time.Duration // before anything else; ends early when the client or the server goes away
	Reset  bool          // cut the connection without an answer (TCP RST)
	Status int           // answer with this status, Header and Body
	Header http.Header
	Body   string
	Times  int // how many requests the fault hits before it clears itself; zero: all
}

// Faults are a server's faults by path prefix. The zero value has none. It may
// be used by several goroutines, and changed while the server runs.
type Faults struct {
	mu       sync.Mutex
	byPrefix map[string]Fault
}

// Set makes requests for paths that begin with prefix meet fault; an empty
// prefix is every path. Where several prefixes fit, the longest counts.
func (f *Faults) Set(prefix string, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byPrefix == nil {
		f.byPrefix = map[string]Fault{}
	}
	f.byPrefix[prefix] = fault
}

// Clear ends the fault that was set for prefix.
func (f *Faults) Clear(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byPrefix, prefix)
}

// Strike lets a request for path meet its fault, if there is one, and reports
// whether the request ends with that.
func (f *Faults) Strike(w http.ResponseWriter, r *http.Request, path string) (ended bool) {
	fault := f.take(path)
	if fault.Delay > 0 && !wait(r, fault.Delay) {
		reset(w)
		return true
	}
	switch {
	case fault.Reset:
		reset(w)
	case fault.Status != 0:
		for name, values := range fault.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(fault.Status)
		io.WriteString(w, fault.Body) // a client that went away needs no answer
	}
	return fault.Reset || fault.Status != 0
}

// take is the fault for path, if any, counted as met once.
func (f *Faults) take(path string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	best, found := "", false
	for prefix := range f.byPrefix {
		if strings.HasPrefix(path, prefix) && (!found || len(prefix) > len(best)) {
			best, found = prefix, true
		}
	}
	if !found {
		return Fault{}
	}
	fault := f.byPrefix[best]
	if fault.Times == 1 {
		delete(f.byPrefix, best)
	} else if fault.Times > 1 {
		left := fault
		left.Times--
		f.byPrefix[best] = left
	}
	return fault
}

// wait reports whether delay passed before the request was given up.
func wait(r *http.Request, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// reset closes the connection so that the client sees a reset and not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler) // no connection of our own, as in HTTP/2: ending the stream is the nearest thing
	}
	if err != nil {
		return // the client has gone already
	}
	raw := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		raw = wrapped.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetLinger(0) // makes Close send RST
	}
	raw.Close()
}
