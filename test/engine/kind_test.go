package engine

import (
	"errors"
	"strings"
	"testing"
)

func TestTheEnvironmentChoosesTheKind(t *testing.T) {
	for value, want := range map[string]Kind{"": Debian, "debian": Debian, "newest": Newest} {
		t.Setenv("QUAYMASTER_ENGINE_KIND", value)
		if got, err := Chosen.settle(); got != want || err != nil {
			t.Errorf("%q chooses %v, %v, want %v", value, got, err, want)
		}
		if got, err := Newest.settle(); got != Newest || err != nil {
			t.Errorf("%q makes %v, %v of what was chosen already", value, got, err)
		}
	}
	t.Setenv("QUAYMASTER_ENGINE_KIND", "oldest")
	if _, err := Chosen.settle(); err == nil || !strings.Contains(err.Error(), `"oldest"`) {
		t.Errorf("got %v, want an error that names the choice", err)
	}
}

func TestAnInstallationNamesWhatIsMissing(t *testing.T) {
	programs := installation{path: t.TempDir()}
	if _, err := programs.find("dockerd"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "dockerd") {
		t.Errorf("got %v, want ErrMissing that names dockerd", err)
	}
}

// What containerd keeps beside a bundle, in both of its generations.
func TestShimAddress(t *testing.T) {
	const want = "unix:///run/containerd/s/5f"
	for _, said := range []string{want, `{"version":3,"address":"` + want + `","protocol":"ttrpc"}`} {
		if got := shimAddress([]byte(said)); got != want {
			t.Errorf("%s is the address %q", said, got)
		}
	}
	if got := shimAddress(nil); got != "" {
		t.Errorf("nothing is the address %q", got)
	}
}
