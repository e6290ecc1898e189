package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/docker/docker/api/types/image"
)

// Tags of the images that tests run.
const (
	// BusyboxImage has a shell and the usual tools, and nothing that is
	// linked dynamically.
	BusyboxImage = "images.test/busybox"
	// ProbeImage holds /probe and nothing else.
	ProbeImage = "images.test/probe"
)

// ImportBusybox imports BusyboxImage.
func (e *Engine) ImportBusybox(ctx context.Context) error {
	tarball, err := BusyboxTar(ctx)
	if err != nil {
		return err
	}
	return e.Import(ctx, BusyboxImage, bytes.NewReader(tarball), `CMD ["/bin/sh"]`)
}

// ImportProbe imports ProbeImage.
func (e *Engine) ImportProbe(ctx context.Context) error {
	tarball, err := ProbeTar(ctx)
	if err != nil {
		return err
	}
	return e.Import(ctx, ProbeImage, bytes.NewReader(tarball), `CMD ["/probe"]`)
}

// Import makes an image of one layer. changes are Dockerfile instructions,
// such as `LABEL quaymaster.secret.db=…`.
func (e *Engine) Import(ctx context.Context, tag string, tarball io.Reader, changes ...string) error {
	source := image.ImportSource{Source: tarball, SourceName: "-"}
	answer, err := e.client.ImageImport(ctx, source, tag, image.ImportOptions{Changes: changes})
	if err != nil {
		return fmt.Errorf("import %s: %w", tag, err)
	}
	defer answer.Close()
	// An error after the first byte comes inside the 200 answer.
	for messages := json.NewDecoder(answer); ; {
		var m struct{ Error string }
		err := messages.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("import %s: %w", tag, err)
		}
		if m.Error != "" {
			return fmt.Errorf("import %s: %s", tag, m.Error)
		}
	}
}

// ProbeTar is the content of ProbeImage, for images with other changes.
func ProbeTar(ctx context.Context) ([]byte, error) {
	path, err := Probe(ctx)
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the probe: %w", err)
	}
	return archive(entry{name: "probe", mode: 0o755, content: binary})
}

// BusyboxTar is the content of BusyboxImage, for images with other changes.
func BusyboxTar(ctx context.Context) ([]byte, error) {
	path, err := staticBusybox()
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read busybox: %w", err)
	}
	applets, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask busybox for its applets: %w", err)
	}
	entries := []entry{
		{name: "bin/busybox", mode: 0o755, content: binary},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnogroup:x:65534:\n")},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			entries = append(entries, entry{name: "bin/" + applet, link: "busybox"})
		}
	}
	return archive(entries...)
}

// staticBusybox is a busybox that runs in an image without libraries.
func staticBusybox() (string, error) {
	path, err := find("busybox")
	if err != nil {
		return "", err
	}
	binary, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", path, err)
	}
	defer binary.Close()
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", fmt.Errorf("a static busybox (%s is linked dynamically): %w", path, ErrMissing)
		}
	}
	return path, nil
}

// entry is one member of a tar archive: a symlink if link is set, a directory
// if name ends in a slash, else a file. All belong to root.
type entry struct {
	name    string
	mode    int64
	content []byte
	link    string
}

func archive(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content))}
		if e.link != "" {
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		} else if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack an image: %w", err)
	}
	return out.Bytes(), nil
}
