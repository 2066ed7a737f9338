// Record route and timestamps, in packets that pass, in answers and in errors. What the tables expect was seen on Linux 6.18 in
// network namespaces, with the addresses of newRouter's picture and the time in place of what the clock said.
package engine_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/packet"
)

// optionTime is the rigs' hour in milliseconds, marked as counted from no midnight (RFC 791).
const optionTime = "8036ee80"

// optionBytes returns options that are written in hexadecimal, with words for addresses and the time, padded to whole words.
func optionBytes(s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(
		" ", "", "IN", "0a000001", "OUT", "0a010001", "NEAR", "0a000009", "FAR", "0a010009", "TIME", optionTime, "NONE", "00000000",
	).Replace(s))
	mustBuild(err)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// withOptions puts options into a frame whose IPv4 header has none.
func withOptions(frame []byte, options string) []byte {
	o := optionBytes(options)
	f := append(append(append([]byte{}, frame[:34]...), o...), frame[34:]...)
	f[14] += byte(len(o) / 4)
	binary.BigEndian.PutUint16(f[16:], binary.BigEndian.Uint16(f[16:])+uint16(len(o)))
	return resummed(f)
}

// optionsOf returns the options of an IPv4 packet.
func optionsOf(p []byte) string { return hex.EncodeToString(p[20 : int(p[0]&15)*4]) }

// wantOptions compares options as optionBytes has them.
func wantOptions(t *testing.T, want, got string) {
	t.Helper()
	assert.Equal(t, hex.EncodeToString(optionBytes(want)), got, "options, want %s", want)
}

