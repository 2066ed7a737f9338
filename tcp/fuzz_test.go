package tcp_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/tcp"
)

// FuzzParse parses any bytes: a header can be asked for everything, its data lies behind it, and what it says makes the
// same bytes again, but for the reserved bits, which nobody asks for.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, segment []byte) {
		given := string(segment)
		h, data, err := tcp.Parse(segment)
		if err != nil {
			require.False(t, h.IsValid())
			require.Nil(t, data)
			return
		}
		require.True(t, h.IsValid())
		require.Equal(t, given, string(h.Bytes())+string(data))

		again := binary.BigEndian.AppendUint16(nil, h.SrcPort())
		again = binary.BigEndian.AppendUint16(again, h.DstPort())
		again = binary.BigEndian.AppendUint32(again, h.Seq())
		again = binary.BigEndian.AppendUint32(again, h.Ack())
		again = append(again, byte(h.Len()/4)<<4|given[12]&0xf, byte(h.Flags()))
		again = binary.BigEndian.AppendUint16(again, h.Window())
		again = binary.BigEndian.AppendUint16(again, h.Checksum())
		again = binary.BigEndian.AppendUint16(again, h.Urgent())
		require.True(t, strings.HasPrefix(given, string(again)+string(h.Options())))

		right := h.ChecksumOK(client, server, data)
		require.Equal(t, given, string(segment), "reading changed the segment")

		room := make([]byte, h.Len())
		built, err := tcp.FieldsOf(h).Put(room, client, server, data)
		if err != nil {
			require.ErrorIs(t, err, tcp.ErrTooLong)
			return
		}
		require.True(t, built.ChecksumOK(client, server, data))
		if right && segment[12]&0xf == 0 && h.Checksum() != 0xffff { // which is 0 as well
			require.Equal(t, string(h.Bytes()), string(room))
		}
	})
}
