package ipcmd

// ip link add … type KIND: one function for each kind.

import (
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// maker makes a device of a kind; what follows the kind is still to be read.
type maker func(i *ip, l *newLink) error

// kinds of devices. They cannot be shortened: each is its own only prefix in use.
func kinds() []words.Entry[maker] {
	return []words.Entry[maker]{
		{Name: "veth", Value: addVeth},
		{Name: "bridge", Value: addBridge},
		{Name: "dummy", Value: addDummy},
	}
}

// addVeth reads '[peer [name] NAME [address MAC] [mtu N] [netns NS]]'.
func addVeth(i *ip, l *newLink) error {
	peer := newLink{node: l.node}
	if i.args.More() && !i.args.Is("peer") {
		return words.Errorf(255, `veth: unknown option "%s"?`, i.args.Peek())
	}
	for i.args.More() {
		word := i.args.Next()
		if word == "netns" {
			value, err := i.args.Value()
			if err != nil {
				return err
			}
			if peer.node = i.p.Sys.Net.Node(value); peer.node == nil {
				return words.Errorf(255, `Error: argument "%s" is wrong: Invalid "netns" value`, value)
			}
			continue
		}
		if err := i.linkWord(&peer, word); err != nil {
			return err
		}
	}
	l.Name, peer.Name = i.freeName(l, "veth", peer.Name), i.freeName(&peer, "veth", l.Name)
	return l.node.AddVeth(l.Link, peer.node, peer.Link)
}

// freeName returns a device's name, or the first of BASE0, BASE1 … that its node does not have.
func (i *ip) freeName(l *newLink, base, taken string) string {
	if l.Name != "" {
		return l.Name
	}
	for n := 0; ; n++ {
		name := base + itoa(n)
		if l.node.E.Index(name) == 0 && name != taken {
			return name
		}
	}
}

func addBridge(i *ip, l *newLink) error {
	if i.args.More() {
		return words.Errorf(255, `bridge: unknown option "%s"?`, i.args.Peek())
	}
	_, err := l.node.E.AddBridge(engine.Bridge{Link: l.Link})
	if err != nil {
		return err
	}
	return l.node.Retap()
}

func addDummy(i *ip, l *newLink) error {
	if i.args.More() {
		return words.Errorf(255, `dummy: unknown option "%s"?`, i.args.Peek())
	}
	return l.node.AddDummy(l.Link)
}
