package engine_test

// Random nodes that superframes go through, held against like nodes that their segments go through one by one.

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/reference"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/tunnel"
)

const (
	superWorlds = 60
	superFrames = 60 // of a world
)

func TestRandomSuperframes(t *testing.T) {
	const seed = 20
	t.Logf("seeds %d to %d", seed, seed+superWorlds-1)
	passed := 0
	for i := range uint64(superWorlds) {
		passed += superWorld(t, seed+i)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d packets left", passed)
	require.NotZero(t, passed)
}

// superWorld lets superframes and their segments go through two nodes of a seed, and returns how many packets left.
func superWorld(t *testing.T, seed uint64) (passed int) {
	whole, single := newSuperWorld(t, seed), newSuperWorld(t, seed)
	r := rand.New(rand.NewPCG(seed, 9))
	for n := range superFrames {
		port, s, wrap := whole.superframe(r)
		before := whole.stations() + single.stations()
		all := wrap(s.piece(0, 0, s.payload))
		start := len(all) - 20 - s.payload - map[bool]int{true: 8 - 20, false: 0}[s.udp]
		b := s.superframe(t, all[:start-20])
		whole.give(port, b)
		for _, p := range s.segments() {
			q := single.pool.Get()
			require.NotNil(t, q)
			require.NoError(t, q.SetBytes(wrap(p)))
			single.give(port, q)
		}
		if held := whole.e.Stats().Held + single.e.Stats().Held; held == 0 {
			// What a node learns from what comes of a segment, such as an answer, the next one finds already.
			if stations := whole.stations() + single.stations(); stations != before {
				whole.rest()
				single.rest()
				continue
			}
			want, got := single.seen(), whole.seen()
			passed += len(got)
			if !assert.Equal(t, want, got, "seed %d, superframe %d by %s: %+v", seed, n, port, s) {
				return passed
			}
		}
		whole.rest()
		single.rest()
	}
	return passed
}

func newSuperWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 7))
	profile, deliver := oneOf(r, []tunnel.Profile{tunnel.Linux, tunnel.RFC}), r.IntN(2) == 0
	w := &world{}
	w.twin = newTwin(t, r, profile, deliver, func(w *twin, c *engine.Config) {
		if c.Local == nil {
			return
		}
		c.Local = func(_ *engine.Worker, d engine.Delivery) bool {
			assert.False(t, d.Buffer.IsSuperframe())
			assert.NoError(t, d.Buffer.CompleteChecksum())
			w.delivered = append(w.delivered, bytesOf(d.Buffer))
			d.Buffer.Free()
			return true
		}
	})
	w.lost = true // nothing is held against the reference
	w.build()
	return w
}

// stations is what bridges and VXLAN devices know.
func (w *world) stations() (all string) {
	for _, d := range w.ref.Devices {
		if d.Kind == reference.Bridge || d.Kind == reference.VXLAN {
			for e := range w.e.FDB(d.Name) {
				all += fmt.Sprintf("%v %s %v\n", e.MAC, e.Dev, e.Dst)
			}
		}
	}
	return all
}

// give lets a port receive a buffer.
func (w *world) give(port string, b *packet.Buffer) {
	w.e.Process(w.e.Index(port), []*packet.Buffer{b}, w.now)
	require.NoError(w.t, w.e.Stats().Check())
}

// rest lets the node give up what waits, and forgets what left.
func (w *world) rest() {
	for w.e.Stats().Held > 0 {
		w.now += time.Second
		w.e.Tick(w.now)
	}
	w.now += 10 * time.Millisecond
	w.out, w.delivered = w.out[:0], w.delivered[:0]
}

