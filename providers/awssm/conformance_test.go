package awssm_test

import (
	"encoding/json"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// Secrets that are JSON objects.
func TestSecretsManager(t *testing.T) {
	providertest.Run(t, func(t *testing.T) *providertest.World {
		w := newWorld(t, awssm.Options{})
		sm := w.secrets[home]
		return &providertest.World{
			Provider: w.Provider,
			Put: func(t *testing.T, name string, fields map[string][]byte) secret.Ref {
				members := map[string]string{}
				for name, content := range fields {
					members[name] = string(content)
				}
				text, err := json.Marshal(members)
				if err != nil {
					t.Fatal(err)
				}
				sm.PutText(name, string(text))
				return w.ref("aws:" + name)
			},
			Missing: w.ref("aws:qm-nothing"),
			Denied: func(*testing.T) secret.Ref {
				sm.PutText("other/db", mark)
				return w.ref("aws:other/db")
			},
			Break: breaks(&sm.Faults), Requests: sm.Reads,
			MaxSize: awssim.MaxSecret - len(`{"large":""}`), Text: true, Versions: true,
		}
	})
}

// Secrets that are bytes, named by their ARNs.
func TestSecretsManagerBinary(t *testing.T) {
	providertest.Run(t, func(t *testing.T) *providertest.World {
		w := newWorld(t, awssm.Options{Replicas: []string{replica}})
		sm := w.secrets[home]
		w.secrets[replica].Set("", faults[providertest.Down])
		return &providertest.World{
			Provider: w.Provider,
			Put: func(_ *testing.T, name string, fields map[string][]byte) secret.Ref {
				sm.PutBinary(name, fields["value"])
				return secret.Ref{Provider: "aws", Path: sm.ARN(name)}
			},
			Missing: w.ref("aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:qm-nothing"),
			Denied: func(*testing.T) secret.Ref {
				sm.PutText("qm-encrypted", mark)
				sm.SetKey("qm-encrypted", w.account.KeyARN(home, "not-ours"))
				return w.ref("aws:qm-encrypted")
			},
			Break: breaks(&sm.Faults), Requests: sm.Reads,
			MaxSize: awssim.MaxSecret, Single: true, Versions: true,
		}
	})
}

func TestParameterStore(t *testing.T) {
	providertest.Run(t, func(t *testing.T) *providertest.World {
		w := newWorld(t, awssm.Options{})
		store := w.parameters[home]
		return &providertest.World{
			Provider: w.Provider,
			Put: func(_ *testing.T, name string, fields map[string][]byte) secret.Ref {
				store.Put("/qm-test/"+name, string(fields["value"]))
				return w.ref("aws:ssm/qm-test/" + name)
			},
			Missing: w.ref("aws:ssm/qm-nothing"),
			Denied: func(*testing.T) secret.Ref {
				store.Put("/other/db", mark)
				return w.ref("aws:ssm/other/db")
			},
			Break: breaks(&store.Faults), Requests: store.Reads,
			MaxSize: awssim.MaxParameter, Text: true, Single: true, Versions: true,
		}
	})
}
