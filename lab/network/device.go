package network

// Devices that an engine alone cannot be: both ends of a veth pair are ports of engines, with a wire between them, even if they
// are in one node. (The engine has pairs of its own, but an end of those cannot move to another namespace while the other stays
// as it is, with its addresses and routes, as veth pairs do.)

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/simnet"
)

// Faults is what happens to the frames that a device sends; see simnet.Faults.
type Faults = simnet.Faults

// Device is what the network knows about a device beside what its engine knows: there is one for each veth end and dummy, and for
// those that have a driver.
type Device struct {
	Name string
	Node *Node
	Kind string  // "veth", "dummy", or that of a driver, as 'ip -d link' has it
	Peer *Device // of a veth end: the other; nil once that is gone

	// Driver is what is outside, nil if that is the network.
	Driver driver.Driver

	// Traced is how many traced packets the device has sent; 'lab -draw' shows their way.
	Traced int

	port    *simnet.Port
	queue   QueueStats
	refused frames // by the other end
	lost    frames // by the faults
	index   uint32 // of a port with a driver
}

// frames is how many there were, and their bytes.
type frames struct{ packets, bytes uint64 }

func (f *frames) count(frame []byte) {
	f.packets++
	f.bytes += uint64(len(frame))
}

// QueueStats are what the faults of a device have counted since they were set.
type QueueStats struct {
	Packets, Bytes, Dropped uint64
	Waiting                 int // frames that are on their way
}

// Device returns what the network knows about a device, nil if it is an engine's own (bridge, vxlan, ipip, lo) or does not exist.
func (n *Node) Device(name string) *Device { return n.devices[name] }

// AddVeth adds a veth pair, one end here and one in the node peerNode, which may be the same: 'ip link add A type veth peer name
// B netns NODE'.
func (n *Node) AddVeth(a engine.Link, peerNode *Node, b engine.Link) error {
	if n.E.Index(a.Name) != 0 {
		return fmt.Errorf("network: %s: veth %s: %w", n.Name, a.Name, engine.ErrExists)
	}
	bIndex, err := peerNode.E.AddPort(engine.Port{Link: b}) // first, as the kernel does: indexes tell
	if err != nil {
		return err
	}
	aIndex, err := n.E.AddPort(engine.Port{Link: a})
	if err != nil {
		return errors.Join(err, peerNode.E.DeleteLink(b.Name))
	}
	da := &Device{Name: a.Name, Node: n, Kind: "veth"}
	db := &Device{Name: b.Name, Node: peerNode, Kind: "veth", Peer: da}
	da.Peer = db
	w := n.net.sim.NewWire()
	da.port, db.port = w.Plug(0, n.sim, aIndex), w.Plug(1, peerNode.sim, bIndex)
	da.port.Takes, db.port.Takes = da.takes, db.takes
	n.devices[a.Name], peerNode.devices[b.Name] = da, db
	n.meet(peerNode)
	peerNode.meet(n)
	return errors.Join(da.carrier(), n.retap(), peerNode.retap())
}

// takes reports whether a veth end takes a frame from the other one: it may be as long as this end's MTU allows, with a VLAN tag
// (is_skb_forwardable in Linux). If not, the sender is told at once.
func (d *Device) takes(frame []byte) bool {
	const headers = ethernet.HeaderLen + 4 // a tag
	if len(frame) <= minMTU+headers {
		return true
	}
	l, ok := d.Node.E.Link(d.Name)
	if !ok || len(frame) <= l.MTU+headers {
		return true
	}
	if from := d.Peer; from != nil {
		from.refused.count(frame)
		from.Node.refused = from
	}
	return false
}

// minMTU is the least that a device can have (RFC 791).
const minMTU = 68

// AddDummy adds a device that sends into the void: 'ip link add A type dummy'.
func (n *Node) AddDummy(l engine.Link) error {
	if _, err := n.E.AddPort(engine.Port{Link: l}); err != nil {
		return err
	}
	n.devices[l.Name] = &Device{Name: l.Name, Node: n, Kind: "dummy"}
	return n.retap()
}

