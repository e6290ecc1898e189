package vaultlogin_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logText collects what is logged, from debug up.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logText) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines counts the lines of a level that are not debugging.
func (l *logText) lines(level, message string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level="+level+" ") && strings.Contains(line, message) {
			n++
		}
	}
	return n
}

// noSecrets fails when text holds a token or the body of a login.
func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{loginBody, "hvs."} { // every token of Vault begins so
		if strings.Contains(strings.ReplaceAll(text, "accessor-of-hvs.", ""), secret) {
			t.Errorf("%q is in: %s", secret, text)
		}
	}
}

// wantError fails unless err is of kind, says want, and holds no secret.
func wantError(t *testing.T, err, kind error, want string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant %v: … %s", err, kind, want)
		return
	}
	noSecrets(t, err.Error())
}
