package broker_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

func TestDelivery(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "user", "shop", "password", "correct horse")
		h.store.put("shop/tls", "key", "pem")
		h.engine.create("db", "quaymaster.secret.user", "vault:shop/db#user", "quaymaster.secret.tls.key", "vault:shop/tls",
			"quaymaster.env.PASSWORD", "vault:shop/db#password", "quaymaster.path", "/etc/shop", "quaymaster.mode", "0440")
		got := h.passes("db")
		if got.Source != h.tree("db") || got.Target != "/etc/shop" {
			t.Errorf("delivered %s at %s", got.Source, got.Target)
		}
		if len(got.Variables) != 1 || got.Variables[0].Name != "PASSWORD" ||
			string(got.Variables[0].Value.Reveal()) != mark+"correct horse" { // to compare
			t.Errorf("%d variables", len(got.Variables))
		}
		h.sees("db", "user", "shop", "tls.key", "pem")
		if info, err := os.Stat(filepath.Join(got.Source, "user")); err != nil || info.Mode().Perm() != 0o440 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		records := h.audited(audit.Decision, "db")
		macs := map[string]bool{}
		for _, r := range records {
			macs[r.HMAC] = true
			if r.Decision != "allow" || r.Gate != "runtime" || r.ContainerName != "shop-db" || r.Grant != "shop" || r.Version == "" || r.Stale {
				t.Errorf("record %+v", r)
			}
		}
		if len(records) != 3 || len(macs) != 3 || records[2].Kind != "env" || records[2].Ref != "vault:shop/db#password" {
			t.Errorf("%d records with %d MACs: %+v", len(records), len(macs), records)
		}
	})
}

// A container without a label of ours is none of our business.
func TestUnlabelledContainerPasses(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("web")
		if got := h.passes("web"); got.Source != "" || got.Target != "" || got.Variables != nil {
			t.Errorf("was given %+v", got)
		}
		h.hasNoTree("web")
		if records := h.audited(audit.Decision, "web"); len(records) > 0 {
			t.Errorf("recorded %+v", records)
		}
	})
}

func TestUnknownContainerIsRefused(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		_, err := h.deliver(t.Context(), arrival("ghost"))
		if err == nil || !strings.Contains(err.Error(), "container ghost: what it is could not be learnt") {
			t.Errorf("%v", err)
		}
	})
}

// A container with variables only mounts nothing, and one with nothing but
// settings gets nothing.
func TestNothingIsMountedWithoutFiles(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.env.PASSWORD", "vault:shop/db")
		if got := h.passes("db"); got.Source != "" || got.Target != "" || len(got.Variables) != 1 {
			t.Errorf("was given %+v", got)
		}
		h.engine.create("web", "quaymaster.path", "/etc/shop")
		if got := h.passes("web"); got.Source != "" || got.Target != "" || len(got.Variables) != 0 {
			t.Errorf("was given %+v", got)
		}
	})
}

// A denied secret is not even fetched, nor are the others of that container.
func TestPolicyDeniesOneOfSeveral(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("bank/db", "password", "two")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:bank/db", "quaymaster.env.C", "vault:shop/db")
		h.refused("db", "file b (vault:bank/db): denied by policy", `grants that match the container: "shop"`, "give it in a grant")
		h.wasRead("shop/db", 0)
		h.wasRead("bank/db", 0)
		records := h.audited(audit.Decision, "db")
		if len(records) != 1 || records[0].Decision != "deny" || records[0].Name != "b" || records[0].Ref != "vault:bank/db" ||
			!strings.Contains(records[0].Reason, "no grant of this container lists it") || records[0].HMAC != "" {
			t.Errorf("%+v", records)
		}
		h.wasLogged("start refused", 1)
	})
}

// Labels that the image brings along count for nothing.
func TestImageCannotGrantItself(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		facts := h.engine.containers["db"]
		facts.ImageLabels = maps.Clone(facts.Labels)
		h.engine.containers["db"] = facts
		h.refused("db", "that label comes from the image, which does not count")
	})
}

func TestOptional(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		want := func(id, ref string) {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", ref, "quaymaster.optional.b", "true")
		}
		for _, ref := range []string{"vault:shop/none", "vault:shop/db#none"} {
			want("missing", ref)
			h.passes("missing")
			h.sees("missing", "a", "one")
		}
		if r := h.audited(audit.Decision, "missing"); len(r) != 4 || r[1].Name != "b" || r[1].Decision != "error" || !strings.Contains(r[1].Reason, "not found") {
			t.Errorf("%+v", r)
		}
		want("denied", "vault:bank/db")
		h.refused("denied", "file b (vault:bank/db): denied by policy")
		want("forbidden", "vault:shop/forbidden")
		h.store.fail("shop/forbidden", providers.ErrDenied)
		h.refused("forbidden", "file b (vault:shop/forbidden)", "denied by the secret store")
		want("away", "vault:shop/away")
		h.store.fail("shop/away", errUnavailable)
		h.refused("away", "file b (vault:shop/away)", "secret store unavailable")
		want("elsewhere", "nowhere:shop/db")
		h.refused("elsewhere", `there is no provider "nowhere" in the agent's configuration; the providers are: vault`)
	})
}