var optionCases = []struct {
	name    string
	in      string
	passed  string // as forwarded
	pointer uint8  // or: of the parameter problem
	back    string // in the answer to an echo request to IN; "-" if there is none
}{
	{"record route", "070f04 NONE NONE NONE", "070f08 OUT NONE NONE", 0, "070f0c IN IN NONE"},
	{"record route, one slot left", "070b08 NEAR NONE", "070b0c NEAR OUT", 0, "070b0c NEAR IN"},
	{"record route, full", "070708 01020304", "070708 01020304", 0, "070708 01020304"},
	{"record route, without a slot", "070304", "070304", 0, "070304"},
	{"record route, pointer far beyond the end", "0703c8", "0703c8", 0, "0703c8"},
	{"record route, pointer that skips a byte", "070f05 NONE NONE NONE", "070f09 00 OUT NONE 000000", 0, "070f0d 00 IN IN 000000"},
	{"record route, length that leaves a byte", "070804 NONE 00", "070808 OUT 00", 0, "-"},
	{"record route, a byte left", "070808 01020304 00", "", 22, ""},
	{"record route, three bytes left", "070a08 01020304 000000", "", 22, ""},
	{"record route, pointer below the slots", "070703 NONE", "", 22, ""},
	{"record route without a pointer", "070201", "", 21, ""},
	{"two of record route", "070704 NONE 070704 NONE", "", 27, ""},
	{"no-operation first", "01 070b04 NONE NONE", "01 070b08 OUT NONE", 0, "070b0c IN IN"},
	{"bytes behind the end", "070704 NONE 00 aabbccddeeff11", "070708 OUT 00 00000000000000", 0, "070708 IN"},
	{"bytes behind the end of nothing", "00aabbcc", "00000000", 0, ""},

	{"time alone", "440c0500 NONE NONE", "440c0900 TIME NONE", 0, "440c0d00 TIME TIME"},
	{"time alone, full", "44080900 NONE", "44080910 NONE", 0, "44080910 NONE"},
	{"time alone, without a slot", "44040500", "44040510", 0, "44040510"},
	{"time alone, fourteen overflows", "440809e0 NONE", "440809f0 NONE", 0, "440809f0 NONE"},
	{"time alone, fifteen overflows", "440809f0 NONE", "", 23, ""},
	{"time, pointer below the slots", "44080400 NONE", "", 22, ""},
	{"time, too short", "440305", "", 21, ""},
	{"time, two bytes left", "44060500 0000", "", 22, ""},
	{"time and address", "44140501 NONE NONE NONE NONE", "44140d01 IN TIME NONE NONE", 0, "44141501 IN TIME IN TIME"},
	{"time and address, room for time", "44100d01 NONE NONE NONE", "", 22, ""},
	{"time and address, room for one of two", "440c0501 NONE NONE", "440c0d01 IN TIME", 0, "440c0d01 IN TIME"},
	{"time and address, full", "440c0d01 NONE NONE", "440c0d11 NONE NONE", 0, "440c0d11 NONE NONE"},
	{"time and address, fifteen overflows", "440c0df1 NONE NONE", "", 23, ""},
	{"time of the listed: in", "44140503 IN NONE FAR NONE", "44140d03 IN TIME FAR NONE", 0, "44140d03 IN TIME FAR NONE"},
	{"time of the listed: out", "44140503 OUT NONE FAR NONE", "44140d03 OUT TIME FAR NONE", 0, "44140d03 OUT TIME FAR NONE"},
	{"time of the listed: both", "44140503 IN NONE OUT NONE", "44140d03 IN TIME OUT NONE", 0, "44141503 IN TIME OUT TIME"},
	{"time of the listed: others", "440c0503 FAR NONE", "440c0503 FAR NONE", 0, "440c0503 FAR NONE"},
	{"time of the listed: anybody", "440c0503 NONE NONE", "440c0d03 NONE TIME", 0, "440c0d03 NONE TIME"},
	{"time of the listed: a group", "440c0503 e0000009 NONE", "440c0d03 e0000009 TIME", 0, "440c0d03 e0000009 TIME"},
	{"time of the listed: broadcast", "440c0503 0a0000ff NONE", "440c0d03 0a0000ff TIME", 0, "440c0d03 0a0000ff TIME"},
	{"time of the listed, fifteen overflows", "440c0df3 NONE NONE", "440c0df3 NONE NONE", 0, "440c0df3 NONE NONE"},
	{"time of the listed, room for half", "44080503 IN", "", 22, ""},
	{"time of a kind that nobody knows", "440c0502 NONE NONE", "440c0502 NONE NONE", 0, "440c0502 NONE NONE"},
	{"time of a kind that nobody knows, full", "44080902 NONE", "44080912 NONE", 0, "44080912 NONE"},
	{"time of a kind that nobody knows, fifteen overflows", "440809f2 NONE", "", 23, ""},
	{"two of time", "44080500 NONE 44080500 NONE", "", 28, ""},

	{
		"both", "070b04 NONE NONE 01 440c0501 NONE NONE", "070b08 OUT NONE 01 440c0d01 IN TIME", 0,
		"070b0c IN IN 440c0d01 IN TIME",
	},
	{
		"both, in the other order", "44140501 NONE NONE NONE NONE 070b04 NONE NONE", "44140d01 IN TIME NONE NONE 070b08 OUT NONE", 0,
		"070b0c IN IN 44141501 IN TIME IN TIME",
	},

	{"router alert", "94040000", "94040000", 0, ""},
	{"router alert, short", "940300", "", 21, ""},
	{"unknown", "9904aabb", "9904aabb", 0, ""},
	{"unknown, of length 1", "99010000", "", 20, ""},
	{"unknown, beyond the header", "01010199", "", 23, ""},
	{"source route, pointer below the slots", "830703 FAR", "", 22, ""},
	{"source route without a pointer", "890201", "", 21, ""},
	{"two source routes", "830704 FAR 890704 FAR", "", 27, ""},
	{"fault behind a source route", "830704 FAR 070703 NONE", "", 29, ""},
}

func TestBehaviourOptionsForwarded(t *testing.T) {
	for _, c := range optionCases {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			frame := withOptions(toFar(datagram{size: 60}), c.in)
			if c.pointer != 0 {
				wantPointer(t, r, frame, c.pointer)
				return
			}
			s := r.one("eth0", frame)
			wantOptions(t, c.passed, optionsOf(s.packet()))
			assert.Equal(t, frame[len(frame)-40:], s.raw[len(s.raw)-40:], "payload")
			assert.Equal(t, "eth1", s.dev)
		})
	}
}

// wantPointer requires a parameter problem that points at a byte of the header.
func wantPointer(t *testing.T, r *rig, frame []byte, pointer uint8) {
	t.Helper()
	s := r.one("eth0", frame)
	s.wantICMP(t, 12, 0, eth0Addr, near)
	assert.Equal(t, pointer, s.ip.Payload[4], "pointer")
	assert.Equal(t, map[engine.Reason]uint64{engine.DropIPOptions: 1}, r.drops())
	assert.Equal(t, uint64(1), r.rises()[engine.IPInHdrErrors])
}

func TestBehaviourOptionsEchoed(t *testing.T) {
	for _, c := range optionCases {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			frame := withOptions(toFar(datagram{dst: eth0Addr, proto: protoICMP, payload: echo(7, 1, 10)}), c.in)
			switch {
			case c.pointer != 0:
				wantPointer(t, r, frame, c.pointer)
			case c.back == "-":
				r.refused(engine.DropIPOptions, "eth0", frame)
			default:
				s := r.one("eth0", frame)
				s.wantICMP(t, 0, 0, eth0Addr, near)
				wantOptions(t, c.back, optionsOf(s.packet()))
			}
		})
	}
}

