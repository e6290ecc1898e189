package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Setup is how the engine is set up, as far as it matters here.
type Setup struct {
	Version, API   string
	Runtimes       map[string]string // name → path, which may be a bare name
	DefaultRuntime string
	LiveRestore    bool
	UsernsRemap    bool
	Swarm          bool     // the host is a node of one
	CDIDirs        []string // where it looks for CDI specs; none: it has no CDI
}

// Setup asks the engine how it is set up. While it restores containers it does
// not answer.
func (e *Engine) Setup(ctx context.Context) (Setup, error) {
	info, err := e.api.Info(ctx)
	if err != nil {
		return Setup{}, fmt.Errorf("ask the engine how it is set up: %w", err)
	}
	s := Setup{
		Version: info.ServerVersion, API: e.api.ClientVersion(), Runtimes: map[string]string{}, DefaultRuntime: info.DefaultRuntime,
		LiveRestore: info.LiveRestoreEnabled, Swarm: info.Swarm.NodeID != "", CDIDirs: info.CDISpecDirs,
	}
	s.UsernsRemap = slices.ContainsFunc(info.SecurityOptions, func(option string) bool { return strings.HasPrefix(option, "name=userns") })
	for name, runtime := range info.Runtimes {
		s.Runtimes[name] = runtime.Path
	}
	return s, nil
}
