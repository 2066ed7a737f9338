// The header by itself: every bit, every fault, and what another encoder makes of it.
package vxlan_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/vxlan"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  vxlan.Fields
		flags uint8
		err   error
	}{
		{name: "empty", bytes: nil, err: vxlan.ErrShort},
		{name: "one byte short", bytes: []byte{8, 0, 0, 0, 0, 0, 1}, err: vxlan.ErrShort},
		{name: "I flag clear", bytes: []byte{0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, err: vxlan.ErrNoVNI},
		{name: "VNI 0", bytes: []byte{8, 0, 0, 0, 0, 0, 0, 0}, flags: 0x08},
		{
			name: "largest VNI", bytes: []byte{8, 0, 0, 0, 0xff, 0xff, 0xff, 0}, flags: 0x08,
			want: vxlan.Fields{VNI: vxlan.MaxVNI},
		},
		{
			name: "last byte is reserved", bytes: []byte{8, 0, 0, 0, 0, 0, 1, 0xa5}, flags: 0x08,
			want: vxlan.Fields{VNI: 1, Reserved: 0xa5},
		},
		{
			name: "group policy", bytes: []byte{0x88, 0x48, 0x12, 0x34, 0, 0, 1, 0}, flags: 0x88,
			want: vxlan.Fields{VNI: 1, GBP: vxlan.GBP{Set: true, Group: 0x1234, DontLearn: true, Applied: true}},
		},
		{
			name: "group policy bits without G are reserved", bytes: []byte{0x08, 0x48, 0x12, 0x34, 0, 0, 1, 0}, flags: 0x08,
			want: vxlan.Fields{VNI: 1, Reserved: 0x0048_1234 << 32},
		},
		{
			name: "all bits", bytes: bytes.Repeat([]byte{0xff}, 8), flags: 0xff,
			want: vxlan.Fields{
				VNI:      vxlan.MaxVNI,
				GBP:      vxlan.GBP{Set: true, Group: 0xffff, DontLearn: true, Applied: true},
				Reserved: 0x77b7_0000_0000_00ff,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, payload, err := vxlan.Parse(append(c.bytes, "frame"...)[:len(c.bytes)])
			require.Equal(t, c.err, err)
			if c.err != nil {
				assert.False(t, h.IsValid())
				assert.Nil(t, payload)
				return
			}
			assert.True(t, h.IsValid())
			assert.Empty(t, payload)
			assert.Equal(t, c.want, vxlan.FieldsOf(h))
			assert.Equal(t, c.flags, h.Flags())
			again, err := vxlan.FieldsOf(h).Append(nil)
			require.NoError(t, err)
			assert.Equal(t, c.bytes, again)
		})
	}
}

func TestPutFaults(t *testing.T) {
	b := bytes.Repeat([]byte{0xee}, 8)
	_, err := vxlan.Fields{VNI: vxlan.MaxVNI + 1}.Put(b)
	require.ErrorIs(t, err, vxlan.ErrVNI)
	_, err = vxlan.Fields{VNI: 1}.Put(b[:7])
	require.ErrorIs(t, err, vxlan.ErrSpace)
	assert.Equal(t, bytes.Repeat([]byte{0xee}, 8), b, "an error writes nothing")
	grown, err := vxlan.Fields{VNI: vxlan.MaxVNI + 1}.Append([]byte("front"))
	require.ErrorIs(t, err, vxlan.ErrVNI)
	assert.Equal(t, []byte("front"), grown)
}

// Each single bit of the header is seen where it belongs, and only there.
func TestEveryBit(t *testing.T) {
	const bitI = uint64(1) << 59
	for bit := range 64 {
		word := bitI | 1<<bit
		b := binary.BigEndian.AppendUint64(nil, word)
		h, _, err := vxlan.Parse(b)
		require.NoError(t, err)
		f := vxlan.FieldsOf(h)
		got := uint64(f.VNI)<<8 | f.Reserved | bitI
		if f.GBP.Set {
			got |= 1 << 63
		}
		assert.Equal(t, word, got, "bit %d", bit)
	}
}

func TestVectors(t *testing.T) {
	n := 0
	for _, v := range vectors.Load(t) {
		for _, want := range vectors.Of[vectors.VXLAN](v) {
			n++
			payload := v.Bytes(want)
			h, frame, err := vxlan.Parse(payload)
			require.NoError(t, err, v.Name)
			assert.Equal(t, want.VNI, h.VNI(), v.Name)
			assert.Equal(t, want.Flags, h.Flags(), v.Name)
			assert.Equal(t, want.Flags&0x80 != 0, h.GBP().Set, v.Name)
			if h.GBP().Set {
				assert.Equal(t, want.GBPGroup, h.GBP().Group, v.Name)
			}
			assert.Equal(t, uint64(want.Reserved2), h.Reserved()&0xff, v.Name)
			assert.Len(t, frame, len(payload)-vxlan.HeaderLen, v.Name)
			again, err := vxlan.FieldsOf(h).Append(nil)
			require.NoError(t, err, v.Name)
			assert.Equal(t, payload[:vxlan.HeaderLen], again, v.Name)
		}
	}
	assert.Greater(t, n, 50, "vectors with VXLAN")
}

func TestCodecDoesNotAllocate(t *testing.T) {
	b := []byte{0x88, 0x48, 0x12, 0x34, 0, 0, 1, 0xff}
	short, clear, out := b[:7], make([]byte, 8), make([]byte, 0, 8)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		h, _, err := vxlan.Parse(b)
		if err != nil {
			t.Error(err)
		}
		if out, err = vxlan.FieldsOf(h).Append(out[:0]); err != nil || !bytes.Equal(out, b) {
			t.Error("not the same bytes")
		}
		if _, _, err = vxlan.Parse(short); err == nil {
			t.Error("short header accepted")
		}
		if _, _, err = vxlan.Parse(clear); err == nil {
			t.Error("header without VNI accepted")
		}
	}))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := vxlan.Parse(b)
		if err != nil {
			if h.IsValid() || payload != nil {
				t.Fatal("an error, and a result")
			}
			return
		}
		again, err := vxlan.FieldsOf(h).Append(nil)
		if err != nil || !bytes.Equal(append(again, payload...), b) {
			t.Fatalf("%x became %x %x, error %v", b, again, payload, err)
		}
	})
}
