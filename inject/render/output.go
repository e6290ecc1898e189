package render

import (
	"fmt"

	"github.com/quaymaster/quaymaster/broker/secret"
)

var errTooLarge = fmt.Errorf("the content has more than %d bytes, which is the limit", secret.MaxValueSize)

// output collects content: no more than may be delivered, and leaving no copy
// behind when it grows. After the first failure it takes nothing more.
type output struct {
	bytes []byte
	err   error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	need := len(o.bytes) + len(p)
	if o.err == nil && need > secret.MaxValueSize {
		o.err = errTooLarge
	}
	if o.err != nil {
		return 0, o.err
	}
	if need > cap(o.bytes) {
		larger := append(make([]byte, 0, max(need, 2*cap(o.bytes), 512)), o.bytes...)
		clear(o.bytes)
		o.bytes = larger
	}
	o.bytes = append(o.bytes, p...)
	return len(p), nil
}

// add is Write for those who look at the error at the end.
func (o *output) add(p ...byte) { _, _ = o.Write(p) }

// text is add for what stands around values.
func (o *output) text(s string) { o.add([]byte(s)...) }

// done returns what was collected; after a failure it wipes it instead.
func (o *output) done() ([]byte, error) {
	if o.err != nil {
		clear(o.bytes)
		return nil, o.err
	}
	return o.bytes, nil
}
