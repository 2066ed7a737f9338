package reference

// The node: its configuration, which is all public, and what it does with one frame or with the passing of time.

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// Kind is what a device is.
type Kind int

// The kinds.
const (
	Loopback Kind = iota
	Port
	Pair
	Bridge
	VXLAN
	IPIP
)

// Device is a device with everything that belongs to it.
type Device struct {
	Name    string
	Kind    Kind
	MAC     ethernet.MAC
	MTU     int
	Up      bool
	Carrier bool
	Raw     bool    // of a port: no Ethernet header
	Peer    *Device // of one end of a pair
	Master  *Device // the bridge that it is a port of

	// As a bridge's port.
	NoLearning, NoFlood, NoMulticast, NoBroadcast, Hairpin, Isolated, Locked bool

	// Of a bridge or a VXLAN device.
	Stations map[ethernet.MAC]*Station
	Ageing   time.Duration
	Limit    int // of learned stations; 0: none

	Tunnel Tunnel
	errors int // from inside the tunnel, that senders were not told of
	erred  time.Duration

	// sysctls of net.ipv4.conf.
	Forwarding, ProxyARP, AcceptLocal, RouteLocalnet bool
	RPFilter                                         int
}

// Station is an entry of a forwarding database.
type Station struct {
	Port    *Device      // of a bridge
	VTEPs   []netip.Addr // of a VXLAN device; several only for groups and for everybody else (the zero address)
	Static  bool         // does not age; of a bridge, moves with the station unless Sticky
	Local   bool         // the bridge's own
	Sticky  bool
	Heard   time.Duration
	Learned bool // counts against the limit
}

// Tunnel is what a VXLAN or IPIP device is configured with.
type Tunnel struct {
	VNI           uint32
	Local, Remote netip.Addr // zero: any
	Port          uint16     // UDP
	TTL           uint8      // 0: inherit
	TOS           uint8
	InheritTOS    bool
	DF            bool // set
	InheritDF     bool
	Learning      bool
	Checksum      bool // of the outer UDP header
	AnyPeer       bool
	Peers         []netip.Addr // who may send, if not AnyPeer
	RFC           bool         // the profile: RFC 7348, 6040 and 2003 rather than Linux
}

// Address is an address of a device.
type Address struct {
	Device *Device
	Prefix netip.Prefix // not masked
}

// RouteType is what becomes of packets.
type RouteType string

// The types.
const (
	Unicast     RouteType = "unicast"
	Local       RouteType = "local"
	Broadcast   RouteType = "broadcast"
	Blackhole   RouteType = "blackhole"
	Unreachable RouteType = "unreachable"
	Prohibit    RouteType = "prohibit"
)

// Route is a route with one next hop.
type Route struct {
	Prefix  netip.Prefix
	Type    RouteType
	Metric  uint32
	Via     netip.Addr // zero: on the link
	Device  *Device
	Source  netip.Addr
	MTU     int
	address bool // made by an address
}

// OfAddress reports whether a route came with an address.
func (r *Route) OfAddress() bool { return r.address }

// Drop is a packet that was dropped, for one of these reasons.
type Drop []string

// Output is a frame that leaves by a port.
type Output struct {
	Port  string
	Bytes []byte
}

// Result is what became of a frame, and of those that waited.
type Result struct {
	Out       []Output
	Delivered [][]byte // packets for the node itself
	Drops     []Drop
	Held      int  // waiting now, in all
	Unknown   bool // the reference does not know, as of a fragment for the node itself
}

// Node is the forwarder. Change its fields at will between frames, and by [Node.Do] what may send or drop packets.
type Node struct {
	Devices   []*Device
	Addresses []Address
	Routes    []Route

	DefaultTTL uint8
	Deliver    bool // whether somebody takes packets for the node itself

	// The limits of all ICMP errors: RFC 1812 section 4.3.2.8, with Linux's numbers (icmp_msgs_per_sec, icmp_msgs_burst).
	ErrorsPerSecond, ErrorBurst int

	neighbours map[neighbourKey]*neighbour
	limits     limits

	now    time.Duration
	result Result
	encaps int // tunnels that the packet in hand is being put into
}

// New returns a node with lo.
func New() *Node {
	n := &Node{
		DefaultTTL: 64, ErrorsPerSecond: 1000, ErrorBurst: 50,
		neighbours: map[neighbourKey]*neighbour{}, limits: limits{buckets: map[netip.Addr]*bucket{}},
	}
	lo := n.Add(Device{Name: "lo", Kind: Loopback, MTU: 65536, Up: true})
	n.AddAddress(lo, netip.MustParsePrefix("127.0.0.1/8"))
	return n
}

