package ipv4_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ipv4"
)

// FuzzParse parses any bytes: a header can be asked for everything, its payload lies behind it, setters leave the verdict
// on its checksum, and its fields make the same bytes again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, packet []byte) {
		given := string(packet)
		h, payload, err := ipv4.Parse(packet)
		lengthLies := errors.Is(err, ipv4.ErrTruncated) || errors.Is(err, ipv4.ErrNoLength)
		if err != nil && !lengthLies {
			require.False(t, h.IsValid())
			require.Nil(t, payload)
			return
		}
		require.True(t, h.IsValid())
		require.True(t, strings.HasPrefix(given, string(h.Bytes())+string(payload)))
		if len(payload) > 0 {
			require.Same(t, &packet[h.Len()], &payload[0])
		}
		if lengthLies {
			require.Equal(t, len(packet), h.Len()+len(payload))
		} else {
			require.Equal(t, int(h.TotalLen()), h.Len()+len(payload))
		}
		walkOptions(t, h)
		require.Equal(t, given, string(packet), "reading changed the packet")

		if !errors.Is(err, ipv4.ErrNoLength) { // which cannot be built
			checkSame(t, h)
		}
		checkSetters(t, h)
	})
}

// walkOptions takes as many steps as there are bytes at most, and none out of the list.
func walkOptions(t *testing.T, h ipv4.Header) {
	t.Helper()
	var err error
	taken := 0
	for o := h.Options(); len(o) > 0 && err == nil; {
		var opt ipv4.Option
		before := len(o)
		opt, o, err = o.Next()
		require.Less(t, len(o), before)
		taken += len(opt.Data) + 1
	}
	require.LessOrEqual(t, taken, len(h.Options()))
	require.ErrorIs(t, h.Options().Check(), err)
}

// checkSame builds h from its fields. The checksum is left out of the comparison where it is wrong, or the other zero.
func checkSame(t *testing.T, h ipv4.Header) {
	t.Helper()
	again, err := ipv4.FieldsOf(h).Append(nil, int(h.TotalLen())-h.Len())
	require.NoError(t, err)
	want := append([]byte{}, h.Bytes()...)
	if !h.ChecksumOK() || h.Checksum() == 0xffff {
		copy(want[10:12], again[10:12])
	}
	require.Equal(t, want, again)
}

func checkSetters(t *testing.T, h ipv4.Header) {
	t.Helper()
	ok := h.ChecksumOK()
	src, dst := h.Src(), h.Dst()
	h.SetSrc(dst)
	h.SetDst(src)
	h.SetTTL(h.TTL() - 1)
	h.SetTOS(^h.TOS())
	h.SetID(^h.ID())
	require.NoError(t, h.SetFragment(^h.Flags(), h.FragmentOffset()+8))
	require.NoError(t, h.SetTotalLen(max(^h.TotalLen(), uint16(h.Len()))))
	require.Equal(t, ok, h.ChecksumOK())
}
