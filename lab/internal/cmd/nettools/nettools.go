// Package nettools is the commands route, arp, ifconfig (net-tools 2.10), hostname and ethtool.
package nettools

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table {
	return proc.Table{"route": route, "arp": arp, "ifconfig": ifconfig, "hostname": hostname, "ethtool": ethtool}
}

// version is what each of the net-tools says of itself.
const version = "net-tools 2.10\n"

// parseAddr reads an address as inet_aton(3) does, which has several forms for numbers with fewer than four parts.
func parseAddr(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if s == "" || len(parts) > 4 {
		return netip.Addr{}, false
	}
	var number uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts)) // the last part has all the bytes that are left
		}
		n, err := strconv.ParseUint(part, 0, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		number = number<<bits | n
	}
	return addrOf(uint32(number)), true
}

// addrOf returns the address that a number makes.
func addrOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// numberOf is the inverse of addrOf.
func numberOf(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// mask returns the netmask of a length.
func mask(bits int) netip.Addr { return addrOf(^uint32(0) << (32 - bits)) }

// length returns the length of a netmask, and false if it is none.
func length(m netip.Addr) (int, bool) {
	n := numberOf(m)
	bits := 0
	for n&(1<<31) != 0 {
		n <<= 1
		bits++
	}
	return bits, n == 0
}
