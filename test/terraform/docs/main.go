// Command docs writes the tables of inputs and outputs in the modules' READMEs,
// from their .tf files. Run in test/terraform:
//
//	go run ./docs            writes them
//	go run ./docs -check     fails where one is not what the files say
//
// A README says where its tables belong by two lines, <!-- tables --> and
// <!-- /tables -->; what stands between them is replaced. A module is a
// directory below terraform/ or examples/terraform/ with a README.md and .tf
// files; directories without a README are parts of the module above them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail where a README is out of date")
	flag.Parse()
	if err := run(filepath.Join("..", ".."), *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	var all []error
	for _, below := range []string{"terraform", filepath.Join("examples", "terraform")} {
		all = append(all, filepath.WalkDir(filepath.Join(root, below), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..":
				return fs.SkipDir
			case entry.Name() == "README.md":
				all = append(all, update(path, check))
			}
			return nil
		}))
	}
	return errors.Join(all...)
}

// errStale says what to do about a table that is out of date.
var errStale = errors.New("the tables are not what the .tf files say: run go run ./docs in test/terraform")

func update(readme string, check bool) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	tables, err := tablesOf(filepath.Dir(readme))
	if err != nil || tables == "" { // a page about several modules
		return err
	}
	updated, err := replace(string(text), tables)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", readme, err)
	case updated == string(text):
		return nil
	case check:
		return fmt.Errorf("%s: %w", readme, errStale)
	}
	return os.WriteFile(readme, []byte(updated), 0o644)
}

const begin, end = "<!-- tables -->\n", "<!-- /tables -->"

// replace puts the tables between the marks.
func replace(text, tables string) (string, error) {
	before, rest, begins := strings.Cut(text, begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", fmt.Errorf("there are no lines %q and %q for the tables to stand between", strings.TrimSpace(begin), end)
	}
	return before + begin + "\n" + tables + "\n" + end + after, nil
}
