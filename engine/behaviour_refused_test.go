// What nobody takes: TCP segments, datagrams to groups, protocols, and ICMP errors about what nobody has sent. Answers and counters
// are those of Linux 6.18, seen in network namespaces.
package engine_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// tcpSegment returns a segment from near to dst, port 4321 to 99, as gopacket builds it, with data or options behind the header.
func tcpSegment(dst string, l layers.TCP, data string) []byte {
	l.SrcPort, l.DstPort, l.Window = 4321, 99, 500
	mustBuild(l.SetNetworkLayerForChecksum(&layers.IPv4{SrcIP: addr4(near).AsSlice(), DstIP: addr4(dst).AsSlice(), Protocol: protoTCP}))
	return serialize(&l, gopacket.Payload(data))
}

// segmentTo is a segment in its frame to eth0.
func segmentTo(dst string, l layers.TCP, data string) []byte {
	return toFar(datagram{dst: dst, proto: protoTCP, tos: 0xbb, payload: tcpSegment(dst, l, data)})
}

func TestBehaviourTCPReset(t *testing.T) {
	const seq, ack = 0xffffffff, 2000
	for _, c := range []struct {
		name     string
		flags    layers.TCP
		data     string
		seq, ack uint32
		acks     bool
	}{
		{"SYN", layers.TCP{SYN: true}, "", 0, 0, true},
		{"SYN with data", layers.TCP{SYN: true}, "abcde", 0, 5, true},
		{"FIN", layers.TCP{FIN: true}, "", 0, 0, true},
		{"SYN and FIN", layers.TCP{SYN: true, FIN: true}, "", 0, 1, true},
		{"data alone", layers.TCP{}, "abc", 0, 2, true},
		{"options are no data", layers.TCP{SYN: true, Options: []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}}, "xy", 0, 2, true},
		{"ACK", layers.TCP{ACK: true}, "data", ack, 0, false},
		{"SYN and ACK", layers.TCP{SYN: true, ACK: true}, "", ack, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.deaf = true
			c.flags.Seq, c.flags.Ack = seq, ack
			s := r.single("eth0", segmentTo(eth0Addr, c.flags, c.data))
			assert.Equal(t, eth0Addr+" > "+near, s.src()+" > "+s.dst())
			assert.Equal(t, uint8(0xb8), s.ip.TOS, "without the bits for ECN")
			assert.Equal(t, uint8(64), s.ip.TTL)
			assert.True(t, s.df())
			want := binary.BigEndian.AppendUint32([]byte{0, 99, 0x10, 0xe1}, c.seq)
			want = append(binary.BigEndian.AppendUint32(want, c.ack), 0x50, 0x04, 0, 0)
			if c.acks {
				want[13] = 0x14
			}
			want = append(append(want, s.ip.Payload[16:18]...), 0, 0)
			assert.Equal(t, want, s.ip.Payload, "20 bytes, no window, the checksum aside")
			pseudo := append(append([]byte{}, s.ip.SrcIP...), s.ip.DstIP...)
			assert.Equal(t, uint16(0xffff), sum16(uint32(sum16(protoTCP+20, pseudo)), s.ip.Payload), "checksum")
			assert.Equal(t, map[engine.Reason]uint64{engine.DropNoSocket: 1}, r.drops())
			rise := r.rises()
			assert.Equal(t, uint64(1), rise[engine.TCPOutRsts])
			assert.Zero(t, rise[engine.IPInUnknownProtos])
		})
	}
}

