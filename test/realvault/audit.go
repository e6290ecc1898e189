package realvault

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

func (v *Vault) auditFile() string { return v.file("audit.jsonl") }

// auditEntry is what Requests reads of one line of Vault's audit file.
type auditEntry struct {
	Type    string `json:"type"` // "request" or "response"
	Request struct {
		Operation string `json:"operation"`
		Path      string `json:"path"`
	} `json:"request"`
}

// Requests counts the requests for path since the server's first start,
// whether they were allowed or not. path is as Vault's audit log has it, such
// as "kv/data/shop/db" or "auth/aws/login"; operation is "create", "read",
// "update", "list" or "delete", or empty for all of them. Vault records a
// request before it answers it, so whatever was answered is counted.
func (v *Vault) Requests(path, operation string) (int, error) {
	f, err := os.Open(v.auditFile())
	if err != nil {
		return 0, fmt.Errorf("count requests for %s: %w", path, err)
	}
	defer f.Close()
	n, lines := 0, json.NewDecoder(bufio.NewReader(f))
	for {
		var e auditEntry
		// The last entry may be half written: it belongs to a request that
		// was not answered yet.
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("count requests for %s: %w", path, err)
		}
		if e.Type == "request" && e.Request.Path == path && (operation == "" || e.Request.Operation == operation) {
			n++
		}
	}
}
