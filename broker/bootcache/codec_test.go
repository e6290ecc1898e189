package bootcache_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/secret"
)

func mixed(t testing.TB) []secret.Held {
	all := held(t, time.Now(), "one", "two", "three")
	all[0].Secret.Ref.Params = map[string][]string{"ttl": {"24h"}, "common_name": {"a.b", "c d"}}
	all[0].Secret.Ref.Version = "3"
	all[1].Secret.Fields = map[string]secret.Value{"": secret.NewValue(nil), "b": secret.NewValue([]byte{0, 255, 10}), "a": secret.NewValue([]byte("x"))}
	all[2].Secret.Fields, all[2].Secret.Version = nil, ""
	return all
}

func TestCodecGivesBackWhatItTook(t *testing.T) {
	all := mixed(t)
	content := bootcache.Encode(all)
	if len(content) != cap(content) {
		t.Errorf("%d bytes of %d: it grew, or was larger than it had to be", len(content), cap(content))
	}
	got, err := bootcache.Decode(content)
	if err != nil || len(got) != len(all) {
		t.Fatalf("%d secrets, %v", len(got), err)
	}
	for i, want := range all {
		if g := got[i]; g.Secret.Ref.String() != want.Secret.Ref.String() || g.Secret.Version != want.Secret.Version ||
			!g.Secret.Equal(want.Secret) || !g.Read.Equal(want.Read) {
			t.Errorf("%v is now %v", want, g)
		}
	}
	clear(content)
	if !got[0].Secret.Equal(all[0].Secret) {
		t.Error("the values are not copies")
	}
}

// The order does not count, nor the field of a ref, nor a lease; of two with one
// ref the last one read is kept.
func TestEncodeIsDeterministic(t *testing.T) {
	all := mixed(t)
	want := bootcache.Encode(all)
	slices.Reverse(all)
	older := held(t, time.Now().Add(-time.Minute), "older", "older")[1]
	all = append([]secret.Held{older}, all...)
	all[1].Secret.Ref.Field = "password"
	all[1].Secret.Lease = secret.Lease{ID: "database/creds/x/1", TTL: time.Hour}
	if !bytes.Equal(bootcache.Encode(all), want) {
		t.Error("the same set has other bytes")
	}
}

func TestDecodeIsStrict(t *testing.T) {
	content := bootcache.Encode(mixed(t))
	for n := range content {
		if got, err := bootcache.Decode(content[:n]); err == nil || got != nil {
			t.Errorf("%d bytes of %d are taken", n, len(content))
		}
	}
	replaced := func(old, new string) []byte { return bytes.Replace(content, []byte(old), []byte(new), 1) }
	for what, wrong := range map[string][]byte{
		"something follows":                       append(bytes.Clone(content), 0),
		"another version":                         replaced("held\x01", "held\x02"),
		"this is no whole ref":                    replaced("vault:kv/shop/c", "vault:kv/sho~#c"),
		"a ref is out of":                         replaced("vault:kv/shop/b", "vault:kv/shop/d"),
		"a field is out of":                       replaced("\x00\x00\x00\x01b", "\x00\x00\x00\x01a"),
		"it ends too early":                       replaced("\x00\x00\x00\x01b", "\xff\xff\xff\xffb"),
		"at byte 83 of 238: this is no whole ref": replaced("vault:kv/shop/a", "vault:kv/shop%a"),
	} {
		_, err := bootcache.Decode(wrong)
		if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whatever is taken is written again as the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add(bootcache.Encode(nil))
	f.Add(bootcache.Encode(mixed(f)))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := bootcache.Decode(content)
		if err == nil && !bytes.Equal(bootcache.Encode(got), content) {
			t.Errorf("%q is written as %q", content, bootcache.Encode(got))
		}
	})
}