// DeleteLink removes a device, with a veth end the other one, and VXLAN devices that it was to carry: 'ip link del'.
func (n *Node) DeleteLink(name string) error {
	if err := n.deleteLink(name); err != nil {
		return err
	}
	return n.deleteAbove(name)
}

// deleteAbove removes the VXLAN devices that a device carried which is gone (vxlan_handle_lowerdev_unregister in Linux).
func (n *Node) deleteAbove(name string) error {
	var errs []error
	for _, l := range n.E.Links() {
		if l.VXLAN != nil && l.VXLAN.Device == name {
			errs = append(errs, n.DeleteLink(l.VXLAN.Name))
		}
	}
	return errors.Join(errs...)
}

func (n *Node) deleteLink(name string) error {
	d, index := n.devices[name], n.E.Index(name)
	if d != nil {
		if err := n.unplugDevice(d); err != nil {
			return err
		}
	}
	if err := n.E.DeleteLink(name); err != nil {
		return err
	}
	n.forgetFDB(index)
	delete(n.attrs, name)
	if d == nil {
		n.dropTaps(name)
		return nil
	}
	n.forget(d)
	if d.Peer == nil {
		return nil
	}
	peer := d.Peer
	peer.Node.forget(peer)
	return errors.Join(peer.Node.E.DeleteLink(peer.Name), peer.Node.deleteAbove(peer.Name))
}

// forget takes a device out of the network's books; the engine's is the caller's.
func (n *Node) forget(d *Device) {
	delete(n.devices, d.Name)
	delete(n.attrs, d.Name)
	if d.port != nil {
		d.port.Unplug()
	}
	n.dropTaps(d.Name)
}

// SetLink changes a device: 'ip link set', as engine.SetLink. It keeps the names that the network knows, and the carrier of both
// ends of a veth pair; lo gets its address when it is set up, as on Linux.
func (n *Node) SetLink(name string, c engine.LinkChange) error {
	if err := n.E.SetLink(name, c); err != nil {
		return err
	}
	if c.Up != nil && *c.Up {
		n.Attrs(name).Opened = true
	}
	d := n.devices[name]
	if c.Name != nil && *c.Name != name {
		n.renamed(name, *c.Name)
		name = *c.Name
	}
	if name == "lo" && c.Up != nil && *c.Up && len(n.E.Addrs("lo")) == 0 {
		return n.E.AddAddr("lo", loopback)
	}
	if d != nil && c.Up != nil {
		return d.carrier()
	}
	return nil
}

// loopback is the address that lo has once it is up (net/ipv4/devinet.c, inetdev_event).
var loopback = engine.Addr{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8), Scope: hostScope}

func (n *Node) renamed(from, to string) {
	if d := n.devices[from]; d != nil {
		delete(n.devices, from)
		d.Name = to
		n.devices[to] = d
	}
	if a := n.attrs[from]; a != nil {
		delete(n.attrs, from)
		n.attrs[to] = a
	}
	if t := n.taps[from]; t != nil {
		delete(n.taps, from)
		t.name = to
		n.taps[to] = t
	}
}

// carrier tells both ends of a veth pair whether the wire is there: when both are up (drivers/net/veth.c, veth_open).
func (d *Device) carrier() error {
	if d.Kind != "veth" {
		return nil
	}
	on := d.Peer != nil && d.up() && d.Peer.up()
	err := d.Node.E.SetLink(d.Name, engine.LinkChange{Carrier: &on})
	if d.Peer != nil {
		err = errors.Join(err, d.Peer.Node.E.SetLink(d.Peer.Name, engine.LinkChange{Carrier: &on}))
	}
	return err
}

func (d *Device) up() bool {
	info, ok := d.Node.E.Link(d.Name)
	return ok && info.Up
}

// ErrImmovable says that a device cannot change its namespace.
var ErrImmovable = errors.New("device cannot change its namespace")

// MoveLink moves a veth end or a dummy to another node: 'ip link set NAME netns NODE'. Like Linux, it leaves addresses, routes,
// neighbours, bridge and the state up behind, and takes name, MAC address and MTU along, and the index if that is free there.
func (n *Node) MoveLink(name string, to *Node) error {
	return n.MoveLinkAs(name, to, engine.Link{Name: name})
}

