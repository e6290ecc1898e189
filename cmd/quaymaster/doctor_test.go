package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// TestDoctorsExitCodes: what failed is told from what the configuration is.
func TestDoctorsExitCodes(t *testing.T) {
	_, err := diagnose(t.Context(), t.TempDir()+"/none.yaml")
	if !errors.Is(err, errAnswered) || exitCode(err) != exitConfig {
		t.Errorf("without a configuration: %v, exit code %d", err, exitCode(err))
	}
	if exitCode(errAnswered) != exitFailed {
		t.Errorf("when something failed the exit code is %d", exitCode(errAnswered))
	}
}

// TestACheckThatHangsEnds: the others are shown, and so is that it hung.
func TestACheckThatHangsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := check{"disk", nil, func(context.Context) finding { time.Sleep(time.Hour); return fine("") }}
		if f := hangs.examine(t.Context()); f.Check != "disk" || f.Status != statusFailed || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
		time.Sleep(time.Hour) // until what hung is over
		heeds := check{"network", nil, func(ctx context.Context) finding { <-ctx.Done(); return wrong("mend it", "%v", ctx.Err()) }}
		if f := heeds.examine(t.Context()); f.Found != "context deadline exceeded" || f.Remedy != "mend it" {
			t.Errorf("%+v", f)
		}
	})
}

// TestACheckWaitsForWhatItNeeds, and its own time begins then.
func TestACheckWaitsForWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := make(chan struct{})
		time.AfterFunc(3*checkPatience, func() { close(after) })
		late := check{"late", after, func(ctx context.Context) finding {
			if ctx.Err() != nil {
				return wrong("", "its time was over before it began")
			}
			return fine("there")
		}}
		if f := late.examine(t.Context()); f.Found != "there" {
			t.Errorf("%+v", f)
		}
	})
}

// TestFindingsAreLines: what others have named cannot make a line of its own.
func TestFindingsAreLines(t *testing.T) {
	var out bytes.Buffer
	if err := printFindings(&out, []finding{named("engine", wrong("mend it", "a\nok  engine\tb\x1b[1m"))}, false); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "failed  engine  a?ok  engine?b?[1m. What to do: mend it\n" {
		t.Errorf("%q", got)
	}
}

// TestRulesAgainstTheMetadataService: what drops it counts where containers'
// packets pass.
func TestRulesAgainstTheMetadataService(t *testing.T) {
	for rules, want := range map[string]string{
		"-P FORWARD DROP\n-A DOCKER-USER -d 169.254.169.254/32 -j DROP\n":                                        "-A DOCKER-USER -d 169.254.169.254/32 -j DROP",
		"-A FORWARD -d 169.254.0.0/16 -i docker0 -j REJECT --reject-with icmp-port-unreachable\n":                "-A FORWARD -d 169.254.0.0/16 -i docker0 -j REJECT --reject-with icmp-port-unreachable",
		"-A OUTPUT -d 169.254.169.254/32 -j DROP\n":                                                              "",
		"-A DOCKER-USER -d 169.254.169.254/32 -j ACCEPT\n":                                                       "",
		"-A DOCKER-USER -d 169.254.169.25/32 -j DROP\n":                                                          "",
		"table ip f {\n\tchain forward {\n\t\tip daddr 169.254.169.254 counter packets 0 bytes 0 drop\n\t}\n}\n": "ip daddr 169.254.169.254 counter packets 0 bytes 0 drop",
		"table ip f {\n\tchain OUTPUT {\n\t\tip daddr 169.254.169.254 drop\n\t}\n}\n":                            "",
		"": "",
	} {
		if got := dropsMetadata(rules); got != want {
			t.Errorf("%q: %q, want %q", rules, got, want)
		}
	}
}

// shown is what systemctl show prints on a host that is as it should be.
const shown = `Id=quaymaster.service
After=network-online.target quaymaster-memory.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=docker.service
After=network-online.target quaymaster.service containerd.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=quaymaster.socket
LoadState=loaded
UnitFileState=enabled

Id=quaymaster-runtime.socket
LoadState=loaded
UnitFileState=enabled

Id=quaymaster-plugin.socket
LoadState=loaded
UnitFileState=enabled
`

