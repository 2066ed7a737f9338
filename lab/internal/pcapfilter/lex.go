package pcapfilter

// The words of an expression (libpcap's scanner.l).

import (
	"regexp"
	"strconv"
	"strings"
)

type kind uint8

const (
	kindWord   kind = iota // a keyword, name, address or range
	kindNumber             // also a word: 80 may be a port or a network
	kindMAC
	kindOperator
)

type token struct {
	kind    kind
	text    string
	number  uint32
	escaped bool // \udp: a name, not the keyword
}

var (
	macPattern      = regexp.MustCompile(`^[0-9A-Fa-f]{1,2}([:.-][0-9A-Fa-f]{1,2}){5}\b`)
	ipv6Pattern     = regexp.MustCompile(`^[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*`)
	wordPattern     = regexp.MustCompile(`^[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?`)
	operatorPattern = regexp.MustCompile(`^(&&|\|\||<<|>>|<=|>=|!=|==|[-!&|^+*/%<>=()\[\]:])`)
	numberPattern   = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]+)$`)
)

// lex divides an expression into tokens.
func lex(s string) ([]token, error) {
	var tokens []token
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return tokens, nil
		}
		t, length, err := next(s)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		s = s[length:]
	}
}

// next returns the first token of s and how long it is.
func next(s string) (token, int, error) {
	if m := macPattern.FindString(s); m != "" {
		return token{kind: kindMAC, text: m}, len(m), nil
	}
	if ipv6Pattern.MatchString(s) {
		return token{}, 0, unsupported("IPv6 address")
	}
	if m := wordPattern.FindString(s); m != "" {
		return word(m)
	}
	if s[0] == '\\' {
		if m := wordPattern.FindString(s[1:]); m != "" {
			return token{kind: kindWord, text: m, escaped: true}, 1 + len(m), nil
		}
	}
	if m := operatorPattern.FindString(s); m != "" {
		return token{kind: kindOperator, text: m}, len(m), nil
	}
	return token{}, 0, ErrSyntax
}

// word returns a word, which may be a number.
func word(m string) (token, int, error) {
	t := token{kind: kindWord, text: m}
	if numberPattern.MatchString(m) {
		n, err := strconv.ParseUint(m, 0, 32)
		if err != nil {
			return t, 0, ErrSyntax
		}
		t.kind, t.number = kindNumber, uint32(n)
	} else if n, ok := constants[m]; ok {
		t.kind, t.number = kindNumber, n
	}
	return t, len(m), nil
}

// constants are the names of numbers (pcap-filter(7)).
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8, "icmp-routeradvert": 9,
	"icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14,
	"icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
	"tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40,
	"tcp-cwr": 0x80,
}
