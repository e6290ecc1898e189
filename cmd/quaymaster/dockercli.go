package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A plugin of the docker command is a program whose name begins with docker-.
// docker asks each for its metadata, and runs it with its own command line as
// it stands: what it was told itself comes before the plugin's name (docker/cli,
// cli-plugins/manager).
const (
	pluginName     = "docker-quaymaster"
	pluginCommand  = "quaymaster"
	pluginMetadata = "docker-cli-plugin-metadata"
)

// isPlugin reports whether this program was called under its name as a plugin.
func isPlugin(program string) bool { return filepath.Base(program) == pluginName }

// pluginArgs are the arguments of this program in those that docker gives.
// docker's own flags before them are passed over, but for those that name
// another engine: the answer would be this host's all the same.
func pluginArgs(args []string) ([]string, error) {
	at := slices.Index(args, pluginCommand)
	if at < 0 {
		return args, nil
	}
	var before []string
	for _, arg := range args[:at] {
		flag, _, _ := strings.Cut(arg, "=")
		switch {
		case slices.Contains([]string{"help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, arg):
			before = append(before, arg)
		case slices.Contains([]string{"--host", "--context", "-c"}, flag), strings.HasPrefix(arg, "-H"):
			return nil, usageError{fmt.Errorf("docker's %s names an engine, but quaymaster speaks with the agent of this host only: leave it out", flag)}
		}
	}
	return append(before, args[at+1:]...), nil
}

// writeMetadata answers docker's question.
func writeMetadata(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		SchemaVersion, Vendor, Version, ShortDescription, URL string
	}{"0.1.0", "Quaymaster", version, "Secrets of containers: who has which, and which do not come", "https://github.com/quaymaster/quaymaster"})
}
