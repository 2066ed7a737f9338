package udp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/udp"
)

// FuzzParse parses any bytes: a header can be asked for everything, its payload lies behind it, setters leave the verdict
// on its checksum, and its fields make the same bytes again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, datagram []byte) {
		given := string(datagram)
		h, payload, err := udp.Parse(datagram)
		lengthLies := errors.Is(err, udp.ErrTruncated) || errors.Is(err, udp.ErrNoLength)
		if err != nil && !lengthLies {
			require.False(t, h.IsValid())
			require.Nil(t, payload)
			return
		}
		require.True(t, h.IsValid())
		require.True(t, strings.HasPrefix(given, string(h.Bytes())+string(payload)))
		if len(payload) > 0 {
			require.Same(t, &datagram[udp.HeaderLen], &payload[0])
		}
		if lengthLies {
			require.Len(t, payload, len(datagram)-udp.HeaderLen)
		} else {
			require.Len(t, payload, int(h.Length())-udp.HeaderLen)
		}
		if !errors.Is(err, udp.ErrNoLength) { // which cannot be built
			again, err := udp.FieldsOf(h).Append(nil, int(h.Length())-udp.HeaderLen)
			require.NoError(t, err)
			require.Equal(t, h.Bytes(), again)
		}
		checkSetters(t, h, payload)
		require.Equal(t, given[udp.HeaderLen:], string(datagram[udp.HeaderLen:]), "the payload changed")
	})
}

// checkSetters makes changes that cancel each other out in part, first with the checksum as it is, then with a right one.
func checkSetters(t *testing.T, h udp.Header, payload []byte) {
	t.Helper()
	for range 2 {
		ok, none := h.ChecksumOK(src, dst, payload), h.Checksum() == 0
		h.SetSrcPort(^h.SrcPort())
		h.SetDstPort(h.DstPort() + 1)
		h.UpdateAddr(src, [4]byte{10, 0, 0, 1})
		require.Equal(t, ok, h.ChecksumOK([4]byte{10, 0, 0, 1}, dst, payload))
		require.Equal(t, none, h.Checksum() == 0)
		h.UpdateAddr([4]byte{10, 0, 0, 1}, src)
		h.FixChecksum(src, dst, payload)
		require.True(t, h.ChecksumOK(src, dst, payload))
		require.NotZero(t, h.Checksum())
	}
}
