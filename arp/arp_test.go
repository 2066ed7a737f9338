// ARP packets read, refused and built, against bytes written out by hand from RFC 826's diagram.
package arp_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

var (
	macA = ethernet.MAC{0x02, 0, 0, 0, 0, 0x0a}
	macB = ethernet.MAC{0x02, 0, 0, 0, 0, 0x0b}
	ipA  = [4]byte{192, 0, 2, 1}
	ipB  = [4]byte{192, 0, 2, 2}
)

// The same addresses, and the start of every packet, as they stand on the wire.
const (
	head   = "\x00\x01\x08\x00\x06\x04"
	bytesA = "\x02\x00\x00\x00\x00\x0a"
	bytesB = "\x02\x00\x00\x00\x00\x0b"
	addrA  = "\xc0\x00\x02\x01"
	addrB  = "\xc0\x00\x02\x02"
	noMAC  = "\x00\x00\x00\x00\x00\x00"
	noAddr = "\x00\x00\x00\x00"
)

// packets are those of every kind, as bytes and as values.
var packets = []struct {
	name         string
	bytes        string
	fields       arp.Fields
	probe        bool
	announcement bool
}{
	{
		name:   "request",
		bytes:  head + "\x00\x01" + bytesA + addrA + noMAC + addrB,
		fields: arp.Fields{Op: arp.Request, SenderMAC: macA, SenderIP: ipA, TargetIP: ipB},
	},
	{
		name:   "request with something for a target MAC",
		bytes:  head + "\x00\x01" + bytesA + addrA + "\xff\xff\xff\xff\xff\xff" + addrB,
		fields: arp.Fields{Op: arp.Request, SenderMAC: macA, SenderIP: ipA, TargetMAC: ethernet.Broadcast, TargetIP: ipB},
	},
	{
		name:   "reply",
		bytes:  head + "\x00\x02" + bytesB + addrB + bytesA + addrA,
		fields: arp.Fields{Op: arp.Reply, SenderMAC: macB, SenderIP: ipB, TargetMAC: macA, TargetIP: ipA},
	},
	{
		name:   "probe",
		bytes:  head + "\x00\x01" + bytesA + noAddr + noMAC + addrA,
		fields: arp.Fields{Op: arp.Request, SenderMAC: macA, TargetIP: ipA},
		probe:  true,
	},
	{
		name:         "announcement",
		bytes:        head + "\x00\x01" + bytesA + addrA + noMAC + addrA,
		fields:       arp.Fields{Op: arp.Request, SenderMAC: macA, SenderIP: ipA, TargetIP: ipA},
		announcement: true,
	},
	{
		name:         "gratuitous reply",
		bytes:        head + "\x00\x02" + bytesA + addrA + bytesA + addrA,
		fields:       arp.Fields{Op: arp.Reply, SenderMAC: macA, SenderIP: ipA, TargetMAC: macA, TargetIP: ipA},
		announcement: true,
	},
	{
		name:   "reply to a probe, of which the asker's address is not known",
		bytes:  head + "\x00\x02" + bytesB + addrA + bytesA + noAddr,
		fields: arp.Fields{Op: arp.Reply, SenderMAC: macB, SenderIP: ipA, TargetMAC: macA},
	},
	{
		name:   "reply from 0.0.0.0, which is no probe",
		bytes:  head + "\x00\x02" + bytesB + noAddr + bytesA + addrA,
		fields: arp.Fields{Op: arp.Reply, SenderMAC: macB, TargetMAC: macA, TargetIP: ipA},
	},
	{
		name:   "request from 0.0.0.0 for 0.0.0.0, which announces nothing",
		bytes:  head + "\x00\x01" + bytesA + noAddr + noMAC + noAddr,
		fields: arp.Fields{Op: arp.Request, SenderMAC: macA},
		probe:  true,
	},
	{
		name:   "RARP request, neither probe nor announcement",
		bytes:  head + "\x00\x03" + bytesA + noAddr + bytesA + noAddr,
		fields: arp.Fields{Op: arp.ReverseRequest, SenderMAC: macA, TargetMAC: macA},
	},
	{
		name:   "RARP reply about the server itself",
		bytes:  head + "\x00\x04" + bytesB + addrB + bytesB + addrB,
		fields: arp.Fields{Op: arp.ReverseReply, SenderMAC: macB, SenderIP: ipB, TargetMAC: macB, TargetIP: ipB},
	},
	{
		name:   "operation that nobody defined",
		bytes:  head + "\xff\xff" + bytesA + addrA + bytesB + addrB,
		fields: arp.Fields{Op: 0xffff, SenderMAC: macA, SenderIP: ipA, TargetMAC: macB, TargetIP: ipB},
	},
	{
		name:   "operation 0 and all addresses zero",
		bytes:  head + "\x00\x00" + noMAC + noAddr + noMAC + noAddr,
		fields: arp.Fields{},
	},
}

