package vault_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// kinds are values of every kind that Vault keeps, and what a container gets.
// The numbers are such that float64 can hold them, because version 2 of the
// real engine stores them so.
var (
	kinds = map[string]any{
		"text": mark, "empty": "", "unicode": "pässwörd 🔑", "binary": "\x00\x01\xff\n", "multiline": "-----BEGIN\nKEY-----\n",
		"number": 5432, "fraction": json.Number("1.5"), "large": json.Number("9007199254740991"), "yes": true, "null": nil,
		"object": map[string]any{"user": "shop", "ports": []any{1, 2}}, "list": []any{"a", 1},
	}
	delivered = map[string]string{
		"text": mark, "empty": "", "unicode": "pässwörd 🔑", "binary": "\x00\x01\ufffd\n", "multiline": "-----BEGIN\nKEY-----\n",
		"number": "5432", "fraction": "1.5", "large": "9007199254740991", "yes": "true", "null": "null",
		"object": `{"ports":[1,2],"user":"shop"}`, "list": `["a",1]`,
	}
)

func TestBothVersions(t *testing.T) {
	w := newWorld(t)
	for mount, version := range map[string]string{"kv": "2", "old": ""} {
		w.put(mount, "shop/db", "one")
		if _, err := w.PutSecret(mount, "shop/db", kinds); err != nil {
			t.Fatal(err)
		}
		found, err := w.fetch("vault:" + mount + "/shop/db#text")
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(found); !maps.Equal(got, delivered) {
			t.Errorf("%s: got  %q\nwant %q", mount, got, delivered)
		}
		if found.Version != version || found.Lease != (secret.Lease{IssuedAt: w.now}) {
			t.Errorf("%s: version %q, lease %+v", mount, found.Version, found.Lease)
		}
		if got := found.Ref.String(); got != "vault:"+mount+"/shop/db" {
			t.Errorf("the secret says that it is %s", got)
		}
	}
}

// What Vault answers as a number is delivered digit by digit.
func TestNumbersAreNotRounded(t *testing.T) {
	w := newWorld(t)
	for _, number := range []string{"12345678901234567890", "1.50", "1e400"} {
		for _, mount := range []string{"kv", "old"} {
			if _, err := w.PutSecret(mount, "shop/n", map[string]any{"n": json.Number(number)}); err != nil {
				t.Fatal(err)
			}
			if found, err := w.fetch("vault:" + mount + "/shop/n"); err != nil || texts(found)["n"] != number {
				t.Errorf("%s of %s is %v, %v", number, mount, texts(found), err)
			}
		}
	}
}

// Vault allows almost any character in a path.
func TestNamesThatNeedEncoding(t *testing.T) {
	w := newWorld(t)
	for _, mount := range []string{"kv", "old"} {
		for _, name := range []string{"shop/a b", "shop/ä", "shop/50%", "shop/a?b#c@d", "shop/a%2Fb", "shop/x+y&z=*"} {
			w.put(mount, name, name)
			ref := secret.Ref{Provider: "vault", Path: mount + "/" + name}
			w.wants(ref.String(), name)
		}
	}
}

func TestVersions(t *testing.T) {
	w := newWorld(t)
	for _, value := range []string{"one", "two", "three"} {
		w.put("kv", "shop/db", value)
	}
	w.wants("vault:kv/shop/db", "three")
	w.wants("vault:kv/shop/db#password@1", "one")
	w.wants("vault:kv/shop/db@2", "two")
	if found, err := w.fetch("vault:kv/shop/db@2"); err != nil || found.Version != "2" || found.Ref.Version != "2" {
		t.Errorf("version %q of %s, %v", found.Version, found.Ref, err)
	}
	w.fails("vault:kv/shop/db@4", providers.ErrNotFound, "there is nothing at kv/data/shop/db in version 4")
	for _, version := range []string{"latest", "-1", "1.5", "99999999999"} {
		w.fails("vault:kv/shop/db@"+version, providers.ErrInvalid, `version "`+version+`" is not a number`)
	}

	root := w.client.With(secret.NewValue([]byte(w.RootToken())))
	if err := root.KVv2("kv").Delete(t.Context(), "shop/db"); err != nil {
		t.Fatal(err)
	}
	w.fails("vault:kv/shop/db", providers.ErrNotFound, "kv/data/shop/db was deleted or is empty")
	w.fails("vault:kv/shop/db@3", providers.ErrNotFound, "kv/data/shop/db in version 3 was deleted or is empty")
	w.wants("vault:kv/shop/db@2", "two")
}

