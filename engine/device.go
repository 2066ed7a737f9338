package engine

// Devices as workers see them: a state is immutable and replaced whole by each control call, what devices share with tables and
// counters lies behind pointers.

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/vxlan"
)

// state is all that control calls change, but for the tables.
type state struct {
	devices []*device // by index, nil where there is none; nobody has 0
	global  Global
	vxlans  vxlanIndex
	ipips   ipipIndex
	own     ownAddrs
	groups  []uint32 // multicast groups that tunnels have joined
	traces  []*Trace
}

// device returns a device, or nil if there is none of that index.
func (s *state) device(index uint32) *device {
	if index >= uint32(len(s.devices)) {
		return nil
	}
	return s.devices[index]
}

// device is one device.
type device struct {
	// What usual packets ask for is in a cache line.
	index    uint32
	kind     Kind
	raw      bool // packets have no Ethernet header: raw ports, IPIP, lo
	running  bool // up, and with a carrier
	noARP    bool // no neighbours are looked for: raw devices
	plain    bool // running, and nobody watches
	forwards bool // what it gives to the IP stack may go on, without another look at whom it is from
	mac      uint64
	mtu      int
	master   uint32 // index of the bridge whose port it is, 0 if of none
	peer     uint32 // other end of a pair
	port     BridgePort
	offloads offloads // of a port

	uncounted int32 // bytes that received ones are counted without: the Ethernet header of bridges and VXLAN, as on Linux
	conf      Conf  // effective: with what holds for all
	tap       Tap

	bridge *bridge
	vxlan  *vxlanDevice
	ipip   *ipipDevice
	answer *responder

	name                 string
	hw                   ethernet.MAC
	up, carrier, promisc bool
	fixedMAC, fixedMTU   bool // given, not derived
	own                  Conf // as set
	addrs                []Addr
}

// label returns the device's name for traces; d may be nil.
func (d *device) label() string {
	if d == nil {
		return ""
	}
	return d.name
}

// bridge is what a bridge has beside other devices.
type bridge struct {
	table *fdb.Table
	ports []uint32 // the newest first, as in Linux (new_nbp), which shows in the order of flooded copies
	had   bool     // a port once: from then on its carrier is theirs
	made  Bridge
}

// vxlanDevice is what a VXLAN device has.
type vxlanDevice struct {
	table   *fdb.Table
	decap   *vxlan.Decapsulator // for packets without an Ethernet header
	local   uint32              // 0: any
	under   uint32              // index of the underlay device, 0: as routes say
	dstPort uint16
	vteps   *addrSet // nil: any
	made    VXLAN
}

// ipipDevice is what an IPIP tunnel has.
type ipipDevice struct {
	local, remote uint32 // 0: any
	under         uint32
	peers         *addrSet // nil: any
	errors        tunnelErrors
	made          IPIP
}

// word returns a MAC address as a number of 48 bits.
func word(m ethernet.MAC) uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

// MACOf returns the MAC address that a number of 48 bits makes.
func MACOf(word uint64) ethernet.MAC {
	return ethernet.MAC{byte(word >> 40), byte(word >> 32), byte(word >> 24), byte(word >> 16), byte(word >> 8), byte(word)}
}

// macGroup is the bit that makes a MAC address one of a group.
const macGroup = 1 << 40

const macBroadcast = 1<<48 - 1

// number returns an IPv4 address as the number that its bytes make; 0 for none.
func number(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// AddrOf returns the IPv4 address that a number makes.
func AddrOf(number uint32) netip.Addr { return netip.AddrFrom4(quad(number)) }

// optional is AddrOf with the zero Addr for 0.
func optional(number uint32) netip.Addr {
	if number == 0 {
		return netip.Addr{}
	}
	return AddrOf(number)
}

func quad(number uint32) (b [4]byte) {
	binary.BigEndian.PutUint32(b[:], number)
	return b
}

// Classes of addresses (RFC 6890).
func isMulticast(a uint32) bool { return a>>28 == 0xe }
func isLoopback(a uint32) bool  { return a>>24 == 127 }
func isZeroNet(a uint32) bool   { return a>>24 == 0 }

const limitedBroadcast = 0xffffffff

// ownAddrs is the set of the node's addresses, asked for each packet's source: a filter of bits first, which says no for nearly
// all others.
type ownAddrs struct {
	bits  [16]uint64
	addrs map[uint32]uint32 // address → device
}

func ownBit(a uint32) (word, bit uint32) {
	h := a * 0x9e3779b1 >> 22
	return h >> 6, h & 63
}

func (o *ownAddrs) add(a, device uint32) {
	if o.addrs == nil {
		o.addrs = map[uint32]uint32{}
	}
	if _, ok := o.addrs[a]; !ok {
		o.addrs[a] = device
	}
	i, bit := ownBit(a)
	o.bits[i] |= 1 << bit
}

// may reports whether an address is perhaps the node's.
func (o *ownAddrs) may(a uint32) bool {
	i, bit := ownBit(a)
	return o.bits[i&15]>>bit&1 != 0
}

func (o *ownAddrs) has(a uint32) bool {
	if !o.may(a) {
		return false
	}
	_, ok := o.addrs[a]
	return ok
}

// addrSet is a set of addresses that packets are checked against; control calls change it beside workers.
type addrSet struct{ words *wordmap.Map }

func newAddrSet() *addrSet { return &addrSet{wordmap.New(0)} }

func (s *addrSet) add(a uint32)      { s.words.Store(addrKey(a), 1) }
func (s *addrSet) remove(a uint32)   { s.words.Delete(addrKey(a)) }
func (s *addrSet) has(a uint32) bool { return s.words.Load(addrKey(a)) != 0 }

func addrKey(a uint32) uint64 { return 1<<32 | uint64(a) }

// Addr is an address of a device; 'ip addr'.
type Addr struct {
	Prefix        netip.Prefix // the node's address, with the length of the subnet
	Peer          netip.Prefix // of a point-to-point link: the other end
	Broadcast     netip.Addr   // zero: none
	Scope         route.Scope
	Label         string // for people, such as "eth0:1"; "": the device's name
	Metric        uint32 // of the route to the subnet
	NoPrefixRoute bool   // make no route to the subnet
	Secondary     bool   // set by the engine: the subnet has a primary address already
}

// Tap is told of each packet that crosses a device, like a packet socket: Ethernet frames, or IPv4 packets of raw devices. The
// bytes are the tap's during the call only.
type Tap func(device uint32, out bool, packet []byte, now time.Duration)