func TestBehaviourTCPNoReset(t *testing.T) {
	syn := layers.TCP{SYN: true, Seq: 1}
	whole := segmentTo(eth0Addr, syn, "")
	for _, c := range []struct {
		name  string
		frame []byte
		why   engine.Reason
		count map[engine.Counter]uint64
	}{
		{"a reset", segmentTo(eth0Addr, layers.TCP{RST: true}, ""), engine.DropNoSocket, nil},
		{"a reset with ACK", segmentTo(eth0Addr, layers.TCP{RST: true, ACK: true}, ""), engine.DropNoSocket, nil},
		{"wrong checksum", patched(whole, -1, 1), engine.DropTCP, map[engine.Counter]uint64{engine.TCPInCsumErrors: 1, engine.TCPInErrs: 1}},
		{"too short", toFar(datagram{dst: eth0Addr, proto: protoTCP, payload: tcpSegment(eth0Addr, syn, "")[:19]}), engine.DropTCP, nil},
		{"data offset below the header", patched(whole, 34+12, 0x40), engine.DropTCP, map[engine.Counter]uint64{engine.TCPInErrs: 1}},
		{"data offset beyond the segment", patched(whole, 34+12, 0x60), engine.DropTCP, nil},
		{"to everybody", segmentTo("10.0.0.255", syn, ""), engine.DropNoSocket, nil},
		{"to all hosts", segmentTo("224.0.0.1", syn, ""), engine.DropNoSocket, nil},
		{"in a frame to everybody", append(append([]byte{}, ethernet.Broadcast[:]...), whole[6:]...), engine.DropNoSocket, nil},
		{"no room for its options in the answer", withOptions(whole, "070804 NONE 00"), engine.DropNoSocket, map[engine.Counter]uint64{engine.TCPOutRsts: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t, func(c *engine.Config) { c.Local = nil })
			r.refused(c.why, "eth0", c.frame)
			rise := r.rises()
			assert.Equal(t, uint64(1), rise[engine.IPInDelivers])
			delete(rise, engine.IPInReceives)
			delete(rise, engine.IPInDelivers)
			if c.count == nil {
				c.count = map[engine.Counter]uint64{}
			}
			assert.Equal(t, c.count, rise)
		})
	}
	t.Run("somebody takes it", func(t *testing.T) {
		r := newRouter(t)
		assert.Empty(t, r.in("eth0", patched(whole, -1, 1)), "what is wrong with it, too")
		assert.Len(t, r.deliveries(), 1)
	})
	t.Run("a device has checked it", func(t *testing.T) {
		r := newRouter(t)
		r.deaf = true
		b := r.buffers(patched(whole, -1, 1))
		b[0].SetChecksumVerified()
		r.out = nil
		r.Process(r.Index("eth0"), b, r.now)
		assert.Len(t, r.out, 1)
	})
}

// TestBehaviourTCPResetIsExplained has the reset among what Explain tells.
func TestBehaviourTCPResetIsExplained(t *testing.T) {
	r := newRouter(t, func(c *engine.Config) { c.Local = nil })
	x := r.explain("eth0", segmentTo(eth0Addr, layers.TCP{SYN: true}, ""))
	assert.Contains(t, x.String(), "reset")
	assert.Len(t, x.Outputs, 1)
	r.one("eth0", withOptions(segmentTo(eth0Addr, layers.TCP{SYN: true}, ""), "070f04 NONE NONE NONE"))
}

func TestBehaviourTCPResetOptions(t *testing.T) {
	r := newRouter(t)
	r.deaf = true
	s := r.single("eth0", withOptions(segmentTo(eth0Addr, layers.TCP{SYN: true}, ""), "070f04 NONE NONE NONE"))
	wantOptions(t, "070f0c IN IN NONE", optionsOf(s.packet()))
}

// TestBehaviourRefusedCounters has packets for nobody, and what is counted of them beside IpInReceives.
func TestBehaviourRefusedCounters(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		out   int
		want  map[engine.Counter]uint64
	}{
		{
			"UDP", toFar(datagram{dst: eth0Addr}), 1,
			map[engine.Counter]uint64{engine.IPInDelivers: 1, engine.UDPNoPorts: 1},
		},
		{
			"UDP to everybody", toFar(datagram{dst: "10.0.0.255"}), 0,
			map[engine.Counter]uint64{engine.IPInDelivers: 1, engine.UDPIgnoredMulti: 1},
		},
		{
			"UDP to all hosts", toFar(datagram{dst: "224.0.0.1"}), 0,
			map[engine.Counter]uint64{engine.IPInDelivers: 1, engine.UDPIgnoredMulti: 1},
		},
		{
			"UDP in a frame to everybody", datagram{src: near, dst: eth0Addr}.frame(ethernet.Broadcast, nearMAC), 0,
			map[engine.Counter]uint64{engine.IPInDelivers: 1, engine.UDPNoPorts: 1},
		},
		{
			"unknown protocol", toFar(datagram{dst: eth0Addr, proto: 99}), 1,
			map[engine.Counter]uint64{engine.IPInUnknownProtos: 1},
		},
		{
			"unknown protocol to all hosts", toFar(datagram{dst: "224.0.0.1", proto: 99}), 0,
			map[engine.Counter]uint64{engine.IPInUnknownProtos: 1},
		},
		{
			"echo request to everybody", toFar(datagram{dst: "10.0.0.255", proto: protoICMP, payload: echo(1, 1, 8)}), 0,
			map[engine.Counter]uint64{engine.IPInDelivers: 1, engine.ICMPInMsgs: 1, engine.ICMPInErrors: 1, engine.ICMPInEchos: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.deaf = true
			out := r.in("eth0", c.frame)
			assert.Len(t, out, c.out)
			rise := r.rises()
			for _, n := range []engine.Counter{engine.IPInReceives, engine.IPOutRequests, engine.ICMPOutMsgs, engine.ICMPOutDestUnreachs} {
				delete(rise, n)
			}
			assert.Equal(t, c.want, rise)
		})
	}
}

