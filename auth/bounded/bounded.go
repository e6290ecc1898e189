// Package bounded reads answers of servers that may send more than they should.
//
// What a client holds of an answer is memory of the agent, and an answer without
// an end would fill it. One that is too large fails: io.LimitReader would end as
// if all had been read, and what is cut off in the middle looks like an answer
// that nobody understands.
package bounded

import (
	"fmt"
	"io"
)

// TooLarge is the error of reading an answer that has more bytes than it may.
type TooLarge struct{ Most int }

// Error implements error.
func (t *TooLarge) Error() string {
	if t.Most >= 1<<20 {
		return fmt.Sprintf("the answer is larger than %d MiB", t.Most>>20)
	}
	return fmt.Sprintf("the answer is larger than %d KiB", t.Most>>10)
}

// Body returns a body that fails with *TooLarge once more than most bytes of it
// were read.
func Body(body io.ReadCloser, most int) io.ReadCloser {
	return &bounded{ReadCloser: body, most: most, left: most}
}

type bounded struct {
	io.ReadCloser
	most, left int
}

// Read implements io.Reader.
func (b *bounded) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if b.left -= n; b.left < 0 {
		return 0, &TooLarge{b.most}
	}
	return n, err
}
