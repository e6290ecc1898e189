package vaultsim_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
)

func TestVersionedSecrets(t *testing.T) {
	w := newWorld(t)
	_, host := w.login(t, "docker-host")
	if version, err := w.vault.PutSecret("kv", "shop/db", map[string]any{"password": "two"}); err != nil || version != 2 {
		t.Fatalf("%d, %v", version, err)
	}
	got, err := host.KVv2("kv").Get(t.Context(), "shop/db")
	if err != nil || got.Data["password"] != "two" || got.VersionMetadata.Version != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := host.KVv2("kv").GetVersion(t.Context(), "shop/db", 1); err != nil || got.Data["password"] != "one" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := host.KVv2("kv").GetVersion(t.Context(), "shop/db", 3); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("%v", err)
	}
	root := w.client(t, w.vault.RootToken()).KVv2("kv")
	if written, err := root.Put(t.Context(), "shop/db", map[string]any{"password": "three"}); err != nil || written.VersionMetadata.Version != 3 {
		t.Fatalf("%+v, %v", written, err)
	}
	if metadata, err := root.GetMetadata(t.Context(), "shop/db"); err != nil || metadata.CurrentVersion != 3 || len(metadata.Versions) != 3 {
		t.Errorf("%+v, %v", metadata, err)
	}
	if err := root.Delete(t.Context(), "shop/db"); err != nil {
		t.Fatal(err)
	}
	if got, err := host.KVv2("kv").Get(t.Context(), "shop/db"); err != nil || got.Data != nil || got.VersionMetadata.DeletionTime.IsZero() {
		t.Errorf("deleted: %+v, %v", got, err)
	}
	if n := w.vault.Count("read", "kv/data/shop/db"); n != 4 {
		t.Errorf("counted %d reads", n)
	}
}

func TestPlainSecrets(t *testing.T) {
	w := newWorld(t)
	_, host := w.login(t, "docker-host")
	root := w.client(t, w.vault.RootToken()).KVv1("old")
	if got, err := host.KVv1("old").Get(t.Context(), "shop/db"); err != nil || got.Data["password"] != "one" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := root.Put(t.Context(), "shop/db", map[string]any{"password": "two"}); err != nil {
		t.Fatal(err)
	}
	if got, err := host.KVv1("old").Get(t.Context(), "shop/db"); err != nil || got.Data["password"] != "two" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := root.Delete(t.Context(), "shop/db"); err != nil {
		t.Fatal(err)
	}
	if _, err := host.KVv1("old").Get(t.Context(), "shop/db"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("%v", err)
	}
}

func TestPoliciesAndMounts(t *testing.T) {
	w := newWorld(t)
	w.vault.PutPolicy("segment", "kv/data/+/db", "kv/data/exact")
	_, shop := w.login(t, "docker-host")
	segment, nothing := w.client(t, w.vault.IssueToken(600e9, "segment")), w.client(t, w.vault.IssueToken(600e9, "no such policy"))
	for _, test := range []struct {
		client *api.Client
		path   string
		want   int
	}{
		{shop, "kv/data/shop/db", 0}, {shop, "kv/data/shop/a/b", 0}, {shop, "kv/data/other/db", 403}, {shop, "nowhere/x", 403},
		{segment, "kv/data/shop/db", 0}, {segment, "kv/data/shop/a/db", 403}, {segment, "kv/data/shop/db2", 403},
		{segment, "kv/data/exact", 0}, {segment, "kv/data/exact/more", 403}, {segment, "kv/data", 403},
		{nothing, "kv/data/shop/db", 403},
		{shop, "sys/internal/ui/mounts/kv/shop/db", 0}, {segment, "sys/internal/ui/mounts/kv", 0},
		{segment, "sys/internal/ui/mounts/old/shop", 403}, {nothing, "sys/internal/ui/mounts/kv", 403},
		{shop, "sys/internal/ui/mounts/nowhere/x", 403},
	} {
		if _, err := test.client.Logical().ReadWithContext(t.Context(), test.path); status(err) != test.want || (err == nil) != (test.want == 0) {
			t.Errorf("%s: %v", test.path, err)
		}
	}
	mount, err := shop.Logical().ReadWithContext(t.Context(), "sys/internal/ui/mounts/old/shop/db")
	if err != nil || mount.Data["path"] != "old/" || mount.Data["type"] != "kv" || mount.Data["options"].(map[string]any)["version"] != "1" {
		t.Errorf("%+v, %v", mount, err)
	}
	for path, version := range map[string]int{"kv": 2, "kv/below": 2, "new": 3} {
		if err := w.vault.MountKV(path, version); err == nil {
			t.Errorf("mounted version %d at %s", version, path)
		}
	}
	if _, err := w.vault.PutSecret("nowhere", "x", nil); err == nil || !strings.Contains(err.Error(), "nowhere/") {
		t.Errorf("%v", err)
	}
}