// Add makes a device.
func (n *Node) Add(d Device) *Device {
	d.Carrier = true
	if d.Stations == nil {
		d.Stations = map[ethernet.MAC]*Station{}
	}
	if d.Ageing == 0 {
		d.Ageing = 300 * time.Second
	}
	n.Devices = append(n.Devices, &d)
	return &d
}

// Device returns a device by its name, nil if there is none.
func (n *Node) Device(name string) *Device {
	for _, d := range n.Devices {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Receive gives a frame, or a packet if the port is raw, to the node.
func (n *Node) Receive(port string, b []byte, now time.Duration) Result {
	n.begin(now)
	d := n.Device(port)
	switch {
	case d == nil || d.Kind != Port:
		n.drop("NoDevice")
	case !d.Up || !d.Carrier:
		n.drop("Down")
	default:
		n.receive(d, slices.Clone(b))
	}
	return n.end()
}

// Tick does what is due at now. Call it at every [Node.Next].
func (n *Node) Tick(now time.Duration) Result {
	n.begin(now)
	n.age()
	n.tickNeighbours()
	return n.end()
}

// Do runs a change of the configuration that may send or drop packets.
func (n *Node) Do(now time.Duration, change func()) Result {
	n.begin(now)
	change()
	return n.end()
}

func (n *Node) begin(now time.Duration) {
	n.now = now
	n.result = Result{}
}

func (n *Node) end() Result {
	for _, nb := range n.neighbours {
		n.result.Held += len(nb.waiting)
	}
	return n.result
}

// drop notes that a packet went, for any of the reasons.
func (n *Node) drop(reasons ...string) { n.result.Drops = append(n.result.Drops, reasons) }

// receive takes a frame that a device received.
func (n *Node) receive(d *Device, b []byte) {
	if d.Raw {
		n.inputIP(d, b, toHost)
		return
	}
	f, ok := parseFrame(b)
	switch {
	case !ok:
		n.drop("ShortFrame")
	case d.Master != nil:
		n.bridge(d.Master, d, f)
	default:
		n.inputFrame(d, f)
	}
}

// kindOfDestination is how a frame was addressed.
type kindOfDestination int

const (
	toHost kindOfDestination = iota
	toGroup
)

// inputFrame takes a frame for the node's own stack.
func (n *Node) inputFrame(d *Device, f frame) {
	to := toHost
	var faults []string
	switch {
	case isGroup(f.dst):
		to = toGroup
	case f.dst != d.MAC:
		faults = append(faults, "OtherHost")
	}
	switch {
	case f.kind == typeVLAN || f.kind == typeQinQ:
		faults = append(faults, "Tagged", "Protocol")
	case f.kind != typeIPv4 && f.kind != typeARP:
		faults = append(faults, "Protocol")
	}
	switch {
	case faults != nil:
		n.drop(faults...)
	case f.kind == typeARP:
		n.inputARP(d, f, to)
	default:
		n.inputIP(d, f.payload, to)
	}
}

// transmit sends a frame by a device.
func (n *Node) transmit(d *Device, f frame) {
	if !d.Up || !d.Carrier {
		n.drop("Down")
		return
	}
	switch d.Kind {
	case Port:
		n.result.Out = append(n.result.Out, Output{Port: d.Name, Bytes: f.bytes()})
	case Pair:
		n.transmitPair(d, f)
	case Bridge:
		n.transmitBridge(d, f)
	case VXLAN:
		n.encapVXLAN(d, f)
	default:
		panic(fmt.Sprintf("reference: %s sends no frames", d.Name))
	}
}

// transmitPair hands a frame to the other end (veth_xmit of drivers/net/veth.c, is_skb_forwardable).
func (n *Node) transmitPair(d *Device, f frame) {
	switch {
	case !d.Peer.Up:
		n.drop("Down")
	case frameTooBig(d.Peer, f):
		n.drop("FrameTooBig")
	default:
		n.receive(d.Peer, f.bytes())
	}
}

// frameTooBig is is_skb_forwardable of net/core/dev.c: the MTU, the header, and room for a tag.
func frameTooBig(d *Device, f frame) bool {
	const vlanLen = 4
	return len(f.bytes()) > d.MTU+etherLen+vlanLen
}
