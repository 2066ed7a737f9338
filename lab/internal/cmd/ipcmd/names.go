package ipcmd

// Numbers that have names: /etc/iproute2, as Debian 12 has it, and what lib/rt_names.c knows by itself.

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/culvert-net/culvert/route"
)

// naming is names of numbers up to 255.
type naming map[uint8]string

var (
	scopeNames    = naming{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
	protocolNames = naming{
		0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird",
		13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 18: "keepalived", 42: "babel", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip",
		192: "eigrp",
	}
	groupNames = naming{0: "default"}
	tableNames = naming{0: "unspec", 253: "default", uint8(route.TableMain): "main", uint8(route.TableLocal): "local"}
	dsfields   = naming{
		0x00: "default", 0x20: "CS1", 0x40: "CS2", 0x60: "CS3", 0x80: "CS4", 0xa0: "CS5", 0xc0: "CS6", 0xe0: "CS7",
		0x28: "AF11", 0x30: "AF12", 0x38: "AF13", 0x48: "AF21", 0x50: "AF22", 0x58: "AF23", 0x68: "AF31", 0x70: "AF32", 0x78: "AF33",
		0x88: "AF41", 0x90: "AF42", 0x98: "AF43", 0xb8: "EF",
	}
)

// name returns a number's name, or its digits.
func (n naming) name(number uint32) string {
	if name, ok := n[uint8(min(number, 255))]; ok && number <= 255 {
		return name
	}
	return strconv.FormatUint(uint64(number), 10)
}

// parse reads a name, or a number up to 255.
func (n naming) parse(s string) (uint8, bool) {
	for number := range slices.Values(n.numbers()) {
		if n[number] == s {
			return number, true
		}
	}
	number, ok := number(s, 8)
	return uint8(number), ok
}

func (n naming) numbers() []uint8 {
	var all []uint8
	for number := range n {
		all = append(all, number)
	}
	slices.Sort(all)
	return all
}

// dsfield reads a TOS byte: a name, or a hexadecimal number (rtnl_dsfield_a2n).
func dsfield(s string) (uint8, bool) {
	for number, name := range dsfields {
		if name == s {
			return number, true
		}
	}
	n, err := strconv.ParseUint(trimHex(s), 16, 8)
	return uint8(n), err == nil
}

func trimHex(s string) string {
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		return s[2:]
	}
	return s
}

// dsfieldName returns a TOS byte's name, or its digits.
func dsfieldName(tos uint8) string {
	if name, ok := dsfields[tos]; ok {
		return name
	}
	return fmt.Sprintf("0x%02x", tos)
}
