package engine

// What a device is made of: the types of 'ip link'.

import (
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

// Kind is what a device is.
type Kind uint8

// The kinds of devices.
const (
	KindLoopback Kind = iota + 1 // lo, which every engine has
	KindPort                     // a way out of the engine: Process takes from it, Output gives to it
	KindPair                     // one end of an internal pair ('type veth')
	KindBridge
	KindVXLAN
	KindIPIP
)

// Link is what all devices have; see AddPort and its like. Zero fields take the default.
type Link struct {
	Name string       // 1 to 15 bytes without blanks and slashes, as on Linux
	MAC  ethernet.MAC // zero: a random one, by the engine's seed; raw ports and IPIP have none
	MTU  int          // bytes of the IP packet; 0: 1500, and for tunnels what the underlay leaves
	Up   bool         // 'up' at once
	// Index is the device's index, up to LimitMaxDevices; 0: one that nobody has had. One that is in use is ErrExists.
	Index uint32
}

// Port is a way out of the engine.
type Port struct {
	Link
	Raw bool // packets are IPv4 packets without an Ethernet header

	// Offloads are what Output takes beside a packet's bytes on this port. The rest is put into the bytes before: VLAN tags are
	// inserted, partial checksums completed, superframes cut. What Process is given may have any metadata.
	Offloads packet.Offloads
	// Coalesce makes superframes of TCP segments of a flow that leave together; Offloads must have OffloadTCP4, and OffloadTCP6 for
	// IPv6. Counters and taps see the segments.
	Coalesce bool
	// CoalesceUDP does so with datagrams, those of VXLAN among them, of equal length and with consecutive identifications; Offloads must
	// have OffloadUDP4. Datagrams without a checksum get one thereby.
	CoalesceUDP bool
}

// Pair is two devices joined by a wire inside the engine: what is sent by one is received by the other.
type Pair struct {
	Link
	Peer Link
}

// Bridge is a learning bridge and its own port.
type Bridge struct {
	Link                     // without MAC it takes the lowest of its ports'
	Ageing     time.Duration // 0: 300 s; negative: entries do not age
	MaxLearned int           // fdb_max_learned; 0: 65,536
}

// VXLAN is a VXLAN device. Zero values are those of 'ip link add … type vxlan', but for UDPChecksum.
type VXLAN struct {
	Link
	VNI     uint32       // 'id', 0 to 16777215
	Local   netip.Addr   // underlay address to send from; zero: as routes say. Packets to any address of the node are received
	Remote  netip.Addr   // where broadcast and unknown goes; further ones by AppendFDB; may be a multicast group, with Device
	Device  string       // 'dev': the underlay device; sets the MTU
	DstPort uint16       // 0: vxlan.PortLinux, 8472
	Ports   tunnel.Ports // of UDP sources; 0: 32768 to 60999

	TTL        uint8 // 0: 64, and 1 to a multicast group
	InheritTTL bool
	TOS        uint8
	InheritTOS bool
	DF         tunnel.DF

	NoLearning  bool
	Ageing      time.Duration // 0: 300 s
	MaxAddress  int           // entries; 0: 65,536
	UDPChecksum bool          // compute the outer UDP checksum
	GBP         bool          // group policy bits are expected, not reserved
	Proxy       bool          // answer ARP requests from the neighbour table
	L2Miss      bool          // ask the agent for MAC addresses that have no entry; packets wait
	L3Miss      bool          // ask the agent for neighbours instead of the wire

	// VTEPs are the remote ends to accept packets from, beside those of peers; nil: any, as on
	// Linux. Empty but not nil: peers alone.
	VTEPs []netip.Addr
}

// IPIP is an IPIP tunnel. Without Remote, the route's gateway is the outer destination ('remote any').
type IPIP struct {
	Link
	Local  netip.Addr // zero: any
	Remote netip.Addr // zero: any
	Device string     // 'dev': the underlay device to leave by

	TTL        uint8 // 0: inherit
	TOS        uint8
	InheritTOS bool
	NoPMTUDisc bool // copy the inner DF flag instead of setting it; not together with TTL

	// Peers are the outer sources to accept packets from, beside Remote and the nodes of peers, see SetPeer. A tunnel with any remote and no peers accepts nothing
	// unless AnyPeer is set: who accepts from everybody lets anybody inject packets from any source (CVE-2020-10136), which is
	// what Linux does.
	Peers   []netip.Addr
	AnyPeer bool
}

// BridgePort are the switches of a bridge's port; 'bridge link set'. The zero value is Linux's default, so the switches that are
// on there have names in the negative.
type BridgePort struct {
	NoLearning  bool // learning off
	NoFlood     bool // flood off: no unknown unicast
	NoMulticast bool // mcast_flood off
	NoBroadcast bool // bcast_flood off
	Hairpin     bool // send back out of the port that a frame came in by
	Isolated    bool // not to other isolated ports
	Locked      bool // only stations with an entry on the port may send
	MaxLearned  int  // entries that the port may have; 0: no limit of its own
}

// LinkChange is what SetLink changes; nil fields stay.
type LinkChange struct {
	Up      *bool
	Carrier *bool // whether the wire is there; for ports
	Name    *string
	MAC     *ethernet.MAC
	MTU     *int
	Master  *string // name of a bridge, "" for none ('nomaster')
	Promisc *bool

	Offloads              *packet.Offloads // of ports, see [Port]
	Coalesce, CoalesceUDP *bool
}

// LinkInfo is a device as it is.
type LinkInfo struct {
	Index   uint32
	Kind    Kind
	Name    string
	MAC     ethernet.MAC
	MTU     int
	Up      bool
	Carrier bool // of a bridge: once it has had ports, that of any
	Unknown bool // the operational state of a device that has no carrier to watch (RFC 2863, ifOperStatus)
	Promisc bool
	Raw     bool
	Master  string // the bridge whose port it is
	Peer    string // other end of a pair

	Offloads              packet.Offloads // of a port
	Coalesce, CoalesceUDP bool

	Bridge *Bridge     // of a bridge
	Port   *BridgePort // of a bridge's port
	VXLAN  *VXLAN
	IPIP   *IPIP

	GivenMAC bool // by who made the device or changed it; else by the engine, and a bridge's follows its ports
}
