package bounded_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/bounded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBody(t *testing.T) {
	for most, want := range map[int]string{64 << 10: "larger than 64 KiB", 8 << 20: "larger than 8 MiB"} {
		whole := strings.Repeat("x", most)
		content, err := io.ReadAll(bounded.Body(io.NopCloser(strings.NewReader(whole)), most))
		if err != nil || string(content) != whole {
			t.Errorf("%d bytes of %d: %v", len(content), most, err)
		}
		_, err = io.ReadAll(bounded.Body(io.NopCloser(strings.NewReader(whole+"x")), most))
		if _, is := errors.AsType[*bounded.TooLarge](err); !is || !strings.Contains(err.Error(), want) {
			t.Errorf("one more than %d: %v", most, err)
		}
	}
}
