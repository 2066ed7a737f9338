// Package rawip is a way in and out by raw sockets of one IP protocol: IPIP without packet sockets, through the kernel's routes,
// neighbours and firewall.
//
//	engine ── IPv4 packets of any protocol ──▶ Send:    a raw socket, header included ──▶ the kernel's routes ──▶ any host
//	       ◀── IPv4 packets of protocol 4 ──── Receive: the same socket               ◀── what is for this machine
//
// To an engine the driver is a raw port. What Send is given leaves as it is, TOS, TTL, DF, identification and fragments included; only an
// identification of 0 and the header's checksum are the kernel's. The kernel does not cut such packets: those that are longer than the
// device's MTU are refused. Receive returns packets of [Config.Protocol] for the machine's own addresses, or for Config.Local: with their
// whole header, datagrams already put together from their fragments. Other protocols, such as ICMP echo, stay the kernel's to answer, who
// gets a copy of what is received as well: if the machine has tunnels of its own for the protocol (the ipip module), it treats packets as
// theirs, too, and answers those that no tunnel takes with an ICMP error, for which Receive is too late. Without such a module an open
// driver keeps the kernel from refusing the protocol.
//
// ICMP errors about what was sent come out of Receive as ICMP packets, so that the engine learns path MTUs and tells senders.
//
// It needs CAP_NET_RAW.
package rawip

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
)

// Defaults and limits of a [Config].
const (
	DefaultProtocol      = ipip.Protocol
	DefaultSuperframes   = 32
	DefaultReceiveBuffer = 4 << 20 // bytes
	DefaultSendBuffer    = 1 << 20 // bytes

	LimitQueues = 64
	LimitPeers  = 1024
)

// Config says what sockets to open. The zero Config receives IPIP for all of the machine's addresses.
type Config struct {
	Local    netip.Addr // the address to receive at; zero: all of the machine's
	Device   string     // receive and send by this network device only (SO_BINDTODEVICE); "": by any
	Protocol uint8      // what to receive; 0: DefaultProtocol, IPIP

	// Peers are whom to receive from; the kernel drops packets from others. Empty: anybody. It does not replace the engine's own
	// check of tunnels, but keeps a flood away from it.
	Peers []netip.Addr

	// Queues is how many goroutines are to receive. Each gets the packets of some flows, by the addresses inside of IPIP, or of the
	// packet itself if it is none. The kernel copies packets for all queues to choose from, so several cost more than they gain unless
	// the work behind them is large. 0: 1.
	Queues int

	// Pool is where received packets go; its buffers should take a packet of the device's MTU behind their headroom. Packets that are
	// too long for them, as superframes are, come in a buffer of Superframes; when there is none left, superframes are cut. nil: one of
	// packet.DefaultBuffers, and one of DefaultSuperframes of gso.LargeSize.
	Pool        *packet.Pool
	Superframes *packet.Pool

	// InnerMTU is the MTU of peers' tunnels: network cards, and tunnels in other namespaces of this machine, hand over superframes
	// without a word of how long their segments are. In bytes of the inner packet; 0: what the network device's MTU leaves.
	InnerMTU int

	ReceiveBuffer int // bytes that each socket may hold, if the machine allows so many; 0: DefaultReceiveBuffer
	SendBuffer    int // likewise of what is not sent yet; 0: DefaultSendBuffer
}

// ErrNotIPv4 is for what Send was given that is no IPv4 packet.
var ErrNotIPv4 = errors.New("rawip: not a whole IPv4 packet")

// withDefaults returns c with its zero fields filled in, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Protocol == 0 {
		c.Protocol = DefaultProtocol
	}
	check := ipsocket.NewCheck("rawip")
	check.Local(c.Local)
	check.Device(c.Device)
	if len(c.Peers) > LimitPeers {
		check.Fault("Peers has %d addresses: want at most %d, or none and the engine's own check", len(c.Peers), LimitPeers)
	}
	for i, p := range c.Peers {
		if !p.Is4() || p.IsUnspecified() || p.IsMulticast() {
			check.Fault("Peers[%d] is %v: want the IPv4 address of a host", i, p)
		}
	}
	check.Number("Queues", &c.Queues, 1, LimitQueues)
	check.Pool(c.Pool)
	check.InnerMTU(c.InnerMTU)
	check.Bytes("ReceiveBuffer", &c.ReceiveBuffer, DefaultReceiveBuffer)
	check.Bytes("SendBuffer", &c.SendBuffer, DefaultSendBuffer)
	return c, check.Err()
}
