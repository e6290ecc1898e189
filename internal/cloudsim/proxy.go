package cloudsim

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

// Proxy leads every host to one server. A program whose addresses are
// hard-coded meets a stand-in when it is started with HTTPS_PROXY set to a
// Server of a Proxy, and with a file of the Authority that it shall trust.
type Proxy struct {
	To string // host:port of the server
}

// ServeHTTP implements http.Handler: it splices the connection that a CONNECT
// request comes on.
func (p Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy knows CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	to, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.To)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // the client has gone already
	}
	defer from.Close()
	defer context.AfterFunc(r.Context(), func() { from.Close(); to.Close() })() // when the server closes
	splice(from, buffered, to)
}

// splice copies both ways until both have ended.
func splice(from net.Conn, sent io.Reader, to net.Conn) {
	var copying sync.WaitGroup
	copying.Go(func() {
		io.Copy(to, sent) // an end of either side ends the other, and that is all there is to it
		to.Close()
	})
	copying.Go(func() {
		io.Copy(from, to)
		from.Close()
	})
	copying.Wait()
}
