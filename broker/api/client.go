package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// The decisions that asking can end with.
var (
	// ErrNoAgent says that nobody listens at the socket.
	ErrNoAgent = errors.New("no agent runs there: start it (systemctl start quaymaster), or name its configuration with --config")
	// ErrNotRoot says that the socket is not the caller's to use.
	ErrNotRoot = errors.New("the agent answers root only: use sudo")
	// ErrSilent says that an agent is there, and does not answer.
	ErrSilent = errors.New("the agent does not answer: its log says what it does (journalctl -u quaymaster)")
)

// maxAnswer bounds, in bytes, what an answer may be.
const maxAnswer = 64 << 20

// Client asks an agent that runs. It implements Agent.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the agent that listens at socket. It holds
// nothing open between requests.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Containers implements Agent.
func (c *Client) Containers(ctx context.Context) ([]Container, error) {
	var answer containersAnswer
	err := c.ask(ctx, http.MethodGet, pathContainers, nil, &answer)
	return answer.Containers, err
}

// Attach implements Agent.
func (c *Client) Attach(ctx context.Context, container string) (Container, error) {
	var answer attachAnswer
	err := c.ask(ctx, http.MethodPost, pathAttach, attachRequest{container}, &answer)
	return answer.Container, err
}

func (c *Client) ask(ctx context.Context, method, path string, request, answer any) error {
	var body io.Reader
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body) // the host is not looked at
	if err != nil {
		return err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return c.unreached(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.unreached(err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("the answer of the agent at %s cannot be read: %w", c.socket, err)
	}
	return nil
}

// unreached says why there was no answer, in terms of what to do.
func (c *Client) unreached(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		err = ErrNoAgent
	case errors.Is(err, fs.ErrPermission):
		err = ErrNotRoot
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		err = fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return fmt.Errorf("ask the agent at %s: %w", c.socket, err)
}

// answered is an error in the words of the agent.
type answered struct {
	text string
	kind error
}

func (a answered) Error() string { return a.text }
func (a answered) Unwrap() error { return a.kind }

func refusal(status int, text []byte) error {
	var answer errorAnswer
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error == "" {
		return fmt.Errorf("the agent answered with status %d and no reason", status)
	}
	err := answered{text: answer.Error}
	if status == http.StatusNotFound {
		err.kind = ErrUnknown
	}
	return err
}
