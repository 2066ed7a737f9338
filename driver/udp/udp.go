// Package udp is a way in and out by ordinary UDP sockets: a VTEP without any privilege.
//
//	engine ── IPv4 + UDP + VXLAN ──▶ Send:    headers off ──▶ sockets on ports of their own ──▶ any VTEP
//	       ◀── IPv4 + UDP + VXLAN ── Receive: headers made ◀── the socket on the VXLAN port  ◀──
//
// To an engine the driver is a raw port that carries nothing but UDP datagrams from and to the VXLAN port. What Send is given loses
// its IPv4 and UDP headers, and the kernel makes them anew: source and destination address, destination port, TTL, TOS with its ECN
// bits, the don't-fragment flag, and whether there is a UDP checksum are those of the packet; the IP identification is the kernel's,
// and so is the source port, see [Config.SourcePorts]. What Receive returns has headers made from what the kernel tells of a
// datagram: both addresses, the source port, TTL and TOS. Their don't-fragment flag is set and the UDP checksum 0, since the kernel
// does not tell.
//
// Fragments that follow each other in a batch are sent as the one datagram that they were cut from, which the kernel cuts again;
// what came in as fragments is received whole, if a buffer takes it. ICMP errors of the network about what was sent with DF come out
// of Receive as ICMP packets if they are about the path's MTU, so that the engine learns it; others are only counted.
//
// Several datagrams of equal length to one destination cross the kernel as one (UDP_SEGMENT, UDP_GRO), where it can do that. The
// kernel does it only with UDP checksums, so packets that had none may get one, which every VTEP must take (RFC 7348 section 5).
// If the kernel refuses a merged datagram, its packets are sent by themselves, and later ones as well if it did so for good.
//
// What a VXLAN device in another namespace of the same machine sends may reach the socket with checksums inside left open, and as
// superframes; the kernel does not say so, but it shows, and Receive says it in the buffers' metadata.
//
// Multicast groups as a VXLAN device's remote are not joined.
package udp

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// Defaults and limits of a [Config].
const (
	DefaultPort          = vxlan.PortLinux
	DefaultSourcePorts   = 8
	DefaultReceiveBuffer = 4 << 20 // bytes: some thousand packets, while a program has other things to do
	DefaultSendBuffer    = 1 << 20 // bytes: what the kernel has not sent yet; more would only wait longer

	DefaultSuperframes = 32

	LimitQueues      = 64
	LimitSourcePorts = 256
)

// Config says what sockets to open. The zero Config receives at port 8472 of all of the machine's addresses.
type Config struct {
	// Local is the address to receive at. Packets are sent from the address that their headers have, which must be the machine's
	// and should be this one. Zero: all of the machine's.
	Local netip.Addr

	Port   uint16 // to receive at; 0: DefaultPort
	Device string // receive and send by this network device only (SO_BINDTODEVICE); "": by any

	// Queues is how many goroutines are to receive; the kernel spreads flows over them (SO_REUSEPORT). 0: 1.
	Queues int

	// SourcePorts is how many UDP source ports each queue sends from, so that routers and network cards between VTEPs can tell
	// flows apart. A packet's own source port decides which it is, so a flow keeps its. Each is a socket, and the fewer there are,
	// the more packets go in one system call. 0: DefaultSourcePorts.
	SourcePorts int

	// Pool is where received packets go; its buffers should take a packet of the device's MTU behind their headroom. Packets that are
	// too long for them, as superframes are, come in a buffer of Superframes; when there is none left, superframes are cut. nil: one of
	// packet.DefaultBuffers, and one of DefaultSuperframes of gso.LargeSize.
	Pool        *packet.Pool
	Superframes *packet.Pool

	// InnerMTU is the MTU of VXLAN devices in other namespaces of this machine, whose superframes the kernel hands over without a word
	// of how long their segments are, in bytes of the IP packet. 0: what the network device's MTU leaves.
	InnerMTU int

	ReceiveBuffer int // bytes that each receiving socket may hold, if the machine allows so many; 0: DefaultReceiveBuffer
	SendBuffer    int // bytes that each sending socket may hold, likewise; 0: DefaultSendBuffer

	NoGSO bool // do not let the kernel cut datagrams, for network cards that do it wrongly
	NoGRO bool // do not let the kernel merge received datagrams
}

// Faults of a packet that was given to Send.
var (
	ErrNotUDP   = errors.New("udp: not a whole IPv4 packet with UDP, without options")
	ErrFragment = errors.New("udp: fragment without those that belong to it")
)

// withDefaults returns c with its zero fields filled in, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	check := ipsocket.NewCheck("udp")
	check.Local(c.Local)
	check.Device(c.Device)
	check.Number("Queues", &c.Queues, 1, LimitQueues)
	check.Number("SourcePorts", &c.SourcePorts, DefaultSourcePorts, LimitSourcePorts)
	check.Pool(c.Pool)
	check.InnerMTU(c.InnerMTU)
	check.Bytes("ReceiveBuffer", &c.ReceiveBuffer, DefaultReceiveBuffer)
	check.Bytes("SendBuffer", &c.SendBuffer, DefaultSendBuffer)
	return c, check.Err()
}