func TestBehaviourOptionsSourceRoute(t *testing.T) {
	for _, o := range []string{"830704 FAR", "890704 FAR", "830708 FAR", "070704 NONE 830704 FAR"} {
		r := newRouter(t)
		r.refused(engine.DropSourceRoute, "eth0", withOptions(toFar(datagram{}), o))
	}
}

// TestBehaviourOptionsInErrors is about what an error takes back to the sender, and what it quotes.
func TestBehaviourOptionsInErrors(t *testing.T) {
	tooFar := datagram{ttl: 1, size: 60}
	for _, c := range []struct {
		name        string
		d           datagram
		typ, code   uint8
		in          string
		back, quote string
	}{
		{"time to live", tooFar, 11, 0, "070f04 NONE NONE NONE", "070f0c IN IN NONE", "070f08 IN NONE NONE"},
		{"time to live, one slot", tooFar, 11, 0, "070704 NONE", "070708 IN", "070708 IN"},
		{"time to live, full", tooFar, 11, 0, "070708 01020304", "070708 01020304", "070708 01020304"},
		{"time to live, time", tooFar, 11, 0, "440c0500 NONE NONE", "440c0d00 TIME TIME", "440c0900 TIME NONE"},
		{"time to live, overflow", tooFar, 11, 0, "440809e0 NONE", "440809f0 NONE", "440809f0 NONE"},
		{"time to live, listed", tooFar, 11, 0, "44140503 IN NONE OUT NONE", "44141503 IN TIME OUT TIME", "44140d03 IN TIME OUT NONE"},
		{"time to live, behind the end", tooFar, 11, 0, "00aabbcc", "", "00000000"},
		{"no route", datagram{dst: "203.0.113.1", size: 60}, 3, 0, "070f04 NONE NONE NONE", "070f0c IN IN NONE", "070f08 IN NONE NONE"},
		{"too big", datagram{df: true, size: 1490}, 3, 4, "070f04 NONE NONE NONE", "070f0c IN IN NONE", "070f08 IN NONE NONE"},
		{"port closed", datagram{dst: eth0Addr, size: 60}, 3, 3, "070f04 NONE NONE NONE", "070f0c IN IN NONE", "070f08 IN NONE NONE"},
		{"protocol", datagram{dst: eth0Addr, proto: 99, size: 60}, 3, 2, "070f04 NONE NONE NONE", "070f0c IN IN NONE", "070f08 IN NONE NONE"},
		{"second of two", datagram{size: 60}, 12, 0, "070704 NONE 070704 NONE", "070708 IN", "070708 IN 070704 NONE"},
		{"second of two times", datagram{size: 60}, 12, 0, "44080500 NONE 44080500 NONE", "44080900 TIME", "44080900 TIME 44080500 NONE"},
		{"fault behind a route", datagram{size: 60}, 12, 0, "070b04 NONE NONE 01 44080400 NONE", "070b0c IN IN", "070b08 IN NONE 01 44080400 NONE"},
		{"fault behind a time", datagram{size: 60}, 12, 0, "440c0500 NONE NONE 070703 NONE", "440c0d00 TIME TIME", "440c0900 TIME NONE 070703 NONE"},
		{"overflow is the fault", datagram{size: 60}, 12, 0, "440809f0 NONE", "", "440809f0 NONE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.deaf = true
			s := r.single("eth0", withOptions(toFar(c.d), c.in))
			s.wantICMP(t, c.typ, c.code, eth0Addr, near)
			wantOptions(t, c.back, optionsOf(s.packet()))
			quote := s.ip.Payload[8:]
			wantOptions(t, c.quote, optionsOf(quote))
			assert.Equal(t, uint16(0xffff), sum16(0, quote[:int(quote[0]&15)*4]), "the quoted header's checksum")
			assert.LessOrEqual(t, len(s.packet()), 576, "RFC 1812 section 4.3.2.3")
			if c.d.size > 576 {
				assert.Len(t, s.packet(), 576)
			}
		})
	}
	t.Run("no answer fits", func(t *testing.T) {
		r := newRouter(t)
		r.refused(engine.DropTTL, "eth0", withOptions(toFar(tooFar), "070804 NONE 00"))
		assert.Zero(t, r.rises()[engine.ICMPOutMsgs])
	})
}