// TestBehaviourICMPInErrors has ICMP messages that nobody waits for; Linux says of some that they are errors.
func TestBehaviourICMPInErrors(t *testing.T) {
	udp := datagram{src: eth0Addr, dst: far}.packet()
	tcp := datagram{src: eth0Addr, dst: far, proto: protoTCP, payload: make([]byte, 20)}.packet()
	ping := datagram{src: eth0Addr, dst: far, proto: protoICMP, payload: echo(1, 1, 20)}.packet()
	odd := datagram{src: eth0Addr, dst: far, proto: 99, payload: make([]byte, 20)}.packet()
	for _, c := range []struct {
		name      string
		typ, code uint8
		quote     []byte
		dst       string
		want      uint64
	}{
		{"quotes nothing", 3, 3, nil, eth0Addr, 1},
		{"quotes half a header", 3, 3, udp[:19], eth0Addr, 1},
		{"quotes a header", 3, 3, udp[:20], eth0Addr, 1},
		{"quotes seven bytes more", 3, 3, ping[:27], eth0Addr, 1},
		{"quotes a header that is none", 3, 3, patched(udp, 0, 0x44), eth0Addr, 1},
		{"about a datagram of no socket", 3, 3, udp, eth0Addr, 1},
		{"about a datagram of somebody else", 3, 3, patched(udp, 12, 99), eth0Addr, 1},
		{"about a segment of no socket", 3, 1, tcp, eth0Addr, 1},
		{"about an echo request", 3, 1, ping, eth0Addr, 0},
		{"about an unknown protocol", 3, 1, odd, eth0Addr, 0},
		{"an unknown code", 3, 99, ping, eth0Addr, 0},
		{"time to live, quotes too little", 11, 0, ping[:27], eth0Addr, 1},
		{"reassembly, quotes too little", 11, 1, ping[:27], eth0Addr, 0},
		{"redirect, quotes too little", 5, 1, ping[:27], eth0Addr, 1},
		{"parameter, quotes too little", 12, 0, ping[:27], eth0Addr, 1},
		{"source quench, quotes too little", 4, 0, ping[:27], eth0Addr, 1},
		{"an unknown type", 99, 0, nil, eth0Addr, 1},
		{"router solicitation", 10, 0, nil, eth0Addr, 0},
		{"error to everybody", 3, 1, ping, "10.0.0.255", 1},
		{"echo reply", 0, 0, nil, eth0Addr, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.deaf = true
			frame := toFar(datagram{dst: c.dst, proto: protoICMP, payload: icmpError(c.typ, c.code, 0, c.quote)})
			assert.Empty(t, r.in("eth0", frame))
			assert.Equal(t, c.want, r.rises()[engine.ICMPInErrors])
		})
	}
	t.Run("a socket takes it", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth0", toFar(datagram{dst: eth0Addr, proto: protoICMP, payload: icmpError(3, 3, 0, udp)}))
		assert.Len(t, r.deliveries(), 1)
		assert.Zero(t, r.rises()[engine.ICMPInErrors])
	})
	t.Run("nobody learns from a short quote", func(t *testing.T) {
		r := newRouter(t)
		for _, quote := range [][]byte{udp[:27], udp[:28]} {
			r.in("eth0", toFar(datagram{dst: eth0Addr, proto: protoICMP, payload: icmpError(3, 4, 1000, quote)}))
			_, err := r.send(make([]byte, 1200), engine.Send{Dst: addr4(far), Protocol: 253, DF: true})
			assert.Equal(t, len(quote) == 28, err != nil, "%d bytes", len(quote))
		}
	})
}

// TestBehaviourPutTogetherForEverybody has a datagram in fragments in frames to everybody: whom it is for, its address says.
func TestBehaviourPutTogetherForEverybody(t *testing.T) {
	whole := echo(7, 1, 56)
	for _, c := range []struct {
		dst string
		out int
	}{{eth0Addr, 1}, {"10.0.0.255", 0}} {
		r := newRouter(t)
		first := datagram{src: near, dst: c.dst, id: 9, mf: true, proto: protoICMP, payload: whole[:24]}
		last := datagram{src: near, dst: c.dst, id: 9, offset: 24, proto: protoICMP, payload: whole[24:]}
		out := r.in("eth0", first.frame(ethernet.Broadcast, nearMAC), last.frame(ethernet.Broadcast, nearMAC))
		assert.Len(t, out, c.out, "to %s", c.dst)
	}
}

func TestBehaviourTCPResetAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	r := newRouter(t, stillAndDeaf)
	syn := segmentTo(eth0Addr, layers.TCP{SYN: true}, "data")
	short := withOptions(syn, "070f04 NONE NONE NONE")
	binary.BigEndian.PutUint16(short[16:], uint16(len(short)-14))
	batch := make([]*packet.Buffer, 1)
	for _, frame := range [][]byte{syn, short, patched(syn, -1, 9)} {
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			batch[0] = r.pool.Get()
			_ = batch[0].SetBytes(frame)
			r.Process(r.Index("eth0"), batch, r.now)
		}))
	}
}
