package ipv4_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipv4"
)

// TestVectors holds every IPv4 header that scapy made, inner ones included, against what scapy says is in it.
func TestVectors(t *testing.T) {
	headers := 0
	for _, v := range vectors.Load(t) {
		for i, layer := range v.Layers {
			want, ok := layer.(vectors.IPv4)
			if !ok {
				continue
			}
			headers++
			h, payload, err := ipv4.Parse(v.Bytes(want))
			require.NoError(t, err, v.Name)
			checkFields(t, v.Name, want, h)
			assert.Equal(t, v.Bytes(v.Layers[i+1]), payload, v.Name)
			checkRebuild(t, v.Name, h, len(payload))
		}
	}
	assert.Greater(t, headers, 300)
}

func checkFields(t *testing.T, name string, want vectors.IPv4, h ipv4.Header) {
	t.Helper()
	assert.Equal(t, want.IHL, h.Len(), name)
	assert.Equal(t, want.TOS, h.TOS(), name)
	assert.Equal(t, want.TotalLength, int(h.TotalLen()), name)
	assert.Equal(t, want.ID, h.ID(), name)
	assert.Equal(t, want.ReservedFlag, h.Flags()&ipv4.ReservedFlag != 0, name)
	assert.Equal(t, want.DF, h.DF(), name)
	assert.Equal(t, want.MF, h.MF(), name)
	assert.Equal(t, want.FragOffset, int(h.FragmentOffset()), name)
	assert.Equal(t, want.Fragment(), h.IsFragment(), name)
	assert.Equal(t, want.TTL, h.TTL(), name)
	assert.Equal(t, want.Protocol, h.Protocol(), name)
	assert.Equal(t, want.Checksum, h.Checksum(), name)
	assert.Equal(t, want.ChecksumOK, h.ChecksumOK(), name)
	assert.Equal(t, want.Src.As4(), h.Src(), name)
	assert.Equal(t, want.Dst.As4(), h.Dst(), name)
	assert.Equal(t, string(want.Options), string(h.Options()), name)
	assert.NoError(t, h.Options().Check(), name)
}

// checkRebuild builds h from its fields. A right checksum comes out as it is, but for the zero that somebody wrote as
// 0xffff; a wrong one does not.
func checkRebuild(t *testing.T, name string, h ipv4.Header, payloadLen int) {
	t.Helper()
	rebuilt, err := ipv4.FieldsOf(h).Append(nil, payloadLen)
	require.NoError(t, err, name)
	if h.ChecksumOK() && h.Checksum() != 0xffff {
		assert.Equal(t, h.Bytes(), rebuilt, name)
		return
	}
	assert.NotEqual(t, h.Bytes(), rebuilt, name)
	h.FixChecksum()
	assert.Equal(t, h.Bytes(), rebuilt, name)
}
