// What the behaviour tests share: an engine with its ports at hand (rig), frames that are built by gopacket or by hand (never by
// this module's encoders), and frames that came out, taken apart by gopacket with a checksum of the plainest kind (seen).
//
// After each burst a rig checks that no packet was lost or counted twice, and that the pool misses no buffer but those held.
package engine_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoICMP = 1
	protoIPIP = 4
	protoTCP  = 6
	protoUDP  = 17

	ectNone, ect1, ect0, ectCE = 0b00, 0b01, 0b10, 0b11 // RFC 3168 section 5

	portLinux = 8472 // of VXLAN, Linux's and Flannel's
	portIANA  = 4789
)

// profiles are those that behaviours may differ in.
var profiles = []tunnel.Profile{tunnel.Linux, tunnel.RFC}

// rig is one engine in virtual time, with everything that it gives away kept.
type rig struct {
	*engine.Engine
	t    testing.TB
	pool *packet.Pool
	now  time.Duration

	deaf      bool // Config.Local refuses all
	out       []*seen
	delivered []*seen
	misses    []engine.Miss
	dropped   map[engine.Reason]uint64 // counted by earlier calls of drops
	counted   engine.Counters          // by earlier calls of rises
}

// rigSeed seeds every rig but those that compare seeds.
const rigSeed = 0x5eed

// newRig returns a rig; change may alter the configuration.
func newRig(t testing.TB, change ...func(*engine.Config)) *rig {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 4096, Size: 4096})
	require.NoError(t, err)
	r := &rig{t: t, pool: pool, now: time.Hour, dropped: map[engine.Reason]uint64{}}
	c := engine.Config{
		Pool: pool, Seed: rigSeed, Output: r.take, Local: r.listen,
		OnMiss: func(m engine.Miss) { r.misses = append(r.misses, m) },
	}
	for _, f := range change {
		f(&c)
	}
	r.pool = c.Pool
	r.Engine, err = engine.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { r.check() })
	return r
}

// follow makes a rig's engine follow a profile.
func follow(p tunnel.Profile) func(*engine.Config) {
	return func(c *engine.Config) { c.Profile = p }
}

// take is the engine's Output: it keeps what was sent, completed as a device without offloads would.
func (r *rig) take(port uint32, batch []*packet.Buffer) {
	for _, b := range batch {
		assert.NoError(r.t, b.CompleteChecksum())
		assert.NoError(r.t, b.InsertVLAN())
		l, _ := r.Link(r.Name(port))
		r.out = append(r.out, parse(r.Name(port), b.Bytes(), !l.Raw))
		b.Free()
	}
}

func (r *rig) listen(_ *engine.Worker, d engine.Delivery) bool {
	if r.deaf {
		return false
	}
	r.delivered = append(r.delivered, parse(r.Name(d.Device), d.Buffer.Bytes(), false))
	d.Buffer.Free()
	return true
}

// check holds the engine's books against themselves and the pool's.
func (r *rig) check() {
	r.t.Helper()
	s := r.Stats()
	assert.NoError(r.t, s.Check(), "conservation")
	assert.Equal(r.t, int(s.Held), r.pool.InUse(), "buffers out of the pool beside packets held")
}

func (r *rig) must(err error) {
	r.t.Helper()
	require.NoError(r.t, err)
}

// buffers returns frames in buffers of the rig's pool.
func (r *rig) buffers(frames ...[]byte) []*packet.Buffer {
	r.t.Helper()
	batch := make([]*packet.Buffer, 0, len(frames))
	for _, f := range frames {
		b := r.pool.Get()
		require.NotNil(r.t, b, "the rig's pool is empty")
		r.must(b.SetBytes(f))
		batch = append(batch, b)
	}
	return batch
}

// in lets a port receive frames as one burst, and returns what left in consequence.
func (r *rig) in(dev string, frames ...[]byte) []*seen {
	r.t.Helper()
	r.out = nil
	r.Process(r.Index(dev), r.buffers(frames...), r.now)
	r.check()
	return r.out
}

