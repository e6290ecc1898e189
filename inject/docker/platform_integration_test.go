//go:build integration

package docker_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/quaymaster/quaymaster/test/engine"
)

const platformsImage = "images.test/platforms:latest"

// layout builds an OCI image layout as a tar archive.
type layout struct {
	t       *testing.T
	archive bytes.Buffer
	w       *tar.Writer
}

func (l *layout) file(name string, content []byte) {
	l.t.Helper()
	if err := l.w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.w.Write(content); err != nil {
		l.t.Fatal(err)
	}
}

func (l *layout) blob(kind string, content []byte) map[string]any {
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	l.file("blobs/sha256/"+digest, content)
	return map[string]any{"mediaType": kind, "digest": "sha256:" + digest, "size": len(content)}
}

func (l *layout) json(kind string, v any) map[string]any {
	l.t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(kind, content)
}

// part is one platform's image, with a label that says which.
func (l *layout) part(architecture string, layer []byte) map[string]any {
	config := l.json(ocispec.MediaTypeImageConfig, map[string]any{
		"os": "linux", "architecture": architecture, "config": map[string]any{"Labels": map[string]string{"of": architecture}, "Cmd": []string{"/probe"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	part := l.json(ocispec.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config,
		"layers": []any{l.blob(ocispec.MediaTypeImageLayer, layer)},
	})
	part["platform"] = map[string]string{"os": "linux", "architecture": architecture}
	return part
}

// platforms is an image of two platforms.
func platforms(t *testing.T) io.Reader {
	t.Helper()
	layer, err := engine.ProbeTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := &layout{t: t}
	l.w = tar.NewWriter(&l.archive)
	index := map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex,
		"manifests": []any{l.part("amd64", layer), l.part("arm64", append(layer, make([]byte, 512)...))}}
	whole := l.json(ocispec.MediaTypeImageIndex, index)
	whole["annotations"] = map[string]string{"io.containerd.image.name": platformsImage, "org.opencontainers.image.ref.name": "latest"}
	l.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{whole}})
	if err != nil {
		t.Fatal(err)
	}
	l.file("index.json", text)
	if err := l.w.Close(); err != nil {
		t.Fatal(err)
	}
	return &l.archive
}

// TestImageLabelsOfTheContainersPlatform: an image may bring other labels along
// for each platform, and those of the container's own count. An engine with the
// classic image store has no image of several platforms, and refuses it.
func TestImageLabelsOfTheContainersPlatform(t *testing.T) {
	e := engine.ForTest(t, engine.Options{})
	d := open(t, e)
	loaded, err := e.Client().ImageLoad(t.Context(), platforms(t))
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(loaded.Body)
	loaded.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.Client().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(info.DriverStatus), "io.containerd.snapshotter") {
		if _, err := e.Client().ImageInspect(t.Context(), platformsImage); err == nil {
			t.Errorf("a classic image store takes an image of several platforms: %s", said)
		}
		return
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		config := &container.Config{Image: platformsImage, Labels: map[string]string{"quaymaster.secret.a": "vault:kv/a"}}
		created, err := e.Client().ContainerCreate(t.Context(), config, nil, nil,
			&ocispec.Platform{OS: "linux", Architecture: architecture}, "on-"+architecture)
		if err != nil {
			t.Fatalf("%v; the engine said of the image: %s", err, said)
		}
		facts, err := d.Facts(t.Context(), created.ID, "")
		if err != nil || facts.Labels["of"] != architecture || facts.ImageLabels["of"] != architecture || len(facts.ImageLabels) != 1 {
			t.Errorf("on %s: labels %v, of the image %v, %v", architecture, facts.Labels, facts.ImageLabels, err)
		}
	}
}
