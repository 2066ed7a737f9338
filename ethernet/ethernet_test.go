// Frames of every shape: tags to any depth, cut anywhere; 802.3 lengths that hold and that lie; what building refuses.
package ethernet_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
)

var (
	macA = ethernet.MAC{0x02, 0, 0, 0, 0, 0x0a}
	macB = ethernet.MAC{0x02, 0, 0, 0, 0, 0x0b}
)

// frame is one from macA to macB: tags and type as they stand on the wire, then the payload.
func frame(tagsAndType string, payload ...byte) []byte {
	return slices.Concat(macB[:], macA[:], []byte(tagsAndType), payload)
}

// tagged is a frame with depth tags, service and customer tags in turn, no two alike.
func tagged(depth int, etherType uint16, payload ...byte) (f []byte, tags []ethernet.Tag) {
	var middle []byte
	for i := range depth {
		tag := ethernet.Tag{TPID: ethernet.TypeQinQ, TCI: ethernet.TCI(0xfff - 0x2111*i)}
		if i%2 == 1 {
			tag.TPID = ethernet.TypeVLAN
		}
		tags = append(tags, tag)
		middle = binary.BigEndian.AppendUint16(middle, tag.TPID)
		middle = binary.BigEndian.AppendUint16(middle, uint16(tag.TCI))
	}
	return frame(string(binary.BigEndian.AppendUint16(middle, etherType)), payload...), tags
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name      string
		frame     []byte
		etherType uint16
		tags      int
		payload   string
	}{
		{"IPv4", frame("\x08\x00", 'i', 'p'), ethernet.TypeIPv4, 0, "ip"},
		{"ARP", frame("\x08\x06", 'a'), ethernet.TypeARP, 0, "a"},
		{"IPv6", frame("\x86\xdd", '6'), ethernet.TypeIPv6, 0, "6"},
		{"no payload", frame("\x08\x00"), ethernet.TypeIPv4, 0, ""},
		{"smallest EtherType", frame("\x06\x00", 'x'), 0x0600, 0, "x"},
		{"largest EtherType", frame("\xff\xff", 'x'), 0xffff, 0, "x"},
		{"old QinQ type, which is no tag", frame("\x91\x00", 0, 5, 8, 0), 0x9100, 0, "\x00\x05\x08\x00"},
		{"customer tag", frame("\x81\x00\x00\x64\x08\x00", 'x'), ethernet.TypeIPv4, 1, "x"},
		{"service tag", frame("\x88\xa8\x00\xc8\x08\x00", 'x'), ethernet.TypeIPv4, 1, "x"},
		{"priority tag", frame("\x81\x00\xc0\x00\x08\x06", 'x'), ethernet.TypeARP, 1, "x"},
		{"padding stays", frame("\x88\xb5", 'x', 0, 0, 0), 0x88b5, 0, "x\x00\x00\x00"},
		{"802.3, padded", frame("\x00\x02", 'l', 'l', 0, 0), 2, 0, "ll"},
		{"802.3 behind a tag, padded", frame("\x81\x00\x00\x64\x00\x02", 'l', 'l', 0), 2, 1, "ll"},
		{"802.3 of length 0", frame("\x00\x00", 0, 0), 0, 0, ""},
		{"802.3 of length 0, unpadded", frame("\x00\x00"), 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, payload, err := ethernet.Parse(c.frame)
			require.NoError(t, err)
			assert.True(t, h.IsValid())
			assert.Equal(t, macB, h.Dst())
			assert.Equal(t, macA, h.Src())
			assert.Equal(t, c.etherType, h.EtherType())
			assert.Equal(t, c.tags, h.Tags())
			assert.Equal(t, ethernet.HeaderLen+c.tags*ethernet.TagLen, h.Len())
			assert.Equal(t, c.etherType <= 1500, h.Is8023())
			assert.Equal(t, c.payload, string(payload))
			assert.Equal(t, c.frame[:h.Len()], h.Bytes())
			assert.Equal(t, h.Len(), cap(h.Bytes()), "an append to the header must not write into the payload")
		})
	}
}

