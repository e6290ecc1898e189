package providertest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Memory is a provider that keeps its secrets in the test's own process: by
// path, with all their versions, which are numbers from 1. It implements
// providers.Provider, Batcher and Versioner; wrap it in a struct that embeds
// providers.Provider alone to leave the latter two out. It may be used by
// several goroutines, and every switch changed meanwhile.
type Memory struct {
	now func() time.Time

	mu       sync.Mutex
	secrets  map[string]*kept
	fault    Fault // empty: none
	delay    time.Duration
	requests int
	reads    map[string]int
}

// kept is what Memory knows of one path.
type kept struct {
	versions []map[string][]byte
	fail     error // instead of an answer
}

// NewMemory returns a Memory without secrets, which says by now when it was asked.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, secrets: map[string]*kept{}, reads: map[string]int{}}
}

// Put stores a secret, or a new version of it, and returns its version.
func (m *Memory) Put(path string, fields map[string][]byte) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.at(path)
	own := make(map[string][]byte, len(fields))
	for name, content := range fields {
		own[name] = bytes.Clone(content)
	}
	k.versions = append(k.versions, own)
	return strconv.Itoa(len(k.versions))
}

// Remove makes a path name nothing.
func (m *Memory) Remove(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.secrets, path)
}

// Fail makes each read of path end with err, which wraps one of the errors of
// package providers; nil ends that.
func (m *Memory) Fail(path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at(path).fail = err
}

// SetDelay makes each request take a while, however it ends.
func (m *Memory) SetDelay(delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = delay
}

// Break makes every request meet a fault until undo.
func (m *Memory) Break(how Fault) (undo func()) {
	m.set(how)
	return func() { m.set("") }
}

func (m *Memory) set(how Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = how
}

// Requests is how many reads there were, answered or not; a batch is one.
func (m *Memory) Requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests
}

// Reads is how often path was read, alone or in a batch.
func (m *Memory) Reads(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads[path]
}

// at is what is known of path, under the lock.
func (m *Memory) at(path string) *kept {
	if m.secrets[path] == nil {
		m.secrets[path] = &kept{}
	}
	return m.secrets[path]
}

// Fetch implements providers.Provider.
func (m *Memory) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	answer := m.FetchBatch(ctx, []secret.Ref{ref})[0]
	return answer.Secret, answer.Err
}

// FetchBatch implements providers.Batcher.
func (m *Memory) FetchBatch(ctx context.Context, refs []secret.Ref) []providers.Answer {
	answers := make([]providers.Answer, len(refs))
	issued, asked := m.now(), []int{}
	for i, ref := range refs {
		if answers[i].Err = check(ref); answers[i].Err == nil {
			asked = append(asked, i)
		}
	}
	if len(asked) == 0 {
		return answers
	}
	err := ctx.Err()
	if err == nil {
		m.count(refs, asked)
		err = m.meet(ctx)
	}
	for _, i := range asked {
		ref := refs[i].Whole()
		if err != nil {
			answers[i].Err = fmt.Errorf("%w: %s: %w", providers.ErrUnavailable, ref, err)
			continue
		}
		answers[i].Secret, answers[i].Err = m.read(ref, issued)
	}
	return answers
}

// check finds what is wrong with a ref without looking for its secret.
func check(ref secret.Ref) error {
	if len(ref.Params) > 0 {
		return fmt.Errorf("%w: %s: memory knows no parameters", providers.ErrInvalid, ref)
	}
	if n, err := strconv.Atoi(ref.Version); ref.Version != "" && (err != nil || n < 1) {
		return fmt.Errorf("%w: %s: a version is a number from 1", providers.ErrInvalid, ref)
	}
	return nil
}

func (m *Memory) count(refs []secret.Ref, asked []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	for _, i := range asked {
		m.reads[refs[i].Path]++
	}
}

// meet lets a request meet the delay and the fault that there are.
func (m *Memory) meet(ctx context.Context) error {
	m.mu.Lock()
	delay, fault := m.delay, m.fault
	m.mu.Unlock()
	if fault == Slow {
		delay += 30 * time.Second
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if fault != "" && fault != Slow {
		return fmt.Errorf("the far end is %s", fault)
	}
	return nil
}

func (m *Memory) read(ref secret.Ref, issued time.Time) (secret.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	version, fields, err := m.find(ref)
	if err != nil {
		return secret.Secret{}, err
	}
	found := secret.Secret{Ref: ref, Version: version, Fields: map[string]secret.Value{}, Lease: secret.Lease{IssuedAt: issued}}
	for name, content := range fields {
		found.Fields[name] = secret.NewValue(bytes.Clone(content))
	}
	return found, nil
}

// find is the version of a secret that ref names, under the lock.
func (m *Memory) find(ref secret.Ref) (version string, fields map[string][]byte, err error) {
	k := m.secrets[ref.Path]
	if k != nil && k.fail != nil {
		return "", nil, fmt.Errorf("%s: %w", ref, k.fail)
	}
	if k == nil {
		k = &kept{}
	}
	n := len(k.versions)
	if ref.Version != "" {
		n, _ = strconv.Atoi(ref.Version) // which check has seen
	}
	if n < 1 || n > len(k.versions) {
		return "", nil, fmt.Errorf("%w: %s: it has %d versions", providers.ErrNotFound, ref, len(k.versions))
	}
	return strconv.Itoa(n), k.versions[n-1], nil
}

// CurrentVersion implements providers.Versioner. It is no read.
func (m *Memory) CurrentVersion(ctx context.Context, ref secret.Ref) (string, error) {
	if err := check(ref); err != nil {
		return "", err
	}
	if err := m.meet(ctx); err != nil {
		return "", fmt.Errorf("%w: %s: %w", providers.ErrUnavailable, ref, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ref.Version = ""
	version, _, err := m.find(ref)
	return version, err
}
