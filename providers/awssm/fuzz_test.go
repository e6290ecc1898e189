package awssm

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// A ref reaches no other name than the one that policy saw, and no host but
// one of AWS's.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"aws:prod/shop/db#password@AWSPREVIOUS", "aws:ssm/a/*?recursive=true", "aws:ssm/a?name=/a", "aws:ssm/*",
		"aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-b", "aws:ssm/arn:aws:ssm:eu-west-1:123456789012:parameter/a/b@3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := secret.ParseRef(text)
		if err != nil {
			return
		}
		got, err := parse(ref)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "not a secret of this provider: ") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		path, below := ref.Path, ""
		if got.store == parameterStore {
			path = strings.TrimPrefix(path, "ssm/")
		}
		if got.below {
			below = "*"
		}
		if plain(got.id+"/"+below) != path {
			t.Fatalf("%q reaches %q", text, got.id)
		}
		if got.region != "" && (!regionName.MatchString(got.region) || !strings.HasPrefix(got.id, "arn:") || got.in(got.region) != got.id) {
			t.Fatalf("%q reaches region %q as %q", text, got.region, got.in(got.region))
		}
	})
}
