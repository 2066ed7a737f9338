package arp_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
)

// TestVectors holds every ARP packet that scapy made against what scapy says is in it.
func TestVectors(t *testing.T) {
	packets := 0
	for _, v := range vectors.Load(t) {
		for _, want := range vectors.Of[vectors.ARP](v) {
			packets++
			p, err := arp.Parse(v.Bytes(want))
			require.NoError(t, err, v.Name)
			fields := arp.Fields{
				Op:        arp.Op(want.Op),
				SenderMAC: ethernet.MAC(want.SenderMAC),
				SenderIP:  want.SenderIP.As4(),
				TargetMAC: ethernet.MAC(want.TargetMAC),
				TargetIP:  want.TargetIP.As4(),
			}
			assert.Equal(t, fields, arp.FieldsOf(p), v.Name)
			assert.Equal(t, v.Bytes(want)[:arp.Len], fields.Append(nil), v.Name)
		}
	}
	assert.Greater(t, packets, 30)
}

// TestVectorFrames builds those frames of the vectors that are what AppendFrame builds: untagged, from the sender itself.
func TestVectorFrames(t *testing.T) {
	frames := 0
	for _, v := range vectors.Load(t) {
		link, isEthernet := v.Layers[0].(vectors.Ethernet)
		want, isARP := v.Layers[1].(vectors.ARP)
		if !isEthernet || !isARP || len(link.Tags) > 0 || link.Src != want.SenderMAC {
			continue
		}
		frames++
		p, err := arp.Parse(v.Bytes(want))
		require.NoError(t, err, v.Name)
		frame := arp.FieldsOf(p).AppendFrame(nil, ethernet.MAC(link.Dst))
		assert.Equal(t, []byte(v.Frame[:arp.FrameLen]), frame, v.Name)
	}
	assert.Greater(t, frames, 8)
}
