// Package api is the agent's own socket: what the commands ask of an agent
// that runs.
//
// Server and Client speak JSON over HTTP over a Unix socket, and the Client is
// an Agent as the Server's own is one. A request is
//
//	GET  /v1/containers                       {"containers": [{"id": "4f1c…", …}]}
//	POST /v1/attach      {"container": "web"}  {"container": {"id": "4f1c…", …}}
//
// and whatever goes wrong is answered with {"error": "…"}. Within v1 keys are
// added and none is changed; a Client passes over those that it does not know,
// the Server refuses them.
//
// Nothing here carries a value: names, times and reasons only. Even so the
// socket is root's alone, since who may attach decides which container gets
// secrets.
package api

import (
	"context"
	"errors"
	"time"
)

// ErrUnknown says that no container is called so.
var ErrUnknown = errors.New("no such container")

// Agent is what can be asked. An error names the container and what to do. It
// may be used by several goroutines.
type Agent interface {
	// Containers are those that the agent serves, and those that it should
	// serve and does not.
	Containers(ctx context.Context) ([]Container, error)
	// Attach gives a running container its files. container is its name, its
	// ID or the beginning of that; when there is no such container, the error
	// is ErrUnknown.
	Attach(ctx context.Context, container string) (Container, error)
}

// Container is what the agent tells of one container.
type Container struct {
	ID    string    `json:"id"` // the engine's full ID
	Name  string    `json:"name"`
	Image string    `json:"image"`
	Gate  string    `json:"gate"`  // it passed; empty: none
	Since time.Time `json:"since"` // when it passed

	Files     []string `json:"files"`     // their names below its directory of secrets
	Variables []string `json:"variables"` // their names

	Strategy string `json:"strategy"` // after a rotation, as in the label
	Owed     bool   `json:"owed"`     // the strategy is still to be applied

	Late    bool   `json:"late"`    // its files came after its first instruction
	Stale   bool   `json:"stale"`   // it has a secret whose store did not answer when it was due
	Failing string `json:"failing"` // why it has not got its new secrets; empty: it has
	Ungated bool   `json:"ungated"` // it wants secrets and runs without
}

// The requests of version 1.
const (
	pathContainers = "/v1/containers"
	pathAttach     = "/v1/attach"
)

// The bodies of requests and answers.
type (
	containersAnswer struct {
		Containers []Container `json:"containers"`
	}
	attachRequest struct {
		Container string `json:"container"`
	}
	attachAnswer struct {
		Container Container `json:"container"`
	}
	errorAnswer struct {
		Error string `json:"error"`
	}
)

// filled has lists where there are none, so that they are never null in JSON.
func (c Container) filled() Container {
	if c.Files == nil {
		c.Files = []string{}
	}
	if c.Variables == nil {
		c.Variables = []string{}
	}
	return c
}