// TestNumbers holds the names against the IEEE's list of EtherTypes.
func TestNumbers(t *testing.T) {
	assert.Equal(t, []uint16{0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8}, []uint16{
		ethernet.TypeIPv4, ethernet.TypeARP, ethernet.TypeIPv6, ethernet.TypeVLAN, ethernet.TypeQinQ,
	})
}

// TestParseTags parses frames with 0 to 20 tags, whole and cut at every byte of the header.
func TestParseTags(t *testing.T) {
	for depth := range 21 {
		t.Run(fmt.Sprintf("%d tags", depth), func(t *testing.T) {
			f, tags := tagged(depth, ethernet.TypeIPv4, 'i', 'p')
			n := len(f) - 2
			for cut := range n {
				h, payload, err := ethernet.Parse(f[:cut])
				require.ErrorIs(t, err, ethernet.ErrShort, "cut to %d bytes", cut)
				require.False(t, h.IsValid(), "cut to %d bytes", cut)
				require.Nil(t, payload, "cut to %d bytes", cut)
			}
			for size := n; size <= len(f); size++ {
				h, payload, err := ethernet.Parse(f[:size])
				require.NoError(t, err)
				assert.Equal(t, n, h.Len())
				assert.Equal(t, f[n:size], payload)
				want := ethernet.Fields{Dst: macB, Src: macA, Tags: tags, EtherType: ethernet.TypeIPv4}
				assert.Equal(t, want, ethernet.FieldsOf(h, nil))
				assert.Equal(t, n, want.Len())

				rebuilt, err := want.Append(nil)
				require.NoError(t, err)
				assert.Equal(t, h.Bytes(), rebuilt)
			}
		})
	}
}

// TestParseLengths gives the type field every value that is a length, every one that is undefined and the first
// EtherTypes, over more payload than any of them says.
func TestParseLengths(t *testing.T) {
	f := frame("\x00\x00", make([]byte, 1600)...)
	for v := range uint16(1600) {
		binary.BigEndian.PutUint16(f[12:], v)
		h, payload, err := ethernet.Parse(f)
		require.NoError(t, err, "%d", v)
		require.Equal(t, v, h.EtherType())
		require.Equal(t, v <= 1500, h.Is8023(), "%d", v)
		want := 1600
		if v <= 1500 {
			want = int(v)
			require.Equal(t, want, cap(payload), "an append to the payload must not write into the padding")
		}
		require.Len(t, payload, want)
	}
}

func TestParseLyingLength(t *testing.T) {
	for _, tags := range []int{0, 2} {
		for _, there := range []int{0, 1, 46, 1499, 1500} {
			for _, says := range []int{there - 1, there, there + 1, 1500} {
				if says < 0 || says > 1500 {
					continue
				}
				f, _ := tagged(tags, uint16(says), make([]byte, there)...)
				h, payload, err := ethernet.Parse(f)
				require.True(t, h.IsValid())
				require.Equal(t, uint16(says), h.EtherType())
				require.Equal(t, macB, h.Dst())
				if says > there {
					require.ErrorIs(t, err, ethernet.ErrLength, "%d of %d bytes", there, says)
				} else {
					require.NoError(t, err, "%d of %d bytes", there, says)
				}
				require.Len(t, payload, min(says, there))
			}
		}
	}
}

// TestReuse parses into the same variables, from the same memory: nothing of a long header may show in a short one.
func TestReuse(t *testing.T) {
	mem := make([]byte, 128)
	var tags []ethernet.Tag
	load := func(f []byte) (ethernet.Header, []byte, error) {
		clear(mem)
		return ethernet.Parse(mem[:copy(mem, f)])
	}
	long, want := tagged(9, 4, 'l', 'o', 'n', 'g')
	h, payload, err := load(long)
	require.NoError(t, err)
	fields := ethernet.FieldsOf(h, tags)
	assert.Equal(t, want, fields.Tags)
	assert.Equal(t, "long", string(payload))

	tags = fields.Tags
	h, payload, err = load(frame("\x08\x00", 's'))
	require.NoError(t, err)
	fields = ethernet.FieldsOf(h, tags)
	assert.Empty(t, fields.Tags)
	assert.Equal(t, 14, fields.Len())
	assert.Equal(t, "s", string(payload))

	h, payload, err = load(long[:20])
	require.ErrorIs(t, err, ethernet.ErrShort)
	assert.Zero(t, h)
	assert.Nil(t, payload)
}