// MoveLinkAs is MoveLink with another name, and with another index if as has one: 'ip link set NAME netns NODE name NEW'.
func (n *Node) MoveLinkAs(name string, to *Node, as engine.Link) error {
	info, ok := n.E.Link(name)
	d := n.devices[name]
	switch {
	case !ok:
		return fmt.Errorf("network: %s: %s: %w", n.Name, name, engine.ErrNotFound)
	case d == nil || d.Driver != nil:
		return fmt.Errorf("network: %s: %s: %w", n.Name, name, ErrImmovable)
	case to == n:
		return nil
	case to.E.Index(as.Name) != 0:
		return fmt.Errorf("network: %s: %s: %w", to.Name, as.Name, engine.ErrExists)
	}
	if as.Index == 0 && to.E.Name(info.Index) == "" {
		as.Index = info.Index
	}
	as.MAC, as.MTU = info.MAC, info.MTU
	index, err := to.E.AddPort(engine.Port{Link: as})
	if err != nil {
		return err
	}
	if err := n.E.DeleteLink(name); err != nil {
		return err
	}
	delete(n.devices, name)
	n.dropTaps(name)
	n.moveAttrs(name, to, as.Name)
	d.Node, d.Name, d.refused, d.lost = to, as.Name, frames{}, frames{} // as the counters of the new engine's
	to.devices[as.Name] = d
	n.meet(to)
	if d.Peer != nil {
		to.meet(d.Peer.Node)
		d.Peer.Node.meet(to)
	}
	if d.port != nil {
		d.port = d.port.Move(to.sim, index)
		err = d.SetFaults(nil) // a device that moves loses its queueing discipline
	}
	return errors.Join(err, d.carrier(), to.retap())
}

// Faults returns what happens to the frames that the device sends, nil if nothing.
func (d *Device) Faults() *Faults {
	if d.port == nil {
		return nil
	}
	return d.port.Faults
}

// SetFaults lets something happen to the frames that the device sends from now on; nil: nothing. 'tc qdisc … netem'.
func (d *Device) SetFaults(f *Faults) error {
	if d.port == nil {
		return fmt.Errorf("network: %s: %s has no wire", d.Node.Name, d.Name)
	}
	if d.port.Faults == nil {
		d.queue = QueueStats{}
	}
	d.port.Faults, d.port.Left, d.port.Sent = f, nil, nil
	if f != nil {
		d.port.Left, d.port.Sent = d.left, d.sent
	}
	return nil
}

// QueueStats returns what the faults have counted.
func (d *Device) QueueStats() QueueStats { return d.queue }

// Stats returns a device's counters: the engine's, but what never left a veth end is not among what it has sent.
func (n *Node) Stats(dev string) (engine.LinkStats, error) {
	s, err := n.E.DeviceStats(dev)
	if d := n.devices[dev]; d != nil {
		s.TxPackets -= d.refused.packets + d.lost.packets
		s.TxBytes -= d.refused.bytes + d.lost.bytes
		s.TxDropped += d.refused.packets
	}
	return s, err
}

// sent counts a frame that netem was given.
func (d *Device) sent(frame []byte, lost bool) {
	if lost {
		d.lost.count(frame)
		d.queue.Dropped++
	} else {
		d.queue.Waiting++
	}
}

// left shows taps a frame when netem has let it go: they stand behind the queue (net/core/dev.c, dev_hard_start_xmit).
func (d *Device) left(frame []byte) {
	d.queue.Packets++
	d.queue.Bytes += uint64(len(frame))
	d.queue.Waiting = max(d.queue.Waiting-1, 0)
	if t := d.Node.taps[d.Name]; t != nil {
		t.show(d.Node.E.Index(d.Name), true, frame, d.Node.Now())
	}
}

// MTU returns a device's MTU as Linux shows it: that of lo is one more than what an IPv4 packet can have.
func MTU(l engine.LinkInfo) int {
	if l.Kind == engine.KindLoopback && l.MTU == loopbackMTU-1 {
		return loopbackMTU
	}
	return l.MTU
}

const loopbackMTU = 64 * 1024 // drivers/net/loopback.c
