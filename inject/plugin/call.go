package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// MaxRequest is the largest request in bytes that is read. What the engine
// sends are names, options and labels.
const MaxRequest = 1 << 20

// contentType is what the engine accepts (VersionMimetype in its pkg/plugins).
const contentType = "application/vnd.docker.plugins.v1.2+json"

// The decisions that a call can end with, beside an error for the engine to
// show.
var (
	// ErrNoRequest says that the engine repeated a call and lost what it is
	// about.
	ErrNoRequest = errors.New(wire.NoAgent + ": one ended while it prepared this, and Docker did not repeat the request as a whole; the next one starts the container again")
	// ErrNoAnswer closes the connection instead of answering. The engine then
	// repeats the call, for 30 seconds.
	ErrNoAnswer = errors.New("no answer can be given")
)

// Call answers one call. Request and answer are JSON; the answer is overwritten
// when it has been sent. The context ends when the engine hangs up, or the
// agent ends and cannot wait for the call any longer. An error is what the
// engine shows, so it is one line.
type Call func(ctx context.Context, request []byte) (answer []byte, err error)

// Method makes a Call of a function that takes the request decoded, and has its
// answer encoded. Fields that are not known are ignored: each engine has its
// own.
func Method[Request, Answer any](f func(context.Context, Request) (Answer, error)) Call {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		request, err := Decode[Request](body)
		if err != nil {
			return nil, err
		}
		answer, err := f(ctx, request)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	}
}

// Decode reads the request of a Call.
func Decode[Request any](body []byte) (request Request, err error) {
	if len(body) == 0 {
		return request, ErrNoRequest
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return request, fmt.Errorf("the agent could not read what the engine sent: %w", err)
	}
	return request, nil
}

// failure is how an answer says that the call failed.
type failure struct{ Err string }

// manifest is what the engine calls the list of subsystems.
type manifest struct{ Implements []string }

// handler finds the call of a request. ending is done when calls are to be sent
// on.
func (p *Plugin) handler(ending context.Context) http.Handler {
	mux := http.NewServeMux()
	var implemented manifest
	for _, s := range p.Subsystems {
		implemented.Implements = append(implemented.Implements, s.Name)
		for name, call := range s.Calls {
			mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) { p.serve(ending, w, r, call) })
		}
	}
	mux.HandleFunc("POST /Plugin.Activate", func(w http.ResponseWriter, r *http.Request) {
		p.serve(ending, w, r, func(context.Context, []byte) ([]byte, error) { return json.Marshal(implemented) })
	})
	return mux
}

func (p *Plugin) serve(ending context.Context, w http.ResponseWriter, r *http.Request, call Call) {
	body, err := read(w, r)
	var answer []byte
	if err == nil {
		answer, err = call(r.Context(), body)
	}
	switch {
	case err != nil && ending.Err() != nil:
		// To itself: the same socket, at which the next agent listens.
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	case errors.Is(err, ErrNoAnswer):
		p.Log.Warn("docker plugin does not answer a call", "call", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	case err != nil:
		if answer, err = json.Marshal(failure{err.Error()}); err != nil {
			panic(err) // a string can be encoded
		}
	}
	p.send(w, answer)
}

// read reads the body of a request. Afterwards the server watches whether the
// peer hangs up, which no deadline may end.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(talk))
	defer control.SetReadDeadline(time.Time{})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		return nil, fmt.Errorf("the agent could not read what the engine sent: %w", err)
	}
	return body, nil
}

func (p *Plugin) send(w http.ResponseWriter, answer []byte) {
	defer clear(answer)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(talk))
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(answer); err != nil {
		p.Log.Warn("docker plugin could not send its answer", "error", err)
	}
}
