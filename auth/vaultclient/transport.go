package vaultclient

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/auth/bounded"
)

// maxAnswer is the most of an answer's body that is read, in bytes. Vault
// refuses to store entries above 1 MiB; JSON can make six bytes of one.
const maxAnswer = 8 << 20

// transport makes the requests of one client: it follows changes of the
// certificate files, bounds the memory that an answer can take and keeps what
// the api package would drop of it.
type transport struct {
	build func() (*http.Transport, error) // reads the files
	files []string                        // authorities, client certificate and key

	mu      sync.Mutex
	current *http.Transport
	stamp   string // of the files when they were last read
	broken  error  // why the files as they are now cannot be used
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	current, broken := t.fresh()
	response, err := current.RoundTrip(request)
	if err != nil {
		if broken != nil {
			err = &outdated{err, broken}
		}
		return nil, err
	}
	response.Body = bounded.Body(response.Body, maxAnswer)
	return keepPause(response)
}

// fresh is the transport for the files as they are now. Files that cannot be
// used, as in the middle of their replacement, leave the last good ones in force.
func (t *transport) fresh() (current *http.Transport, broken error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stamp := stampOf(t.files) // before the reading: a change in between is seen the next time
	if stamp == t.stamp {
		return t.current, t.broken
	}
	t.stamp = stamp
	next, err := t.build()
	if t.broken = err; err != nil {
		return t.current, err
	}
	t.current.CloseIdleConnections() // what is under way ends on the connections it has
	t.current = next
	return next, nil
}

// stampOf changes when one of the files does.
func stampOf(files []string) string {
	var stamp strings.Builder
	for _, name := range files {
		if about, err := os.Stat(name); err != nil {
			fmt.Fprintln(&stamp, err)
		} else {
			fmt.Fprintln(&stamp, about.Size(), about.ModTime().UnixNano())
		}
	}
	return stamp.String()
}

func (t *transport) closeIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.CloseIdleConnections()
}

// outdated is a request that failed while certificate files on the disk were
// newer than those in force, but of no use.
type outdated struct{ cause, broken error }

func (o *outdated) Error() string { return o.cause.Error() }
func (o *outdated) Unwrap() error { return o.cause }