// one is in for a frame that is to leave as one frame, sound in every checksum, and as Explain says beforehand. What waits for
// other packets, and what Config.Local makes of a packet, is beyond Explain.
func (r *rig) one(dev string, frame []byte) *seen {
	r.t.Helper()
	x := r.explain(dev, frame)
	s := r.single(dev, frame)
	if len(x.Held) > 0 || x.Local || isARPReply(frame) {
		return s
	}
	if assert.Len(r.t, x.Outputs, 1, "Explain: outputs; steps:\n%s", x) {
		assert.Equal(r.t, s.dev, x.Outputs[0].Device, "Explain: device; steps:\n%s", x)
		raw := s.eth == nil
		assert.Equal(r.t, anonymous(s.raw, raw), anonymous(x.Outputs[0].Packet, raw), "Explain: frame; steps:\n%s", x)
	}
	return s
}

// single is one without asking Explain.
func (r *rig) single(dev string, frame []byte) *seen {
	r.t.Helper()
	out := r.in(dev, frame)
	if len(out) != 1 {
		require.Fail(r.t, "want one frame to leave", "%d left: %v; drops: %v", len(out), out, r.drops())
	}
	out[0].sound(r.t)
	return out[0]
}

func isARPReply(frame []byte) bool {
	return len(frame) >= 22 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2
}

// explain returns what Explain says of a frame, and holds it to changing nothing.
func (r *rig) explain(dev string, frame []byte) *engine.Explanation {
	r.t.Helper()
	stats, counters, use := r.Stats(), r.Counters(), r.pool.InUse()
	x, err := r.Explain(dev, frame, r.now)
	r.must(err)
	assert.Equal(r.t, stats, r.Stats(), "Explain changed what is counted")
	assert.Equal(r.t, counters, r.Counters(), "Explain changed what is counted")
	assert.Equal(r.t, use, r.pool.InUse(), "Explain took buffers")
	return x
}

// anonymous returns a frame, or a packet if raw, with the fields zero that an engine is free to choose: IPv4 identifications, and
// checksums that follow from them, in all layers.
func anonymous(data []byte, raw bool) []byte {
	f := append([]byte{}, data...)
	for at := 0; ; {
		if !raw {
			if len(f) < at+14 || f[at+12] != 8 || f[at+13] != 0 {
				return f
			}
			at += 14
		}
		if len(f) < at+20 {
			return f
		}
		h := f[at:]
		h[4], h[5], h[10], h[11] = 0, 0, 0, 0
		at += int(h[0]&15) * 4
		switch {
		case h[9] == protoIPIP:
			raw = true
		case h[9] == protoUDP && len(f) >= at+16 && (binary.BigEndian.Uint16(f[at+2:]) == portLinux || binary.BigEndian.Uint16(f[at+2:]) == portIANA):
			f[at+6], f[at+7] = 0, 0
			at, raw = at+16, false
		default:
			return f
		}
	}
}

// refused is in for a frame that is to be dropped for a reason, with nothing leaving.
func (r *rig) refused(why engine.Reason, dev string, frame []byte) {
	r.t.Helper()
	r.drops()
	x := r.explain(dev, frame)
	out := r.in(dev, frame)
	assert.Empty(r.t, x.Outputs, "Explain: outputs; steps:\n%s", x)
	assert.Contains(r.t, x.Drops, why, "Explain: drops; steps:\n%s", x)
	assert.Empty(r.t, out, "frames that left")
	assert.Equal(r.t, map[engine.Reason]uint64{why: 1}, r.drops(), "drops, want one as %s", why.Name())
}

// wait lets time go by, ticking whenever the engine wants to, and returns what left meanwhile.
func (r *rig) wait(d time.Duration) []*seen {
	r.t.Helper()
	r.out = nil
	end := r.now + d
	for range 1 << 16 {
		next := r.Next()
		if next > end {
			r.now = end
			r.check()
			return r.out
		}
		r.now = max(r.now, next)
		r.Tick(r.now)
	}
	r.t.Fatalf("the engine wants to tick without end, at %v", r.now)
	return nil
}

// drops returns the drops since it was called last, by reason.
func (r *rig) drops() map[engine.Reason]uint64 {
	s, rise, all := r.Stats(), map[engine.Reason]uint64{}, map[engine.Reason]uint64{}
	for why := range engine.Reasons() {
		if n := s.Drops[why]; n > 0 {
			all[why] = n
		}
		if n := s.Drops[why] - r.dropped[why]; n > 0 {
			rise[why] = n
		}
	}
	r.dropped = maps.Clone(all)
	return rise
}

