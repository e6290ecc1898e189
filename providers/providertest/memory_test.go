package providertest_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

func ref(path string) secret.Ref { return secret.Ref{Provider: "memory", Path: path} }

// newWorld is a Memory, seen through another provider if wrap is not nil.
func newWorld(wrap func(*providertest.Memory) providers.Provider) *providertest.World {
	memory := providertest.NewMemory(time.Now)
	w := &providertest.World{
		Provider: memory,
		Put: func(_ *testing.T, name string, fields map[string][]byte) secret.Ref {
			memory.Put(name, fields)
			return ref(name)
		},
		Missing: ref("nothing"),
		Denied: func(*testing.T) secret.Ref {
			memory.Fail("foreign", fmt.Errorf("it is not yours: %w", providers.ErrDenied))
			return ref("foreign")
		},
		Break:    func(_ *testing.T, how providertest.Fault) func() { return memory.Break(how) },
		Requests: memory.Requests,
		MaxSize:  secret.MaxValueSize, Versions: true,
	}
	if wrap != nil {
		w.Provider = wrap(memory)
	}
	return w
}

func TestMemory(t *testing.T) {
	providertest.Run(t, func(*testing.T) *providertest.World { return newWorld(nil) })
}

// A store of single values, of text, without versions and further powers.
func TestPlainStore(t *testing.T) {
	providertest.Run(t, func(*testing.T) *providertest.World {
		w := newWorld(func(m *providertest.Memory) providers.Provider { return struct{ providers.Provider }{m} })
		w.Single, w.Text, w.Versions = true, true, false
		return w
	})
}

func TestSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := providertest.NewMemory(time.Now)
		memory.Put("a", map[string][]byte{"value": []byte("one")})
		memory.SetDelay(time.Minute)
		began := time.Now()
		if _, err := memory.Fetch(t.Context(), ref("a")); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		memory.SetDelay(0)
		answers := memory.FetchBatch(t.Context(), []secret.Ref{ref("a"), ref("a"), ref("b")})
		if answers[0].Err != nil || !errors.Is(answers[2].Err, providers.ErrNotFound) {
			t.Errorf("%v, %v", answers[0].Err, answers[2].Err)
		}
		if memory.Requests() != 2 || memory.Reads("a") != 3 || memory.Reads("b") != 1 {
			t.Errorf("%d requests, %d and %d reads", memory.Requests(), memory.Reads("a"), memory.Reads("b"))
		}
		memory.Remove("a")
		if _, err := memory.Fetch(t.Context(), ref("a")); !errors.Is(err, providers.ErrNotFound) {
			t.Errorf("removed: %v", err)
		}
	})
}
