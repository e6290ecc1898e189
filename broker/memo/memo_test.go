package memo_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *memo.Dir {
	t.Helper()
	d, err := memo.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// What one agent noted the next one reads; what was removed is gone, and what
// cannot be read hides nothing else.
func TestMemosOutliveTheirAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memos")
	one := memo.Memo{User: &workload.User{UID: 7, GID: 8}, Leases: []memo.Lease{{Provider: "vault", ID: "database/creds/shop/x"}}}
	first := open(t, dir)
	for _, m := range []memo.Memo{{}, one} {
		if err := first.Put("c1", m); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Put("c2", memo.Memo{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, there is nothing
		if err := first.Remove("c2"); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "c1")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	second := open(t, dir)
	if all, err := second.All(); err != nil || !reflect.DeepEqual(all, map[string]memo.Memo{"c1": one}) {
		t.Errorf("%+v, %v", all, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c3"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := second.All()
	if err == nil || !strings.Contains(err.Error(), "read the memo about container c3") || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := second.Put("../c4", memo.Memo{}); err == nil {
		t.Error("a memo was written outside of its directory")
	}
}