// dropCount returns how many packets were dropped in all.
func (r *rig) dropCount() uint64 {
	return r.Stats().Dropped()
}

// rises returns by how much protocol counters rose since it was called last.
func (r *rig) rises() map[engine.Counter]uint64 {
	c, rise := r.Counters(), map[engine.Counter]uint64{}
	for i, n := range c {
		if d := n - r.counted[i]; d > 0 {
			rise[engine.Counter(i)] = d
		}
	}
	r.counted = c
	return rise
}

// deliveries returns what Config.Local was given since it was called last.
func (r *rig) deliveries() []*seen {
	d := r.delivered
	r.delivered = nil
	return d
}

// stats returns the counters of a device.
func (r *rig) stats(dev string) engine.LinkStats {
	r.t.Helper()
	s, err := r.DeviceStats(dev)
	r.must(err)
	return s
}

// send sends a packet of the node's own and returns what left.
func (r *rig) send(payload []byte, s engine.Send) ([]*seen, error) {
	r.t.Helper()
	r.out = nil
	err := r.Send(r.buffers(payload)[0], s, r.now)
	r.check()
	return r.out, err
}

// port adds a port that is up, with addresses.
func (r *rig) port(name string, m ethernet.MAC, addrs ...string) {
	r.t.Helper()
	_, err := r.AddPort(engine.Port{Link: engine.Link{Name: name, MAC: m, Up: true}})
	r.must(err)
	r.addr(name, addrs...)
}

// bridge adds a bridge that is up.
func (r *rig) bridge(name string, m ethernet.MAC, ports ...string) {
	r.t.Helper()
	_, err := r.AddBridge(engine.Bridge{Link: engine.Link{Name: name, MAC: m, Up: true}})
	r.must(err)
	for _, p := range ports {
		r.must(r.SetMaster(p, name))
	}
}

// vxlan adds a VXLAN device that is up.
func (r *rig) vxlan(name string, m ethernet.MAC, v engine.VXLAN) {
	r.t.Helper()
	v.Link = engine.Link{Name: name, MAC: m, MTU: v.MTU, Up: true}
	_, err := r.AddVXLAN(v)
	r.must(err)
}

// ipip adds an IPIP tunnel that is up.
func (r *rig) ipip(name string, i engine.IPIP, addrs ...string) {
	r.t.Helper()
	i.Link = engine.Link{Name: name, MTU: i.MTU, Up: true}
	_, err := r.AddIPIP(i)
	r.must(err)
	r.addr(name, addrs...)
}

func (r *rig) addr(dev string, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		r.must(r.AddAddr(dev, engine.Addr{Prefix: netip.MustParsePrefix(a)}))
	}
}

// route adds a unicast route; via "" is a route to the link itself.
func (r *rig) route(prefix, via, dev string) {
	r.t.Helper()
	route := engine.Route{Prefix: netip.MustParsePrefix(prefix), Dev: dev}
	if via != "" {
		route.Via = addr4(via)
	}
	r.must(r.AddRoute(route))
}

// neigh adds a permanent neighbour.
func (r *rig) neigh(addr string, m ethernet.MAC, dev string) {
	r.t.Helper()
	r.must(r.AddNeigh(engine.Neigh{Addr: addr4(addr), Dev: dev, MAC: m}))
}

// fdb adds a permanent entry of a VXLAN device.
func (r *rig) fdb(m ethernet.MAC, dev, dst string) {
	r.t.Helper()
	r.must(r.AppendFDB(engine.FDBEntry{MAC: m, Dev: dev, Dst: addr4(dst)}))
}

// addr4 is an address of a test's table.
func addr4(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// mac6 returns a locally administered address with n as its last byte.
func mac6(n byte) ethernet.MAC { return ethernet.MAC{2, 0, 0, 0, 0, n} }

// ether puts a hand-written Ethernet header in front of a payload.
func ether(dst, src ethernet.MAC, etherType uint16, payload []byte) []byte {
	f := append(append([]byte{}, dst[:]...), src[:]...)
	return append(binary.BigEndian.AppendUint16(f, etherType), payload...)
}

// tagged is ether with an 802.1Q tag.
func tagged(dst, src ethernet.MAC, vlan, etherType uint16, payload []byte) []byte {
	return ether(dst, src, 0x8100, append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, vlan), etherType), payload...))
}

