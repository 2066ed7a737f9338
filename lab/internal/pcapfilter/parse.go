package pcapfilter

// The grammar (libpcap's grammar.y): 'and' and 'or' bind equally, from the left; 'not' binds closer; a lone value behind them has the
// qualifiers of the value before.

import (
	"slices"
	"strconv"
	"strings"
)

type parser struct {
	tokens []token
	config Config
	last   qualifiers // of the last primitive with a value
	shift  uint32     // bytes of VLAN tags that the expression so far says there are
}

// qualifiers are what stands before a value: 'udp dst port'.
type qualifiers struct {
	proto string // "": any
	dir   string // "": src or dst
	kind  string // "host", "net", "port", "portrange", "proto", "gateway"
}

func (p *parser) more() bool { return len(p.tokens) > 0 }

// peek returns the i-th token from here, an empty operator behind the end.
func (p *parser) peek(i int) token {
	if i < len(p.tokens) {
		return p.tokens[i]
	}
	return token{kind: kindOperator}
}

func (p *parser) take() token {
	t := p.peek(0)
	if p.more() {
		p.tokens = p.tokens[1:]
	}
	return t
}

// is takes the next token if it is one of these keywords or operators.
func (p *parser) is(texts ...string) bool {
	t := p.peek(0)
	if t.escaped || !slices.Contains(texts, t.text) {
		return false
	}
	p.take()
	return true
}

// expression parses terms and what joins them.
func (p *parser) expression() (test, error) {
	left, err := p.term()
	for err == nil {
		join := or
		switch {
		case p.is("and", "&&"):
			join = and
		case p.is("or", "||"):
		default:
			return left, nil
		}
		var right test
		if right, err = p.term(); err == nil {
			left = join(left, right)
		}
	}
	return nil, err
}

// term parses 'not' and what it is about.
func (p *parser) term() (test, error) {
	if p.is("not", "!") {
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		return not(t), nil
	}
	if p.peek(0).text == "(" && !p.arithmeticAhead() {
		p.take()
		t, err := p.expression()
		if err == nil && !p.is(")") {
			err = ErrSyntax
		}
		return t, err
	}
	return p.primitive()
}