// seen returns what left and was delivered, way by way, but for what is fewer for a superframe: errors and resets.
func (w *world) seen() (all []string) {
	for _, o := range w.out {
		frame := !w.ref.Device(o.Port).Raw
		if s := parse(o.Port, o.Bytes, frame); !s.tells() {
			all = append(all, fmt.Sprintf("%s %x", o.Port, anonymous(o.Bytes, !frame)))
		}
	}
	const head = len("p0 020000040001020000050101") // port and Ethernet addresses: with the length they tell ways apart, and what goes several ways goes by each in its order
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Or(strings.Compare(a[:head], b[:head]), len(a)-len(b)) })
	for _, p := range w.delivered {
		if s := parse("", p, false); s.ip.Protocol == protoTCP && bytes.Equal(s.ip.Payload[16:18], []byte{0xff, 0xff}) {
			clear(s.ip.Payload[16:18]) // the other form of zero
		}
		all = append(all, fmt.Sprintf("local %x", p))
	}
	return all
}

// tells reports whether a packet tells a sender something.
func (s *seen) tells() bool {
	switch {
	case s.inner != nil:
		return s.inner.tells()
	case s.ip == nil:
		return true // ARP
	}
	return s.ip.Protocol == protoICMP || s.ip.Protocol == protoTCP && s.ip.FragOffset == 0 && len(s.ip.Payload) >= 20 && s.ip.Payload[13]&4 != 0
}

// superframe returns one, the port that it comes in by, and the headers that it has in front. It draws from r alone.
func (w *world) superframe(r *rand.Rand) (port string, s stream, wrap func([]byte) []byte) {
	h := oneOf(r, w.hosts)
	if w.ref.Device(h.port) == nil {
		h = w.hosts[0]
	}
	s = stream{
		src: h.ip.String(), dst: oneOf(r, w.addrs).String(), udp: r.IntN(3) == 0, size: oneOf(r, []int{300, 940, 1380, 1410, 1430, 1460, 1472, 1900}),
		noDF: r.IntN(2) == 0, id: uint16(r.Uint32()),
	}
	s.payload = s.size * (1 + r.IntN(6)) // a shorter last one might pass where the others are too long
	wrap = func(p []byte) []byte { return p }
	ip := ipv4.Fields{ID: 3, TTL: 64, Src: oneOf(r, w.vteps).As4(), Dst: w.local.As4()}
	switch x := r.IntN(5); {
	case x == 0 && len(w.vnis) > 0:
		e := ethernet.Fields{Dst: oneOf(r, w.macs), Src: oneOf(r, w.inner), EtherType: ethernet.TypeIPv4}
		vni, sum := oneOf(r, w.vnis), r.IntN(2) == 0
		s.src = oneOf(r, w.addrs).String()
		wrap = func(p []byte) []byte { return w.inVXLAN(ip, e, vni, sum, p) }
	case x == 1:
		ip.Protocol = ipip.Protocol
		wrap = func(p []byte) []byte { return w.behind(ip, p) }
	}
	if h.device.Raw {
		return h.port, s, wrap
	}
	e := ethernet.Fields{Dst: h.device.MAC, Src: h.mac, EtherType: ethernet.TypeIPv4}
	if r.IntN(4) == 0 {
		e.Dst = oneOf(r, w.macs)
	}
	inner := wrap
	return h.port, s, func(p []byte) []byte {
		b, err := e.Append(nil)
		w.do(err)
		return append(b, inner(p)...)
	}
}

func (w *world) behind(f ipv4.Fields, p []byte) []byte {
	b, err := f.Append(nil, len(p))
	w.do(err)
	return append(b, p...)
}

func (w *world) inVXLAN(f ipv4.Fields, e ethernet.Fields, vni uint32, sum bool, p []byte) []byte {
	inner, err := e.Append(nil)
	w.do(err)
	body := udpDatagram(2000, portLinux, vxlanHeader(vni, append(inner, p...)))
	f.Protocol = protoUDP
	b := w.behind(f, body)
	if sum {
		pseudo := sum16(protoUDP+uint32(len(body)), b[12:20])
		c := ^sum16(uint32(pseudo), body)
		if c == 0 {
			c = 0xffff
		}
		b[26], b[27] = byte(c>>8), byte(c)
	}
	return b
}