func TestParse(t *testing.T) {
	for _, c := range packets {
		for name, padding := range map[string]int{"exact": 0, "one byte more": 1, "padded to 60": 18, "to 1500": 1472} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				payload := append([]byte(c.bytes), slices.Repeat([]byte{0x5a}, padding)...)
				p, err := arp.Parse(payload)
				require.NoError(t, err)
				assert.True(t, p.IsValid())
				assert.Equal(t, c.fields.Op, p.Op())
				assert.Equal(t, c.fields.SenderMAC, p.SenderMAC())
				assert.Equal(t, c.fields.SenderIP, p.SenderIP())
				assert.Equal(t, c.fields.TargetMAC, p.TargetMAC())
				assert.Equal(t, c.fields.TargetIP, p.TargetIP())
				assert.Equal(t, c.fields, arp.FieldsOf(p))
				assert.Equal(t, c.probe, p.IsProbe())
				assert.Equal(t, c.announcement, p.IsAnnouncement())
				assert.Equal(t, c.bytes, string(p.Bytes()))
				assert.Equal(t, arp.Len, cap(p.Bytes()), "an append to the packet must not write into the padding")
				assert.Same(t, &payload[0], &p.Bytes()[0])
			})
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const rest = "\x00\x01" + bytesA + addrA + noMAC + addrB
	for _, c := range []struct {
		name  string
		bytes string
		err   error
	}{
		{"nothing", "", arp.ErrShort},
		{"one byte", "\x00", arp.ErrShort},
		{"one byte short", (head + rest)[:27], arp.ErrShort},
		{"short and wrong", "\xff\xff", arp.ErrShort},
		{"hardware type 0", "\x00\x00\x08\x00\x06\x04" + rest, arp.ErrHardware},
		{"hardware type 6, IEEE 802", "\x00\x06\x08\x00\x06\x04" + rest, arp.ErrHardware},
		{"hardware type 256, Ethernet's in the wrong byte order", "\x01\x00\x08\x00\x06\x04" + rest, arp.ErrHardware},
		{"hardware type 257", "\x01\x01\x08\x00\x06\x04" + rest, arp.ErrHardware},
		{"hardware length 0", "\x00\x01\x08\x00\x00\x04" + rest, arp.ErrHardware},
		{"hardware length 5", "\x00\x01\x08\x00\x05\x04" + rest, arp.ErrHardware},
		{"hardware length 7", "\x00\x01\x08\x00\x07\x04" + rest, arp.ErrHardware},
		{"hardware length 255", "\x00\x01\x08\x00\xff\x04" + rest, arp.ErrHardware},
		{"lengths in the wrong order", "\x00\x01\x08\x00\x04\x06" + rest, arp.ErrHardware},
		{"all of it wrong", "\xff\xff\xff\xff\xff\xff" + rest, arp.ErrHardware},
		{"all of it zero", noMAC + rest, arp.ErrHardware},
		{"protocol type ARP", "\x00\x01\x08\x06\x06\x04" + rest, arp.ErrProtocol},
		{"protocol type IPv6", "\x00\x01\x86\xdd\x06\x04" + rest, arp.ErrProtocol},
		{"protocol type in the wrong byte order", "\x00\x01\x00\x08\x06\x04" + rest, arp.ErrProtocol},
		{"protocol length 0", "\x00\x01\x08\x00\x06\x00" + rest, arp.ErrProtocol},
		{"protocol length 3", "\x00\x01\x08\x00\x06\x03" + rest, arp.ErrProtocol},
		{"protocol length 5", "\x00\x01\x08\x00\x06\x05" + rest, arp.ErrProtocol},
		{"protocol length 16", "\x00\x01\x08\x00\x06\x10" + rest, arp.ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := arp.Parse([]byte(c.bytes))
			require.ErrorIs(t, err, c.err)
			assert.False(t, p.IsValid())
		})
	}
	for n := range arp.Len {
		_, err := arp.Parse(make([]byte, n))
		assert.ErrorIs(t, err, arp.ErrShort, "%d bytes", n)
	}
}

