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
)

func (v *Vault) auditFile() string { return v.file("audit.jsonl") }

// auditEntry is what is read of one line of Vault's audit file.
type auditEntry struct {
	Type    string `json:"type"` // "request" or "response"
	Request struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
	} `json:"request"`
	Response struct {
		Data map[string]any `json:"data"` // names are plain, values are not
	} `json:"response"`
}

// Requests counts the requests for path since the server's first start,
// whether they were allowed or not. path is as Vault's audit log has it, such
// as "kv/data/shop/db" or "auth/aws/login"; operation is "create", "read",
// "update", "list" or "delete", or empty for all of them. Vault records a
// request before it answers it, so whatever was answered is counted.
func (v *Vault) Requests(path, operation string) (int, error) {
	n := 0
	err := v.audited(func(e auditEntry) {
		if e.Type == "request" && e.Request.Path == path && (operation == "" || e.Request.Operation == operation) {
			n++
		}
	})
	if err != nil {
		return 0, fmt.Errorf("count requests for %s: %w", path, err)
	}
	return n, nil
}

// Answered are the names of all fields that the server has answered requests
// for path with since its first start, sorted.
func (v *Vault) Answered(path string) ([]string, error) {
	names := map[string]bool{}
	err := v.audited(func(e auditEntry) {
		if e.Type == "response" && e.Request.Path == path {
			for name := range e.Response.Data {
				names[name] = true
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list what %s was answered with: %w", path, err)
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// audited calls each for every entry of the audit file.
func (v *Vault) audited(each func(auditEntry)) error {
	f, err := os.Open(v.auditFile())
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := json.NewDecoder(bufio.NewReader(f)); ; {
		var e auditEntry
		// The last entry may be half written: it belongs to a request that
		// was not answered yet.
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(e)
	}
}
