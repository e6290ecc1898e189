package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// A task of a swarm is served on a manager, wherever it will run: the manager
// hands what the agent answers to the task's node, which keeps it in memory. So
// it has no tree here, and like a variable its value stays what it was; what
// brings another is a new task, which a rolling update of its service makes.

// labelsOfOthers begin the labels that say what a container is, and that a
// service's author could set on it like any other.
var labelsOfOthers = []string{"com.docker.swarm.", "com.docker.compose."}

// DeliverTask implements inject.TaskDeliverer.
func (b *Broker) DeliverTask(ctx context.Context, task inject.Task) (secret.Value, error) {
	s, err := b.runOfTask(task)
	var value secret.Value
	if err == nil {
		value, err = b.furnishTask(ctx, s)
	}
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // nobody waits any more
			b.complain(task, err)
		}
		return value, fmt.Errorf("service %s, task %s on node %s, secret %s: %w", task.Service, task.Name, cmp.Or(task.Node, task.NodeID), task.Secret, err)
	}
	b.content(task)
	return value, nil
}

// runOfTask reads what a task asks for.
func (b *Broker) runOfTask(task inject.Task) (*served, error) {
	tree := "task." + task.ID + "." + task.Secret
	if strings.ContainsAny(tree, "/\x00") || len(tree) > 255 {
		return nil, errors.New("its name cannot be kept: use letters, digits, dots, dashes and underscores")
	}
	s := &served{task: &task, tree: tree, facts: factsOfTask(task), gate: inject.GateSwarm, since: b.Now(), started: true}
	want, err := workload.ParseSecretLabels(task.Secret, task.SecretLabels, workload.Attest(s.facts))
	if err != nil {
		return nil, oneLine(unjoin(err))
	}
	update, err := workload.ServiceStrategy(task.ServiceLabels)
	if err != nil {
		return nil, err
	}
	s.wants = workload.Wants{Items: []workload.Want{want}, Mode: workload.DefaultMode, OnRotate: workload.Strategy{Kind: workload.StrategyNone}}
	if update {
		s.wants.OnRotate.Kind = workload.StrategyUpdate
	}
	return s, nil
}

// factsOfTask says what a task is, in the words of containers. What the swarm
// says of it cannot be said by its labels.
func factsOfTask(task inject.Task) workload.Facts {
	labels := map[string]string{}
	for key, value := range task.ServiceLabels {
		if !slices.ContainsFunc(labelsOfOthers, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			labels[key] = value
		}
	}
	delete(labels, inject.LabelServiceError) // the agent's own
	labels[workload.LabelSwarmService] = task.Service
	return workload.Facts{ID: task.ID, Name: task.Name, Image: task.Image, Labels: labels, Node: cmp.Or(task.Node, task.NodeID)}
}

// furnishTask resolves one secret of a task.
func (b *Broker) furnishTask(ctx context.Context, s *served) (value secret.Value, err error) {
	before := b.get(s.tree)
	b.mu.Lock()
	b.serve(s)
	b.mu.Unlock()
	items, err := b.weigh(ctx, s)
	if err == nil {
		err = b.settle(s, audit.Decision, items)
	}
	bundle, editions := bundleOf(items)
	if err == nil && len(bundle.Files) != 1 {
		err = fmt.Errorf("it would be %d files, and a secret of a swarm is one: choose another format with the label %sformat", len(bundle.Files), workload.Prefix)
	}
	if err != nil {
		wipe(items, workload.File)
		b.end(s.tree, s)
		return value, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.editions, s.variables = editions, b.sum(s, bundle)
	if before != nil { // it is asked for again: the task has what it got first
		s.variables = before.variables
		if before.owed {
			b.owe(s)
			s.owedAt = before.owedAt
		}
	}
	b.store.touchNow(s.tree)
	b.Log.Info("secret delivered to a task", "service", s.task.Service, "task", s.task.Name, "node", s.facts.Node, "secret", s.task.Secret)
	return bundle.Files[0].Value, nil
}

// takeOverTask serves a task that an earlier agent gave a secret. The caller has
// locked b.mu.
func (b *Broker) takeOverTask(noted memo.Memo) {
	s, err := b.runOfTask(*noted.Task)
	if err != nil {
		b.Log.Warn("a task of the swarm is no longer told of new secrets", "service", noted.Task.Service, "task", noted.Task.Name, "error", err)
		return
	}
	s.adopted, s.variables = true, noted.Variables
	b.serve(s)
	if noted.Owed {
		b.owe(s)
	}
}

// reapTasks ends what was made for tasks that are over.
func (b *Broker) reapTasks(ctx context.Context) {
	tasks := map[string]*served{}
	b.mu.Lock()
	for tree, s := range b.served {
		if s.task != nil && b.Now().Sub(s.since) > strayPatience {
			tasks[tree] = s
		}
	}
	b.mu.Unlock()
	if len(tasks) == 0 {
		return
	}
	alive, err := b.Engine.Tasks(ctx)
	if err != nil {
		b.Log.Debug("the tasks of the swarm could not be listed", "error", err)
		return
	}
	maps.DeleteFunc(tasks, func(_ string, s *served) bool { return alive[s.task.ID] })
	for tree, s := range tasks {
		b.end(tree, s)
		b.store.drop(s.task.ID)
	}
}
