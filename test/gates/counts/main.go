// Command counts puts the counts of make test-engines into a document, between
// the marks that it has for them:
//
//	go run ./test/gates/counts out/engines.json docs/compatibility.md
package main

import (
	"fmt"
	"os"

	"github.com/quaymaster/quaymaster/test/gates/table"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: counts <counts in JSON> <document>")
		os.Exit(2)
	}
	if err := put(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "counts:", err)
		os.Exit(1)
	}
}

func put(counts, document string) error {
	report, err := table.Read(counts)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	after, err := report.Put(string(before))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(after), 0o644)
}
