package reference

// Comparing what the reference expects with what came out of something faster.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Got is what came out of the forwarder under test.
type Got struct {
	Out       []Output // in the order of each port
	Delivered [][]byte
	Drops     map[string]int
	Held      int
}

// Comparer compares results, and remembers the source ports that flows were given.
type Comparer struct {
	Node     *Node // knows raw ports and the tunnels' UDP ports
	AnyOrder bool  // packets of a port may leave in another order, as where copies cross the node by several ways
	flows    map[string]uint16
	fresh    map[string]uint16 // of the packets that are being compared
}

// Differs returns how got differs from what is expected, one difference a line; empty if it does not.
func (c *Comparer) Differs(want Result, got Got) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, d := range c.Node.Devices {
		if d.Kind == Port {
			c.differ("out of "+d.Name, packetsOf(want.Out, d.Name), packetsOf(got.Out, d.Name), d.Raw, say)
		}
	}
	c.differ("delivered", want.Delivered, got.Delivered, true, say)
	if !matches(want.Drops, got.Drops) {
		say("dropped: want %v, got %v", want.Drops, got.Drops)
	}
	if want.Held != got.Held {
		say("waiting: want %d packets, got %d", want.Held, got.Held)
	}
	return strings.Join(lines, "\n")
}

func packetsOf(out []Output, port string) (packets [][]byte) {
	for _, o := range out {
		if o.Port == port {
			packets = append(packets, o.Bytes)
		}
	}
	return packets
}

func (c *Comparer) differ(what string, want, got [][]byte, raw bool, say func(string, ...any)) {
	if c.AnyOrder {
		got = c.reorder(want, got, raw)
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			say("%s: packet %d was not expected\n%s", what, i, dump(got[i]))
		case i >= len(got):
			say("%s: packet %d is missing\n%s", what, i, dump(want[i]))
		default:
			if w, ok := c.fits(want[i], got[i], raw); !ok {
				say("%s: packet %d differs from byte %d on: want\n%sgot\n%s", what, i, firstDifference(w, got[i]), dump(w), dump(got[i]))
			}
		}
	}
}