func TestZeroHeader(t *testing.T) {
	var h ethernet.Header
	assert.False(t, h.IsValid())
	assert.Zero(t, h.Len())
	assert.Empty(t, h.Bytes())
}

// TestSetters makes random changes and expects what building from the changed values gives.
func TestSetters(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	randomMAC := func() (m ethernet.MAC) {
		binary.BigEndian.PutUint32(m[0:], rng.Uint32())
		binary.BigEndian.PutUint16(m[4:], uint16(rng.Uint32()))
		return m
	}
	for round := range 5000 {
		depth := round % 5
		f, _ := tagged(depth, uint16(0x0600+rng.IntN(0x8000-0x0600)), 'p')
		h, _, err := ethernet.Parse(f)
		require.NoError(t, err)
		want := ethernet.FieldsOf(h, nil)
		switch which := rng.IntN(3); {
		case which == 0:
			want.Dst = randomMAC()
			h.SetDst(want.Dst)
		case which == 1:
			want.Src = randomMAC()
			h.SetSrc(want.Src)
		case depth > 0:
			tpids := []uint16{ethernet.TypeVLAN, ethernet.TypeQinQ}
			i, tag := rng.IntN(depth), ethernet.Tag{TPID: tpids[rng.IntN(2)], TCI: ethernet.TCI(rng.Uint32())}
			want.Tags[i] = tag
			require.NoError(t, h.SetTag(i, tag))
		}
		rebuilt, err := want.Append(nil)
		require.NoError(t, err)
		require.Equal(t, append(rebuilt, 'p'), f, "round %d", round)
	}
}

func TestSetTagRefuses(t *testing.T) {
	f, _ := tagged(2, ethernet.TypeIPv4)
	h, _, err := ethernet.Parse(f)
	require.NoError(t, err)
	before := slices.Clone(f)
	for _, tpid := range []uint16{0, 1500, 0x0800, 0x80ff, 0x8101, 0x88a7, 0x88a9, 0x9100, 0xffff} {
		require.ErrorIs(t, h.SetTag(0, ethernet.Tag{TPID: tpid, TCI: 1}), ethernet.ErrTPID, "%04x", tpid)
	}
	tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 1}
	for _, beyond := range []int{-3, -2, -1, 2, 3, 1 << 20} {
		assert.Panics(t, func() { h.Tag(beyond) }, "there is no tag %d", beyond)
		assert.Panics(t, func() { _ = h.SetTag(beyond, tag) }, "there is no tag %d", beyond)
	}
	assert.Equal(t, before, f, "a refused tag must change nothing")
}

func TestNewTCI(t *testing.T) {
	for _, c := range []struct {
		name         string
		vlan         uint16
		priority     uint8
		dropEligible bool
		want         ethernet.TCI
		err          error
	}{
		{"nothing set", 0, 0, false, 0, nil},
		{"all set", 4095, 7, true, 0xffff, nil},
		{"VLAN alone", 0x123, 0, false, 0x0123, nil},
		{"priority alone", 0, 5, false, 0xa000, nil},
		{"drop-eligible alone", 0, 0, true, 0x1000, nil},
		{"VLAN one too high", 4096, 0, false, 0, ethernet.ErrVLAN},
		{"VLAN far too high", 65535, 0, false, 0, ethernet.ErrVLAN},
		{"priority one too high", 0, 8, false, 0, ethernet.ErrVLAN},
		{"priority far too high", 1, 255, true, 0, ethernet.ErrVLAN},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ethernet.NewTCI(c.vlan, c.priority, c.dropEligible)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.want, got)
		})
	}
	for v := range 1 << 16 {
		tci := ethernet.TCI(v)
		again, err := ethernet.NewTCI(tci.VLAN(), tci.Priority(), tci.DropEligible())
		require.NoError(t, err)
		require.Equal(t, tci, again)
	}
}

