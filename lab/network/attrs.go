package network

// What a device has for people and tools alone: no packet takes another way because of it.

// Attrs are a device's attributes beside those that its engine knows. The zero Attrs are those of a new device.
type Attrs struct {
	Opened        bool              // was up once: it has a queue then
	Alias         string            // 'ip link set … alias'
	Group         uint32            // 'group'
	TxQueue       *int              // 'txqueuelen'; nil: 1000
	NoMulticast   bool              // 'multicast off'
	AllMulticast  bool              // 'allmulticast on'
	AddrGenMode   string            // 'addrgenmode', of IPv6; "": eui64
	Options       map[string]uint64 // those of its kind that have been set, by their words, such as a bridge's forward_delay
	PortOptions   map[string]uint64 // those that it has as a port
	PortNumber    int               // as a port, from 1; 0: none yet
	TxQueues      uint32            // 'numtxqueues'; 0: one
	RxQueues      uint32            // 'numrxqueues'; 0: one
	GivenMAC      bool              // its MAC address was given, not derived or random
	TunnelByIoctl bool              // made by 'ip tunnel'
}

// Attrs returns a device's attributes, which may be changed. They go where it goes.
func (n *Node) Attrs(dev string) *Attrs {
	a := n.attrs[dev]
	if a == nil {
		a = &Attrs{}
		n.attrs[dev] = a
	}
	return a
}

// moveAttrs lets attributes go with a device to another node, where it has not been up yet and is no port.
func (n *Node) moveAttrs(from string, to *Node, name string) {
	a := n.Attrs(from)
	delete(n.attrs, from)
	a.Opened, a.PortOptions, a.PortNumber = false, nil, 0
	to.attrs[name] = a
}

// ID returns the number by which the node knows another, as 'ip netns list-id' shows it, and false if it has none: a node gets one
// when one of the node's devices goes there, or is joined to one there.
func (n *Node) ID(other *Node) (int, bool) {
	id, ok := n.ids[other]
	return id, ok
}

// SetID gives another node a number, and reports whether it was free.
func (n *Node) SetID(other *Node, id int) bool {
	for node, taken := range n.ids {
		if taken == id && node != other {
			return false
		}
	}
	if _, ok := n.ids[other]; ok {
		return false
	}
	n.ids[other] = id
	return true
}

// meet gives another node the lowest free number, unless it has one.
func (n *Node) meet(other *Node) {
	for id := 0; other != n; id++ {
		if _, ok := n.ids[other]; ok || n.SetID(other, id) {
			return
		}
	}
}

// PortNumber returns a bridge port's number: the lowest that was free when it joined.
func (n *Node) PortNumber(dev, bridge string) int {
	if a := n.Attrs(dev); a.PortNumber != 0 {
		return a.PortNumber
	}
	taken := map[int]bool{}
	for _, l := range n.E.Links() {
		if l.Master == bridge {
			taken[n.Attrs(l.Name).PortNumber] = true
		}
	}
	free := 1
	for taken[free] {
		free++
	}
	n.Attrs(dev).PortNumber = free
	return free
}

// joined takes note of a device's new bridge, "" for none.
func (n *Node) joined(dev, bridge string) {
	a := n.Attrs(dev)
	a.PortNumber, a.PortOptions = 0, nil
	if bridge != "" {
		n.PortNumber(dev, bridge)
	}
}
