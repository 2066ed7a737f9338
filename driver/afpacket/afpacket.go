// Package afpacket is a driver over packet sockets: it takes a device's frames as they come in, before the kernel's own network
// stack has them, and puts frames out by it. It needs Linux 4.20 and CAP_NET_RAW; the device stays the kernel's.
//
//	           ┌── Filter: not wanted ──▶ only the kernel
//	device ──▶ │                          ┌──▶ ring ──▶ Receive
//	           └── wanted ────────────────┤
//	                                      └──▶ Steal: ends here, or else ──▶ the kernel, too
//	device ◀──────────────────────────────────── Send
//
// # What was measured
//
// On two processors with virtual Ethernet, Linux 6.18, 64-byte frames, one processor sending and the other one receiving and sending on:
// nanoseconds of the receiving processor for each frame that is received and dropped, where it is faster than the sender, and for
// each that is sent on by another device (of which sending takes about 1,000); and how long a ping on an idle link takes.
//
//	                                received   sent on       ping
//	recvmmsg                       830–1,400   2,180–2,450   0.05 ms
//	TPACKET_V3, blocks of 256 KiB     95–150   1,340–1,440   0.4–1 ms
//	TPACKET_V2                     630–1,100   1,440–1,550   0.05 ms
//	TPACKET_V2, paced                300–400   1,400–1,500   0.05 ms
//
// So it is version 2 of the ring, which tells of each frame at once. Its price is a waking up for each frame at middling rates, which
// costs the sender, too (it sent 270,000 frames a second, otherwise 500,000). So at more than 50,000 frames a second Receive paces
// itself, as network cards do with their interrupts: it does not wait for a frame but for a moment, 30 µs by the clock and about 80 µs
// by the kernel's timers. Version 3 tells of a block when that is full or a millisecond is over.
//
// Frames longer than a slot of the ring, superframes above all, come by the socket itself (PACKET_COPY_THRESH), copied once. They wait
// in the socket's memory, for which it takes what net.core.rmem_max allows, or 4 MiB with CAP_NET_ADMIN. Frames are sent by sendmmsg:
// rings for sending and PACKET_QDISC_BYPASS gained nothing.
//
// With this driver as a bump in the wire between two kernels, two drivers and both directions, the ping takes 0.038 ms (0.020 ms with the
// kernel's bridge instead), and TCP with default offloads passes at 10 Gbit/s (the bridge: 8–15) on a machine that was busy otherwise.
//
// # Addresses that are the engine's
//
// A packet socket gets copies: the kernel still gets every frame, and answers what it takes for its own. There are three ways to
// live with that, the first of which is the best:
//
//   - The engine has addresses, IP and MAC, that the host has not got, and Promiscuous is on. The kernel takes
//     no notice of frames to other MAC addresses, nor answers ARP for addresses that it has not got (unless proxy_arp is on).
//   - The engine has IP addresses of its own behind the device's MAC address. A host that does not forward drops packets to them in
//     silence. One that does (ip_forward) would send them back, with an ICMP redirect or error: set Steal to the same
//     as Filter.
//   - The engine shares the host's IP address, and takes some protocols: VXLAN to a UDP port, IPIP. The kernel would answer with ICMP
//     port or protocol unreachable: set Steal to what is the engine's alone.
//
// Steal is a filter at the device's ingress hook (tc, clsact) that drops frames behind the packet socket and before the kernel's
// stack, nftables included. It needs CAP_NET_ADMIN. Close removes it. A process that is killed leaves it behind: the next driver with
// Steal on the device removes it, and
//
//	tc filter del dev DEVICE ingress pref 51966
//
// removes it, as the removal of the device does. Several drivers on a device have one each.
package afpacket

import (
	"errors"
	"fmt"

	"github.com/culvert-net/culvert/packet"
)

// Config says what to open. Zero fields take the default.
type Config struct {
	// Device is the name of the network device, an Ethernet one. It may go and come back: the driver finds the new one of that name.
	Device string

	// Pool is where frames are received into. Those that do not fit a buffer are counted in Stats.RxErrors. By default it is a pool
	// of the driver's own, of 1,024 buffers for each queue that hold the largest superframe; of their 66 KiB each, only the pages that were
	// used once take memory.
	Pool *packet.Pool

	// Queues is how many queues there are, default 1. With several, each frame goes to one of them by its flow: addresses, and ports of
	// packets that are no fragments (PACKET_FANOUT_HASH); so the fragments of a flow share a queue, but not with its whole packets. The
	// kernel could join fragments first; it does not, since the engine is to see what is on the wire.
	Queues int

	// Slots is how many frames wait in the kernel for each queue to be received, before it drops them; default 4,096. It is rounded
	// up to a power of two. Slots are 2 KiB, or larger by the device's MTU up to 16 KiB.
	Slots int

	// Promiscuous makes the device receive frames to all MAC addresses, as long as the driver is open.
	Promiscuous bool

	// Filter is what frames to receive; nil is all of them. See [Driver.SetFilter].
	Filter *Filter

	// Steal is what frames to keep from the kernel's own stack; nil is none. They need not be among those that are received. See
	// [Driver.SetSteal].
	Steal *Filter

	// NoOffloads are offloads not to be used, though the kernel has them: Link does not name them.
	NoOffloads packet.Offloads
}

// Limits and defaults of a [Config].
const (
	maxQueues    = 64
	defaultSlots = 4096
	minSlots     = 64
	maxSlots     = 1 << 16
	maxName      = 15 // IFNAMSIZ of <linux/if.h>, without the final 0
)

// check reports every field that is out of range.
func (c *Config) check() error {
	var errs []error
	if c.Device == "" || len(c.Device) > maxName {
		errs = append(errs, fmt.Errorf("afpacket: Config.Device is %q: want the name of a network device, 1 to %d bytes", c.Device, maxName))
	}
	if c.Queues < 0 || c.Queues > maxQueues {
		errs = append(errs, fmt.Errorf("afpacket: Config.Queues is %d: want 1 to %d, or 0 for 1", c.Queues, maxQueues))
	}
	if c.Slots != 0 && (c.Slots < minSlots || c.Slots > maxSlots) {
		errs = append(errs, fmt.Errorf("afpacket: Config.Slots is %d: want %d to %d, or 0 for %d", c.Slots, minSlots, maxSlots, defaultSlots))
	}
	if c.Filter != nil {
		if _, err := c.Filter.program(receive); err != nil {
			errs = append(errs, fmt.Errorf("afpacket: Config.Filter: %w", err))
		}
	}
	if c.Steal != nil {
		if _, err := c.Steal.program(steal); err != nil {
			errs = append(errs, fmt.Errorf("afpacket: Config.Steal: %w", err))
		}
	}
	return errors.Join(errs...)
}
