package netns

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The main thread would stay in the namespace for ever, and
// with it all that looks at /proc/self.
func TestOwnThreadIsNeverTheMainThread(t *testing.T) {
	for range 1000 {
		err := onOwnThread(func() error {
			if unix.Gettid() == os.Getpid() {
				return errors.New("on the main thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
