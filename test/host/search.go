package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// largest is more than any file has that a test's engine keeps. /proc/kcore says
// that it has terabytes.
const largest = 1 << 30

// Search returns the regular files below dir that contain text, and how many
// files it looked into. Nothing to look into is an error: a search that finds
// nothing must have searched. Files that go away meanwhile are passed over.
func Search(dir, text string) (places []string, searched int, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "netns":
			return fs.SkipDir // network namespaces look like files and cannot be read
		case !entry.Type().IsRegular():
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Size() > largest {
			return fmt.Errorf("%s has %d bytes: no test made that, so the search has come to where it should not be", path, info.Size())
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		searched++
		if bytes.Contains(content, []byte(text)) {
			places = append(places, path)
		}
		return err
	})
	if err == nil && searched == 0 {
		err = fmt.Errorf("there is no file below %s: nothing was searched", dir)
	}
	return places, searched, err
}