// What a mount is, is asked once, whatever is read from it and however often.
func TestMountsAreRemembered(t *testing.T) {
	w := newWorld(t)
	for _, mount := range []string{"kv", "old"} {
		w.put(mount, "shop/db", "one")
		w.put(mount, "shop/api", "two")
		for range 5 {
			w.wants("vault:"+mount+"/shop/db", "one")
		}
		w.wants("vault:"+mount+"/shop/api", "two")
	}
	for path, want := range map[string]int{
		"sys/internal/ui/mounts/kv/shop/db": 1, "sys/internal/ui/mounts/kv/shop/api": 0, "kv/data/shop/db": 5, "kv/data/shop/api": 1,
		"sys/internal/ui/mounts/old/shop/db": 1, "sys/internal/ui/mounts/old/shop/api": 0, "old/shop/db": 5, "old/shop/api": 1,
	} {
		if got := w.Count("", path); got != want {
			t.Errorf("%s was asked for %d times, want %d", path, got, want)
		}
	}
}

// A mount that gives nothing is looked at again, which costs one request, and
// read again only when it has become another.
func TestWhatIsMissingCostsOneLookupMore(t *testing.T) {
	w := newWorld(t)
	w.put("kv", "shop/db", "one")
	w.wants("vault:kv/shop/db", "one")
	w.fails("vault:kv/shop/none", providers.ErrNotFound)
	if reads, lookups := w.Count("", "kv/data/shop/none"), w.Count("", "sys/internal/ui/mounts/kv/shop/none"); reads != 1 || lookups != 1 {
		t.Errorf("%d reads, %d lookups", reads, lookups)
	}
}

// A mount may be replaced by one of the other version while the agent runs;
// the policies then allow the paths of the new one, and may forbid the old.
func TestReplacedMount(t *testing.T) {
	for name, c := range map[string]struct {
		from, to int
		policy   []string
	}{
		"1 by 2":                         {1, 2, []string{"kv/*"}},
		"2 by 1":                         {2, 1, []string{"kv/*"}},
		"1 by 2, the old path forbidden": {1, 2, []string{"kv/data/shop/*"}},
		"2 by 1, the old path forbidden": {2, 1, []string{"kv/shop/*"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.replace(map[string]int{"kv": c.from}, "kv/*")
			w.put("kv", "shop/db", "before")
			w.wants("vault:kv/shop/db", "before")
			w.replace(map[string]int{"kv": c.to}, c.policy...)
			w.put("kv", "shop/db", "after")
			for range 2 {
				w.wants("vault:kv/shop/db", "after")
			}
			if n := w.Count("", "sys/internal/ui/mounts/kv/shop/db"); n != 1 {
				t.Errorf("the new mount was looked up %d times", n)
			}
		})
	}
}

// A version is refused where none are kept, and accepted once they are.
func TestMountThatBeginsToKeepVersions(t *testing.T) {
	w := newWorld(t)
	w.put("old", "shop/db", "one")
	w.wants("vault:old/shop/db", "one")
	w.fails("vault:old/shop/db@1", providers.ErrInvalid, "the mount old/ is of version 1", "leave out @1")
	w.replace(map[string]int{"old": 2}, "old/data/*")
	w.put("old", "shop/db", "two")
	w.wants("vault:old/shop/db@1", "two")
}
