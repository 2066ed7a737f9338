package ipcmd

// Kinds without words of their own: veth, but for the peer, and dummy.

import (
	"errors"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// addVeth reads '[peer …]', where the peer is described as devices are.
func addVeth(i *ip, l *linkWords) error {
	peer := &linkWords{create: true, node: l.node}
	if i.args.More() {
		if err := i.vethPeer(peer); err != nil {
			return err
		}
	}
	freeName(peer, "veth", sameNode(peer, l, l.name)...)
	freeName(l, "veth", sameNode(peer, l, peer.name)...)
	if peer.node.E.Index(peer.name) != 0 || l.node.E.Index(l.name) != 0 || peer.node == l.node && peer.name == l.name {
		return answers("File exists")
	}
	a, err := l.vethEnd()
	if err != nil {
		return err
	}
	b, err := peer.vethEnd()
	if err != nil {
		return err
	}
	if b.Up { // it is made before its peer is
		return answers("Transport endpoint is not connected")
	}
	if err := l.node.AddVeth(a, peer.node, b); err != nil {
		return err
	}
	return errors.Join(i.dress(peer), i.dress(l))
}

// sameNode returns a name that is taken if two devices are in one node.
func sameNode(a, b *linkWords, name string) []string {
	if a.node != b.node || name == "" {
		return nil
	}
	return []string{name}
}

func (i *ip) vethPeer(peer *linkWords) error {
	if i.args.Next() != "peer" {
		return vethUsage()
	}
	if err := i.readLink(peer); err != nil {
		return err
	}
	if peer.typed {
		return duplicate("type", i.args.Peek())
	}
	return nil
}

func vethUsage() error { return exitsNot(usageVeth) }

// vethEnd is base, with the refusals of veth_validate.
func (l *linkWords) vethEnd() (engine.Link, error) {
	if l.mtu != nil && (*l.mtu < minMTU || *l.mtu > maxMTU) {
		return engine.Link{}, answers("Invalid argument")
	}
	return l.base(minMTU)
}

// minMTU is ETH_MIN_MTU.
const minMTU = 68

func setVeth(i *ip, l *linkWords) error {
	if i.args.More() {
		return vethUsage()
	}
	_, err := i.kindly("veth", l)
	return err
}

func addDummy(i *ip, l *linkWords) error {
	freeName(l, "dummy")
	e, err := l.base(0)
	if err != nil {
		return err
	}
	if err := l.node.AddDummy(e); err != nil {
		return err
	}
	return i.dress(l)
}

// peerOf returns the other end of a veth pair, nil if the device is none.
func (i *ip) peerOf(name string) *network.Device {
	if d := i.node.Device(name); d != nil {
		return d.Peer
	}
	return nil
}
