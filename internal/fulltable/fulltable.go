// Package fulltable makes routing tables like those of the Internet, for tests and benchmarks.
package fulltable

import (
	"math/rand/v2"
	"net/netip"
)

// Full is how many prefixes a full table has (bgp.potaroo.net, 2025: a little over a million).
const Full = 1_000_000

// shares are how many in 10,000 prefixes have a length: the CIDR report's counts of a full IPv4 table in 2025 (/24 about 60 %, /22
// and /23 about 10 % each, few shorter than /16), and a trace of the longer ones that routers carry for themselves.
var shares = [33]int{
	8: 1, 9: 1, 10: 1, 11: 1, 12: 3, 13: 6, 14: 12, 15: 20, 16: 135, 17: 82, 18: 138, 19: 245, 20: 440,
	21: 505, 22: 1080, 23: 1020, 24: 6210, 25: 20, 26: 15, 27: 15, 28: 10, 29: 15, 30: 10, 32: 15,
}

// Prefixes returns n different prefixes in random order, the same for the same seed. As in the real table, most are parts of
// blocks that one network has and announces in pieces, so that they lie close together, in four fifths of the blocks
// of 65,536 addresses.
func Prefixes(n int, seed uint64) []netip.Prefix {
	rnd := rand.New(rand.NewPCG(seed, 1))
	lengths := make([]int, 0, 10_000)
	for length, share := range shares {
		for range share {
			lengths = append(lengths, length)
		}
	}
	seen := make(map[netip.Prefix]bool, n)
	out := make([]netip.Prefix, 0, n)
	for len(out) < n {
		length := lengths[rnd.IntN(len(lengths))]
		addr := address(rnd)
		if len(out) > 0 && rnd.IntN(10) < 7 { // near one that is there: the same /18
			near := word(out[rnd.IntN(len(out))].Addr())
			addr = near&^(1<<14-1) | addr&(1<<14-1)
		}
		p := netip.PrefixFrom(Addr(addr), length).Masked()
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// address returns a random unicast address outside 0/8, 10/8 and 127/8.
func address(rnd *rand.Rand) uint32 {
	for {
		first := 1 + rnd.Uint32N(222)
		if first != 10 && first != 127 {
			return first<<24 | rnd.Uint32()>>8
		}
	}
}

// Addr returns the address of a number in network byte order.
func Addr(word uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(word >> 24), byte(word >> 16), byte(word >> 8), byte(word)})
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// NextHops is how many neighbours a router has its routes from.
const NextHops = 200

// ByHop returns for each of n prefixes which of [NextHops] neighbours its route goes by.
func ByHop(n int, seed uint64) []int {
	rnd := rand.New(rand.NewPCG(seed, 2))
	out := make([]int, n)
	for i := range out {
		out[i] = rnd.IntN(NextHops)
	}
	return out
}

// Addresses returns n random addresses, each in one of the prefixes.
func Addresses(n int, prefixes []netip.Prefix, seed uint64) []uint32 {
	rnd := rand.New(rand.NewPCG(seed, 3))
	out := make([]uint32, n)
	for i := range out {
		p := prefixes[rnd.IntN(len(prefixes))]
		out[i] = word(p.Addr()) | uint32(uint64(rnd.Uint32())>>p.Bits())
	}
	return out
}
