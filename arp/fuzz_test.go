package arp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
)

// FuzzParse parses any bytes: what is a packet can be asked for everything, and its fields make the same bytes again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		given := string(payload)
		p, err := arp.Parse(payload)
		if err != nil {
			require.False(t, p.IsValid())
			if len(payload) < arp.Len {
				require.ErrorIs(t, err, arp.ErrShort)
			} else {
				require.NotErrorIs(t, err, arp.ErrShort)
			}
			return
		}
		require.Same(t, &payload[0], &p.Bytes()[0])
		require.False(t, p.IsProbe() && p.IsAnnouncement())

		fields := arp.FieldsOf(p)
		require.Equal(t, given[:arp.Len], string(fields.Append(nil)))
		require.Equal(t, p.SenderMAC(), arp.ReplyTo(p, macB).TargetMAC)

		frame := fields.AppendFrame(nil, macB)
		require.Len(t, frame, arp.FrameLen)
		require.Equal(t, given[:arp.Len], string(frame[arp.FrameLen-arp.Len:]))
		require.Equal(t, given, string(payload), "reading changed the packet")
	})
}
