package docker

import "testing"

func TestFlagOf(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		value string
		said  bool
	}{
		"in one":        {[]string{"dockerd", "--exec-root=/a", "-H", "fd://"}, "/a", true},
		"in two":        {[]string{"dockerd", "--exec-root", "/a"}, "/a", true},
		"another's":     {[]string{"dockerd", "--exec-root-x=/a", "--label", "exec-root=/b"}, "", false},
		"without value": {[]string{"dockerd", "--exec-root"}, "", false},
	} {
		if value, said := flagOf(c.args, "exec-root"); value != c.value || said != c.said {
			t.Errorf("%s: %q, %v", name, value, said)
		}
	}
}
