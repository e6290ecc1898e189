//go:build engines

package gates_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// swarmSettings are the agent's on a manager.
const swarmSettings = "refresh: 1s\ngate_timeout: 10s\n" + shop.SwarmGrants

// changed is what the password becomes.
const changed = "changed-horse-battery-staple-0xC0FFEE"

// fleet is a world whose engine manages a swarm.
type fleet struct {
	*world
	*shop.Swarm
}

// startFleet starts a world, and workers beside its engine.
func startFleet(t *testing.T, kind engine.Kind, workers ...string) fleet {
	t.Helper()
	o := engine.Options{Kind: kind, Hostname: "manager"}
	w := startWorld(t, setting{kind: kind, variant: "plain", options: o}, swarmSettings)
	var s *shop.Swarm
	var err error
	if len(workers) == 0 {
		s, err = shop.InitSwarm(t.Context(), w.Host)
	} else {
		s, err = joinWorkers(t, w, workers)
	}
	if err == nil {
		err = s.KeepHistory(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return fleet{w, s}
}

func joinWorkers(t *testing.T, w *world, names []string) (*shop.Swarm, error) {
	nodes := []*engine.Engine{w.Engine}
	for _, name := range names {
		node := engine.ForTest(t, engine.Options{Kind: w.kind, Hostname: name})
		if err := errors.Join(node.ImportProbe(t.Context()), node.ImportBusybox(t.Context())); err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	joined, err := engine.JoinSwarm(t.Context(), nodes...)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := joined.Close(); err != nil {
			t.Error(err)
		}
	})
	return shop.OnSwarm(w.Host, nodes...), nil
}

// eventually waits for what the swarm takes its time for.
func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ready(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// serve creates a service and waits until its tasks run.
func (f fleet) serve(t *testing.T, spec swarm.ServiceSpec) (id string) {
	t.Helper()
	id, err := f.Serve(soon(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	f.runs(t, id, int(*spec.Mode.Replicated.Replicas))
	return id
}

// runs waits until exactly n tasks of a service run, and none is to end.
func (f fleet) runs(t *testing.T, id string, n int) (tasks []swarm.Task) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d tasks to run", n), func() bool {
		var err error
		tasks, err = f.Running(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks) == n
	})
	return tasks
}

func (f fleet) password(t *testing.T) *swarm.SecretReference {
	t.Helper()
	reference, err := f.Secret(soon(t), "password", "vault:kv/shop/db#password")
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

func (f fleet) put(t *testing.T, password string) {
	t.Helper()
	if err := f.Vault.PutSecret(soon(t), "kv", "shop/db", map[string]any{"password": password, "user": "shop"}); err != nil {
		t.Fatal(err)
	}
}

// count counts every container that the swarm has ever started on any node: each
// must have seen one of the values. A task without a container has not started.
func (f fleet) count(t *testing.T, r *row, values ...string) {
	t.Helper()
	for _, node := range f.Nodes {
		list, err := node.Client().ContainerList(soon(t), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "com.docker.swarm.service.id"))})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			found, err := node.Client().ContainerInspect(soon(t), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			if found.State.StartedAt != "" && !strings.HasPrefix(found.State.StartedAt, "0001-") {
				r.saw(saw(t, node, c.ID, values))
			}
		}
	}
}

// saw waits for the report of a container that has started, which may be under
// way.
func saw(t *testing.T, node *engine.Engine, id string, values []string) (err error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err = shop.SawFiles(t.Context(), node, id, map[string][]string{"password": values})
		if err == nil || time.Now().After(deadline) || strings.Contains(err.Error(), ": file ") {
			return err
		}
	}
}

// updates is how often a service was made to replace its tasks.
func (f fleet) updates(t *testing.T, id string) uint64 {
	t.Helper()
	service, err := f.Service(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.TaskTemplate.ForceUpdate
}

// rotating is a service that is updated when its secret changes.
func rotating(name string, replicas uint64, password *swarm.SecretReference) swarm.ServiceSpec {
	spec := shop.Service(name, replicas, password)
	spec.Labels["quaymaster.on-rotate"] = "update"
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrderStartFirst, Monitor: time.Second, FailureAction: swarm.UpdateFailureActionRollback}
	spec.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, FailureAction: swarm.UpdateFailureActionPause}
	return spec
}

// TestSwarm has secrets rotate under the services of one node.
func TestSwarm(t *testing.T) {
	for _, kind := range engine.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			f := startFleet(t, kind)
			t.Log(f.about)
			r := f.row(t, "swarm")
			password := f.password(t)
			t.Run("rotation", func(t *testing.T) { f.rotates(t, r, password) })
			t.Run("rolled back", func(t *testing.T) { f.rollsBack(t, password) })
		})
	}
}

