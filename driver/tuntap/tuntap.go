// Package tuntap is the way in and out through a TUN or TAP device of Linux: what the kernel's own stack, a bridge or a virtual
// machine sends over the device is received here, and what is sent here they receive.
//
//	kernel: addresses, routes, bridge, vxlan …
//	────────────── tap0 ───────────────
//	      ▲ │ queue 0       ▲ │ queue 1        /dev/net/tun, one descriptor each
//	 Send │ ▼ Receive  Send │ ▼ Receive
//
// A TAP device carries Ethernet frames, a TUN device IPv4 packets; what else comes by a TUN device, such as IPv6, is counted as
// an error of reception.
//
// The device has one system call per packet and no more, so what makes it fast is long packets: unless told otherwise the kernel is
// allowed to leave checksums out and TCP segments together, up to 64 KiB, and takes the same from here. That is worth a factor of
// ten for TCP. On Linux 6.17 and later superframes within VXLAN go through whole as well. See struct virtio_net_hdr, and
// drivers/net/tun.c in Linux.
//
// A device is made with CAP_NET_ADMIN in the user namespace that its network namespace belongs to, and write access to /dev/net/tun.
//
// The package speaks to the device by itself. golang.zx2c4.com/wireguard/tun knows TUN devices only, cuts and joins superframes on
// its own, and allocates for errors; a TAP device, queues, and metadata that stays beside the packet it does not have.
package tuntap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

var _ driver.Driver = (*Driver)(nil)

// Kind is what packets of a device are.
type Kind uint8

// The kinds.
const (
	TAP Kind = iota // Ethernet frames
	TUN             // IPv4 packets
)

// String returns the kind as the ip tool calls it.
func (k Kind) String() string {
	switch k {
	case TAP:
		return "tap"
	case TUN:
		return "tun"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Config says which device, and how. The zero Config is a new TAP device with a name of the kernel's choice and all that the kernel
// offers.
type Config struct {
	// Name of the device, which is made if there is none. A %d in it is replaced by a number that is free. Default "tap%d" or
	// "tun%d".
	Name string
	Kind Kind

	// Queues is how many there are, 1 by default, at most MaxQueues. Linux sends packets of a flow to the queue by which the other
	// direction of the flow was last sent, and those of new flows where their hash says: who sends a flow by several queues may
	// receive the other direction by several.
	Queues int

	MTU     int          // of the device, in bytes of the IP packet; 0 leaves what it has, 1500 if it is new
	MAC     ethernet.MAC // of the kernel's end of a TAP device; zero leaves what it has, a random one if it is new
	Up      bool         // set it up
	Persist bool         // leave the device there on Close; one that was there before stays in any case

	// Pool is what is received into, by default one of packet.DefaultBuffers. Packets that are too long for its buffers, as
	// superframes are, come in a buffer of Superframes; its default is DefaultSuperframes of 66 KiB.
	Pool        *packet.Pool
	Superframes *packet.Pool

	// Without are offloads that are not to be used, though the device may have them: neither received nor taken by Send.
	// packet.OffloadChecksum is all, as the others need it.
	Without packet.Offloads
}

// Limits and defaults of a Config.
const (
	MaxQueues          = 256 // MAX_TAP_QUEUES in drivers/net/tun.c
	MaxMTU             = 65521
	MinMTU             = 68 // RFC 791, and what Linux allows
	DefaultSuperframes = 128

	maxName       = 15        // IFNAMSIZ without the zero at the end
	superframeLen = 66 * 1024 // bytes of a buffer: the longest IP packet, headers of Ethernet and VLANs, and headroom
)

// ErrGone is the fault of a driver whose device was deleted by somebody else. When it is made again, under the name that it had last,
// the driver goes on with it.
var ErrGone = errors.New("tuntap: the device was deleted: make it again, ip tuntap add dev NAME")

// check returns all that is wrong with c.
func (c *Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("tuntap: "+format, args...)) }
	if c.Kind != TAP && c.Kind != TUN {
		fault("Kind: %v is neither TAP nor TUN", c.Kind)
	}
	if len(c.Name) > maxName || strings.ContainsAny(c.Name, "/: \t\n\x00") || c.Name == "." || c.Name == ".." {
		fault("Name: %q is no name of a device: 1 to %d bytes without / : or spaces", c.Name, maxName)
	}
	if c.Queues < 0 || c.Queues > MaxQueues {
		fault("Queues: %d is not within 1 to %d", c.Queues, MaxQueues)
	}
	if c.MTU != 0 && (c.MTU < MinMTU || c.MTU > MaxMTU) {
		fault("MTU: %d is not within %d to %d", c.MTU, MinMTU, MaxMTU)
	}
	if c.MAC != (ethernet.MAC{}) {
		switch {
		case c.Kind == TUN:
			fault("MAC: a TUN device has none")
		case c.MAC[0]&1 != 0:
			fault("MAC: %v is a multicast address", c.MAC)
		}
	}
	return errors.Join(faults...)
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = c.Kind.String() + "%d"
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	var err error
	if c.Pool == nil {
		if c.Pool, err = packet.NewPool(packet.PoolConfig{}); err != nil {
			return c, err
		}
	}
	if c.Superframes == nil {
		c.Superframes, err = packet.NewPool(packet.PoolConfig{Buffers: DefaultSuperframes, Size: superframeLen})
	}
	return c, err
}
