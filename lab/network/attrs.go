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
	TxQueues      uint32            // 'numtxqueues'; 0: one
	RxQueues      uint32            // 'numrxqueues'; 0: one
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

// moveAttrs lets attributes go with a device to another node, where it has not been up yet.
func (n *Node) moveAttrs(from string, to *Node, name string) {
	a := n.Attrs(from)
	delete(n.attrs, from)
	a.Opened = false
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
