package volume_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/volume"
)

// agent is a gate behind its plugin. What it asks is answered by the test: a
// tree is a plain directory.
type agent struct {
	dir      string
	client   *http.Client
	stop     func()
	log      bytes.Buffer // to be read after stop
	profiles map[string]bool

	mu       sync.Mutex
	stopped  []inject.Arrival // the containers that Finder knows
	arrivals []inject.Arrival
	ended    []string
	deliver  func(context.Context, inject.Arrival) (inject.Delivery, error) // nil: a tree
}

func (a *agent) Mounting(context.Context, string, string) ([]inject.Arrival, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopped, nil
}

func (a *agent) Deliver(ctx context.Context, arrival inject.Arrival) (inject.Delivery, error) {
	a.mu.Lock()
	a.arrivals = append(a.arrivals, arrival)
	deliver := a.deliver
	a.mu.Unlock()
	if deliver != nil {
		return deliver(ctx, arrival)
	}
	return a.tree(arrival), nil
}

func (a *agent) tree(arrival inject.Arrival) inject.Delivery {
	tree := filepath.Join(a.dir, "trees", arrival.Tree)
	if err := os.MkdirAll(tree, 0o700); err != nil {
		panic(err)
	}
	return inject.Delivery{Source: tree}
}

func (a *agent) End(_ context.Context, tree string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, tree)
	if err := os.RemoveAll(filepath.Join(a.dir, "trees", tree)); err != nil {
		panic(err)
	}
}

func open(t *testing.T) *agent {
	t.Helper()
	a := &agent{dir: t.TempDir(), profiles: map[string]bool{"shop-db": true}}
	a.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(a.dir, "q.sock"))
	}}}
	a.run(t)
	t.Cleanup(func() { a.stop() })
	return a
}

// run begins an agent in the same directory.
func (a *agent) run(t *testing.T) {
	t.Helper()
	listener, err := plugin.Listen(filepath.Join(a.dir, "q.sock"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&a.log, nil))
	gate, err := volume.New(volume.Options{Driver: "q", Deliverer: a, Ender: a, Finder: a, State: filepath.Join(a.dir, "state"),
		Profiles: func(name string) bool { return a.profiles[name] }, Timeout: time.Minute, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	served := plugin.New(plugin.Options{Listener: listener, Subsystems: []plugin.Subsystem{gate.Subsystem()}, Log: log})
	go func() { done <- served.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, gate.Close()); err != nil {
			t.Error(err)
		}
	})
}

