package runtime

import (
	"errors"
	"fmt"
	"net"

	"github.com/quaymaster/quaymaster/inject/socket"
)

// The decisions that opening the socket can end with.
var (
	ErrInUse  = socket.ErrInUse
	ErrUnsafe = socket.ErrUnsafe
)

// Listen opens the socket of a runtime gate, as package socket does.
func Listen(path string) (*net.UnixListener, error) {
	listener, err := socket.Listen(path)
	switch {
	case errors.Is(err, ErrInUse):
		err = fmt.Errorf("%w: stop it, or give this one a directory of its own (paths.run)", err)
	case errors.Is(err, ErrUnsafe):
		err = fmt.Errorf("%w, or another directory be chosen (paths.run)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("runtime gate: socket %s: %w", path, err)
	}
	return listener, nil
}