func TestUnitOrder(t *testing.T) {
	for _, c := range []struct{ from, to, status, found string }{
		{"", "", statusOK, "docker.service is ordered after it"},
		{"Id=quaymaster.service\nAfter=network-online.target quaymaster-memory.service\nLoadState=loaded", "Id=quaymaster.service\nLoadState=not-found", statusFailed, "not installed (not-found)"},
		{"ActiveState=active\nUnitFileState=enabled", "ActiveState=active\nUnitFileState=disabled", statusFailed, "is disabled: it does not come up at boot"},
		{"quaymaster.service containerd.service", "containerd.service", statusFailed, "is not ordered after quaymaster.service"},
		{"Id=quaymaster-plugin.socket\nLoadState=loaded\nUnitFileState=enabled", "Id=quaymaster-plugin.socket\nLoadState=not-found", statusFailed, "quaymaster-plugin.socket is not enabled"},
		{"ActiveState=active", "ActiveState=failed", statusFailed, "and failed now"},
		{"NeedDaemonReload=no", "NeedDaemonReload=yes", statusWarning, "changed since systemd read it"},
		{"Id=docker.service\nAfter=network-online.target quaymaster.service containerd.service\nLoadState=loaded", "Id=docker.service\nLoadState=masked", statusWarning, "there is no docker.service"},
	} {
		if c.from != "" && !strings.Contains(shown, c.from) {
			t.Fatalf("%q is not shown", c.from)
		}
		got := judgeUnits(strings.Replace(shown, c.from, c.to, 1))
		if got.Status != c.status || !strings.Contains(got.Found, c.found) || (got.Remedy == "") != (c.status == statusOK) {
			t.Errorf("%q for %q: %+v", c.to, c.from, got)
		}
	}
}

// TestWhatIsAsked: of a pattern for many, what all have in common; of one for
// one, that.
func TestWhatIsAsked(t *testing.T) {
	for text, want := range map[string]string{
		"vault:kv/shop/db#password":            "vault:kv/shop/db#password",
		"vault:kv/shop/**":                     "vault:kv/shop/",
		"vault:kv/shop/ti*":                    "vault:kv/shop/",
		"vault:kv/shop/db@*":                   "vault:kv/shop/db",
		"vault:kv/100%2A/db":                   "vault:kv/100%2A/db",
		"vault:pki/issue/web?common_name=*.ab": "vault:pki/issue/web?common_name=%2A.ab",
	} {
		pattern, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		ref, whole, err := asked(pattern)
		if err != nil || ref.String() != want || whole == strings.HasSuffix(want, "/") {
			t.Errorf("%s: %s, whole %v, %v", text, ref, whole, err)
		}
	}
	for text, want := range map[string]string{
		"aws:**": "aws:quaymaster-doctor", "azure:shop-kv/*": "azure:shop-kv/quaymaster-doctor", "azure:**": "", "gcp:shop-*/db": "",
	} {
		pattern, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		ref, whole, ok := probeOf(pattern, pattern.Provider())
		if whole || ok != (want != "") || ok && ref.String() != want {
			t.Errorf("%s: %s, %v", text, ref, ok)
		}
	}
}

// TestNothingIsUsedUp: a doctor that took the agent's only proof would be the
// illness.
func TestNothingIsUsedUp(t *testing.T) {
	run := t.TempDir()
	for name, c := range map[string]config.Config{
		"wrapped secret ID": {Identity: config.IdentityAppRoleWrapped},
		"nonce":             {Identity: "aws", AWS: config.AWS{Login: config.LoginEC2}, Paths: config.Paths{Run: run}},
	} {
		if reason := (prover{cloud: "aws", config: c, provider: "vault"}).notToTry(); reason == "" {
			t.Errorf("%s: a login is tried", name)
		}
	}
	usual := config.Config{Identity: "aws", AWS: config.AWS{Login: config.LoginIAM}, Paths: config.Paths{Run: run}}
	if reason := (prover{cloud: "aws", config: usual, provider: "vault"}).notToTry(); reason != "" {
		t.Errorf("the usual login is not tried: %s", reason)
	}
}
