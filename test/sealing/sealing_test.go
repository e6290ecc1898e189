package sealing_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/test/sealing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryIsASealer(t *testing.T) {
	m := sealing.NewMemory("key", "docker-1")
	failing := func(err error) map[string]func() func() {
		return map[string]func() func(){"told so": func() func() {
			m.Fail(err)
			return func() { m.Fail(nil) }
		}}
	}
	sealing.Run(t, sealing.World{Sealer: m, Other: sealing.NewMemory("key", "docker-2"),
		Deny: failing(auth.ErrSealRefused), Break: failing(auth.ErrSealUnavailable)})
}