// TestBehaviourOptionsNeighbourSilent is a packet that has left the router's tables when it comes back to be reported: the router
// is in it once more.
func TestBehaviourOptionsNeighbourSilent(t *testing.T) {
	for _, c := range []struct{ in, back, quote string }{
		{"070f04 NONE NONE NONE", "070f10 OUT IN IN", "070f0c OUT IN NONE"},
		{"070704 NONE", "070708 OUT", "070708 OUT"},
		{"440c0500 NONE NONE", "440c0d00 TIME 8036fa38", "440c0d00 TIME 8036fa38"}, // asked for three seconds
	} {
		r := newRouter(t)
		r.in("eth0", withOptions(toFar(datagram{dst: "10.1.0.77", size: 60}), c.in))
		var told []*seen
		for _, s := range r.wait(4 * time.Second) {
			if s.icmp != nil {
				told = append(told, s)
			}
		}
		require.Len(t, told, 1)
		told[0].wantICMP(t, 3, 1, eth0Addr, near)
		quoted := optionsOf(told[0].ip.Payload[8:])
		if c.quote[:2] == "07" {
			wantOptions(t, c.back, optionsOf(told[0].packet()))
			wantOptions(t, c.quote, quoted)
			continue
		}
		wantOptions(t, c.back, quoted)
	}
	r := newRouter(t) // once more does not fit
	r.in("eth0", withOptions(toFar(datagram{dst: "10.1.0.77", size: 60}), "070804 NONE 00"))
	for _, s := range r.wait(4 * time.Second) {
		assert.Nil(t, s.icmp, "%s", s)
	}
}

// TestBehaviourOptionsAddress is about which of the node's addresses is recorded.
func TestBehaviourOptionsAddress(t *testing.T) {
	r := newRouter(t)
	r.must(r.AddRoute(engine.Route{Prefix: prefix("10.5.0.0/16"), Via: addr4(far), Dev: "eth1", Source: addr4(eth0Addr)}))
	r.addr("eth1", "10.9.0.1/24")
	r.neigh("10.9.0.9", farMAC, "eth1")
	const room = "070704 NONE 01 440c0501 NONE NONE"
	for _, c := range []struct{ name, src, dst, want string }{
		{"of the way out's subnet", near, "10.9.0.9", "070708 0a090001 01 440c0d01 IN TIME"},
		{"that the route out says", near, "10.5.0.1", "070708 IN 01 440c0d01 IN TIME"},
		{"of the way back to the sender", "10.9.0.7", far, "070708 OUT 01 440c0d01 0a090001 TIME"},
		{"no way back", "203.0.113.1", far, "070708 OUT 01 440c0d01 IN TIME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := r.one("eth0", withOptions(toFar(datagram{src: c.src, dst: c.dst, size: 60}), room))
			wantOptions(t, c.want, optionsOf(s.packet()))
		})
	}
}

// TestBehaviourOptionsDelivered has what the node itself gets: recorded, with a checksum that is right.
func TestBehaviourOptionsDelivered(t *testing.T) {
	r := newRouter(t)
	r.in("eth0", withOptions(toFar(datagram{dst: "10.1.0.1", size: 60}), "070b04 NONE NONE"))
	got := r.deliveries()
	require.Len(t, got, 1)
	got[0].sound(t)
	wantOptions(t, "070b08 OUT NONE", optionsOf(got[0].packet()))
}

// TestBehaviourOptionsPutTogether answers an echo request that came in fragments; the first one's options count.
func TestBehaviourOptionsPutTogether(t *testing.T) {
	whole := echo(7, 1, 56)
	first := withOptions(toFar(datagram{dst: eth0Addr, id: 9, mf: true, proto: protoICMP, payload: whole[:24]}), "070f04 NONE NONE NONE")
	second := toFar(datagram{dst: eth0Addr, id: 9, offset: 24, proto: protoICMP, payload: whole[24:]})
	for _, frames := range [][][]byte{{first, second}, {second, first}} {
		r := newRouter(t)
		out := r.in("eth0", frames...)
		require.Len(t, out, 1)
		out[0].wantICMP(t, 0, 0, eth0Addr, near)
		wantOptions(t, "070f0c IN IN NONE", optionsOf(out[0].packet()))
	}
}

// TestBehaviourOptionsBroadcastEcho is an answer to what was sent to everybody, where that is wanted.
func TestBehaviourOptionsBroadcastEcho(t *testing.T) {
	r := newRouter(t)
	g := r.Global()
	g.EchoAnswerBroadcasts = true
	r.must(r.SetGlobal(g))
	s := r.single("eth0", withOptions(toFar(datagram{dst: "10.0.0.255", proto: protoICMP, payload: echo(7, 1, 10)}), "070f04 NONE NONE NONE"))
	s.wantICMP(t, 0, 0, eth0Addr, near)
	wantOptions(t, "070f0c IN IN NONE", optionsOf(s.packet()))
}

