package engine

import (
	"context"
	"net"
)

// Dial connects to an address as a program beside the Engine would: published
// ports are to be found in the Engine's network only.
func (e *Engine) Dial(ctx context.Context, network, address string) (connection net.Conn, err error) {
	err = e.network.Do(func() (err error) {
		connection, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return connection, err
}
