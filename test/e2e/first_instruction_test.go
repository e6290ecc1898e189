//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// fullImage has a shell and the usual tools beside the probe.
const fullImage = "images.test/full"

// ways are the ways to start a container in which the first instruction must
// see everything. Together they are more than 200 starts.
var ways = []struct {
	name   string
	starts int
	run    func(ctx context.Context, h *host.Host) ([]engine.Report, error)
}{
	{"plain", 25, once(func(c *container.Config, _ *container.HostConfig) { c.Image = fullImage })},
	{"--read-only", 25, once(func(_ *container.Config, h *container.HostConfig) { h.ReadonlyRootfs = true })},
	{"--user 65532", 25, once(func(c *container.Config, _ *container.HostConfig) { c.User = "65532:65532" })},
	{"--cap-drop ALL", 25, once(func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"ALL"} })},
	{"FROM scratch", 25, once(func(*container.Config, *container.HostConfig) {})},
	{"--network none", 25, once(func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "none" })},
	{"restart policy", 25, fiveByPolicy},
	{"docker restart", 25, fiveByCommand},
}

// TestFirstInstruction200 is the first promise: whichever way a container
// starts, its first instruction sees every file and variable, or the start
// fails. Nothing in between is allowed.
func TestFirstInstruction200(t *testing.T) {
	importFull(t, h)
	total := 0
	for _, way := range ways {
		complete, refused := count(t, h, way.starts, way.run)
		t.Logf("%-16s %3d starts: %3d complete, %d refused, 0 in between", way.name, way.starts, complete, refused)
		total += complete
	}
	remapped, err := start(t.Context(), engine.Options{UsernsRemap: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := remapped.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	complete, refused := count(t, remapped, 25, once(func(*container.Config, *container.HostConfig) {}))
	t.Logf("%-16s %3d starts: %3d complete, %d refused, 0 in between", "userns-remap", 25, complete, refused)
	if total += complete; total < 200 {
		t.Errorf("%d of more than 200 starts saw everything", total)
	}
}

// count runs one way until there were enough starts.
func count(t *testing.T, h *host.Host, starts int, run func(context.Context, *host.Host) ([]engine.Report, error)) (complete, refused int) {
	t.Helper()
	for complete+refused < starts {
		reports, err := run(soon(t), h)
		if err != nil {
			t.Errorf("a start failed: %v\n%s", err, tail(h.Log()))
			if refused++; refused > 3 {
				t.FailNow()
			}
		}
		for _, report := range reports {
			if err := checkThree(report); err != nil {
				t.Fatalf("a container started WITHOUT its secrets: %v", err)
			}
			complete++
		}
	}
	return complete, refused
}

// once starts one container one time.
func once(change func(*container.Config, *container.HostConfig)) func(context.Context, *host.Host) ([]engine.Report, error) {
	return func(ctx context.Context, h *host.Host) (_ []engine.Report, err error) {
		config, hostConfig := probe("once", three()), gated()
		change(config, hostConfig)
		result, err := h.Engine.Run(ctx, config, hostConfig)
		if result.ID != "" {
			defer func() { err = errors.Join(err, drop(ctx, h, result.ID)) }()
		}
		if err != nil {
			return nil, err
		}
		return engine.ParseReports(result.Stdout)
	}
}

// fiveByPolicy starts a container that ends at once and that the engine
// starts again, four times.
func fiveByPolicy(ctx context.Context, h *host.Host) (_ []engine.Report, err error) {
	hostConfig := gated()
	hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 4}
	id, err := h.Engine.Launch(ctx, probe("fail", three()), hostConfig)
	if id != "" {
		defer func() { err = errors.Join(err, drop(ctx, h, id)) }()
	}
	if err != nil {
		return nil, err
	}
	return awaitReports(ctx, h, id, 5)
}

// fiveByCommand starts a container and restarts it four times.
func fiveByCommand(ctx context.Context, h *host.Host) (_ []engine.Report, err error) {
	id, err := h.Engine.Launch(ctx, probe("hold", three()), gated())
	if id != "" {
		defer func() { err = errors.Join(err, drop(ctx, h, id)) }()
	}
	for n := 1; err == nil && n < 5; n++ {
		if _, err = awaitReports(ctx, h, id, n); err == nil {
			err = h.Engine.Client().ContainerRestart(ctx, id, container.StopOptions{})
		}
	}
	if err != nil {
		return nil, err
	}
	return awaitReports(ctx, h, id, 5)
}

func awaitReports(ctx context.Context, h *host.Host, id string, n int) (reports []engine.Report, err error) {
	waited := h.Await(ctx, fmt.Sprintf("report %d of container %.12s", n, id), func() bool {
		reports, err = h.Engine.Reports(ctx, id)
		return err != nil || len(reports) >= n
	})
	return reports, errors.Join(waited, err)
}

func drop(ctx context.Context, h *host.Host, id string) error {
	return h.Engine.Client().ContainerRemove(context.WithoutCancel(ctx), id, container.RemoveOptions{Force: true})
}

// importFull makes fullImage of the two images there are.
func importFull(t *testing.T, h *host.Host) {
	t.Helper()
	busybox, err := engine.BusyboxTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	probe, err := engine.ProbeTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var full bytes.Buffer
	out := tar.NewWriter(&full)
	for _, part := range [][]byte{busybox, probe} {
		if err := appendTar(out, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Engine.Import(t.Context(), fullImage, &full); err != nil {
		t.Fatal(err)
	}
}

func appendTar(out *tar.Writer, part []byte) error {
	in := tar.NewReader(bytes.NewReader(part))
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}
