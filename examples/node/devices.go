package main

// The devices of the machine: ip link add NAME type KIND WORD….

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/rawip"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/driver/udp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/proc"
)

// drivers are the kinds.
func drivers() map[string]proc.OpenDriver {
	return map[string]proc.OpenDriver{
		"afpacket": openAFPacket,
		"tap":      func(l engine.Link, words []string) (driver.Driver, error) { return openTunTap(tuntap.TAP, l, words) },
		"tun":      func(l engine.Link, words []string) (driver.Driver, error) { return openTunTap(tuntap.TUN, l, words) },
		"udp":      openUDP,
		"rawip":    openRawIP,
	}
}

// openAFPacket reads: dev D [promisc] [steal] [filter KIND VALUE…]. With an address of its own the node receives frames to that, and
// to everybody; with promisc, frames to all.
func openAFPacket(l engine.Link, words []string) (driver.Driver, error) {
	w := &reader{kind: "afpacket", words: words}
	c := afpacket.Config{}
	var filter afpacket.Filter
	promisc, steal := false, false
	for w.more() {
		switch word := w.next(); word {
		case "dev":
			c.Device = w.value()
		case "promisc":
			promisc = true
		case "steal":
			steal = true
		case "filter":
			w.filter(&filter)
		default:
			w.unknown(word, "dev D [promisc] [steal] [filter udp PORT | proto ipip | arp ADDRESS | to PREFIX | host ADDRESS | vlan ID …]")
		}
	}
	if c.Device == "" {
		w.fail("dev is missing: which device of the machine?")
	}
	own := l.MAC != ethernet.MAC{}
	if own && !promisc {
		filter.MACs = []ethernet.MAC{l.MAC}
	}
	c.Promiscuous = own || promisc
	if own || w.filtered {
		c.Filter = &filter
	}
	if steal {
		c.Steal = &filter
	}
	if steal && !w.filtered {
		w.fail("steal: needs a filter: what is to be kept from the kernel?")
	}
	if w.err != nil {
		return nil, w.err
	}
	return opened(afpacket.New(c))
}

// openTunTap reads: [dev D]. The machine's end is called D, or as the node's.
func openTunTap(kind tuntap.Kind, l engine.Link, words []string) (driver.Driver, error) {
	w := &reader{kind: kind.String(), words: words}
	c := tuntap.Config{Kind: kind, Name: l.Name, MTU: l.MTU}
	for w.more() {
		switch word := w.next(); word {
		case "dev":
			c.Name = w.value()
		default:
			w.unknown(word, "[dev D]")
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	return opened(tuntap.New(c))
}

// openUDP reads: local A [port P].
func openUDP(_ engine.Link, words []string) (driver.Driver, error) {
	w := &reader{kind: "udp", words: words}
	var c udp.Config
	for w.more() {
		switch word := w.next(); word {
		case "local":
			c.Local = w.address()
		case "port":
			c.Port = w.port()
		default:
			w.unknown(word, "[local ADDRESS] [port PORT]")
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	return opened(udp.New(c))
}

// openRawIP reads: local A.
func openRawIP(_ engine.Link, words []string) (driver.Driver, error) {
	w := &reader{kind: "rawip", words: words}
	var c rawip.Config
	for w.more() {
		switch word := w.next(); word {
		case "local":
			c.Local = w.address()
		default:
			w.unknown(word, "[local ADDRESS]")
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	return opened(rawip.New(c))
}

// opened returns no driver if there is an error: a nil pointer would be one.
func opened[D driver.Driver](d D, err error) (driver.Driver, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// reader reads the words of a device. Its first error stays.
type reader struct {
	kind     string
	words    []string
	last     string // the word that value was taken for
	filtered bool
	err      error
}

func (w *reader) more() bool { return len(w.words) > 0 && w.err == nil }

func (w *reader) next() string {
	word := w.words[0]
	w.words = w.words[1:]
	w.last = word
	return word
}

func (w *reader) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(w.kind+": "+format, args...)
	}
}

func (w *reader) unknown(word, want string) {
	w.fail("what is %q? Known is: %s", word, want)
}

// value takes the word behind another.
func (w *reader) value() string {
	if len(w.words) == 0 {
		w.fail("%s: a value is missing", w.last)
		return ""
	}
	value := w.words[0]
	w.words = w.words[1:]
	return value
}

func (w *reader) address() netip.Addr {
	text := w.value()
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		w.fail("%s: %s is no IPv4 address", w.last, text)
	}
	return a
}

func (w *reader) number(limit int) int {
	text := w.value()
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > limit {
		w.fail("%s: %q is no number from 0 to %d", w.last, text, limit)
	}
	return n
}

func (w *reader) port() uint16 { return uint16(w.number(1<<16 - 1)) }

// filter takes what is left but for the words of the device itself: kinds of packets, each with a value.
func (w *reader) filter(f *afpacket.Filter) {
	w.filtered = true
	for w.more() && !slices.Contains([]string{"dev", "promisc", "steal"}, w.words[0]) {
		switch word := w.next(); word {
		case "udp":
			f.UDPPorts = append(f.UDPPorts, w.port())
		case "proto":
			f.Protocols = append(f.Protocols, w.protocol())
		case "arp":
			f.ARP = append(f.ARP, w.address())
		case "to":
			p, err := netip.ParsePrefix(w.value())
			if err != nil {
				w.fail("to: %v", err)
			}
			f.IPv4 = append(f.IPv4, p)
		case "host":
			f.Hosts = append(f.Hosts, w.address())
		case "vlan":
			f.VLANs = append(f.VLANs, uint16(w.number(4094)))
		default:
			w.unknown(word, "filter udp PORT, proto ipip|icmp|NUMBER, arp ADDRESS, to PREFIX, host ADDRESS, vlan ID")
		}
	}
}

// protocol takes an IP protocol, by name or number.
func (w *reader) protocol() uint8 {
	if len(w.words) > 0 {
		switch w.words[0] {
		case "ipip":
			w.next()
			return ipv4.ProtocolIPIP
		case "icmp":
			w.next()
			return ipv4.ProtocolICMP
		}
	}
	return uint8(w.number(255))
}
