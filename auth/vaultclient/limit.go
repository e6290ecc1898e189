package vaultclient

import (
	"errors"
	"io"
)

// maxAnswer is the most of an answer's body that is read, in bytes. Vault
// refuses to store entries above 1 MiB; JSON can make six bytes of one.
const maxAnswer = 8 << 20

var errAnswerTooLarge = errors.New("the answer is larger than 8 MiB")

// limitedBody fails, where io.LimitReader would end as if all had been read.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errAnswerTooLarge
	}
	return n, err
}
