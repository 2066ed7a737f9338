// Package outer holds what VXLAN and IPIP do alike with the outer headers: checking how they are configured, and finding the
// IPv4 packet of a frame that is to be decapsulated.
package outer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tunnel"
)

// Encap is the part of both packages' EncapConfig that is checked alike.
type Encap struct {
	Src, Dst       netip.Addr
	SrcMAC, DstMAC ethernet.MAC
	Raw            bool
	Profile        tunnel.Profile
}

// broadcast is the address of everybody, which nobody sends from.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Check reports every field that is wrong; pkg is the package whose EncapConfig it is.
func (c Encap) Check(pkg string) error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: EncapConfig.%s "+format, append([]any{pkg, field}, args...)...))
	}
	if !c.Src.Is4() || c.Src.IsUnspecified() || c.Src.IsMulticast() || c.Src == broadcast {
		fault("Src", "is %v: want a unicast IPv4 address", c.Src)
	}
	if !c.Dst.Is4() || c.Dst.IsUnspecified() {
		fault("Dst", "is %v: want an IPv4 address", c.Dst)
	}
	if c.Raw && (!c.SrcMAC.IsZero() || !c.DstMAC.IsZero()) {
		fault("Raw", "leaves no place for SrcMAC and DstMAC: clear one or the others")
	}
	if !c.Raw && !c.SrcMAC.IsStation() {
		fault("SrcMAC", "is %v: want a unicast address, or Raw set", c.SrcMAC)
	}
	if !c.Raw && c.DstMAC.IsZero() {
		fault("DstMAC", "is zero: want the next hop's address, or Raw set")
	}
	if c.Profile > tunnel.RFC {
		fault("Profile", "is %d: want tunnel.Linux or tunnel.RFC", c.Profile)
	}
	return errors.Join(errs...)
}

// CheckDecap reports what is wrong with the addresses of a DecapConfig of package pkg.
func CheckDecap(pkg string, local netip.Addr, peers []netip.Addr) error {
	var errs []error
	if local.IsValid() && !local.Is4() {
		errs = append(errs, fmt.Errorf("%s: DecapConfig.Local is %v: want an IPv4 address", pkg, local))
	}
	for i, p := range peers {
		if !p.Is4() {
			errs = append(errs, fmt.Errorf("%s: DecapConfig.Peers[%d] is %v: want an IPv4 address", pkg, i, p))
		}
	}
	return errors.Join(errs...)
}

// Parse returns the IPv4 packet of a frame, or of a raw packet, its checksum verified, and where it starts. notIPv4 is the
// error for another EtherType.
func Parse(p []byte, raw bool, notIPv4 error) (h ipv4.Header, payload []byte, at int, err error) {
	if !raw {
		eth, _, err := ethernet.Parse(p)
		if err != nil {
			return ipv4.Header{}, nil, 0, err
		}
		if eth.EtherType() != ethernet.TypeIPv4 {
			return ipv4.Header{}, nil, 0, notIPv4
		}
		at = eth.Len()
	}
	h, payload, err = ipv4.Parse(p[at:])
	if err != nil {
		return ipv4.Header{}, nil, 0, err
	}
	if !h.ChecksumOK() {
		return ipv4.Header{}, nil, 0, ipv4.ErrChecksum
	}
	return h, payload, at, nil
}

// Number returns an IPv4 address as the number that its bytes make.
func Number(a [4]byte) uint32 { return binary.BigEndian.Uint32(a[:]) }

// Numbers returns the set of IPv4 addresses as numbers, nil if there are none.
func Numbers(addrs []netip.Addr) map[uint32]struct{} {
	if len(addrs) == 0 {
		return nil
	}
	set := make(map[uint32]struct{}, len(addrs))
	for _, a := range addrs {
		set[Number(a.As4())] = struct{}{}
	}
	return set
}

// Bytes returns the IPv4 address that number makes.
func Bytes(number uint32) [4]byte {
	return [4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}
}