// arithmeticAhead reports whether a parenthesis is one of a relation, as in (ip[8] + 1) = 2.
func (p *parser) arithmeticAhead() bool {
	depth := 0
	for i := 0; i < len(p.tokens); i++ {
		switch p.tokens[i].text {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 {
			next := p.peek(i + 1)
			return next.kind == kindOperator && slices.Contains(relations, next.text) || slices.Contains(arithmetic, next.text)
		}
	}
	return false
}

// protocols are the words that a primitive may begin with.
var protocols = []string{
	"ether", "link", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp",
}

// keywords are other words that it may begin with.
var keywords = []string{
	"src", "dst", "host", "net", "port", "portrange", "proto", "gateway", "broadcast", "multicast", "less", "greater", "inbound", "outbound",
	"vlan",
}

// refused are words of libpcap that are not implemented.
var refused = []string{
	"mpls", "pppoed", "pppoes", "geneve", "protochain", "iso", "clnp", "stp", "ipx", "netbeui", "atalk", "aarp", "decnet", "lat", "moprc",
	"mopdl", "lane", "llc", "oam", "wlan", "fddi", "tr", "ppp", "slip", "radio", "isis", "esis", "csnp", "psnp", "snp", "type", "subtype",
	"direction", "dir", "addr1", "addr2", "addr3", "addr4", "ra", "ta", "byte", "on", "ifname", "rnr", "rulenum", "reason", "rset",
	"ruleset", "srnr", "subrulenum", "action", "metac", "bcc", "sc", "ilmic", "connectmsg", "vpi", "vci", "hopcount",
}

// primitive parses a relation, or a primitive with or without a value.
func (p *parser) primitive() (test, error) {
	t := p.peek(0)
	switch {
	case slices.Contains(refused, t.text) && !t.escaped:
		return nil, unsupported("'" + t.text + "'")
	case t.kind == kindOperator || p.relationAhead():
		return p.relation()
	case t.kind != kindWord || t.escaped || !slices.Contains(protocols, t.text) && !slices.Contains(keywords, t.text):
		return p.value(p.last)
	}
	if test, ok, err := p.other(); ok {
		return test, err
	}
	return p.qualified()
}

// relationAhead reports whether an arithmetic expression comes next.
func (p *parser) relationAhead() bool {
	next := p.peek(1).text
	t := p.peek(0)
	return t.text == "len" && !t.escaped || next == "[" ||
		t.kind == kindNumber && (slices.Contains(arithmetic, next) && next != "/" || slices.Contains(relations, next))
}

// other parses primitives that have no qualifiers.
func (p *parser) other() (test, bool, error) {
	switch {
	case p.is("broadcast"):
		t, err := p.broadcast("")
		return t, true, err
	case p.is("multicast"):
		t, err := p.multicast("")
		return t, true, err
	case p.is("less"):
		t, err := p.lengthTest(func(length, n uint32) bool { return length <= n })
		return t, true, err
	case p.is("greater"):
		t, err := p.lengthTest(func(length, n uint32) bool { return length >= n })
		return t, true, err
	case p.is("inbound"):
		t, err := p.toward(false)
		return t, true, err
	case p.is("outbound"):
		t, err := p.toward(true)
		return t, true, err
	case p.is("vlan"):
		t, err := p.vlan()
		return t, true, err
	}
	return nil, false, nil
}

// toward is 'inbound' and 'outbound'.
func (p *parser) toward(out bool) (test, error) {
	if p.config.File && p.config.Link != Cooked {
		return nil, errDirection
	}
	return func(s *state) bool { return s.out == out }, nil
}

func (p *parser) lengthTest(holds func(length, n uint32) bool) (test, error) {
	t := p.take()
	if t.kind != kindNumber {
		return nil, ErrSyntax
	}
	return func(s *state) bool { return holds(s.length, t.number) }, nil
}

// qualified parses [PROTO] [DIR] [KIND] VALUE, or a protocol alone.
func (p *parser) qualified() (test, error) {
	var q qualifiers
	if t := p.peek(0); slices.Contains(protocols, t.text) && !t.escaped {
		q.proto = p.take().text
		if q.proto == "link" {
			q.proto = "ether"
		}
		switch {
		case p.is("broadcast"):
			return p.broadcast(q.proto)
		case p.is("multicast"):
			return p.multicast(q.proto)
		}
	}
	q.dir = p.direction()
	for _, kind := range []string{"host", "net", "port", "portrange", "proto", "gateway"} {
		if p.is(kind) {
			q.kind = kind
		}
	}
	switch {
	case q.kind == "gateway":
		return nil, unsupported("'gateway'")
	case q.kind == "proto" && q.dir != "":
		return nil, ErrSyntax
	case q.kind == "" && q.dir == "" && q.proto != "":
		return p.protocol(q.proto)
	case q.kind == "" && q.dir == "":
		return nil, ErrSyntax
	}
	p.last = q
	return p.value(q)
}

// direction parses src, dst, 'src or dst', 'src and dst'.
func (p *parser) direction() string {
	t := p.peek(0).text
	if t != "src" && t != "dst" {
		return ""
	}
	p.take()
	join, other := p.peek(0).text, p.peek(1).text
	if (other == "src" || other == "dst") && other != t {
		switch join {
		case "or", "||":
			p.tokens = p.tokens[2:]
			return ""
		case "and", "&&":
			if third := p.peek(2).text; third != "host" && third != "net" && third != "port" && third != "portrange" || p.peek(2).escaped {
				p.tokens = p.tokens[2:]
				return "src and dst"
			}
			p.tokens = p.tokens[2:]
			return "src and dst"
		}
	}
	return t
}

// value parses a value and makes the primitive of it.
func (p *parser) value(q qualifiers) (test, error) {
	t := p.take()
	if t.kind == kindOperator || q == (qualifiers{}) {
		return nil, ErrSyntax
	}
	switch q.kind {
	case "port", "portrange":
		return p.port(q, t)
	case "proto":
		return p.protocolNumber(q, t)
	}
	if t.kind == kindMAC {
		return p.mac(q, t.text)
	}
	addr, bits, err := p.network(q, t)
	if err != nil {
		return nil, err
	}
	return p.host(q, addr, bits)
}

// network reads an address or, of 'net', one to four octets, with /LENGTH or mask MASK. The result is the address and its mask.
func (p *parser) network(q qualifiers, t token) (addr, mask uint32, err error) {
	addr, octets, ok := dotted(t.text)
	if !ok {
		if q.kind == "net" {
			return 0, 0, unsupported("name of a network '" + t.text + "'")
		}
		return 0, 0, unsupported("name of a host '" + t.text + "'")
	}
	mask = allBits << (32 - 8*octets)
	switch {
	case p.is("/"):
		n := p.take()
		if n.kind != kindNumber || n.number > 32 {
			return 0, 0, ErrSyntax
		}
		mask = uint32(uint64(allBits) << (32 - n.number))
		addr <<= 32 - 8*octets
	case p.is("mask"):
		m, n, ok := dotted(p.take().text)
		if !ok {
			return 0, 0, ErrSyntax
		}
		mask = m << (32 - 8*n)
		addr <<= 32 - 8*octets
	case q.kind == "net":
		addr <<= 32 - 8*octets
	case octets != 4:
		mask = allBits // 'host 10.1' is 0.0.10.1
	}
	if addr&^mask != 0 {
		return 0, 0, &hostBits{t.text}
	}
	return addr, mask, nil
}

// hostBits is libpcap's complaint about 10.0.0.1/24.
type hostBits struct{ net string }

func (e *hostBits) Error() string { return "non-network bits set in \"" + e.net + "\"" }

// dotted reads one to four octets.
func dotted(s string) (addr, octets uint32, ok bool) {
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || octets == 4 {
			return 0, 0, false
		}
		addr, octets = addr<<8|uint32(n), octets+1
	}
	return addr, octets, true
}