// TestBehaviourOptionsCut has a packet that is recorded and then cut: both options are in the first fragment alone.
func TestBehaviourOptionsCut(t *testing.T) {
	r := newRouter(t)
	r.setMTU("eth1", 600)
	out := r.in("eth0", withOptions(toFar(datagram{size: 1000}), "070f04 NONE NONE NONE 01 94040000"))
	require.Len(t, out, 2)
	for _, s := range out {
		s.sound(t)
	}
	wantOptions(t, "070f08 OUT NONE NONE 01 94040000", optionsOf(out[0].packet()))
	wantOptions(t, "94040000", optionsOf(out[1].packet()))
}

// TestBehaviourOptionsTunnel has the inner packet recorded on its way into a tunnel; the outer header has no options.
func TestBehaviourOptionsTunnel(t *testing.T) {
	r := newFlannel(t)
	s := r.one("veth0", withOptions(fromPodA(datagram{size: 60}), "070b04 NONE NONE"))
	assert.Empty(t, optionsOf(s.packet()))
	wantOptions(t, "070b08 0af40100 NONE", optionsOf(s.inner.packet())) // flannel.1's address
}

func TestBehaviourOptionsTimeOfDay(t *testing.T) {
	for _, c := range []struct {
		at, now time.Duration
		want    string
	}{
		{24 * time.Hour, 0, "00000000"}, // midnight
		{24 * time.Hour, 1500 * time.Millisecond, "000005dc"},
		{23 * time.Hour, time.Hour - time.Millisecond, "05265bff"},
		{23 * time.Hour, time.Hour, "00000000"},
		{time.Nanosecond, 24*time.Hour - time.Nanosecond, "00000000"},
		{0, 0, "80000000"},
		{0, 25 * time.Hour, "8036ee80"},
	} {
		r := newRouter(t, func(cfg *engine.Config) { cfg.TimeOfDay = c.at })
		r.now = c.now
		s := r.one("eth0", withOptions(toFar(datagram{size: 60}), "44080500 NONE"))
		wantOptions(t, "44080900"+c.want, optionsOf(s.packet()))
	}
	for _, wrong := range []time.Duration{-1, 24*time.Hour + 1} {
		_, err := engine.New(engine.Config{TimeOfDay: wrong})
		assert.ErrorContains(t, err, "Config.TimeOfDay")
	}
}

// TestBehaviourOptionsOfTheNodeItself sends whole packets, whose options nobody has checked, into a tunnel that they are too large
// for: the error takes back what is sound.
func TestBehaviourOptionsOfTheNodeItself(t *testing.T) {
	for _, c := range []struct{ in, back string }{
		{"070b04 NONE NONE", "070b0c 0af40001 0af40001"}, // recorded when the error arrived, too
		{"0704ff00", "0704ff00"},
		{"44ff0500", ""},
		{"4404ff00", "4404ff10"},
		{"07020000", ""},
	} {
		r := newIPIP(t, engine.IPIP{})
		r.setMTU("ens33", 1400)
		p := withOptions(toFar(datagram{src: "10.244.0.1", dst: podThere, df: true, size: 1440}), c.in)[14:]
		r.must(r.SendPacket(r.buffers(p)[0], r.now))
		r.check()
		got := r.deliveries()
		require.Len(t, got, 1, c.in)
		got[0].wantICMP(t, 3, 4, "10.244.0.1", "10.244.0.1")
		wantOptions(t, c.back, optionsOf(got[0].packet()))
	}
}

func TestBehaviourOptionsAllocations(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	r := newRouter(t, still)
	g := r.Global()
	g.ICMPRateLimit, g.ICMPMsgsPerSec = -1, -1
	r.must(r.SetGlobal(g))
	const both = "070b04 NONE NONE 01 440c0501 NONE NONE"
	for _, frame := range [][]byte{
		withOptions(toFar(datagram{size: 60}), both),
		withOptions(toFar(datagram{size: 60, ttl: 1}), both),
		withOptions(toFar(datagram{size: 60}), "070b04 NONE NONE 01 44080400 NONE"),
		withOptions(toFar(datagram{dst: eth0Addr, proto: protoICMP, payload: echo(7, 1, 10)}), both),
	} {
		batch := make([]*packet.Buffer, 1)
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			b := r.pool.Get()
			_ = b.SetBytes(frame)
			batch[0] = b
			r.Process(r.Index("eth0"), batch, r.now)
		}), "%x", frame)
	}
}
