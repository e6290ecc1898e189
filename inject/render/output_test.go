package render

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
)

func TestOutputLeavesNoCopyBehind(t *testing.T) {
	var out output
	out.text("plaintext")
	outgrown := out.bytes
	out.add(make([]byte, 4096)...)
	if !bytes.Equal(outgrown, make([]byte, 9)) || !bytes.HasPrefix(out.bytes, []byte("plaintext")) {
		t.Errorf("after it has grown, the old buffer holds %q", outgrown)
	}
	held := out.bytes
	out.add(make([]byte, secret.MaxValueSize)...)
	if _, err := out.done(); !errors.Is(err, errTooLarge) || !bytes.Equal(held, make([]byte, len(held))) {
		t.Errorf("after a failure (%v) the buffer holds %q", err, held[:9])
	}
}
