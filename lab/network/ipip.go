package network

// The kernel's module ipip.

import (
	"errors"

	"github.com/culvert-net/culvert/engine"
)

// Fallback is the device that every node has once the module ipip is loaded: a tunnel from and to anywhere, which takes what no other
// tunnel does (net/ipv4/ip_tunnel.c, ip_tunnel_init_net).
const Fallback = "tunl0"

// LoadIPIP loads the module ipip, as 'modprobe ipip' and the first tunnel do: all nodes, those to come included, have [Fallback].
func (n *Network) LoadIPIP() error {
	if n.ipip {
		return nil
	}
	n.ipip = true
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.addFallback())
	}
	return errors.Join(errs...)
}

// addFallback adds the device, unless one has its name.
func (n *Node) addFallback() error {
	if n.E.Index(Fallback) != 0 {
		return nil
	}
	_, err := n.E.AddIPIP(engine.IPIP{Link: engine.Link{Name: Fallback}, NoPMTUDisc: true, AnyPeer: true})
	return errors.Join(err, n.retap())
}