// rotates: one value is one rolling update, with as many tasks up as there were,
// and then all have it.
func (f fleet) rotates(t *testing.T, r *row, password *swarm.SecretReference) {
	id := f.serve(t, rotating("db", 3, password))
	before, err := f.Service(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, changed)
	fewest := 3
	eventually(t, "the update to be over", func() bool {
		running, err := f.Running(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		fewest = min(fewest, len(running))
		return strings.Contains(f.Log(), "the tasks of a service have their new secrets")
	})
	if fewest < 3 {
		t.Errorf("only %d tasks ran during an update that starts new ones first", fewest)
	}
	for _, task := range f.runs(t, id, 3) {
		if err := f.Saw(soon(t), task, map[string][]string{"password": {changed}}); err != nil {
			t.Error(err)
		}
	}
	if n := f.updates(t, id); n != 1 {
		t.Errorf("there were %d updates", n)
	}
	after, err := f.Service(soon(t), id)
	if err != nil || *after.Spec.UpdateConfig != *before.Spec.UpdateConfig {
		t.Errorf("the service's update configuration is %+v, %v", after.Spec.UpdateConfig, err)
	}
	f.count(t, r, shop.Password, changed)
	if err := f.Engine.Client().ServiceRemove(soon(t), id); err != nil {
		t.Fatal(err)
	}
}

// rollsBack: new tasks do not live with the new value, the swarm goes back, and
// that is the end of it until the next value.
func (f fleet) rollsBack(t *testing.T, password *swarm.SecretReference) {
	f.put(t, shop.Password)
	spec := rotating("db", 2, password)
	spec.TaskTemplate.ContainerSpec.Image, spec.TaskTemplate.ContainerSpec.Args = engine.BusyboxImage, nil
	spec.TaskTemplate.ContainerSpec.Command = []string{"/bin/sh", "-c", `case "$(cat /run/secrets/password)" in bad*) exit 3;; esac
trap 'exit 0' TERM; while :; do sleep 0.1; done`}
	spec.UpdateConfig.Delay = 3 * time.Second // longer than Monitor: the second task is not touched before the first has lived
	id := f.serve(t, spec)
	before := f.runs(t, id, 2)
	begin := len(f.Log())
	ended := func() string { return f.Log()[begin:] }
	f.put(t, "bad-password")
	eventually(t, "the swarm to go back", func() bool {
		return strings.Contains(ended(), "was rolled back: tasks failed") || strings.Contains(ended(), "is paused: tasks fail")
	})
	running, err := f.Running(soon(t), id)
	if err != nil || !slices.ContainsFunc(running, func(task swarm.Task) bool { return task.ID == before[0].ID || task.ID == before[1].ID }) {
		t.Errorf("after the swarm went back none of the old tasks runs: %d others, %v", len(running), err)
	}
	forced := f.updates(t, id)
	if err := errors.Join(f.KillAgent(), f.StartAgent(soon(t))); err != nil {
		t.Fatal(err)
	}
	f.put(t, "good-again")
	eventually(t, "the next value to be rolled out", func() bool {
		return strings.Contains(ended(), "the tasks of a service have their new secrets")
	})
	f.runs(t, id, 2)
	if n := f.updates(t, id); n > max(forced, 1)+1 {
		t.Errorf("there were %d updates for two values, %d after the first", n, forced)
	}
	if n := strings.Count(ended(), "a service is updated for its new secrets"); n != 2 {
		t.Errorf("a service was updated %d times for two values:\n%s", n, lastLines(ended(), 20))
	}
	if err := f.Engine.Client().ServiceRemove(soon(t), id); err != nil {
		t.Fatal(err)
	}
}

// TestSwarmOfThree: the agent is on the manager alone, and the workers' tasks
// have their secrets, in memory.
func TestSwarmOfThree(t *testing.T) {
	for _, kind := range engine.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			f := startFleet(t, kind, "harbour", "pier")
			r := f.row(t, "swarm of 3")
			password := f.password(t)
			id := f.serve(t, rotating("db", 6, password))
			f.areEverywhere(t, id)
			f.isPinned(t, password)
			f.inMemory(t)
			// Killed and back, the agent knows the tasks, and has nothing to update.
			if err := errors.Join(f.KillAgent(), f.StartAgent(soon(t))); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the agent to have looked at what it knows", func() bool {
				out, _, err := f.Quaymaster(t.Context(), "ps", "--config", f.ConfigFile())
				return err == nil && strings.Count(out, "db.") >= 6
			})
			f.put(t, changed)
			eventually(t, "the rolling update", func() bool {
				return strings.Contains(f.Log(), "the tasks of a service have their new secrets")
			})
			for _, task := range f.runs(t, id, 6) {
				if err := f.Saw(soon(t), task, map[string][]string{"password": {changed}}); err != nil {
					t.Error(err)
				}
			}
			if n := f.updates(t, id); n != 1 {
				t.Errorf("there were %d updates", n)
			}
			f.areEverywhere(t, id)
			f.count(t, r, shop.Password, changed)
		})
	}
}

// areEverywhere: a service's tasks are on all nodes.
func (f fleet) areEverywhere(t *testing.T, id string) {
	t.Helper()
	tasks, err := f.Running(soon(t), id)
	nodes := map[string]bool{}
	for _, task := range tasks {
		nodes[task.NodeID] = true
	}
	if err != nil || len(nodes) != len(f.Nodes) {
		t.Errorf("the tasks are on %d nodes of %d, %v", len(nodes), len(f.Nodes), err)
	}
}

