//go:build integration

package netns

import (
	"net"
	"testing"
)

// TestOnlyThoseInsideReachWhatListensInside: an address of the namespace is
// nobody else's, and what was listened on inside stays inside.
func TestOnlyThoseInsideReachWhatListensInside(t *testing.T) {
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.AddAddress("169.254.169.254/32"); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"169.254.169.254", "127.0.0.1"} {
		var listener net.Listener
		err := n.Do(func() (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		dial := func() error {
			connection, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				return err
			}
			return connection.Close()
		}
		if err := n.Do(dial); err != nil {
			t.Errorf("from inside: %v", err)
		}
		if host == "127.0.0.1" && dial() == nil { // the other may be there on this machine, too, and be silent
			t.Error("a listener inside is reached from outside")
		}
	}
}