// datagram is an IPv4 packet for gopacket to build. Zero fields take the values of an ordinary UDP packet.
type datagram struct {
	src, dst     string
	ttl          uint8 // 0: 64
	noTTL        bool  // TTL 0
	tos          uint8
	id           uint16
	df, mf       bool
	offset       int // of a fragment, bytes
	proto        uint8
	sport, dport uint16 // of UDP; 0: 40000 and 7
	noSum        bool   // UDP checksum 0
	options      []layers.IPv4Option
	payload      []byte // behind the UDP header, or the IPv4 header if proto is another, or a fragment's
	size         int    // of the whole packet: pads the payload
}

// packet returns the bytes, checksums included.
func (d datagram) packet() []byte {
	l := &layers.IPv4{
		Version: 4, TTL: d.ttl, TOS: d.tos, Id: d.id, FragOffset: uint16(d.offset / 8), Options: d.options,
		Protocol: layers.IPProtocol(d.proto), SrcIP: net.ParseIP(d.src).To4(), DstIP: net.ParseIP(d.dst).To4(),
	}
	if d.ttl == 0 && !d.noTTL {
		l.TTL = 64
	}
	if d.df {
		l.Flags |= layers.IPv4DontFragment
	}
	if d.mf {
		l.Flags |= layers.IPv4MoreFragments
	}
	stack := []gopacket.SerializableLayer{l}
	headers := 20
	for _, o := range d.options {
		headers += len(o.OptionData) + 1
		if o.OptionType > 1 {
			headers++
		}
	}
	headers = (headers + 3) / 4 * 4
	udp := (d.proto == 0 || d.proto == protoUDP) && !d.mf && d.offset == 0
	if udp {
		headers += 8
		u := &layers.UDP{SrcPort: layers.UDPPort(or(d.sport, 40000)), DstPort: layers.UDPPort(or(d.dport, 7))}
		mustBuild(u.SetNetworkLayerForChecksum(l))
		stack = append(stack, u)
	}
	if d.proto == 0 {
		l.Protocol = protoUDP
	}
	body := slices.Clone(d.payload)
	for i := headers + len(body); i < d.size; i++ {
		body = append(body, byte(i))
	}
	b := serialize(append(stack, gopacket.Payload(body))...)
	if udp && d.noSum {
		at := int(b[0]&15)*4 + 6
		b[at], b[at+1] = 0, 0
	}
	return b
}

// from returns the packet in an Ethernet frame.
func (d datagram) frame(dst, src ethernet.MAC) []byte { return ether(dst, src, etherIPv4, d.packet()) }

func or(a, b uint16) uint16 {
	if a != 0 {
		return a
	}
	return b
}

func serialize(stack ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	mustBuild(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...))
	return b.Bytes()
}

// mustBuild panics if a test asks gopacket for what it cannot build.
func mustBuild(err error) {
	if err != nil {
		panic(err)
	}
}

// echo returns an ICMP echo request with a body of n bytes.
func echo(id, seq uint16, n int) []byte {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(i)
	}
	return serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: id, Seq: seq}, gopacket.Payload(body))
}

// icmpError returns an ICMP error of a type and code that quotes a packet whole; rest is the second half of the second word.
func icmpError(typ, code uint8, rest uint16, quote []byte) []byte {
	return serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Seq: rest}, gopacket.Payload(quote))
}

// udpDatagram returns a UDP header with checksum 0, hand-written, and a body.
func udpDatagram(sport, dport uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	return append(append(binary.BigEndian.AppendUint16(b, uint16(8+len(body))), 0, 0), body...)
}

// vxlanHeader returns a hand-written VXLAN header (RFC 7348 section 5) in front of an inner frame.
func vxlanHeader(vni uint32, inner []byte) []byte {
	return append([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, inner...)
}

// arpPacket returns an ARP packet in a frame of 42 bytes, hand-written (RFC 826).
func arpPacket(dst ethernet.MAC, op uint16, smac ethernet.MAC, sip string, tmac ethernet.MAC, tip string) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	s, t := addr4(sip).As4(), addr4(tip).As4()
	p = append(append(append(append(p, smac[:]...), s[:]...), tmac[:]...), t[:]...)
	return ether(dst, smac, etherARP, p)
}

