// Package swarm is the Swarm gate: a secret driver.
//
// A swarm's secret that has this driver has no value of its own. When a task
// that uses it is assigned to a node, a manager asks the driver, and sends what
// it answers to that node, where the task sees it at /run/secrets/<name>. The
// Gate describes the task and has its value delivered; it asks that the value
// is given to no other task.
//
// Swarm swallows the driver's errors: the task fails with words that say
// nothing, a new one follows, and asks again. So they are logged here, once for
// each task, and rarely when the same task asks more often.
//
// A manager calls while it holds the lock of the swarm's state (ViewAndWatch in
// swarmkit's manager/dispatcher): whoever changes the swarm waits until the
// answer is there.
package swarm

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/plugin"
)

// Subsystem is what Swarm calls secret drivers (SecretsProviderCapability in
// swarmkit's manager/drivers).
const Subsystem = "secretprovider"

// sizeLimit is the size in bytes that a value of a swarm must stay below
// (MaxSecretSize in swarmkit's api/validation).
const sizeLimit = 500 * 1024

// Options are the parts of a Gate. All are required.
type Options struct {
	Deliverer inject.TaskDeliverer
	// Node tells the host name of a node of the swarm.
	Node    func(ctx context.Context, nodeID string) (hostname string, err error)
	Timeout time.Duration // how long a task may wait
	Log     *slog.Logger
}

// Gate answers the managers' calls to the secret driver.
type Gate struct {
	Options
	told told
}

// New makes a Gate.
func New(options Options) *Gate { return &Gate{Options: options} }

// Subsystem is what the plugin serves for the gate.
func (g *Gate) Subsystem() plugin.Subsystem {
	return plugin.Subsystem{Name: Subsystem, Calls: map[string]plugin.Call{"SecretProvider.GetSecret": g.getSecret}}
}

// request is SecretsProviderRequest of swarmkit's manager/drivers, but for what
// describes the service's network.
type request struct {
	SecretName                          string
	SecretLabels                        map[string]string
	ServiceID, ServiceName              string
	ServiceLabels                       map[string]string
	TaskID, TaskName, TaskImage, NodeID string
}

func (g *Gate) getSecret(ctx context.Context, body []byte) ([]byte, error) {
	r, err := plugin.Decode[request](body)
	if err != nil {
		g.Log.Warn("swarm gate could not read a request", "error", err)
		return nil, fmt.Errorf("quaymaster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	value, err := g.deliver(ctx, g.task(ctx, r))
	if err == nil {
		defer value.Wipe()
		err = checkSize(value)
	}
	if err != nil {
		if ctx.Err() != context.Canceled && g.told.first(r.TaskID+" "+r.SecretName+" "+err.Error(), time.Now()) {
			g.Log.Error("swarm gate refused a task its secret", "secret", r.SecretName, "service", r.ServiceName,
				"task", r.TaskName, "task_id", r.TaskID, "node", r.NodeID, "error", err)
		}
		return nil, fmt.Errorf("quaymaster: secret %q of service %q: %w", r.SecretName, r.ServiceName, err)
	}
	return encode(value), nil
}

// task is what is known of the task that asks.
func (g *Gate) task(ctx context.Context, r request) inject.Task {
	node, err := g.Node(ctx, r.NodeID)
	if err != nil {
		g.Log.Warn("swarm gate does not know the host name of a node: no grant that asks for it holds",
			"node", r.NodeID, "service", r.ServiceName, "error", err)
		node = ""
	}
	return inject.Task{
		ID: r.TaskID, Name: r.TaskName, Image: r.TaskImage,
		ServiceID: r.ServiceID, Service: r.ServiceName, ServiceLabels: r.ServiceLabels,
		NodeID: r.NodeID, Node: node,
		Secret: r.SecretName, SecretLabels: r.SecretLabels,
	}
}

// deliver asks the TaskDeliverer; a bug in there refuses this one task.
func (g *Gate) deliver(ctx context.Context, task inject.Task) (value secret.Value, err error) {
	defer inject.Recover(g.Log, &err, "task", task.ID, "service", task.Service, "secret", task.Secret)
	return g.Deliverer.DeliverTask(ctx, task)
}

// checkSize says what Swarm would not: it drops such a value without a word.
func checkSize(value secret.Value) error {
	if size := value.Len(); size == 0 || size >= sizeLimit {
		return fmt.Errorf("its value has %d bytes: Swarm takes no empty one, and none of %d bytes or more", size, sizeLimit)
	}
	return nil
}

// encode writes a SecretsProviderResponse by hand: encoding/json would leave
// copies of the value behind that nobody can overwrite.
func encode(value secret.Value) []byte {
	const before, after = `{"Value":"`, `","DoNotReuse":true}`
	answer := make([]byte, 0, len(before)+base64.StdEncoding.EncodedLen(value.Len())+len(after))
	answer = append(answer, before...)
	answer = base64.StdEncoding.AppendEncode(answer, value.Reveal()) // it is the task's to have
	return append(answer, after...)
}
