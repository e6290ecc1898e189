package engine

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Docker runs the docker command against the Engine to its end, in a working
// directory, and returns what it wrote to stdout. The command and its plugin
// compose are those of test/engines, whatever the Engine's kind: a user has
// the newest of both as often as not. An error has what it wrote to stderr.
func (e *Engine) Docker(ctx context.Context, dir string, args ...string) (stdout string, err error) {
	built, err := newest(ctx)
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, filepath.Join(built, "bin/docker"), args...)
	command.Dir = dir
	command.Env = []string{"PATH=" + searchPath, "HOME=" + e.dir, "DOCKER_HOST=" + e.Host(), "DOCKER_CONFIG=" + filepath.Join(built, "cli")}
	var out, talk bytes.Buffer
	command.Stdout, command.Stderr = &out, &talk
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(talk.Bytes()))
	}
	return out.String(), nil
}