// Each way in which a provider fails, with the words that a person reads.
func TestRequiredSecretCannotBeHad(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/two", "a", "1", "b", "2")
		h.store.put("shop/one", "a", "1")
		for path, fail := range map[string]error{"denied": providers.ErrDenied, "away": errUnavailable, "invalid": providers.ErrInvalid} {
			h.store.fail("shop/"+path, fail)
		}
		for ref, text := range map[string]string{
			"vault:shop/none":     "not found",
			"vault:shop/denied":   "denied by the secret store",
			"vault:shop/away":     "secret store unavailable",
			"vault:shop/invalid":  "not a secret of this provider",
			"vault:shop/two":      "the secret has 2 fields; choose one by adding #<field> to the ref: a, b",
			"vault:shop/one#none": `there is no field "none"; the fields are: a`,
		} {
			h.engine.create("db", "quaymaster.secret.x", ref)
			h.refused("db", "file x ("+ref+"): ", text)
		}
		for _, r := range h.audited(audit.Decision, "db") {
			if r.Decision != "error" || r.Grant != "shop" || r.HMAC != "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

// All problems are told at once, one reason once, and what was well is not
// recorded as delivered.
func TestAllProblemsAreTold(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.fail("shop/away", errUnavailable)
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/none", "quaymaster.secret.b", "vault:shop/away",
			"quaymaster.secret.c", "vault:shop/db", "quaymaster.secret.d", "vault:shop/none",
			"quaymaster.secret.e", "vault:shop/none", "quaymaster.optional.e", "true")
		err := h.refused("db", "file a (vault:shop/none), file d (vault:shop/none): ", "; file b (vault:shop/away): ")
		if !errors.Is(err, errNotFound) || !errors.Is(err, errUnavailable) {
			t.Errorf("%v", err)
		}
		if r := h.audited(audit.Decision, "db"); len(r) != 3 {
			t.Errorf("%+v", r)
		}
		h.engine.create("web", "quaymaster.secrets.a", "x", "quaymaster.mode", "0666")
		h.refused("web", "label quaymaster.secrets.a: unknown key", "; ", "label quaymaster.mode: ")
	})
}

// What cannot be recorded does not happen.
func TestNothingIsDeliveredUnrecorded(t *testing.T) {
	full, err := audit.Open("/dev/full", []byte("key"), nowhere)
	if err != nil {
		t.Fatal(err)
	}
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.env.B", "vault:shop/db")
		h.refused("db", "audit log /dev/full: cannot be written, so nothing is delivered", "no space left")
		h.sleep(2 * refresh)
		h.wasRead("shop/db", 1) // nobody holds it
	}, func(o *broker.Options) { o.Audit = full })
}

// The record of a decision is in the file before its effect can be seen.
func TestRecordComesFirst(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		looked := 0
		h.trees.onWrite(func() error {
			looked++
			for event, want := range map[audit.Event]int{audit.Decision: 1, audit.Rotated: looked - 1} {
				if got := len(h.audited(event, "db")); got != want {
					t.Errorf("write %d: %d records of a %s, want %d", looked, got, event, want)
				}
			}
			if looked == 1 {
				h.hasNoTree("db")
			} else {
				h.sees("db", "a", "one")
			}
			return nil
		})
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "two")
		if looked != 2 {
			t.Errorf("%d writes", looked)
		}
	})
}