// dump shows the start of a packet, where headers are.
func dump(b []byte) string {
	const enough = 144
	return fmt.Sprintf("%d bytes\n%s", len(b), hex.Dump(b[:min(len(b), enough)]))
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// reorder returns got with each packet at the place of the one that it fits.
func (c *Comparer) reorder(want, got [][]byte, raw bool) [][]byte {
	left := slices.Clone(got)
	var ordered [][]byte
	for _, w := range want {
		at := slices.IndexFunc(left, func(g []byte) bool {
			_, ok := c.fits(w, g, raw)
			return ok
		})
		if at < 0 {
			return got
		}
		ordered = append(ordered, left[at])
		left = slices.Delete(left, at, at+1)
	}
	return append(ordered, left...)
}

// fits reports whether got is what is wanted, and returns what that is exactly.
func (c *Comparer) fits(want, got []byte, raw bool) ([]byte, bool) {
	want = slices.Clone(want)
	c.fresh = map[string]uint16{}
	c.adopt(want, got, raw)
	if !bytes.Equal(want, got) {
		return want, false
	}
	if c.flows == nil {
		c.flows = map[string]uint16{}
	}
	maps.Copy(c.flows, c.fresh)
	return want, true
}

// adopt puts what the other was free to choose into want, if it chose well.
func (c *Comparer) adopt(want, got []byte, raw bool) {
	if raw {
		c.adoptIP(want, got)
		return
	}
	if len(want) < etherLen || len(got) < etherLen {
		return
	}
	at, kind := innerIP(frame{kind: binary.BigEndian.Uint16(want[12:]), payload: want[etherLen:]})
	if kind == typeIPv4 && len(got) > etherLen+at {
		c.adoptIP(want[etherLen+at:], got[etherLen+at:])
	}
}

func (c *Comparer) adoptIP(want, got []byte) {
	if len(want) < ipLen || len(got) < ipLen {
		return
	}
	header := int(want[0]&15) * 4
	if header < ipLen || len(want) < header || len(got) < header {
		return
	}
	if id := binary.BigEndian.Uint16(got[4:]); binary.BigEndian.Uint16(want[4:]) == AnyID && id != 0 {
		copy(want[4:6], got[4:6])
		want[10], want[11] = 0, 0
		binary.BigEndian.PutUint16(want[10:], checksum(want[:header]))
	}
	if binary.BigEndian.Uint16(want[6:])&0x1fff != 0 {
		return
	}
	switch want[9] {
	case protocolIPIP:
		c.adoptIP(want[header:], got[header:])
	case protocolUDP:
		c.adoptUDP(want[header:], got[header:])
	case protocolICMP:
		c.adoptQuote(want[header:], got[header:])
	}
}

// adoptQuote is for errors about packets that the node made itself.
func (c *Comparer) adoptQuote(want, got []byte) {
	if len(want) < icmpLen || len(got) < icmpLen {
		return
	}
	before := slices.Clone(want)
	switch want[0] {
	case icmpUnreachable, icmpTimeExceeded, icmpParameterProblem:
	default:
		return
	}
	c.adoptIP(want[icmpLen:], got[icmpLen:])
	if !bytes.Equal(before, want) {
		want[2], want[3] = 0, 0
		binary.BigEndian.PutUint16(want[2:], checksum(want))
	}
}

// First and last outer source port (net.ipv4.ip_local_port_range, whose upper end is not used).
const (
	firstPort = 32768
	endPort   = 60999
)

func (c *Comparer) adoptUDP(want, got []byte) {
	if len(want) < udpLen+vxlanLen+etherLen || len(got) < udpLen+vxlanLen+etherLen || !c.Node.isTunnelPort(binary.BigEndian.Uint16(want[2:])) {
		return
	}
	before := slices.Clone(want)
	if binary.BigEndian.Uint16(want) == AnyPort && c.portFits(want[udpLen+vxlanLen:], binary.BigEndian.Uint16(got)) {
		copy(want[:2], got[:2])
	}
	c.adopt(want[udpLen+vxlanLen:], got[udpLen+vxlanLen:], false)
	if before[6]|before[7] != 0 && !bytes.Equal(want, before) {
		follow(want, before)
	}
}

// follow brings a UDP checksum in step with the words that are not as before (RFC 1624 equation 3). The datagram may be cut off.
func follow(datagram, before []byte) {
	sum := uint32(^binary.BigEndian.Uint16(before[6:]))
	for i := 0; i+1 < len(datagram); i += 2 {
		sum += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(datagram[i:]))
		sum = sum&0xffff + sum>>16
	}
	sum = sum&0xffff + sum>>16
	if check := ^uint16(sum); check != 0 {
		binary.BigEndian.PutUint16(datagram[6:], check)
	} else {
		binary.BigEndian.PutUint16(datagram[6:], 0xffff)
	}
}

// portFits reports whether a flow may have this source port: one of the range, and the one that it had before.
func (c *Comparer) portFits(inner []byte, port uint16) bool {
	key := flowOf(inner)
	if before, ok := c.flows[key]; ok {
		return port == before
	}
	c.fresh[key] = port
	return port >= firstPort && port < endPort
}

// flowOf names the flow of a frame: what must not be reordered. Fragments have no ports, the first one included, so that all of
// them go one way.
func flowOf(inner []byte) string {
	f, _ := parseFrame(inner)
	at, kind := innerIP(f)
	if kind != typeIPv4 {
		return fmt.Sprintf("%x", inner[:etherLen])
	}
	p, faults := parseIP(f.payload[at:])
	if faults != nil {
		return fmt.Sprintf("%x", inner)
	}
	if (p.protocol == protocolUDP || p.protocol == protocolTCP) && !p.isFragment() && len(p.payload) >= 4 {
		return fmt.Sprintf("%v %v %d %x", p.src, p.dst, p.protocol, p.payload[:4])
	}
	return fmt.Sprint(p.src, p.dst, p.protocol, p.isFragment())
}

// matches reports whether each drop can be told from one that is counted, one to one.
func matches(want []Drop, got map[string]int) bool {
	left := map[string]int{}
	total := 0
	for reason, count := range got {
		left[reason] = count
		total += count
	}
	return total == len(want) && matchFrom(want, left)
}

func matchFrom(want []Drop, left map[string]int) bool {
	if len(want) == 0 {
		return true
	}
	for _, reason := range want[0] {
		if left[reason] == 0 {
			continue
		}
		left[reason]--
		if matchFrom(want[1:], left) {
			return true
		}
		left[reason]++
	}
	return false
}
