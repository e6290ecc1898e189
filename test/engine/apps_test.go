package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkSettingsAreWhatReachesTheSources(t *testing.T) {
	const dump = `Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.test:3128";
Acquire::httpx "no setting of apt";
Acquire::Check-Date "false";
Acquire::Languages:: "de";
Acquire::https::Verify-Peer "";
`
	want := []string{`Acquire::http::Proxy "http://proxy.test:3128";`, `Acquire::Check-Date "false";`}
	if got := networkSettings([]byte(dump)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAptSourcesAreThoseInUse(t *testing.T) {
	dir := t.TempDir()
	if _, err := aptSources(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("without sources: %v", err)
	}
	for _, name := range []string{"sources.list", "sources.list.d/debian.sources", "sources.list.d/old.list", "sources.list.d/x.list.disabled"} {
		writeFile(t, filepath.Join(dir, name), "")
	}
	got, err := aptSources(dir)
	if err != nil || len(got) != 3 || slices.ContainsFunc(got, func(file string) bool { return strings.HasSuffix(file, ".disabled") }) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDebianSuite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	writeFile(t, file, "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=\"bookworm\"\n")
	if got, err := debianSuite(file); err != nil || got != "bookworm" {
		t.Errorf("got %q, %v", got, err)
	}
	writeFile(t, file, "NAME=Arch\n")
	if _, err := debianSuite(file); err == nil || !strings.Contains(err.Error(), "VERSION_CODENAME") {
		t.Errorf("got %v", err)
	}
}
