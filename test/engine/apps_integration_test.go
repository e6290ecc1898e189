//go:build integration

package engine

import (
	"testing"

	"github.com/docker/docker/api/types/container"
)

// TestAppsRun also shows that what a name promises is there.
func TestAppsRun(t *testing.T) {
	e := ForTest(t, Options{})
	for range 2 { // the second finds it there
		if err := e.ImportApps(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for image, commands := range map[string][][]string{
		NginxImage:    {{"nginx", "-t"}, {"openssl", "version"}, {"curl", "--version"}},
		PostgresImage: {{"psql", "--version"}},
		JavaImage:     {{"keytool", "-help"}, {"java", "-version"}},
	} {
		for _, command := range commands {
			result, err := e.Run(t.Context(), &container.Config{Image: image, Cmd: command}, nil)
			if err != nil || result.ExitCode != 0 {
				t.Errorf("%s in %s: %v: exit code %d: %s", command, image, err, result.ExitCode, result.Stderr)
			}
		}
	}
}