func TestSizes(t *testing.T) {
	fill := func(bytes int) string { return strings.Repeat("x", bytes-len(mark)) }
	const longest = 32*4096 - 1 - len("VALUE=")
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/largest", "v", fill(secret.MaxValueSize))
		h.store.put("shop/too-large", "v", fill(secret.MaxValueSize+1))
		h.store.put("shop/longest", "v", fill(longest))
		h.store.put("shop/too-long", "v", fill(longest+1))
		h.store.put("shop/zero", "v", "a\x00b")
		h.store.put("shop/empty")
		h.store.secrets["shop/empty"] = map[string]string{"v": ""}
		for name, kind := range map[string]string{
			"largest": "secret.value", "too-long": "secret.value", "zero": "secret.value", "longest": "env.VALUE",
		} {
			id := strings.ReplaceAll(name, "-", "")
			h.engine.create(id, "quaymaster."+kind, "vault:shop/"+name)
			got := h.passes(id)
			size := len(h.store.secrets["shop/"+name]["v"])
			if len(got.Variables) == 1 {
				if got.Variables[0].Value.Len() != size {
					t.Errorf("%s: %d bytes", name, got.Variables[0].Value.Len())
				}
			} else if info, err := os.Stat(filepath.Join(got.Source, "value")); err != nil || info.Size() != int64(size) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for ref, c := range map[string][3]string{
			"too-large": {"toolarge", "secret.value", "the content has more than 1048576 bytes, which is the limit"},
			"too-long":  {"toolong2", "env.VALUE", fmt.Sprintf("the value has %d bytes, too many for an environment variable: use the label quaymaster.secret", longest+1)},
			"zero":      {"zero2", "env.VALUE", "the value contains a zero byte, which no environment variable can: use the label quaymaster.secret"},
		} {
			h.engine.create(c[0], "quaymaster."+c[1], "vault:shop/"+ref)
			h.refused(c[0], c[2])
		}
		h.engine.create("empty", "quaymaster.secret.value", "vault:shop/empty")
		got := h.passes("empty")
		if info, err := os.Stat(filepath.Join(got.Source, "value")); err != nil || info.Size() != 0 {
			t.Errorf("an empty value: %v", err)
		}
	})
}

func TestManySecretsOnOneContainer(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		var labels, files []string
		for i := range 200 {
			name, value := fmt.Sprintf("s%03d", i), fmt.Sprint(i)
			h.store.put("shop/"+name, "v", value)
			labels = append(labels, "quaymaster.secret."+name, "vault:shop/"+name)
			files = append(files, name, value)
		}
		h.store.slow(1)
		h.engine.create("db", labels...)
		h.passes("db")
		h.sees("db", files...)
		if h.store.peak != 32 {
			t.Errorf("%d reads at a time", h.store.peak)
		}
		if n := len(h.audited(audit.Decision, "db")); n != 200 {
			t.Errorf("%d records", n)
		}
	})
}

// A delivery that fails late leaves nothing: no tree, and nobody holds the
// secrets for it.
func TestFailedDeliveryLeavesNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/none")
		h.refused("db", "not found")
		h.trees.onWrite(func() error { return errors.New("the memory filesystem is full") })
		h.engine.create("web", "quaymaster.secret.a", "vault:shop/db")
		h.refused("web", "its secrets could not be written: the memory filesystem is full")
		h.sleep(3 * refresh)
		h.wasRead("shop/db", 1)
	})
}

// What an earlier run had is wiped before the next gets anything.
func TestNextRunBeginsWithNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		old, err := os.Open(filepath.Join(h.tree("db"), "a"))
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		h.store.fail("", errNotFound)
		h.sleep(refresh)
		h.sees("db", "a", "one")
		h.refused("db", "not found")
		content := make([]byte, len(mark)+3)
		if _, err := old.ReadAt(content, 0); err != nil || strings.Trim(string(content), "\x00") != "" {
			t.Errorf("the earlier run's file holds %q, %v", content, err)
		}
	})
}

func TestMountInTheWay(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.env.B", "vault:shop/db")
		a := arrival("db")
		a.Mounts = []string{"/proc", "/run/secrets/other/"}
		h.turnsAway(a, "it already mounts something at /run/secrets", "quaymaster.path")
		a.Mounts, a.MemoryOnly = []string{"/run", "/run/secrets2"}, false
		h.turnsAway(a, "the variable B would be written to a disk", "mount one there", "quaymaster.secret.<name>")
		a.MemoryOnly = true
		a.UIDMap = []inject.IDMap{{Container: 0, Host: 100000, Size: 1}}
		a.User = &inject.Owner{UID: 1000}
		h.turnsAway(a, "user 1000:", "does not exist in its user namespace", "quaymaster.owner")
		h.wasRead("shop/db", 0)
		if r := h.audited(audit.Decision, "db"); len(r) != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// The user is the one that the gate names, whatever the engine says.
func TestPolicyByUser(t *testing.T) {
	byUser := func(o *broker.Options) {
		pattern, err := secret.ParsePattern("vault:shop/**")
		if err != nil {
			t.Fatal(err)
		}
		o.Policy = policy.New([]policy.Grant{{Name: "user", Workloads: map[string]string{workload.SelectorUser: "7"}, Secrets: []secret.Pattern{pattern}}})
	}
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.owner", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
		a := arrival("db")
		a.User = &inject.Owner{UID: 8, GID: 8}
		h.turnsAway(a, "user=8")
		a.User = &inject.Owner{UID: 7, GID: 7}
		if _, err := h.deliver(t.Context(), a); err != nil {
			t.Error(err)
		}
		h.sees("db", "a", "one")
	}, byUser)
}
