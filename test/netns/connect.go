package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
)

// Network connects namespaces with each other, and with nothing else.
type Network struct{ bridge *Namespace }

// Connect gives each namespace an interface eth0 with one of the addresses that
// follow prefix's own, in the order of namespaces. They reach each other over
// a bridge that is in a namespace of its own. A namespace can be in one
// Network only.
func Connect(prefix netip.Prefix, namespaces ...*Namespace) (_ *Network, addresses []netip.Addr, err error) {
	bridge, err := New()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, bridge.Close())
		}
	}()
	if err := bridge.ip("link", "add", "bridge0", "up", "type", "bridge"); err != nil {
		return nil, nil, err
	}
	address := prefix.Addr()
	for i, namespace := range namespaces {
		address = address.Next()
		if !prefix.Contains(address) {
			return nil, nil, fmt.Errorf("%v has no address for namespace %d", prefix, i)
		}
		if err := bridge.plug(fmt.Sprint("port", i), namespace, netip.PrefixFrom(address, prefix.Bits())); err != nil {
			return nil, nil, err
		}
		addresses = append(addresses, address)
	}
	return &Network{bridge}, addresses, nil
}

// plug connects a namespace with the bridge.
func (n *Namespace) plug(port string, namespace *Namespace, address netip.Prefix) error {
	// ip takes the path of a namespace where it takes a name.
	there := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.file.Fd())
	return errors.Join(
		n.ip("link", "add", port, "up", "master", "bridge0", "type", "veth", "peer", "name", "eth0", "netns", there),
		namespace.ip("address", "add", address.String(), "dev", "eth0"),
		namespace.ip("link", "set", "eth0", "up"))
}

// Close disconnects the namespaces.
func (n *Network) Close() error {
	// Deleted by name: the kernel would end the namespace, and with it the
	// ports, at a time of its own.
	return errors.Join(n.bridge.ip("link", "delete", "bridge0"), n.bridge.Close())
}

// ip calls ip(8) in the namespace.
func (n *Namespace) ip(args ...string) error {
	return n.Do(func() error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	})
}
