package swarm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/swarm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const plaintext = "hunter2-correct-horse"

// deliverer is a TaskDeliverer made of a function.
type deliverer func(context.Context, inject.Task) (secret.Value, error)

func (d deliverer) DeliverTask(ctx context.Context, task inject.Task) (secret.Value, error) {
	return d(ctx, task)
}

// lines is a log that several goroutines write.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// response is swarmkit's SecretsProviderResponse.
type response struct {
	Value      []byte
	Err        string
	DoNotReuse bool
}

// serve runs a gate behind its plugin; get asks it over the wire.
func serve(t *testing.T, deliver deliverer) (get func(body string) response, log *lines, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.sock")
	listener, err := plugin.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	log = &lines{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	gate := swarm.New(swarm.Options{Deliverer: deliver, Timeout: time.Minute, Log: logger,
		Node: func(_ context.Context, id string) (string, error) {
			if id != "n1" {
				return "", errors.New("no such node")
			}
			return "host-1", nil
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	served := plugin.New(plugin.Options{Listener: listener, Subsystems: []plugin.Subsystem{gate.Subsystem()}, Log: logger})
	go func() { done <- served.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	return func(body string) (r response) {
		t.Helper()
		answer, err := client.Post("http://plugin/SecretProvider.GetSecret", "", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || json.Unmarshal(text, &r) != nil {
			t.Fatalf("%q, %v", text, err)
		}
		return r
	}, log, stop
}

// request has every field that swarmkit sends.
const request = `{"SecretName":"password","SecretLabels":{"quaymaster.ref":"vault:kv/a"},"ServiceHostname":"web","ServiceID":"s1",` +
	`"ServiceName":"web","ServiceLabels":{"team":"shop"},"TaskID":"t1","TaskName":"web.1.t1","TaskImage":"nginx:1.27","NodeID":"n1",` +
	`"ServiceEndpointSpec":{"Mode":1,"Ports":[{"TargetPort":80}]}}`

func TestGetSecret(t *testing.T) {
	want := inject.Task{ID: "t1", Name: "web.1.t1", Image: "nginx:1.27", ServiceID: "s1", Service: "web",
		ServiceLabels: map[string]string{"team": "shop"}, NodeID: "n1", Node: "host-1", Secret: "password",
		SecretLabels: map[string]string{"quaymaster.ref": "vault:kv/a"}}
	value := secret.NewValue([]byte(plaintext))
	get, log, stop := serve(t, func(_ context.Context, task inject.Task) (secret.Value, error) {
		if !reflect.DeepEqual(task, want) {
			t.Errorf("task %+v, want %+v", task, want)
		}
		return value, nil
	})
	if got := get(request); string(got.Value) != plaintext || got.Err != "" || !got.DoNotReuse {
		t.Errorf("%+v", got)
	}
	stop()
	if !value.Equal(secret.NewValue(make([]byte, len(plaintext)))) {
		t.Error("the value was not wiped")
	}
	if log.String() != "" {
		t.Errorf("log %s", log)
	}
}

// TestRefusals: each is told once, and none shows a value.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		deliver deliverer
		want    string
	}{
		"denied": {func(context.Context, inject.Task) (secret.Value, error) {
			return secret.Value{}, errors.New("not granted")
		}, "not granted"},
		"empty": {func(context.Context, inject.Task) (secret.Value, error) { return secret.Value{}, nil }, "0 bytes"},
		"large": {func(context.Context, inject.Task) (secret.Value, error) {
			return secret.NewValue(make([]byte, 500*1024)), nil
		}, "512000 bytes"},
		"panicked": {func(context.Context, inject.Task) (secret.Value, error) { panic(plaintext) }, "failed inside"},
	} {
		get, log, _ := serve(t, test.deliver)
		for range 2 {
			if got := get(request); !strings.Contains(got.Err, test.want) || !strings.HasPrefix(got.Err, `quaymaster: secret "password" of service "web": `) || got.Value != nil {
				t.Errorf("%s: %+v", name, got)
			}
		}
		text := log.String()
		if strings.Count(text, "refused a task") != 1 || !strings.Contains(text, "task_id=t1") || strings.Contains(text, plaintext) {
			t.Errorf("%s: log %s", name, text)
		}
		get(strings.Replace(request, `"t1"`, `"t2"`, 1))
		if text := log.String(); !strings.Contains(text, "task_id=t2") {
			t.Errorf("%s: the next task is not in the log: %s", name, text)
		}
	}
}

func TestUnknownNode(t *testing.T) {
	get, log, _ := serve(t, func(_ context.Context, task inject.Task) (secret.Value, error) {
		if task.Node != "" || task.NodeID != "n2" {
			t.Errorf("task %+v", task)
		}
		return secret.NewValue([]byte(plaintext)), nil
	})
	if got := get(strings.Replace(request, `"n1"`, `"n2"`, 1)); string(got.Value) != plaintext {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(log.String(), "no such node") {
		t.Errorf("log %s", log)
	}
}

func TestBadRequest(t *testing.T) {
	get, log, _ := serve(t, func(context.Context, inject.Task) (secret.Value, error) {
		t.Error("the deliverer was asked")
		return secret.Value{}, nil
	})
	for _, body := range []string{"", "[]"} {
		if got := get(body); got.Err == "" {
			t.Errorf("%q: %+v", body, got)
		}
	}
	if strings.Count(log.String(), "could not read a request") != 2 {
		t.Errorf("log %s", log)
	}
}
