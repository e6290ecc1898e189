package realvault

import (
	"os"
	"slices"
	"testing"
)

func TestRequestsCountsEachOnce(t *testing.T) {
	v := &Vault{dir: t.TempDir()}
	const log = `{"type":"request","request":{"operation":"read","path":"kv/data/db"}}
{"type":"response","request":{"operation":"read","path":"kv/data/db"},"response":{"data":{"metadata":{},"data":{"a":"hmac"}}}}
{"type":"request","request":{"operation":"update","path":"kv/data/db"}}
{"type":"request","request":{"operation":"read","path":"kv/data/db2"}}
{"type":"request","requ`
	if err := os.WriteFile(v.auditFile(), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, operation string
		want            int
	}{
		{"kv/data/db", "read", 1},
		{"kv/data/db", "", 2},
		{"kv/data/db2", "read", 1},
		{"kv/data", "", 0},
	} {
		if got, err := v.Requests(c.path, c.operation); err != nil || got != c.want {
			t.Errorf("Requests(%q, %q) = %d, %v, want %d", c.path, c.operation, got, err, c.want)
		}
	}
	for path, want := range map[string][]string{"kv/data/db": {"data", "metadata"}, "kv/data/db2": nil} {
		if got, err := v.Answered(path); err != nil || !slices.Equal(got, want) {
			t.Errorf("Answered(%q) = %v, %v, want %v", path, got, err, want)
		}
	}
}

func TestRequestsNeedsAnAuditFile(t *testing.T) {
	if _, err := (&Vault{dir: t.TempDir()}).Requests("kv/data/db", "read"); err == nil {
		t.Fatal("no error without an audit file")
	}
}

func TestRequestsRefusesWhatIsNoAuditFile(t *testing.T) {
	v := &Vault{dir: t.TempDir()}
	if err := os.WriteFile(v.auditFile(), []byte("not json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Requests("kv/data/db", "read"); err == nil {
		t.Fatal("no error for a broken audit file")
	}
}
