package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/test/netns"
)

// swarmPrefix is the network between the nodes: TEST-NET-1 (RFC 5737).
var swarmPrefix = netip.MustParsePrefix("192.0.2.0/24")

// swarmPort is where a node listens for the others, as by default.
const swarmPort = "2377"

// Swarm is a swarm of Engines, which reach each other and nothing else. The
// first node is its only manager. Tasks run on every node.
type Swarm struct {
	Nodes   []*Engine
	network *netns.Network
}

// StartSwarm starts n Engines and joins them. A swarm does not go together with
// LiveRestore: dockerd refuses that.
func StartSwarm(ctx context.Context, n int, o Options) (_ *Swarm, err error) {
	s := new(Swarm)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Remove(context.WithoutCancel(ctx)))
		}
	}()
	for range n {
		node, err := Start(ctx, o)
		if err != nil {
			return nil, err
		}
		s.Nodes = append(s.Nodes, node)
	}
	joined, err := JoinSwarm(ctx, s.Nodes...)
	if err != nil {
		return nil, err
	}
	return joined, nil
}

// JoinSwarm makes a swarm of Engines that run. Each can be in one swarm in its
// life.
func JoinSwarm(ctx context.Context, nodes ...*Engine) (_ *Swarm, err error) {
	namespaces := make([]*netns.Namespace, len(nodes))
	for i, node := range nodes {
		namespaces[i] = node.network
	}
	network, addresses, err := netns.Connect(swarmPrefix, namespaces...)
	if err != nil {
		return nil, err
	}
	s := &Swarm{Nodes: nodes, network: network}
	if err := s.join(ctx, addresses); err != nil {
		return nil, errors.Join(err, network.Close())
	}
	return s, nil
}

func (s *Swarm) join(ctx context.Context, addresses []netip.Addr) error {
	manager := s.Nodes[0].client
	listen := func(i int) string { return net.JoinHostPort(addresses[i].String(), swarmPort) }
	_, err := manager.SwarmInit(ctx, swarm.InitRequest{ListenAddr: listen(0), AdvertiseAddr: addresses[0].String()})
	if err != nil {
		return fmt.Errorf("make a swarm: %w", err)
	}
	state, err := manager.SwarmInspect(ctx)
	if err != nil {
		return fmt.Errorf("ask a swarm for its token: %w", err)
	}
	for i, node := range s.Nodes[1:] {
		err := node.client.SwarmJoin(ctx, swarm.JoinRequest{
			ListenAddr: listen(i + 1), AdvertiseAddr: addresses[i+1].String(),
			RemoteAddrs: []string{listen(0)}, JoinToken: state.JoinTokens.Worker,
		})
		if err != nil {
			return fmt.Errorf("join node %d to a swarm: %w", i+1, err)
		}
	}
	return nil
}

// Close takes the network between the nodes away. The Engines stay.
func (s *Swarm) Close() error { return s.network.Close() }

// Remove removes the nodes and the network between them.
func (s *Swarm) Remove(ctx context.Context) error {
	var errs []error
	for _, node := range s.Nodes {
		errs = append(errs, node.Remove(ctx))
	}
	if s.network != nil {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
