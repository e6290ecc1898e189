package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// The units that matter to the order at boot.
const (
	unitAgent  = "quaymaster.service"
	unitEngine = "docker.service"
)

// unitSockets are those of packaging/systemd, which listen before the agent
// does.
var unitSockets = []string{"quaymaster.socket", "quaymaster-runtime.socket", "quaymaster-plugin.socket"}

const enableRemedy = "systemctl enable --now quaymaster.service quaymaster.socket quaymaster-runtime.socket quaymaster-plugin.socket"

// units says whether the agent comes up before Docker starts containers. What
// counts is what systemd made of the units, drop-ins and links included.
func (d *doctor) units(ctx context.Context) finding {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return doubt("start the agent before dockerd, and again when it ends", "this host does not run under systemd, so nothing is known of the order at boot")
	}
	args := append([]string{"show", "--property=Id,LoadState,UnitFileState,ActiveState,After,NeedDaemonReload", unitAgent, unitEngine}, unitSockets...)
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return doubt("run it as root", "systemctl show: %v", err)
	}
	return judgeUnits(string(out))
}

// judgeUnits reads what systemctl show printed: a paragraph for each unit.
func judgeUnits(shown string) finding {
	units := map[string]map[string]string{}
	for paragraph := range strings.SplitSeq(shown, "\n\n") {
		unit := map[string]string{}
		for line := range strings.Lines(paragraph) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			unit[key] = value
		}
		units[unit["Id"]] = unit
	}
	agent, engine := units[unitAgent], units[unitEngine]
	switch {
	case agent["LoadState"] != "loaded":
		return wrong("install the package, or copy its units to /etc/systemd/system and systemctl daemon-reload", "%s is not installed (%s)", unitAgent, agent["LoadState"])
	case agent["UnitFileState"] != "enabled":
		return wrong(enableRemedy, "%s is %s: it does not come up at boot", unitAgent, agent["UnitFileState"])
	}
	for _, name := range unitSockets {
		if units[name]["LoadState"] != "loaded" || units[name]["UnitFileState"] != "enabled" {
			return wrong(enableRemedy, "%s is not enabled: at boot Docker would wait for a socket that nobody has opened", name)
		}
	}
	switch {
	case engine["LoadState"] != "loaded":
		return doubt("see that what starts dockerd starts it after "+unitAgent, "there is no %s", unitEngine)
	case !slices.Contains(strings.Fields(engine["After"]), unitAgent):
		return wrong("take out what overrides it (systemctl cat quaymaster.service docker.service), then systemctl daemon-reload",
			"%s is not ordered after %s: containers could start before the agent", unitEngine, unitAgent)
	case agent["NeedDaemonReload"] == "yes":
		return doubt("systemctl daemon-reload", "%s was changed since systemd read it", unitAgent)
	case agent["ActiveState"] != "active":
		return wrong("systemctl start quaymaster; journalctl -u quaymaster", "%s is enabled and ordered before %s, and %s now", unitAgent, unitEngine, agent["ActiveState"])
	}
	return fine("%s and its sockets are enabled, and %s is ordered after it", unitAgent, unitEngine)
}
