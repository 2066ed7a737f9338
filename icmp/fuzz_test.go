package icmp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
)

// FuzzParse parses any bytes: a header can be asked for everything, quote and extensions make up the body of an error,
// a changed type leaves the verdict on the checksum, and fields and body make the same bytes again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, message []byte) {
		given := string(message)
		h, body, err := icmp.Parse(message)
		if err != nil {
			require.ErrorIs(t, err, icmp.ErrShort)
			require.False(t, h.IsValid())
			require.Nil(t, body)
			return
		}
		require.True(t, h.IsValid())
		require.Equal(t, given, string(h.Bytes())+string(body))
		require.False(t, h.IsEcho() && h.IsError())
		if h.IsError() {
			quote := h.Quote(body)
			require.Equal(t, string(body), string(quote)+string(h.Extensions(body)))
			_, _, _ = ipv4.Parse(quote) // whatever it is
		} else {
			require.Nil(t, h.Quote(body))
			require.Nil(t, h.Extensions(body))
		}

		again := icmp.FieldsOf(h).Append(nil, body)
		if !h.ChecksumOK(body) || h.Checksum() == 0xffff {
			copy(again[2:4], message[2:4])
		}
		require.Equal(t, given, string(again))

		if slowSum(message[4:]) == 0 && h.Code() == 0 {
			return // all zeros but for a type: 0 and 0xffff are no twins there (RFC 1624 section 3)
		}
		ok := h.ChecksumOK(body)
		h.SetType(^h.Type())
		require.Equal(t, ok, h.ChecksumOK(body))
	})
}