func TestPut(t *testing.T) {
	good := []ethernet.Tag{{TPID: ethernet.TypeQinQ, TCI: 0x60c8}, {TPID: ethernet.TypeVLAN, TCI: 0x0064}}
	notTag := []ethernet.Tag{good[0], {TPID: ethernet.TypeIPv4}}
	const want = "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a\x88\xa8\x60\xc8\x81\x00\x00\x64\x08\x00"
	for _, c := range []struct {
		name string
		tags []ethernet.Tag
		room int
		want string
		err  error
	}{
		{"room to spare", good, 30, want, nil},
		{"just enough room", good, 22, want, nil},
		{"one byte too few", good, 21, "", ethernet.ErrSpace},
		{"room for a header without tags", good, 14, "", ethernet.ErrSpace},
		{"no room", good, 0, "", ethernet.ErrSpace},
		{"no room without tags", nil, 13, "", ethernet.ErrSpace},
		{"second tag is none", notTag, 30, "", ethernet.ErrTPID},
		{"zero tag", []ethernet.Tag{{}}, 30, "", ethernet.ErrTPID},
	} {
		t.Run(c.name, func(t *testing.T) {
			stale := make([]byte, c.room)
			for i := range stale {
				stale[i] = 0xee
			}
			b := slices.Clone(stale)
			f := ethernet.Fields{Dst: macB, Src: macA, Tags: c.tags, EtherType: ethernet.TypeIPv4}
			h, err := f.Put(b)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.err == nil, h.IsValid())
			assert.Equal(t, c.want, string(h.Bytes()))
			assert.Equal(t, c.want+string(stale[len(c.want):]), string(b), "wrote more than the header")
			assert.Equal(t, h.Len(), cap(h.Bytes()), "an append to the header must not write behind it")
		})
	}
}

func TestAppend(t *testing.T) {
	tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 100}
	f := ethernet.Fields{Dst: macB, Src: macA, Tags: []ethernet.Tag{tag}, EtherType: ethernet.TypeARP}
	want := "before\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a\x81\x00\x00\x64\x08\x06"
	for _, room := range []int{0, 6, 23, 24, 100} {
		b := append(make([]byte, 0, room), "before"...)
		got, err := f.Append(b)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
		if room >= len(want) {
			assert.Same(t, &b[0], &got[0], "there was room, and yet the bytes moved")
		}
	}
	f.Tags[0].TPID = ethernet.TypeIPv6
	got, err := f.Append([]byte("before"))
	require.ErrorIs(t, err, ethernet.ErrTPID)
	assert.Equal(t, "before", string(got))
}

func TestNoAllocs(t *testing.T) {
	f, tags := tagged(3, ethernet.TypeIPv4, 'p')
	lying := frame("\x05\xdc", 'x')
	b := make([]byte, 0, 64)
	memory := make([]ethernet.Tag, 0, 4)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, _, _ := ethernet.Parse(f)
		h.SetDst(h.Dst())
		h.SetSrc(h.Src())
		_ = h.SetTag(1, h.Tag(1))
		_ = h.SetTag(1, ethernet.Tag{})
		_, _ = ethernet.NewTCI(h.Tag(0).TCI.VLAN(), 8, false)
		fields := ethernet.FieldsOf(h, memory)
		_, _ = fields.Append(b)
		_, _ = fields.Put(b[:cap(b)])
		_, _ = fields.Put(b)
		fields.Tags = tags[:1]
		_, _ = fields.Append(b)
		_, _, _ = ethernet.Parse(f[:20])
		_, _, _ = ethernet.Parse(lying)
	}))
}

// An EtherType that announces a tag would be read as one.
func TestPutRefusesTagAsType(t *testing.T) {
	for _, etherType := range []uint16{ethernet.TypeVLAN, ethernet.TypeQinQ} {
		_, err := ethernet.Fields{EtherType: etherType}.Append(nil)
		require.ErrorIs(t, err, ethernet.ErrType)
	}
}
