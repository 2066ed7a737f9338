package ethernet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
)

// FuzzParse parses any bytes: a header can be asked for everything, its payload lies behind it, and its fields make the
// same bytes again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte) {
		given := string(frame)
		h, payload, err := ethernet.Parse(frame)
		if err != nil && !errors.Is(err, ethernet.ErrLength) {
			require.ErrorIs(t, err, ethernet.ErrShort)
			require.False(t, h.IsValid())
			require.Nil(t, payload)
			return
		}
		require.True(t, h.IsValid())
		require.True(t, strings.HasPrefix(given, string(h.Bytes())+string(payload)))
		if len(payload) > 0 {
			require.Same(t, &frame[h.Len()], &payload[0])
		}
		require.Equal(t, errors.Is(err, ethernet.ErrLength), h.Is8023() && int(h.EtherType()) > len(payload))

		again, err := ethernet.FieldsOf(h, nil).Append(nil)
		require.NoError(t, err)
		require.Equal(t, h.Bytes(), again)

		h.SetDst(h.Dst())
		h.SetSrc(h.Src())
		for i := range h.Tags() {
			require.NoError(t, h.SetTag(i, h.Tag(i)))
		}
		require.Equal(t, given, string(frame), "writing what was read changed it")
	})
}

// FuzzParseMAC parses any text: what is an address prints as the same text, but for its case and separators.
func FuzzParseMAC(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ethernet.ParseMAC(s)
		if err != nil {
			require.ErrorIs(t, err, ethernet.ErrMAC)
			require.Zero(t, m)
			return
		}
		digits := strings.NewReplacer(":", "", "-", "", ".", "")
		require.Equal(t, strings.ToLower(digits.Replace(s)), digits.Replace(m.String()))
		again, err := ethernet.ParseMAC(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}
