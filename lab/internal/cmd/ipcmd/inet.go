package ipcmd

// IPv4 addresses and prefixes as iproute2 reads them (lib/utils.c).

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/words"
)

// family is an address family, as far as there are any.
type family int

// The families. There is no IPv6 in the lab: with 'ip -6' all is empty.
const (
	unspec family = iota
	inet
	inet6
	link
)

// String returns the family as messages name it.
func (f family) String() string {
	switch f {
	case inet:
		return "inet"
	case inet6:
		return "inet6"
	case link:
		return "link"
	}
	return "any valid"
}

// parseFamily reads the value of -family.
func parseFamily(s string) (family, bool) {
	switch s {
	case "inet":
		return inet, true
	case "inet6":
		return inet6, true
	case "link":
		return link, true
	}
	return unspec, false
}

// ipv4Addr reads an address. Missing bytes at its end are 0: 10.8 is 10.8.0.0; numbers may be octal or hexadecimal.
func ipv4Addr(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		n, ok := number(part, 8)
		if !ok {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// prefix is a prefix as it was given.
type prefix struct {
	netip.Prefix
	specified bool // its length was given, or it is 'default'
	any       bool // 'any', 'all' or 'default', without an address
}

// address reads an address; 'any', 'all' and 'default' are 0.0.0.0.
func address(s string, f family) (netip.Addr, error) {
	switch a, ok := ipv4Addr(s); {
	case s == "default" || s == "any" || s == "all":
		return netip.IPv4Unspecified(), nil
	case isIPv6(s) && f != inet:
		return netip.Addr{}, errIPv6
	case ok && f != inet6:
		return a, nil
	}
	return netip.Addr{}, exits(`Error: %v address is expected rather than "%s".`, f, s)
}

// addressValue takes an address.
func (i *ip) addressValue(f family) (netip.Addr, error) {
	v, err := i.value()
	if err != nil {
		return netip.Addr{}, err
	}
	return address(v, f)
}

// parsePrefix reads a prefix, whose bits behind the length stay.
func parsePrefix(s string, f family) (prefix, error) {
	expected := exits(`Error: %v prefix is expected rather than "%s".`, f, s)
	if s == "default" || s == "any" || s == "all" {
		return prefix{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), specified: s == "default", any: true}, nil
	}
	host, length, has := strings.Cut(s, "/")
	if isIPv6(host) && f != inet {
		return prefix{}, errIPv6
	}
	a, ok := ipv4Addr(host)
	if !ok || f == inet6 || f == link {
		return prefix{}, expected
	}
	bits := a.BitLen()
	if has {
		if bits, ok = prefixLength(length); !ok {
			return prefix{}, expected
		}
	}
	return prefix{Prefix: netip.PrefixFrom(a, bits), specified: has}, nil
}

// prefixLength reads the length of a prefix, or a netmask.
func prefixLength(s string) (int, bool) {
	if n, ok := number(s, 32); ok {
		return int(min(n, 33)), n <= 32
	}
	mask, ok := ipv4Addr(s)
	if !ok {
		return 0, false
	}
	for bits := range 33 {
		if netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), bits).Masked().Addr() == mask {
			return bits, true
		}
	}
	return 0, false
}

// prefixValue takes a prefix.
func (i *ip) prefixValue(f family) (prefix, error) {
	v, err := i.value()
	if err != nil {
		return prefix{}, err
	}
	return parsePrefix(v, f)
}

// isIPv6 reports whether a text is an IPv6 address.
func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// errIPv6 is the kernel's refusal where IPv6 is switched off, as it is in the lab.
var errIPv6 = fatal{words.Errorf(2, "Error: IPv6 is disabled in the lab.")}

// within reports whether a prefix lies in another.
func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

func itoa[T ~int | ~uint8 | ~uint16 | ~uint32](n T) string { return strconv.FormatInt(int64(n), 10) }
