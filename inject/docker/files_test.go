package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const id = "3f2a0c55d1e8b7a6"

// engineRoot lays out a data root as the engine does and returns the
// container's directory in it.
func engineRoot(t *testing.T, containerFile string) (root, dir string) {
	t.Helper()
	root = t.TempDir()
	dir = filepath.Join(root, "containers", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.v2.json"), []byte(containerFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return root, dir
}

func TestReadContainerFile(t *testing.T) {
	_, dir := engineRoot(t, `{"ID":"`+id+`","Name":"/shop-db-1","Image":"sha256:abc","State":{},
		"Config":{"Image":"postgres:16","Labels":{"quaymaster.secret.a":"vault:kv/a"}}}`)
	file, err := readContainerFile(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	facts := file.described().Facts
	if facts.ID != id || facts.Name != "shop-db-1" || facts.Image != "postgres:16" || facts.ImageID != "sha256:abc" ||
		facts.Labels["quaymaster.secret.a"] != "vault:kv/a" {
		t.Errorf("got %+v", facts)
	}
}

func TestReadContainerFileNeverGuesses(t *testing.T) {
	for content, want := range map[string]string{
		`{`: "config.v2.json",
		`{"ID":"another","Image":"sha256:a","Config":{}}`: "is not about container",
		`{"ID":"` + id + `","Image":"sha256:a"}`:          "is not about container",
		`{"ID":"` + id + `","Config":{}}`:                 "is not about container",
	} {
		_, dir := engineRoot(t, content)
		if _, err := readContainerFile(dir, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
	if _, err := readContainerFile("", id); err == nil {
		t.Error("no directory is accepted")
	}
	if _, err := readContainerFile(t.TempDir(), id); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestReadImageFileProvesItself(t *testing.T) {
	root, dir := engineRoot(t, "{}")
	store := filepath.Join(root, "image", "overlay2", "imagedb", "content", "sha256")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	content := []byte(`{"architecture":"amd64","config":{"Labels":{"environment":"production"}}}`)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(store, digest), content, 0o600); err != nil {
		t.Fatal(err)
	}
	labels, err := readImageFile(dir, "sha256:"+digest)
	if err != nil || labels["environment"] != "production" {
		t.Errorf("got %v, %v", labels, err)
	}

	forged := strings.Repeat("a", 64)
	if err := os.WriteFile(filepath.Join(store, forged), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"sha256:" + forged:                  "is not what its name says",
		"sha256:" + strings.Repeat("b", 64): "keeps no file of image",
		"sha256:../../x":                    "are not known",
		"busybox":                           "are not known",
	} {
		if _, err := readImageFile(dir, image); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", image, err, want)
		}
	}
	if _, err := readImageFile("", "sha256:"+digest); err == nil {
		t.Error("no directory is accepted")
	}
}
