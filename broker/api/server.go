package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/socket"
)

// maxRequest bounds, in bytes, what a request may bring along.
const maxRequest = 4 << 10

// How long a client may take to send what it asks, and how long requests that
// run may take to end when the agent ends.
const (
	readTimeout = 5 * time.Second
	endTimeout  = 5 * time.Second
)

// errRequest says that a request makes no sense.
var errRequest = errors.New("not a request of this agent")

// Options are the parts of a Server. All but one of Socket and Listener are
// required.
type Options struct {
	Socket   string            // where to listen
	Listener *net.UnixListener // listens already, as under socket activation; Run closes it
	Agent    Agent
	Timeout  time.Duration // how long one request may take the Agent
	Log      *slog.Logger
}

// Server answers the commands.
type Server struct{ Options }

// NewServer makes a Server; Run opens it.
func NewServer(options Options) *Server { return &Server{options} }

// Run listens and serves until ctx is done; then it returns nil. Requests that
// are under way at that moment are cancelled.
func (s *Server) Run(ctx context.Context) error {
	listener := s.Listener
	if listener == nil {
		var err error
		if listener, err = socket.Listen(s.Socket); err != nil {
			return fmt.Errorf("the agent's own socket %s: %w", s.Socket, err)
		}
	}
	server := &http.Server{
		Handler:     s.routes(),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ReadTimeout: readTimeout, WriteTimeout: readTimeout + s.Timeout + endTimeout,
		MaxHeaderBytes: maxRequest,
		ErrorLog:       slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	server.SetKeepAlivesEnabled(false)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(socket.RootOnly(listener, s.Log)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("the agent's own socket %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		server.Close()
	}
	<-failed // that it was shut down
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+pathContainers, s.answer(s.containers))
	mux.Handle("POST "+pathAttach, s.answer(s.attach))
	mux.Handle("/", s.answer(func(r *http.Request) (any, error) {
		return nil, fmt.Errorf("%w: %s %q: the command and the agent may be of different versions", errRequest, r.Method, r.URL.Path)
	}))
	return mux
}

// answer turns what do returns into an answer.
func (s *Server) answer(do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		answer, err := s.guarded(do, r.WithContext(ctx))
		if err != nil {
			answer = errorAnswer{err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status(err))
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.Log.Warn("the agent's own socket could not send an answer", "request", r.URL.Path, "error", err)
		}
	})
}

// guarded keeps a panic from being more than a failed request.
func (s *Server) guarded(do func(*http.Request) (any, error), r *http.Request) (answer any, err error) {
	defer inject.Recover(s.Log, &err, "request", r.URL.Path)
	return do(r)
}

func status(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, errRequest):
		return http.StatusBadRequest
	case errors.Is(err, ErrUnknown):
		return http.StatusNotFound
	default:
		return http.StatusInternalServerError
	}
}

func (s *Server) containers(r *http.Request) (any, error) {
	containers, err := s.Agent.Containers(r.Context())
	if err != nil {
		return nil, err
	}
	answer := containersAnswer{Containers: []Container{}}
	for _, c := range containers {
		answer.Containers = append(answer.Containers, c.filled())
	}
	return answer, nil
}

func (s *Server) attach(r *http.Request) (any, error) {
	var request attachRequest
	if err := decode(r.Body, &request); err != nil {
		return nil, err
	}
	if request.Container == "" {
		return nil, fmt.Errorf("%w: container is missing", errRequest)
	}
	container, err := s.Agent.Attach(r.Context(), request.Container)
	return attachAnswer{container.filled()}, err
}

// decode reads one JSON value, strictly.
func decode(from io.Reader, into any) error {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the request", errRequest)
	}
	return nil
}
