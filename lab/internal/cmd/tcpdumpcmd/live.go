package tcpdumpcmd

// Live captures.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/pcapfilter"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// maxQueue is how many packets wait to be shown; there are more only if a capture is never shown any time.
const maxQueue = 1 << 16

const loopback = "lo"

// device is what the taps of one device, or of all, have seen.
type device struct {
	c       *capture
	tap     *network.Tap
	link    linkType
	queue   []packet
	arrived proc.Event
	filter  atomic.Pointer[pcapfilter.Filter] // nil: the capture has not begun
}

// openDevice begins to look at c's device.
func openDevice(c *capture) (*device, error) {
	if c.o.device == "" {
		c.o.device = firstDevice(c.p.Node)
	}
	name := c.o.device
	d := &device{c: c, link: linkCooked}
	if name != network.Any {
		info, ok := c.p.Node.E.Link(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("tcpdump: %s: No such device exists\n(No such device exists)", name)
		case !info.Up:
			return nil, fmt.Errorf("tcpdump: %s: That device is not up", name)
		case info.Kind == engine.KindIPIP || info.Raw && info.Kind != engine.KindLoopback:
			d.link = linkRaw
		default:
			d.link = linkEthernet
		}
	}
	tap, err := c.p.Node.TapMatching(name, d.wants, d.see)
	d.tap = tap
	return d, err
}

// firstDevice is the device that a capture without -i is of: the first that is up and not lo.
func firstDevice(n *network.Node) string {
	for _, l := range n.E.Links() {
		if l.Up && l.Kind != engine.KindLoopback {
			return l.Name
		}
	}
	return network.Any
}

// begin lets the filter be asked from now on.
func (d *device) begin(f *pcapfilter.Filter) { d.filter.Store(f) }

// wants reports whether the filter takes a frame; at any time, by any goroutine.
func (d *device) wants(f network.Frame) bool {
	filter := d.filter.Load()
	if filter == nil {
		return false
	}
	k := d.packet(f)
	return filter.Match(pcapfilter.Packet{Bytes: k.bytes, WireLen: k.wireLen, Out: k.out})
}

// packet returns a frame as the capture has it.
func (d *device) packet(f network.Frame) packet {
	k := packet{at: d.c.p.Date(f.At), bytes: f.Bytes, wireLen: len(f.Bytes), out: f.Out, device: f.Dev}
	if d.link == linkCooked {
		k.bytes = cook(f)
		k.wireLen = len(k.bytes)
	}
	return k
}

// see is the tap: it keeps what the filter takes. Until the capture has begun, it has none.
func (d *device) see(f network.Frame) {
	if d.c.filter == nil || len(d.queue) >= maxQueue {
		return
	}
	k := d.packet(f)
	if !d.c.matches(k) {
		return
	}
	if f.Dev == loopback { // taps show what it receives alone, but the filter has seen it sent too
		d.c.matched++
	}
	k.bytes = bytes.Clone(k.bytes)
	d.queue = append(d.queue, k)
	d.arrived.Notify()
}

func (d *device) linkType() linkType { return d.link }

func (d *device) config() pcapfilter.Config {
	c := pcapfilter.Config{Link: d.link.forFilter()}
	for _, a := range d.c.p.Node.E.Addrs(d.c.o.device) {
		if c.Net == (netip.Prefix{}) {
			c.Net = a.Prefix
		}
	}
	return c
}

func (d *device) next() (packet, error) {
	for len(d.queue) == 0 {
		if err := d.c.p.Wait(proc.Forever, &d.arrived); err != nil {
			return packet{}, err
		}
	}
	k := d.queue[0]
	d.queue = d.queue[1:]
	return k, nil
}

func (d *device) close() error { return d.tap.Close() }

// The header of packets of all devices, LINKTYPE_LINUX_SLL2: protocol (2), reserved (2), interface index (4), ARPHRD (2), packet
// type (1), address length (1), address (8).
const (
	cookedLen                                                        = 20
	cookedIndex, cookedHardware, cookedType, cookedAddrLen, cookedAt = 4, 8, 10, 11, 12
)

// Values of the packet type (linux/if_packet.h) and of the hardware type (linux/if_arp.h).
const (
	typeHost, typeBroadcast, typeMulticast, typeOtherHost, typeOutgoing = 0, 1, 2, 3, 4
	hardwareEthernet, hardwareIPIP, hardwareLoopback                    = 1, 768, 772
)

// cook replaces a frame's Ethernet header by that of packets of all devices.
func cook(f network.Frame) []byte {
	be := binary.BigEndian
	b := make([]byte, cookedLen, cookedLen+len(f.Bytes))
	be.PutUint32(b[cookedIndex:], f.Index)
	info, _ := f.Node.E.Link(f.Dev)
	if f.Raw {
		be.PutUint16(b, ethernet.TypeIPv4)
		be.PutUint16(b[cookedHardware:], hardwareIPIP)
		if f.Out {
			b[cookedType] = typeOutgoing
		}
		return append(b, f.Bytes...)
	}
	h := f.Bytes
	be.PutUint16(b[cookedHardware:], hardwareEthernet)
	if info.Kind == engine.KindLoopback {
		be.PutUint16(b[cookedHardware:], hardwareLoopback)
	}
	if len(h) < ethernet.HeaderLen {
		return append(b, h...)
	}
	copy(b, h[2*len(ethernet.MAC{}):ethernet.HeaderLen])
	b[cookedAddrLen] = byte(len(ethernet.MAC{}))
	copy(b[cookedAt:], h[len(ethernet.MAC{}):2*len(ethernet.MAC{})])
	b[cookedType] = packetType(f.Out, ethernet.MAC(h), info)
	return append(b, h[ethernet.HeaderLen:]...)
}

// packetType says whom a frame is for.
func packetType(out bool, dst ethernet.MAC, info engine.LinkInfo) byte {
	switch {
	case out:
		return typeOutgoing
	case dst == ethernet.Broadcast:
		return typeBroadcast
	case dst.IsMulticast():
		return typeMulticast
	case info.Kind != engine.KindLoopback && dst != info.MAC:
		return typeOtherHost
	}
	return typeHost
}

// packet is what a source gives.
type packet struct {
	at      time.Time
	bytes   []byte // from the link header
	wireLen int
	out     bool
	device  string // "": as the index in a cooked header says
}

// linkType is what packets begin with: a LINKTYPE_ value.
type linkType uint16

const (
	linkEthernet linkType = 1
	linkRaw      linkType = 101
	linkIPv4     linkType = 228
	linkCooked   linkType = 276
)

// String returns tcpdump's name, and its description.
func (l linkType) String() string {
	switch l {
	case linkEthernet:
		return "EN10MB (Ethernet)"
	case linkRaw:
		return "RAW (Raw IP)"
	case linkIPv4:
		return "IPV4 (Raw IPv4)"
	case linkCooked:
		return "LINUX_SLL2 (Linux cooked v2)"
	}
	return fmt.Sprintf("%d", uint16(l))
}

func (l linkType) forFilter() pcapfilter.Link {
	switch l {
	case linkRaw, linkIPv4:
		return pcapfilter.RawIP
	case linkCooked:
		return pcapfilter.Cooked
	}
	return pcapfilter.Ethernet
}

// headerLen is how much of a packet -x leaves out.
func (l linkType) headerLen(b []byte) int {
	switch l {
	case linkEthernet:
		h, _, err := ethernet.Parse(b)
		if err != nil {
			return len(b)
		}
		return h.Len()
	case linkCooked:
		return cookedLen
	}
	return 0
}
