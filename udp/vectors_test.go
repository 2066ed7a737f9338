package udp_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/udp"
)

// TestVectors holds every UDP header that scapy made, inner ones included, against what scapy says is in it.
func TestVectors(t *testing.T) {
	headers := 0
	for _, v := range vectors.Load(t) {
		for i, layer := range v.Layers {
			want, ok := layer.(vectors.UDP)
			if !ok {
				continue
			}
			headers++
			h, payload, err := udp.Parse(v.Bytes(want))
			if want.Offset+want.Length > want.End {
				require.ErrorIs(t, err, udp.ErrTruncated, v.Name)
				require.Nil(t, want.ChecksumOK, v.Name) // a first fragment
			} else {
				require.NoError(t, err, v.Name)
			}
			assert.Equal(t, want.SrcPort, h.SrcPort(), v.Name)
			assert.Equal(t, want.DstPort, h.DstPort(), v.Name)
			assert.Equal(t, want.Length, int(h.Length()), v.Name)
			assert.Equal(t, want.Checksum, h.Checksum(), v.Name)
			assert.Equal(t, v.Bytes(v.Layers[i+1]), payload, v.Name)

			rebuilt, err := udp.FieldsOf(h).Append(nil, want.Length-udp.HeaderLen)
			require.NoError(t, err, v.Name)
			assert.Equal(t, h.Bytes(), rebuilt, v.Name)

			if want.ChecksumOK != nil {
				checkChecksum(t, v.Name, v.Layers[i-1].(vectors.IPv4), want, h, payload)
			}
		}
	}
	assert.Greater(t, headers, 150)
}

// checkChecksum expects scapy's verdict, and that computing a right checksum anew changes nothing.
func checkChecksum(t *testing.T, name string, ip vectors.IPv4, want vectors.UDP, h udp.Header, payload []byte) {
	t.Helper()
	src, dst := ip.Src.As4(), ip.Dst.As4()
	assert.Equal(t, *want.ChecksumOK, h.ChecksumOK(src, dst, payload), name)
	h.FixChecksum(src, dst, payload)
	if want.Checksum != 0 {
		assert.Equal(t, *want.ChecksumOK, h.Checksum() == want.Checksum, name)
	}
	assert.True(t, h.ChecksumOK(src, dst, payload), name)
	assert.NotZero(t, h.Checksum(), name)
}
