//go:build integration

package main

import (
	"os"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/inject"
)

// TestOwnerIsKept needs root: under userns-remap config.json belongs to
// another user than the one who rewrites it.
func TestOwnerIsKept(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{Source: "/a", Target: "/b"}, nil))
	name := e.bundle + "/config.json"
	before := e.config(t)
	if err := os.Chown(name, 65534, 65533); err != nil {
		t.Fatal(err)
	}
	if o := e.create(t); o.runc == nil {
		t.Fatalf("runc was not reached: %s", o.stderr)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 65534 || st.Gid != 65533 || e.config(t) == before {
		t.Errorf("config.json belongs to %d:%d", st.Uid, st.Gid)
	}
}
