//go:build integration

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
)

// onHangup is a first process that says, for each SIGHUP, what its secret is
// at that moment.
const onHangup = `
trap 'echo "hangup $(cat /run/secrets/v)"' HUP
trap 'exit 0' TERM
echo "begin $(cat /run/secrets/v)"
while :; do sleep 0.1; done`

// rotating is a secret of the shop that a test changes.
type rotating struct{ name string }

func (r rotating) put(t *testing.T, value string) {
	t.Helper()
	if err := h.Vault.PutSecret(soon(t), "kv", "shop/"+r.name, map[string]any{"v": value}); err != nil {
		t.Fatal(err)
	}
}

func (r rotating) ref() string { return "vault:kv/shop/" + r.name }

// settle waits until the agent, which reads every second, has been through all that
// it holds: twice over, it has noticed another secret's change.
func settle(t *testing.T) {
	t.Helper()
	r := rotating{"settle"}
	for n := range 2 {
		r.put(t, fmt.Sprint("before ", n))
		id, err := h.Engine.Launch(soon(t), probe("watch", labels("quaymaster.secret.v", r.ref())), gated())
		if err != nil {
			t.Fatal(err)
		}
		r.put(t, fmt.Sprint("after ", n))
		if _, err := awaitReports(soon(t), h, id, 2); err != nil {
			t.Fatal(err)
		}
		remove(t, h, id)
	}
}

// TestOnRotateSignal: the first process gets one SIGHUP for each change, when
// the new files are there, and none for anything else.
func TestOnRotateSignal(t *testing.T) {
	r := rotating{"signalled"}
	r.put(t, "0")
	config := &container.Config{Image: engine.BusyboxImage, Cmd: []string{"sh", "-c", onHangup},
		Labels: labels("quaymaster.secret.v", r.ref(), "quaymaster.on-rotate", "signal:HUP")}
	id, err := h.Engine.Launch(soon(t), config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	said(t, id, "begin 0", 1, time.Minute)
	var want []string
	for n := 1; n <= 5; n++ {
		r.put(t, fmt.Sprint(n))
		want = append(want, fmt.Sprint(n))
		said(t, id, "hangup ", n, time.Minute)
	}
	settle(t)
	if err := h.StopAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := h.StartAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	settle(t)
	if got := said(t, id, "hangup ", 5, time.Minute); !slices.Equal(got, want) {
		t.Errorf("five changes and a restart of the agent led to the signals %v", got)
	}
	if got := said(t, id, "begin ", 1, time.Minute); len(got) != 1 {
		t.Errorf("it began %d times", len(got))
	}
}

// TestOnRotateSignalMissedWhileTheAgentWasAway: a change that an agent finds
// when it starts is a change.
func TestOnRotateSignalMissedWhileTheAgentWasAway(t *testing.T) {
	r := rotating{"signalled-later"}
	r.put(t, "0")
	config := &container.Config{Image: engine.BusyboxImage, Cmd: []string{"sh", "-c", onHangup},
		Labels: labels("quaymaster.secret.v", r.ref(), "quaymaster.on-rotate", "signal:HUP")}
	id, err := h.Engine.Launch(soon(t), config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	said(t, id, "begin 0", 1, time.Minute)
	if err := h.KillAgent(); err != nil {
		t.Fatal(err)
	}
	r.put(t, "1")
	if err := h.StartAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	said(t, id, "hangup ", 1, time.Minute)
	settle(t)
	if got := said(t, id, "hangup ", 1, time.Minute); !slices.Equal(got, []string{"1"}) {
		t.Errorf("one change led to the signals %v", got)
	}
}

// TestOnRotateRestart: the container is restarted once for each change, and
// has the new variable, which no other strategy can give it.
func TestOnRotateRestart(t *testing.T) {
	r := rotating{"restarted"}
	r.put(t, "0")
	config := probe("hold", labels("quaymaster.secret.v", r.ref(), "quaymaster.env.V", r.ref(), "quaymaster.on-rotate", "restart"))
	id, err := h.Engine.Launch(soon(t), config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	for n := 1; n <= 2; n++ {
		if _, err := awaitReports(soon(t), h, id, n); err != nil {
			t.Fatal(err)
		}
		r.put(t, fmt.Sprint(n))
	}
	if _, err := awaitReports(soon(t), h, id, 3); err != nil {
		t.Fatal(err)
	}
	settle(t)
	reports, err := h.Engine.Reports(soon(t), id)
	if err != nil || len(reports) != 3 {
		t.Fatalf("two changes led to %d starts, want 3; %v", len(reports), err)
	}
	for n, report := range reports {
		want := engine.Fingerprint([]byte(fmt.Sprint(n)))
		if report.Files["v"].Fingerprint != want || report.Env["V"].Fingerprint != want {
			t.Errorf("start %d: not the value %d: %+v", n+1, n, report)
		}
	}
	if !running(t, id) {
		t.Error("it does not run")
	}
}

// TestOnRotateNone: the files change, and the process is left alone.
func TestOnRotateNone(t *testing.T) {
	r := rotating{"quiet"}
	r.put(t, "0")
	script := onHangup[:strings.LastIndex(onHangup, "while")] + `while [ "$(cat /run/secrets/v)" = 0 ]; do sleep 0.1; done; echo changed; while :; do sleep 0.1; done`
	config := &container.Config{Image: engine.BusyboxImage, Cmd: []string{"sh", "-c", script},
		Labels: labels("quaymaster.secret.v", r.ref(), "quaymaster.on-rotate", "none")}
	id, err := h.Engine.Launch(soon(t), config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	said(t, id, "begin 0", 1, time.Minute)
	r.put(t, "1")
	said(t, id, "changed", 1, time.Minute)
	settle(t)
	if signals, begun := said(t, id, "hangup ", 0, time.Minute), said(t, id, "begin ", 1, time.Minute); len(signals) != 0 || len(begun) != 1 {
		t.Errorf("it was signalled %d times and began %d times", len(signals), len(begun))
	}
}