// ask is one call of the engine, and its answer as text.
func (a *agent) ask(t *testing.T, call string, arguments any) string {
	t.Helper()
	body, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.client.Post("http://plugin/VolumeDriver."+call, "", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type named struct {
	Name string
	ID   string            `json:",omitempty"`
	Opts map[string]string `json:",omitempty"`
}

func (a *agent) create(t *testing.T, name string, opts map[string]string) {
	t.Helper()
	if got := a.ask(t, "Create", named{Name: name, Opts: opts}); got != "{}" {
		t.Fatalf("Create: %s", got)
	}
}

// id is an ID as the engine makes them.
func id(digit string) string { return strings.Repeat(digit, 64) }

// expect compares an answer: whole, or its Err when want is no JSON.
func expect(t *testing.T, what, got, want string) {
	t.Helper()
	var failed struct{ Err string }
	if json.Unmarshal([]byte(got), &failed) != nil || got != want && (failed.Err == "" || !strings.Contains(failed.Err, want)) || strings.Contains(failed.Err, "\n") {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestVolumes(t *testing.T) {
	a := open(t)
	odd := "../../etc/pass wd\n/" + strings.Repeat("ü", 300)
	for _, name := range []string{"plain", odd, ".", ""} {
		a.create(t, name, nil)
	}
	a.create(t, "profiled", map[string]string{"profile": "shop-db"})
	a.create(t, "profiled", map[string]string{"profile": "shop-db"}) // once more
	for what, test := range map[string]struct {
		ask  named
		want string
	}{
		"another option":  {named{Name: "a", Opts: map[string]string{"profil": "x"}}, `quaymaster: volume "a": there is no option "profil": the only one is profile=`},
		"another profile": {named{Name: "a", Opts: map[string]string{"profile": "shop-bd"}}, `there is no profile "shop-bd": add it to`},
		"changed":         {named{Name: "profiled"}, `it exists with another profile ("shop-db", not "")`},
	} {
		expect(t, what, a.ask(t, "Create", test.ask), test.want)
	}
	a.stop()
	a.run(t)
	var list struct {
		Volumes []struct {
			Name, CreatedAt string
			Status          map[string]string
		}
	}
	if text := a.ask(t, "List", struct{}{}); json.Unmarshal([]byte(text), &list) != nil || len(list.Volumes) != 5 || list.Volumes[2].Name != odd {
		t.Errorf("List: %s", text)
	}
	got := a.ask(t, "Get", named{Name: "profiled"})
	if !strings.HasPrefix(got, `{"Volume":{"Name":"profiled","CreatedAt":"2`) || !strings.HasSuffix(got, `,"Status":{"profile":"shop-db"}}}`) {
		t.Errorf("Get: %s", got)
	}
	expect(t, "Capabilities", a.ask(t, "Capabilities", nil), `{"Capabilities":{"Scope":"local"}}`)
	expect(t, "Path", a.ask(t, "Path", named{Name: odd}), "{}")
	expect(t, "Remove", a.ask(t, "Remove", named{Name: odd}), "{}")
	for _, call := range []string{"Remove", "Path", "Get", "Mount"} {
		expect(t, call+" of what is gone", a.ask(t, call, named{Name: odd, ID: id("a")}), "the driver has no such volume")
	}
}

func TestArrival(t *testing.T) {
	a := open(t)
	a.create(t, "v", map[string]string{"profile": "shop-db"})
	maps := []inject.IDMap{{Host: 100000, Size: 65536}}
	one := inject.Arrival{Container: id("1"), User: &inject.Owner{UID: 7}, UIDMap: maps, GIDMap: maps, EngineDir: "/e/1"}
	same, other, mapped := one, one, one
	same.Container, same.User = id("2"), &inject.Owner{UID: 7}
	other.Container, other.User = id("3"), &inject.Owner{UID: 8}
	mapped.Container, mapped.UIDMap = id("4"), nil
	for what, test := range map[string]struct {
		found  []inject.Arrival
		others int
		user   bool
	}{"one": {[]inject.Arrival{one}, 0, true}, "two": {[]inject.Arrival{same, one}, 1, true}, "three": {[]inject.Arrival{other, same, one}, 2, false}} {
		a.stopped, a.arrivals = test.found, nil
		mount := id("a")
		expect(t, what, a.ask(t, "Mount", named{Name: "v", ID: mount}), `{"Mountpoint":"`+filepath.Join(a.dir, "trees", mount)+`"}`)
		got := a.arrivals[0]
		if got.Gate != "volume" || got.Container != id("1") || got.Tree != mount || got.Profile != "shop-db" || got.EngineDir != "/e/1" ||
			!got.FilesOnly || got.MemoryOnly || len(got.Others) != test.others || (got.User != nil) != test.user || len(got.UIDMap) != 1 {
			t.Errorf("%s: %+v", what, got)
		}
		if len(got.Others) > 0 && got.Others[0] != id("2") {
			t.Errorf("%s: others %v", what, got.Others)
		}
		expect(t, what, a.ask(t, "Unmount", named{Name: "v", ID: mount}), "{}")
	}
	a.stopped = []inject.Arrival{one, mapped}
	expect(t, "user namespaces", a.ask(t, "Mount", named{Name: "v", ID: id("b")}), "containers 111111111111 and 444444444444: these containers number users differently")
}

func TestRefusals(t *testing.T) {
	a := open(t)
	a.create(t, "v", nil)
	a.create(t, "late", map[string]string{"profile": "shop-db"})
	a.profiles = map[string]bool{}
	expect(t, "nobody", a.ask(t, "Mount", named{Name: "v", ID: id("a")}), `quaymaster: volume "v": no container that mounts it is about to start`)
	a.stopped = []inject.Arrival{{Container: id("1")}}
	expect(t, "a profile that is no more", a.ask(t, "Mount", named{Name: "late", ID: id("a")}), `there is no profile "shop-db"`)
	for _, bad := range []string{"", "../x", id("A"), "abcd"} {
		expect(t, "ID "+bad, a.ask(t, "Mount", named{Name: "v", ID: bad}), "is no ID of a mount")
		expect(t, "ID "+bad, a.ask(t, "Unmount", named{Name: "v", ID: bad}), "is no ID of a mount")
	}
	for want, deliver := range map[string]func(context.Context, inject.Arrival) (inject.Delivery, error){
		"container 111111111111: the container asks for nothing": func(context.Context, inject.Arrival) (inject.Delivery, error) { return inject.Delivery{}, nil },
		"the first line and the second": func(context.Context, inject.Arrival) (inject.Delivery, error) {
			return inject.Delivery{}, errors.New("the first line\nand the second")
		},
		"the agent failed inside": func(context.Context, inject.Arrival) (inject.Delivery, error) { panic("hunter2") },
	} {
		a.deliver = deliver
		expect(t, want, a.ask(t, "Mount", named{Name: "v", ID: id("a")}), want)
	}
	a.stop()
	if log := a.log.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "delivery panicked") {
		t.Errorf("log %s", log)
	}
}

// TestLostRequest: what the engine repeats without saying what it is about is
// refused, but Get is not answered, or the engine would forget the volume.
func TestLostRequest(t *testing.T) {
	a := open(t)
	response, err := a.client.Post("http://plugin/VolumeDriver.Mount", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "Mount", string(text), "quaymaster: "+plugin.ErrNoRequest.Error())
	if _, err := a.client.Post("http://plugin/VolumeDriver.Get", "", nil); !errors.Is(err, io.EOF) {
		t.Errorf("Get: %v", err)
	}
}

// TestMountsAreCounted: as docker cp mounts what a running container has, also
// when the agent was restarted meanwhile.
func TestMountsAreCounted(t *testing.T) {
	a := open(t)
	a.create(t, "v", nil)
	mount, path := named{Name: "v", ID: id("a")}, `{"Mountpoint":"`+filepath.Join(a.dir, "trees", id("a"))+`"}`
	a.stopped = []inject.Arrival{{Container: id("1")}, {Container: id("2")}}
	expect(t, "start", a.ask(t, "Mount", mount), path)
	a.stopped = a.stopped[1:] // one of the two runs now
	for range 2 {
		expect(t, "copy", a.ask(t, "Mount", mount), path)
		a.stop()
		a.run(t)
		expect(t, "copied", a.ask(t, "Unmount", mount), "{}")
	}
	if len(a.arrivals) != 1 || len(a.ended) != 0 {
		t.Errorf("%d deliveries, ended %v", len(a.arrivals), a.ended)
	}
	expect(t, "stop", a.ask(t, "Unmount", mount), "{}")
	if len(a.ended) != 1 || a.ended[0] != id("a") {
		t.Errorf("ended %v", a.ended)
	}
	expect(t, "what is not mounted", a.ask(t, "Unmount", mount), "{}")
	if len(a.ended) != 2 {
		t.Errorf("ended %v", a.ended)
	}
}

// TestEngineCrashed: nothing was unmounted, and the container starts under the
// ID of then. It gets what is right now, and its end is an end.
func TestEngineCrashed(t *testing.T) {
	a := open(t)
	a.create(t, "v", nil)
	mount := named{Name: "v", ID: id("a")}
	a.stopped = []inject.Arrival{{Container: id("1")}}
	for range 2 {
		a.ask(t, "Mount", mount)
	}
	if len(a.arrivals) != 2 {
		t.Errorf("%d deliveries", len(a.arrivals))
	}
	a.ask(t, "Unmount", mount)
	if len(a.ended) != 1 {
		t.Errorf("ended %v", a.ended)
	}
	a.ask(t, "Mount", mount)
	if err := os.RemoveAll(filepath.Join(a.dir, "trees")); err != nil { // the host is booted
		t.Fatal(err)
	}
	a.stop()
	a.run(t)
	if notes, err := os.ReadDir(filepath.Join(a.dir, "state", "mounts")); err != nil || len(notes) > 0 {
		t.Errorf("notes of the last boot: %v, %v", notes, err)
	}
}

// TestEngineHangsUp: it will not unmount what it was not told of.
func TestEngineHangsUp(t *testing.T) {
	a := open(t)
	a.create(t, "v", nil)
	a.stopped = []inject.Arrival{{Container: id("1")}}
	ctx, hangUp := context.WithCancel(t.Context())
	a.deliver = func(ctx context.Context, arrival inject.Arrival) (inject.Delivery, error) {
		hangUp()
		<-ctx.Done()
		return a.tree(arrival), nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/VolumeDriver.Mount", strings.NewReader(`{"Name":"v","ID":"`+id("a")+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.Do(request); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	a.stop()
	if len(a.ended) != 1 {
		t.Errorf("ended %v", a.ended)
	}
}

func TestStateThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.New(volume.Options{State: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	a := open(t)
	a.create(t, "v", nil)
	files, err := filepath.Glob(filepath.Join(a.dir, "state", "volumes", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.Post("http://plugin/VolumeDriver.Get", "", strings.NewReader(`{"Name":"v"}`)); !errors.Is(err, io.EOF) {
		t.Errorf("Get: %v", err)
	}
	expect(t, "List", a.ask(t, "List", struct{}{}), "{}")
	expect(t, "Remove", a.ask(t, "Remove", named{Name: "v"}), "{}")
}