// whoHas returns a broadcast ARP request.
func whoHas(target string, smac ethernet.MAC, sip string) []byte {
	return arpPacket(ethernet.Broadcast, 1, smac, sip, ethernet.MAC{}, target)
}

// isAt returns an ARP reply to dst.
func isAt(dst, smac ethernet.MAC, sip, tip string) []byte {
	return arpPacket(dst, 2, smac, sip, dst, tip)
}

// patched returns a copy of b with byte i set; negative i count from the end.
func patched(b []byte, i int, v byte) []byte {
	b = append([]byte{}, b...)
	if i < 0 {
		i += len(b)
	}
	b[i] = v
	return b
}

// resummed returns a copy of an Ethernet frame whose IPv4 header checksum is made right again.
func resummed(frame []byte) []byte {
	f := append([]byte{}, frame...)
	h := f[14:]
	h = h[:min(len(h), max(int(h[0]&15)*4, 20))]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], ^sum16(0, h))
	return f
}

// sum16 is the Internet checksum's sum (RFC 1071) as one would write it down.
func sum16(start uint32, b []byte) uint16 {
	s := start
	for i, c := range b {
		if i%2 == 0 {
			s += uint32(c) << 8
		} else {
			s += uint32(c)
		}
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// seen is a frame that came out, or a packet inside one: layers that it has not are nil.
type seen struct {
	dev   string
	raw   []byte
	eth   *layers.Ethernet
	vlan  *layers.Dot1Q
	arp   *layers.ARP
	ip    *layers.IPv4
	udp   *layers.UDP
	icmp  *layers.ICMPv4
	vxlan *layers.VXLAN
	inner *seen // what VXLAN or IPIP carries

	faults []string // wrong checksums and lengths, the inner ones included
}

// parse takes a frame, or a packet without an Ethernet header, apart.
func parse(dev string, data []byte, frame bool) *seen {
	s := &seen{dev: dev, raw: append([]byte{}, data...)}
	if !frame {
		s.parseIP(s.raw)
		return s
	}
	s.eth = &layers.Ethernet{}
	if s.fault("ethernet", s.eth.DecodeFromBytes(s.raw, gopacket.NilDecodeFeedback)) {
		return s
	}
	etherType, payload := s.eth.EthernetType, s.eth.Payload
	if etherType == layers.EthernetTypeDot1Q {
		s.vlan = &layers.Dot1Q{}
		if s.fault("802.1Q", s.vlan.DecodeFromBytes(payload, gopacket.NilDecodeFeedback)) {
			return s
		}
		etherType, payload = s.vlan.Type, s.vlan.Payload
	}
	switch etherType {
	case layers.EthernetTypeARP:
		s.arp = &layers.ARP{}
		s.fault("arp", s.arp.DecodeFromBytes(payload, gopacket.NilDecodeFeedback))
	case layers.EthernetTypeIPv4:
		s.parseIP(payload)
	}
	return s
}

func (s *seen) fault(layer string, err error) bool {
	if err != nil {
		s.faults = append(s.faults, layer+": "+err.Error())
	}
	return err != nil
}

func (s *seen) parseIP(b []byte) {
	s.ip = &layers.IPv4{}
	if s.fault("ipv4", s.ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback)) {
		return
	}
	if sum16(0, b[:int(s.ip.IHL)*4]) != 0xffff {
		s.faults = append(s.faults, "ipv4: wrong checksum")
	}
	if s.ip.FragOffset != 0 || s.ip.Flags&layers.IPv4MoreFragments != 0 {
		return
	}
	body := s.ip.Payload
	switch s.ip.Protocol {
	case protoUDP:
		s.parseUDP(body)
	case protoICMP:
		s.icmp = &layers.ICMPv4{}
		if !s.fault("icmp", s.icmp.DecodeFromBytes(body, gopacket.NilDecodeFeedback)) && sum16(0, body) != 0xffff {
			s.faults = append(s.faults, "icmp: wrong checksum")
		}
	case protoIPIP:
		s.adopt(parse(s.dev, body, false))
	}
}

func (s *seen) parseUDP(body []byte) {
	s.udp = &layers.UDP{}
	if s.fault("udp", s.udp.DecodeFromBytes(body, gopacket.NilDecodeFeedback)) {
		return
	}
	pseudo := uint32(sum16(protoUDP+uint32(len(body)), append(append([]byte{}, s.ip.SrcIP...), s.ip.DstIP...)))
	if s.udp.Checksum != 0 && sum16(pseudo, body) != 0xffff {
		s.faults = append(s.faults, "udp: wrong checksum")
	}
	if s.udp.DstPort == portLinux || s.udp.DstPort == portIANA {
		s.vxlan = &layers.VXLAN{}
		if !s.fault("vxlan", s.vxlan.DecodeFromBytes(s.udp.Payload, gopacket.NilDecodeFeedback)) {
			s.adopt(parse(s.dev, s.vxlan.Payload, true))
		}
	}
}

func (s *seen) adopt(inner *seen) {
	s.inner = inner
	for _, f := range inner.faults {
		s.faults = append(s.faults, "inner "+f)
	}
}

// sound requires that every length and checksum of a frame is right.
func (s *seen) sound(t testing.TB) {
	t.Helper()
	require.Empty(t, s.faults, "faults of a frame sent out of %s: %x", s.dev, s.raw)
}

// packet returns the IPv4 packet's bytes.
func (s *seen) packet() []byte { return append(append([]byte{}, s.ip.Contents...), s.ip.Payload...) }

func (s *seen) df() bool { return s.ip.Flags&layers.IPv4DontFragment != 0 }
func (s *seen) mf() bool { return s.ip.Flags&layers.IPv4MoreFragments != 0 }

func (s *seen) src() string    { return s.ip.SrcIP.String() }
func (s *seen) dst() string    { return s.ip.DstIP.String() }
func (s *seen) srcMAC() string { return s.eth.SrcMAC.String() }
func (s *seen) dstMAC() string { return s.eth.DstMAC.String() }

// String returns a frame in one line, for tables of what left in which order.
func (s *seen) String() string {
	switch {
	case s.arp != nil && s.arp.Operation == 1:
		return fmt.Sprintf("%s: who-has %s tell %s", s.dev, net.IP(s.arp.DstProtAddress), net.IP(s.arp.SourceProtAddress))
	case s.arp != nil:
		return fmt.Sprintf("%s: %s is-at %s", s.dev, net.IP(s.arp.SourceProtAddress), net.HardwareAddr(s.arp.SourceHwAddress))
	case s.icmp != nil:
		return fmt.Sprintf("%s: %s > %s icmp %d/%d", s.dev, s.src(), s.dst(), s.icmp.TypeCode.Type(), s.icmp.TypeCode.Code())
	case s.ip != nil && s.inner != nil:
		return fmt.Sprintf("%s: %s > %s (%s)", s.dev, s.src(), s.dst(), s.inner)
	case s.ip != nil:
		return fmt.Sprintf("%s: %s > %s proto %d", s.dev, s.src(), s.dst(), s.ip.Protocol)
	}
	return fmt.Sprintf("%s: %d bytes", s.dev, len(s.raw))
}

// texts returns frames as String has them.
func texts(out []*seen) []string {
	l := make([]string, 0, len(out))
	for _, s := range out {
		l = append(l, s.String())
	}
	return l
}

// devices returns where frames left.
func devices(out []*seen) []string {
	d := make([]string, 0, len(out))
	for _, s := range out {
		d = append(d, s.dev)
	}
	return d
}

// wantICMP requires an ICMP error of a type and code and returns it; see icmpErrorFrom for who sends it.
func (s *seen) wantICMP(t testing.TB, typ, code uint8, src, dst string) {
	t.Helper()
	s.sound(t)
	require.NotNil(t, s.icmp, "not ICMP: %s", s)
	assert.Equal(t, fmt.Sprintf("%d/%d", typ, code), fmt.Sprintf("%d/%d", s.icmp.TypeCode.Type(), s.icmp.TypeCode.Code()), "type and code")
	assert.Equal(t, src+" > "+dst, s.src()+" > "+s.dst(), "addresses of the ICMP message")
}
