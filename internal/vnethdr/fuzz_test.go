package vnethdr_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// FuzzRead reads any header in front of any packet. What is accepted lies within the packet, can be written again if a device
// takes such a thing at all, and says the same when it is read once more.
func FuzzRead(f *testing.F) {
	for _, p := range [][]byte{plainTCP4, plainTCP6, plainUDP4, inVXLAN, rawTCP4} {
		f.Add(unhex("01 01 3600 b405 2200 1000"), p[:128], false)
	}
	f.Fuzz(func(t *testing.T, header, p []byte, raw bool) {
		format := vnethdr.Format{LittleEndian: true, Raw: raw}
		b := packet.Of(p)
		if format.Read(header, b) != nil {
			return
		}
		start, field, partial := b.PartialChecksum()
		gso, size := b.GSO()
		if partial {
			require.GreaterOrEqual(t, start, 0)
			require.LessOrEqual(t, start+field+2, len(p))
		}
		if b.IsSuperframe() {
			require.True(t, partial)
			require.NotZero(t, size)
		}
		again := make([]byte, vnethdr.LenTunnel)
		if format.Put(again, b, allOffloads) != nil {
			return
		}
		second := packet.Of(bytes.Clone(b.Bytes()))
		require.NoError(t, format.Read(again, second))
		start2, field2, partial2 := second.PartialChecksum()
		gso2, size2 := second.GSO()
		assert.Equal(t, []any{start, field, partial, gso, size}, []any{start2, field2, partial2, gso2, size2})
	})
}
