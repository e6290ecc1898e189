//go:build integration

package netns

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestConnectedReachEachOther, until the network is closed, and outsiders never.
func TestConnectedReachEachOther(t *testing.T) {
	namespaces := make([]*Namespace, 3)
	for i := range namespaces {
		n, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		namespaces[i] = n
	}
	network, addresses, err := Connect(netip.MustParsePrefix("192.0.2.0/24"), namespaces...)
	if err != nil {
		t.Fatal(err)
	}
	if got := addresses[2].String(); got != "192.0.2.3" {
		t.Errorf("the third address is %s", got)
	}
	at := net.JoinHostPort(addresses[0].String(), "0")
	var listener net.Listener
	err = namespaces[0].Do(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := func() error {
		connection, err := net.DialTimeout("tcp", listener.Addr().String(), 2*time.Second)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	for i, n := range namespaces {
		if err := n.Do(dial); err != nil {
			t.Errorf("from namespace %d: %v", i, err)
		}
	}
	if err := dial(); err == nil {
		t.Error("a listener of the network is reached from outside")
	}
	if err := network.Close(); err != nil {
		t.Fatal(err)
	}
	if err := namespaces[1].Do(dial); err == nil {
		t.Error("a network that was closed connects")
	}
}

func TestConnectRefusesMoreThanThePrefixHolds(t *testing.T) {
	a, errA := New()
	b, errB := New()
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if _, _, err := Connect(netip.MustParsePrefix("192.0.2.0/31"), a, b); err == nil {
		t.Error("two namespaces share the one address that follows")
	}
}
