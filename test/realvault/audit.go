package realvault

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"
)

func (v *Vault) auditFile() string { return v.file("audit.jsonl") }

// AuditEntry is one request, or one answer, in Vault's audit log.
type AuditEntry struct {
	Time time.Time `json:"time"`
	Type string    `json:"type"` // "request" or "response"
	Auth struct {
		DisplayName string            `json:"display_name"`
		Metadata    map[string]string `json:"metadata"`
		Policies    []string          `json:"policies"`
	} `json:"auth"`
	Request struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
	} `json:"request"`
	Response struct {
		Data map[string]any `json:"data"` // names are plain, values are not
	} `json:"response"`
}

// Requests counts the requests for path; see Audit.
func (v *Vault) Requests(path, operation string) (int, error) {
	entries, err := v.Audit(path, operation)
	return len(entries), err
}

// Audit returns the requests for path since the server's first start, in their
// order, whether they were allowed or not. path is as Vault's audit log has it,
// such as "kv/data/shop/db" or "auth/aws/login"; operation is "create", "read",
// "update", "list" or "delete", or empty for all of them. Vault records a
// request before it answers it, so whatever was answered is there.
func (v *Vault) Audit(path, operation string) (entries []AuditEntry, err error) {
	err = v.eachEntry(path, func(e AuditEntry) {
		if e.Type == "request" && (operation == "" || e.Request.Operation == operation) {
			entries = append(entries, e)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the requests for %s: %w", path, err)
	}
	return entries, nil
}

// Answered are the names of all fields that requests for path were answered
// with since the server's first start, sorted.
func (v *Vault) Answered(path string) ([]string, error) {
	names := map[string]bool{}
	err := v.eachEntry(path, func(e AuditEntry) {
		for name := range e.Response.Data {
			names[name] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what %s was answered with: %w", path, err)
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// eachEntry calls do for all entries of the audit file that are about path.
func (v *Vault) eachEntry(path string, do func(AuditEntry)) error {
	f, err := os.Open(v.auditFile())
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := json.NewDecoder(bufio.NewReader(f)); ; {
		var e AuditEntry
		// The last entry may be half written: it belongs to a request that
		// was not answered yet.
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Request.Path == path {
			do(e)
		}
	}
}
