package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// miscounting is a batcher whose answers are not one for each ref.
type miscounting struct {
	*store
	answers int
}

// FetchBatch implements providers.Batcher, badly.
func (m *miscounting) FetchBatch(ctx context.Context, refs []secret.Ref) []providers.Answer {
	answers := make([]providers.Answer, m.answers)
	for i := range answers {
		answers[i].Secret, answers[i].Err = m.Fetch(ctx, refs[i%len(refs)])
	}
	return answers
}

// A provider that answers fewer or more than it was asked is not believed, and
// neither ends the agent nor keeps a start waiting.
func TestBatchThatMiscounts(t *testing.T) {
	for _, answers := range []int{0, 1, 3} {
		m := &miscounting{newStore(), answers}
		onHost(t, func(t *testing.T, h *host) {
			m.put("shop/a", "v", "1")
			m.put("shop/b", "v", "2")
			h.engine.create("db", "quaymaster.secret.a", "miscounting:shop/a", "quaymaster.secret.b", "miscounting:shop/b")
			began := time.Now()
			h.refused("db", "a mistake in the provider miscounting", "file b (miscounting:shop/b)")
			if waited := time.Since(began); waited != 0 {
				t.Errorf("waited %v", waited)
			}
		}, func(o *broker.Options) {
			o.Providers["miscounting"] = m
			o.Policy = shopMayRead(t, "miscounting:shop/**")
		})
	}
}

// slowToSay takes its time to say what a ref is.
type slowToSay struct{ *store }

// Issues implements providers.Issuer.
func (slowToSay) Issues(ctx context.Context, _ secret.Ref) (bool, error) {
	time.Sleep(5 * time.Second)
	return false, nil
}

// A start that is under way when the agent ends reads nothing any more: nobody
// would wait for it, and nobody would revoke what it brought.
func TestAgentThatEndsReadsNothing(t *testing.T) {
	slow := slowToSay{newStore()}
	onHost(t, func(t *testing.T, h *host) {
		slow.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "slow:shop/db")
		failed := make(chan error)
		go func() {
			_, err := h.deliver(t.Context(), arrival("db"))
			failed <- err
		}()
		h.sleep(time.Second)
		h.stop()
		if err := <-failed; err == nil || slow.read("shop/db") != 0 {
			t.Errorf("%v after %d reads", err, slow.read("shop/db"))
		}
	}, func(o *broker.Options) {
		o.Providers["slow"] = slow
		o.Policy = shopMayRead(t, "slow:shop/**")
	})
}

// countingBatcher is a batcher that says which version is current.
type countingBatcher struct {
	*batcher
	*versioner
}

// Fetch implements providers.Provider.
func (c countingBatcher) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	return c.batcher.Fetch(ctx, ref)
}

// Where versions are to be checked first, they are, although the provider
// could read the values in one request.
func TestVersionsAreCheckedBeforeBatches(t *testing.T) {
	s := newStore()
	c := countingBatcher{&batcher{store: s}, &versioner{store: s}}
	onHost(t, func(t *testing.T, h *host) {
		s.put("shop/a", "v", "1")
		s.put("shop/b", "v", "2")
		c.says("1", nil)
		h.engine.create("db", "quaymaster.secret.a", "both:shop/a", "quaymaster.secret.b", "both:shop/b")
		h.starts("db")
		h.sleep(3 * refresh)
		if got := c.requests(); len(got) != 1 || s.read("shop/a") != 1 || c.asked != 6 {
			t.Errorf("batches %v, %d reads, %d questions", got, s.read("shop/a"), c.asked)
		}
	}, func(o *broker.Options) {
		o.Providers["both"] = c
		o.CheckVersions = map[string]bool{"both": true}
		o.Policy = shopMayRead(t, "both:shop/**")
	})
}