// isPinned: what was granted to a service on one node runs there, and nowhere
// else.
func (f fleet) isPinned(t *testing.T, password *swarm.SecretReference) {
	t.Helper()
	spec := shop.Service("pinned", 1, password)
	spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.hostname == pier"}}
	id, err := f.Serve(soon(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal on another node", func() bool { return strings.Contains(f.Log(), "swarm.node=pier") })
	if running, err := f.Running(soon(t), id); err != nil || len(running) != 0 {
		t.Errorf("%d tasks run on another node, %v", len(running), err)
	}
	err = f.Change(soon(t), id, func(spec *swarm.ServiceSpec) {
		spec.TaskTemplate.Placement.Constraints = []string{"node.hostname == harbour"}
	})
	if err != nil {
		t.Fatal(err)
	}
	f.runs(t, id, 1)
}

// inMemory: no worker has the value on a disk, and the search would find it.
func (f fleet) inMemory(t *testing.T) {
	t.Helper()
	for i, node := range f.Nodes {
		canary := filepath.Join(node.DataRoot(), "canary")
		if err := os.WriteFile(canary, []byte("before "+shop.Password), 0o600); err != nil {
			t.Fatal(err)
		}
		places, searched, err := host.Search(node.Dir(), shop.Password)
		var onDisk []string
		for _, place := range places {
			if place != canary && !inTmpfs(place) {
				onDisk = append(onDisk, place)
			}
		}
		if err = errors.Join(err, os.Remove(canary)); err != nil || len(places)-len(onDisk) == 0 || len(onDisk) > 0 {
			t.Errorf("node %d: of %d files these have the value: %v (with those in memory %v), %v", i, searched, onDisk, places, err)
		}
	}
}

// swarmStormPatience bounds what one round of the storm takes.
const swarmStormPatience = 3 * time.Minute

// TestSwarmStorm starts a thousand tasks, by scaling and by forcing updates,
// while the agent is killed now and then.
func TestSwarmStorm(t *testing.T) {
	for _, kind := range engine.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			f := startFleet(t, kind)
			f.storms(t, f.row(t, "swarm, storm"), stormLength(t))
		})
	}
}

func (f fleet) storms(t *testing.T, r *row, starts int) {
	const replicas = 50
	spec := shop.Service("db", 0, f.password(t))
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 10, FailureAction: swarm.UpdateFailureActionContinue}
	delay := time.Second
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay}
	spec.TaskTemplate.ContainerSpec.StopSignal = "SIGKILL"
	id := f.serve(t, spec)
	for n, round := 0, 0; n < starts; n, round = n+min(replicas, starts-n), round+1 {
		want := uint64(min(replicas, starts-n))
		err := f.Change(soon(t), id, func(spec *swarm.ServiceSpec) {
			*spec.Mode.Replicated.Replicas = want
			spec.TaskTemplate.ForceUpdate++
			if round%3 == 2 { // scaled down to nothing, and up
				*spec.Mode.Replicated.Replicas = 0
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if round%3 == 2 {
			f.runs(t, id, 0)
			if err := f.Change(soon(t), id, func(spec *swarm.ServiceSpec) { *spec.Mode.Replicated.Replicas = want }); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 1 {
			if err := errors.Join(f.KillAgent(), f.StartAgent(soon(t))); err != nil {
				t.Fatal(err)
			}
		}
		f.settles(t, id, round, int(want))
	}
	f.countStorm(t, r, id)
}

// settles waits until a round is over: all tasks are of the newest spec and run.
func (f fleet) settles(t *testing.T, id string, round, n int) {
	t.Helper()
	begin := time.Now()
	forced := f.updates(t, id)
	for {
		running, err := f.Running(t.Context(), id)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		fresh := 0
		for _, task := range running {
			if task.Spec.ForceUpdate == forced {
				fresh++
			}
		}
		if fresh == n && len(running) == n {
			t.Logf("round %d: %d tasks after %v", round, n, time.Since(begin).Round(time.Second))
			return
		}
		if time.Since(begin) > swarmStormPatience {
			t.Fatalf("round %d: %d of %d tasks run after %v", round, fresh, n, swarmStormPatience)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// countStorm counts what became of every task: of those that started every one
// has seen its secret, and those that did not say why.
func (f fleet) countStorm(t *testing.T, r *row, id string) {
	t.Helper()
	f.count(t, r, shop.Password)
	tasks, err := f.Tasks(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	never := map[string]int{}
	for _, task := range tasks {
		if task.Status.ContainerStatus == nil || task.Status.ContainerStatus.ContainerID == "" {
			never[string(task.Status.State)+": "+task.Status.Err]++
		}
	}
	t.Logf("%d tasks; that never had a container: %v", len(tasks), never)
}

// inTmpfs reports whether a file is in memory.
func inTmpfs(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// stormLength is how many starts a storm has, as QUAYMASTER_STORM_STARTS says.
func stormLength(t *testing.T) int {
	t.Helper()
	given := os.Getenv("QUAYMASTER_STORM_STARTS")
	if given == "" {
		return 1000
	}
	n, err := strconv.Atoi(given)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
