package pcapfilter

// Relations of arithmetic expressions: ip[6:2] & 0x1fff != 0. Numbers have 32 bits, without a sign.

import "slices"

var (
	relations  = []string{"<", "<=", ">", ">=", "=", "==", "!="}
	arithmetic = []string{"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"}
)

// number is a compiled arithmetic expression, and what a packet must be for it to mean anything.
type number struct {
	value func(*state) uint32
	given []test
}

// relation parses 'NUMBER RELATION NUMBER'.
func (p *parser) relation() (test, error) {
	a, err := p.sum(0)
	if err != nil {
		return nil, err
	}
	op := p.take().text
	if !slices.Contains(relations, op) {
		return nil, ErrSyntax
	}
	b, err := p.sum(0)
	if err != nil {
		return nil, err
	}
	holds := func(s *state) bool {
		x := a.value(s)
		return compare(op, x, b.value(s))
	}
	return and(append(slices.Concat(a.given, b.given), holds)...), nil
}

func compare(op string, x, y uint32) bool {
	switch op {
	case "<":
		return x < y
	case "<=":
		return x <= y
	case ">":
		return x > y
	case ">=":
		return x >= y
	case "!=":
		return x != y
	}
	return x == y
}

// levels are the operators from the weakest to the strongest.
var levels = [][]string{{"|", "^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}}

// sum parses operators of a level and those that bind closer.
func (p *parser) sum(level int) (number, error) {
	if level == len(levels) {
		return p.factor()
	}
	left, err := p.sum(level + 1)
	for err == nil && p.peek(0).kind == kindOperator && slices.Contains(levels[level], p.peek(0).text) {
		op := p.take().text
		var right number
		if right, err = p.sum(level + 1); err == nil {
			left = operate(op, left, right)
		}
	}
	return left, err
}

func operate(op string, a, b number) number {
	return number{given: slices.Concat(a.given, b.given), value: func(s *state) uint32 {
		x := a.value(s)
		return s.calculate(op, x, b.value(s))
	}}
}

func (s *state) calculate(op string, x, y uint32) uint32 {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "&":
		return x & y
	case "|":
		return x | y
	case "^":
		return x ^ y
	case "<<":
		return x << y
	case ">>":
		return x >> y
	}
	if y == 0 {
		s.failed = true
		return 0
	}
	if op == "%" {
		return x % y
	}
	return x / y
}

// factor parses a number, 'len', a parenthesis, a sign, or bytes of the packet.
func (p *parser) factor() (number, error) {
	t := p.take()
	switch {
	case t.kind == kindNumber:
		return number{value: func(*state) uint32 { return t.number }}, nil
	case t.text == "len" && !t.escaped:
		return number{value: func(s *state) uint32 { return s.length }}, nil
	case t.text == "-":
		n, err := p.factor()
		return number{given: n.given, value: func(s *state) uint32 { return -n.value(s) }}, err
	case t.text == "(":
		n, err := p.sum(0)
		if err == nil && !p.is(")") {
			err = ErrSyntax
		}
		return n, err
	case t.kind == kindWord && slices.Contains(protocols, t.text):
		return p.bytesOf(t.text)
	}
	return number{}, ErrSyntax
}

// bytesOf parses what follows a protocol: [OFFSET] or [OFFSET:SIZE].
func (p *parser) bytesOf(proto string) (number, error) {
	if !p.is("[") {
		return number{}, ErrSyntax
	}
	offset, err := p.sum(0)
	if err != nil {
		return number{}, err
	}
	size := uint32(1)
	if p.is(":") {
		size = p.take().number
	}
	switch {
	case !p.is("]"):
		return number{}, ErrSyntax
	case size != 1 && size != 2 && size != 4:
		return number{}, fault("data size must be 1, 2, or 4")
	}
	base, given, err := p.layer(proto)
	if err != nil {
		return number{}, err
	}
	return number{given: slices.Concat(offset.given, given), value: func(s *state) uint32 {
		at := offset.value(s)
		return s.load(base(s)+at, int(size))
	}}, nil
}

// layer returns where a protocol's header begins, and what a packet must be to have it.
func (p *parser) layer(proto string) (base func(*state) uint32, given []test, err error) {
	at := p.networkAt()
	network := func(*state) uint32 { return at }
	switch proto {
	case "ether":
		return func(*state) uint32 { return 0 }, nil, nil
	case "ip", "ip6", "arp", "rarp":
		return network, []test{p.etherType(etherTypes[proto])}, nil
	case "icmp6":
		return func(*state) uint32 { return at + ip6HeaderLen }, []test{p.ip6Protocol(ipProtocols[proto])}, nil
	case "ah", "esp":
		return nil, nil, fault("unsupported index operation")
	}
	given = []test{p.ip4Protocol(ipProtocols[proto]), notFragment(at)}
	return func(s *state) uint32 { return at + headerLen(s, at) }, given, nil
}
