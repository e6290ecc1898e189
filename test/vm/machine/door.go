package machine

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Door stands before a server on loopback. While it is shut, what knocks is let
// in and never answered, which is how a server looks whose host or network is
// gone: nobody refuses, and nothing comes.
type Door struct {
	to       string
	listener net.Listener
	serving  sync.WaitGroup

	mu    sync.Mutex
	shut  bool
	inner map[net.Conn]bool // all open connections
}

// NewDoor opens a door before the server at host:port.
func NewDoor(to string) (*Door, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a door before %s: %w", to, err)
	}
	d := &Door{to: to, listener: listener, inner: map[net.Conn]bool{}}
	d.serving.Go(d.serve)
	return d, nil
}

// Address is where to knock.
func (d *Door) Address() string { return d.listener.Addr().String() }

// Shut lets nobody through any more, and those who are inside are cut off.
func (d *Door) Shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	d.cut()
}

// Open lets everybody through who knocks from now on.
func (d *Door) Open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = false
	d.cut()
}

func (d *Door) cut() {
	for conn := range d.inner {
		conn.Close()
	}
}

// Close ends the door and all connections, and waits for their end.
func (d *Door) Close() error {
	err := d.listener.Close()
	d.Shut()
	d.serving.Wait()
	return err
}

func (d *Door) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.serving.Go(func() { d.pass(conn) })
	}
}

// enter counts a connection as open, and says whether the door is shut.
func (d *Door) enter(conn net.Conn) (shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inner[conn] = true
	return d.shut
}

func (d *Door) leave(conn net.Conn) {
	conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.inner, conn)
}

func (d *Door) pass(from net.Conn) {
	defer d.leave(from)
	if d.enter(from) {
		io.Copy(io.Discard, from) // until the other side gives up, or the door is moved
		return
	}
	to, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", d.to)
	if err != nil {
		return
	}
	defer d.leave(to)
	d.enter(to)
	var copying sync.WaitGroup
	copying.Go(func() {
		io.Copy(to, from) // an end of either side ends the other
		to.Close()
	})
	io.Copy(from, to)
	from.Close()
	copying.Wait()
}
