//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

func realVault() *host.RealVault { return h.Vault.(*host.RealVault) }

// TestUngatedContainerIsReported starts a labelled container with the engine's
// own runtime: it is noticed, and left alone.
func TestUngatedContainerIsReported(t *testing.T) {
	id, err := h.Engine.Launch(soon(t), probe("hold", three()), &container.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	await(t, h, "the report", func() bool {
		return strings.Contains(h.Log(), "runs WITHOUT its secrets") && strings.Contains(h.Audit(), `"event":"ungated","container_id":"`+id)
	})
	reports, err := awaitReports(soon(t), h, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports[0].Files) != 0 {
		t.Error("it was given its secrets late")
	}
	if running(t, id) != true {
		t.Error("it was stopped although require_gate is false")
	}
}

// TestRequireGateStopsAnUngatedContainer: the same with require_gate, for a
// container that starts, and for one that ran before the agent did.
func TestRequireGateStopsAnUngatedContainer(t *testing.T) {
	before, err := h.Engine.Launch(soon(t), probe("hold", three()), &container.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, before)
	reconfigure(t, h, "require_gate: true\n"+plain)
	after, err := h.Engine.Launch(soon(t), probe("hold", three()), &container.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, after)
	await(t, h, "both to be stopped", func() bool { return !running(t, before) && !running(t, after) })
	unlabelled, err := h.Engine.Launch(soon(t), probe("hold", nil), &container.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, unlabelled)
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil { // by now the event of unlabelled has been seen
		t.Error(err)
	}
	if !running(t, unlabelled) {
		t.Error("a container without labels was stopped")
	}
}

func running(t *testing.T, id string) bool {
	t.Helper()
	inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return inspected.State.Running
}

// TestAgentAbsent: without an agent a container without labels starts, and one
// with labels waits and then fails with a message that says what to do.
func TestAgentAbsent(t *testing.T) {
	for how, hooks := range map[string]struct{ away, back func() error }{
		"stopped": {func() error { return h.StopAgent(t.Context()) }, func() error { return h.StartAgent(context.WithoutCancel(t.Context())) }},
		"hung":    {func() error { return h.SignalAgent(syscall.SIGSTOP) }, func() error { return h.SignalAgent(syscall.SIGCONT) }},
	} {
		t.Run(how, func(t *testing.T) {
			if err := hooks.away(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := hooks.back(); err != nil {
					t.Error(err)
				}
			}()
			if report := runProbe(t, h, probe("once", nil), gated()); len(report.Files) != 0 {
				t.Errorf("files out of nowhere: %v", report.Files)
			}
			mentioned := probe("once", map[string]string{"note": "see quaymaster.secret.x"})
			runProbe(t, h, mentioned, gated()) // mentioning a label is not having one
			message := refused(t, h, probe("once", three()), gated())
			for _, want := range []string{"quaymaster:", "agent", "runtime.sock", "5s"} {
				if !strings.Contains(message, want) {
					t.Errorf("the message does not say %q: %s", want, message)
				}
			}
			t.Log(message)
		})
	}
}

// TestAgentThatComesBackInTime: a labelled container waits for an agent that
// is being restarted, and then starts with everything.
func TestAgentThatComesBackInTime(t *testing.T) {
	if err := h.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	type ending struct {
		result engine.Result
		err    error
	}
	ended := make(chan ending, 1)
	go func() {
		result, err := h.Engine.Run(soon(t), probe("once", three()), gated())
		ended <- ending{result, err}
	}()
	if err := h.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := <-ended
	remove(t, h, e.result.ID)
	if e.err != nil {
		t.Fatal(e.err)
	}
	reports, err := engine.ParseReports(e.result.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkThree(reports[0]); err != nil {
		t.Error(err)
	}
}

// TestImageLabelsGrantNothing runs an image that claims to be the shop.
func TestImageLabelsGrantNothing(t *testing.T) {
	tarball, err := engine.ProbeTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const tag = "images.test/claims"
	err = h.Engine.Import(soon(t), tag, strings.NewReader(string(tarball)),
		`LABEL app=shop`, `LABEL com.docker.compose.project=shop`, `LABEL quaymaster.secret.password=vault:kv/shop/db#password`)
	if err != nil {
		t.Fatal(err)
	}
	config := probe("once", nil)
	config.Image = tag
	message := refused(t, h, config, gated())
	if !strings.Contains(message, "that label comes from the image, which does not count") {
		t.Errorf("got %s", message)
	}
	// What the image wants may be granted to a container that is what the grant says.
	config.Labels = map[string]string{"app": "shop", "note": "own"}
	if message := refused(t, h, config, gated()); !strings.Contains(message, "denied by policy") {
		t.Errorf("a label with the image's own value cannot be told from the image's: %s", message)
	}
}

// TestOwnerModeAndPath tries the labels that say how files look.
func TestOwnerModeAndPath(t *testing.T) {
	config := probe("once", labels("quaymaster.secret.password", "vault:kv/shop/db#password",
		"quaymaster.path", "/etc/shop", "quaymaster.mode", "0440", "quaymaster.owner", "70:71"))
	config.Cmd = []string{"/probe", "/etc/shop", "once"}
	file := runProbe(t, h, config, gated()).Files["password"]
	if file.Mode != 0o440 || file.UID != 70 || file.GID != 71 || file.Fingerprint != engine.Fingerprint([]byte(password)) {
		t.Errorf("got %+v", file)
	}
}

// TestOptionalSecretMayBeMissing: a container starts without a secret that it
// calls optional, and gets it when it comes to exist.
func TestOptionalSecretMayBeMissing(t *testing.T) {
	ctx := soon(t)
	config := probe("watch", labels("quaymaster.secret.password", "vault:kv/shop/db#password",
		"quaymaster.secret.later", "vault:kv/shop/later", "quaymaster.optional.later", "true"))
	id, err := h.Engine.Launch(ctx, config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	reports, err := awaitReports(ctx, h, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports[0].Files) != 1 {
		t.Errorf("got %v", reports[0].Files)
	}
	if err := h.Vault.PutSecret(ctx, "kv", "shop/later", map[string]any{"v": "here"}); err != nil {
		t.Fatal(err)
	}
	if reports, err = awaitReports(ctx, h, id, 2); err != nil {
		t.Fatal(err)
	}
	if reports[1].Files["later"].Fingerprint != engine.Fingerprint([]byte("here")) {
		t.Errorf("got %v", reports[1].Files)
	}
}

// TestASecondAgentIsRefused: two agents on one set of directories would take
// each other's trees away.
func TestASecondAgentIsRefused(t *testing.T) {
	_, stderr, err := h.Quaymaster(soon(t), "agent", "--config", h.ConfigFile())
	if err == nil || !strings.Contains(stderr, "runtime.sock") {
		t.Errorf("got %v: %s", err, stderr)
	}
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil {
		t.Error(err)
	}
}

// TestInstallShowsMergesKeepsAndUndoes takes the gate out and puts it back.
func TestInstallShowsMergesKeepsAndUndoes(t *testing.T) {
	ctx := soon(t)
	installed := read(t, h.Engine.ConfigFile())
	if out, err := h.Install(ctx); err != nil || !strings.Contains(out, "nothing to change") {
		t.Errorf("installing twice: %v: %s", err, out)
	}
	out, err := h.Install(ctx, "--undo", "--dry-run")
	if err != nil || !strings.Contains(out, "-") || read(t, h.Engine.ConfigFile()) != installed {
		t.Errorf("a dry run: %v: %s", err, out)
	}
	if _, err := h.Install(ctx, "--undo"); err != nil {
		t.Fatal(err)
	}
	if message := refused(t, h, probe("once", nil), gated()); !strings.Contains(strings.ToLower(message), "runtime") {
		t.Errorf("after undo the engine still knows the runtime: %s", message)
	}
	if out, err = h.Install(ctx, "--default"); err != nil || !strings.Contains(out, "+") || !strings.Contains(out, `"default-runtime":"quaymaster"`) {
		t.Errorf("installing as the default: %v: %s", err, out)
	}
	if err := checkThree(runProbe(t, h, probe("once", three()), &container.HostConfig{})); err != nil {
		t.Errorf("through the default runtime: %v", err)
	}
	if _, err := h.Install(ctx, "--undo"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h.Engine.ConfigFile()); got != installed {
		t.Errorf("after undoing and installing again the file differs:\n%s\n---\n%s", got, installed)
	}
}

// TestImageBuildsPassADefaultGate builds an image while the gate is the default
// runtime, with the agent away: a build's containers have no labels.
func TestImageBuildsPassADefaultGate(t *testing.T) {
	ctx := soon(t)
	if _, err := h.Install(ctx, "--default"); err != nil {
		t.Fatal(err)
	}
	if err := h.StopAgent(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.StartAgent(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		for _, step := range [][]string{{"--undo"}, nil} {
			if _, err := h.Install(context.WithoutCancel(ctx), step...); err != nil {
				t.Error(err)
			}
		}
	}()
	var files bytes.Buffer
	archive := tar.NewWriter(&files)
	dockerfile := "FROM " + engine.BusyboxImage + "\nRUN echo built > /proof\n"
	if err := archive.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write([]byte(dockerfile)); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := h.Engine.Client().ImageBuild(ctx, &files, build.ImageBuildOptions{Remove: true})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(said), "Successfully built") {
		t.Errorf("%v: %s", err, said)
	}
}

// TestInstallLeavesABrokenDaemonJSONAlone: a file that cannot be parsed is not
// touched.
func TestInstallLeavesABrokenDaemonJSONAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "daemon.json")
	const broken = "{\n  \"debug\": true,,\n}\n"
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := h.Quaymaster(soon(t), "install", "docker-runtime", "--config", h.ConfigFile(), "--daemon-config", file, "--pid-file", file+".pid")
	if err == nil || !strings.Contains(stderr, file+":2:17: cannot be read as JSON") {
		t.Errorf("got %v: %s", err, stderr)
	}
	if read(t, file) != broken {
		t.Error("the file was changed")
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("files were left: %v", left)
	}
}
