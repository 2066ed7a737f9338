// Package pcapfilter compiles filter expressions of pcap-filter(7) to functions, and runs them on packets, with the results of
// libpcap 1.10.
//
//	f, err := pcapfilter.Compile("icmp or udp port 8472", pcapfilter.Config{})
//	…
//	if f.Match(pcapfilter.Packet{Bytes: frame}) { … }
//
// It is the lab's own since no library does this without libpcap: the one that tries (packetcap/go-pcap) makes programs for "arp"
// and "icmp or arp" that cannot run. What is not implemented is refused, never taken for something else: MPLS, PPPoE, Geneve,
// IPv6 addresses, names of hosts and networks, protochain, and the words for link layers other than Ethernet.
//
// The files: this one has what users see and how a packet is read, lex.go the words, parse.go the grammar, primitives.go what the
// primitives mean, arith.go expressions such as ip[8] < 64.
package pcapfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Link is what packets begin with.
type Link uint8

// The link layers that the lab has.
const (
	Ethernet Link = iota
	RawIP         // LINKTYPE_RAW: an IP header
	Cooked        // LINKTYPE_LINUX_SLL2, of tcpdump -i any
)

// Lengths of link headers, in bytes, and where they have the protocol.
const (
	ethernetLen, ethernetProtocol = 14, 12
	cookedLen, cookedProtocol     = 20, 0
)

// Config is what else decides what an expression means.
type Config struct {
	Link Link

	// Net is the network of the device, for 'ip broadcast'; zero: it has none, which is a netmask of 0.0.0.0.
	Net netip.Prefix

	// File says that packets are read from a file that does not say which way they went.
	File bool
}

// Packet is what a filter looks at.
type Packet struct {
	Bytes   []byte
	WireLen int  // as on the wire, if that is longer than Bytes
	Out     bool // the host sent it
}

// Filter is a compiled expression. It keeps no state; it may be used by several goroutines.
type Filter struct{ test test }

// ErrSyntax says that an expression is none.
var ErrSyntax = errors.New("can't parse filter expression: syntax error")

// Compile compiles an expression; the empty one matches everything. The errors are worded as libpcap's, or say what is not
// implemented.
func Compile(expression string, c Config) (*Filter, error) {
	tokens, err := lex(expression)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return &Filter{test: always(true)}, nil
	}
	p := &parser{tokens: tokens, config: c}
	t, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.more() {
		return nil, ErrSyntax
	}
	return &Filter{test: t}, nil
}

// Match reports whether the filter takes a packet. As in a BPF program, an attempt to read behind the packet's end refuses it.
func (f *Filter) Match(p Packet) bool {
	s := state{b: p.Bytes, length: uint32(max(p.WireLen, len(p.Bytes))), out: p.Out}
	return f.test(&s) && !s.failed
}

// state is one run of a filter.
type state struct {
	b      []byte
	length uint32
	out    bool
	failed bool // a read beyond the end, or a division by zero: the packet is refused
}

// test is a compiled part of an expression.
type test func(*state) bool

func always(v bool) test { return func(*state) bool { return v } }

func not(t test) test { return func(s *state) bool { return !t(s) } }

func and(tests ...test) test {
	return func(s *state) bool {
		for _, t := range tests {
			if !t(s) {
				return false
			}
		}
		return true
	}
}

func or(tests ...test) test {
	return func(s *state) bool {
		for _, t := range tests {
			if t(s) {
				return true
			}
		}
		return false
	}
}

// load reads a number of 1, 2 or 4 bytes. The offset is unsigned, as the machine's: a negative one is beyond every end.
func (s *state) load(offset uint32, size int) uint32 {
	if s.failed || uint64(offset)+uint64(size) > uint64(len(s.b)) {
		s.failed = true
		return 0
	}
	b := s.b[offset:]
	switch size {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.BigEndian.Uint16(b))
	}
	return binary.BigEndian.Uint32(b)
}

// equal tests a number of the packet, the bits of mask alone.
func equal(offset uint32, size int, mask, want uint32) test {
	return func(s *state) bool { return s.load(offset, size)&mask == want }
}

const allBits = 1<<32 - 1

// unsupported refuses what libpcap could do.
func unsupported(what string) error {
	return fmt.Errorf("%s is not supported in the lab's filters", what)
}
