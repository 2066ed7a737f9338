package arp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// FuzzResponder gives a responder any bytes as a frame. It answers, at once or later, nothing but well-formed requests of a
// station that has or probes for an address; by proxy, no probe, no announcement, and nothing about where it must not.
func FuzzResponder(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte, ignore uint8, delay bool) {
		c := proxyAll()
		c.Ignore = []int{0, 1, 2, 8}[ignore%4]
		if delay {
			c.ProxyDelay = time.Second
		}
		r := newResponder(t, c)
		given := string(frame)
		answer, v := r.Respond(nil, frame, 0)
		require.Equal(t, given, string(frame), "the frame was changed")
		require.Equal(t, uint64(1), counted(r.Stats())[v])
		require.Equal(t, v == arp.Answered, len(answer) > 0)
		if v == arp.Delayed {
			var due bool
			answer, due = r.Due(nil, time.Second)
			require.True(t, due)
		}
		if len(answer) == 0 {
			return
		}

		h, payload, err := ethernet.Parse(frame)
		require.NoError(t, err)
		require.Equal(t, ethernet.TypeARP, h.EtherType())
		require.True(t, h.Dst() == macA || h.Dst().IsMulticast())
		p, err := arp.Parse(payload)
		require.NoError(t, err)
		require.Equal(t, arp.Request, p.Op())
		require.True(t, p.SenderMAC().IsStation())
		require.NotEqual(t, macA, p.SenderMAC())
		require.NotEqual(t, p.SenderIP(), p.TargetIP())
		require.NotEqual(t, [4]byte{}, p.TargetIP())
		require.NotEqual(t, byte(127), p.TargetIP()[0])
		require.NotEqual(t, byte(0xe), p.TargetIP()[0]>>4, "a group was answered for")
		checkAnswer(t, frame, answer)

		if p.TargetIP() == ipA || p.TargetIP() == ipSecond || p.TargetIP() == ipNode {
			require.NotEqual(t, arp.Delayed, v)
			require.NotEqual(t, arp.IgnoreAll, c.Ignore)
			return
		}
		require.False(t, p.IsProbe(), "a probe was answered by proxy")
		require.Equal(t, arp.WayOn, wayTo(num(p.TargetIP()), num(p.SenderIP())))
		require.Equal(t, delay && h.Dst() != macA, v == arp.Delayed)
	})
}
