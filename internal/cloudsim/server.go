package cloudsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// Options of a Server. The zero value speaks HTTP on a free port of 127.0.0.1.
type Options struct {
	// Address is host:port. The host must be an IP address that only this
	// machine can reach: loopback, or link-local as a metadata service's.
	Address string
	// Authority makes the server speak HTTPS, with a certificate for its
	// address and localhost.
	Authority *Authority
	// Names are further hosts that the certificate is for: the real ones that
	// the server stands in for, when clients are led to it by a proxy.
	Names []string
}

// Server is a stand-in that listens.
type Server struct {
	url     string
	cancel  context.CancelFunc
	server  *http.Server
	serving sync.WaitGroup
	conns   sync.WaitGroup // from accepted to closed, so that Close can wait for handlers
}

// Start listens and serves handler until Close.
func Start(handler http.Handler, o Options) (*Server, error) {
	listener, err := listen(o.Address)
	if err != nil {
		return nil, err
	}
	address := listener.Addr().(*net.TCPAddr) // listen asked for tcp
	scheme := "http"
	if o.Authority != nil {
		certificate, err := o.Authority.issue(address.IP, o.Names)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		scheme, listener = "https", tls.NewListener(listener, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate},
			NextProtos: []string{"http/1.1"}, // Faults cut connections, which HTTP/2 shares between requests
		})
	}
	s := &Server{url: scheme + "://" + address.String()}
	s.serve(listener, handler)
	return s, nil
}

// listen refuses addresses that another machine could reach: the stand-ins
// hand out identities to whoever asks.
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	ip := net.ParseIP(host)
	if ip == nil || (!ip.IsLoopback() && !ip.IsLinkLocalUnicast()) {
		return nil, fmt.Errorf("listening on %q: a stand-in listens on a loopback or link-local IP address only", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	return listener, nil
}

func (s *Server) serve(listener net.Listener, handler http.Handler) {
	life, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.server = &http.Server{
		Handler:     handler,
		BaseContext: func(net.Listener) context.Context { return life },
		ConnState:   s.track,
		ErrorLog:    log.New(io.Discard, "", 0), // clients that distrust the authority are part of the game
	}
	s.serving.Go(func() { s.server.Serve(listener) }) // ends when Close does, and for no other reason worth telling
}

// track counts connections. The server reports a new one before it serves it,
// on the goroutine that Close waits for first.
func (s *Server) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// URL is scheme://host:port, without a slash at the end.
func (s *Server) URL() string { return s.url }

// Close ends all connections and waits until nothing of the server runs. The
// address then refuses connections; another Start may take it over.
func (s *Server) Close() error {
	s.cancel() // ends delays
	err := s.server.Close()
	s.serving.Wait()
	s.conns.Wait()
	return err
}