// TestParseEveryFixedBit flips each bit of the six bytes that never change.
func TestParseEveryFixedBit(t *testing.T) {
	good := []byte(packets[0].bytes)
	for bit := range 8 * len(head) {
		b := slices.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		want := arp.ErrHardware
		if at := bit / 8; at == 2 || at == 3 || at == 5 {
			want = arp.ErrProtocol
		}
		_, err := arp.Parse(b)
		assert.ErrorIs(t, err, want, "bit %d", bit)
	}
}

func TestZeroPacket(t *testing.T) {
	assert.False(t, arp.Packet{}.IsValid())
}

// TestReuse parses from the same memory into the same variable: nothing of the last packet may stay.
func TestReuse(t *testing.T) {
	mem := make([]byte, 64)
	load := func(s string) (arp.Packet, error) {
		clear(mem)
		return arp.Parse(mem[:copy(mem, s)])
	}
	reply, probe := packets[2], packets[3]
	p, err := load(reply.bytes + "padding")
	require.NoError(t, err)
	assert.Equal(t, reply.fields, arp.FieldsOf(p))
	p, err = load(probe.bytes)
	require.NoError(t, err)
	assert.Equal(t, probe.fields, arp.FieldsOf(p))
	p, err = load(reply.bytes[:20])
	require.ErrorIs(t, err, arp.ErrShort)
	assert.Zero(t, p)
}

func TestBuilders(t *testing.T) {
	parsed := func(i int) arp.Packet {
		p, err := arp.Parse([]byte(packets[i].bytes))
		require.NoError(t, err)
		return p
	}
	request, reply, probe, announcement := parsed(0), packets[2].fields, parsed(3), packets[4].fields
	assert.Equal(t, arp.FieldsOf(request), arp.WhoHas(ipB, macA, ipA))
	assert.Equal(t, arp.FieldsOf(probe), arp.Probe(macA, ipA))
	assert.Equal(t, announcement, arp.Announcement(macA, ipA))
	assert.Equal(t, reply, arp.ReplyTo(request, macB))
	assert.Equal(t, packets[6].fields, arp.ReplyTo(probe, macB), "the answer to a probe has no address to go to")
}

func TestPut(t *testing.T) {
	for _, c := range packets {
		for room := range arp.Len + 3 {
			stale := slices.Repeat([]byte{0xee}, room)
			b := slices.Clone(stale)
			p, err := c.fields.Put(b)
			if room < arp.Len {
				require.ErrorIs(t, err, arp.ErrSpace, "%d bytes of room", room)
				require.False(t, p.IsValid())
				require.Equal(t, stale, b, "wrote without enough room")
				continue
			}
			require.NoError(t, err, "%d bytes of room", room)
			require.Equal(t, c.bytes, string(p.Bytes()), c.name)
			require.Equal(t, c.bytes+string(stale[arp.Len:]), string(b), c.name)
		}
	}
}

func TestAppend(t *testing.T) {
	const inFrame = bytesB + bytesA + "\x08\x06"
	for _, c := range packets {
		f := c.fields
		f.SenderMAC = macA // which the frame comes from, too
		want := c.bytes[:8] + bytesA + c.bytes[14:]
		for _, room := range []int{0, 6, 33, 34, 47, 48, 100} {
			b := append(make([]byte, 0, room), "before"...)
			got := f.Append(b)
			require.Equal(t, "before"+want, string(got), c.name)
			if room >= len(got) {
				require.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
			}
			got = f.AppendFrame(b, macB)
			require.Equal(t, "before"+inFrame+want, string(got), c.name)
			require.Len(t, got, len("before")+arp.FrameLen)
			if room >= len(got) {
				require.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
			}
		}
	}
}

func TestNoAllocs(t *testing.T) {
	request := []byte(packets[0].bytes)
	wrong := []byte("\x00\x01\x86\xdd" + packets[0].bytes[4:])
	b := make([]byte, 0, 64)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		p, _ := arp.Parse(request)
		f := arp.FieldsOf(p)
		if p.IsProbe() || p.IsAnnouncement() {
			f = arp.Probe(p.SenderMAC(), p.TargetIP())
		}
		_ = f.Append(b)
		_ = arp.ReplyTo(p, macB).AppendFrame(b, p.SenderMAC())
		_, _ = f.Put(b[:arp.Len])
		_, _ = f.Put(b)
		_, _ = arp.Parse(request[:27])
		_, _ = arp.Parse(wrong)
	}))
}
