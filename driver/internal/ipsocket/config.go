// Package ipsocket is what the drivers on IPv4 sockets of the kernel's have in common, UDP and raw ones: checks of their Configs, the
// network device that they are at, with its MTU and all that depends on it, and the two halves of a queue but for what a driver makes of
// its messages.
package ipsocket

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-net/culvert/packet"
)

// MaxPacket is the length of the longest IPv4 packet in bytes.
const MaxPacket = 1<<16 - 1

// Limits of what drivers' Configs may hold.
const (
	leastRoom    = 576     // bytes: the least that every IPv4 host takes (RFC 791)
	longestName  = 15      // IFNAMSIZ of include/uapi/linux/if.h, less a zero byte
	limitOfBytes = 1 << 30 // of a socket's buffer
)

// Check collects what is wrong with the Config of a driver.
type Check struct {
	driver string
	faults []error
}

// NewCheck returns a check for a driver, whose name its errors begin with.
func NewCheck(driver string) *Check { return &Check{driver: driver} }

// Err returns all faults, or nil.
func (c *Check) Err() error { return errors.Join(c.faults...) }

// Fault adds one, about Config and a field.
func (c *Check) Fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(c.driver+": Config."+format, args...))
}

// Local checks the address to receive at, which may be invalid for all of the machine's.
func (c *Check) Local(a netip.Addr) {
	switch {
	case a.IsMulticast():
		c.Fault("Local is the group %v: want an IPv4 address of this machine", a)
	case a.IsValid() && !a.Is4():
		c.Fault("Local is %v: want an IPv4 address of this machine, or none", a)
	}
}

// Device checks the name of a network device, which may be empty.
func (c *Check) Device(name string) {
	if len(name) > longestName || strings.ContainsAny(name, "/ \x00") {
		c.Fault("Device %q is no name of a network device", name)
	}
}

// Pool checks that buffers take what every host does.
func (c *Check) Pool(p *packet.Pool) {
	if p == nil {
		return
	}
	if room := p.Outside().Tailroom(); room < leastRoom {
		c.Fault("Pool has buffers of %d bytes behind their headroom: want at least %d", room, leastRoom)
	}
}

// InnerMTU checks the MTU of a tunnel in bytes.
func (c *Check) InnerMTU(mtu int) {
	if mtu < 0 || mtu > MaxPacket {
		c.Fault("InnerMTU is %d: want the MTU of a tunnel in bytes, or 0", mtu)
	}
}

// Number sets a field that is 0 to its default, and checks that it is no more than the limit.
func (c *Check) Number(field string, v *int, value, limit int) {
	if *v == 0 {
		*v = value
	}
	if *v < 1 || *v > limit {
		c.Fault("%s is %d: want 1 to %d, or 0 for %d", field, *v, limit, value)
	}
}

// Bytes is Number for the size of a socket's buffer.
func (c *Check) Bytes(field string, v *int, value int) { c.Number(field, v, value, limitOfBytes) }
