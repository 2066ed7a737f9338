package tcp_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/tcp"
)

// TestVectors holds every TCP header that scapy made, inner ones included, against what scapy says is in it.
func TestVectors(t *testing.T) {
	headers := 0
	for _, v := range vectors.Load(t) {
		for i, layer := range v.Layers {
			want, ok := layer.(vectors.TCP)
			if !ok {
				continue
			}
			headers++
			h, data, err := tcp.Parse(v.Bytes(want))
			require.NoError(t, err, v.Name)
			assert.Equal(t, want.SrcPort, h.SrcPort(), v.Name)
			assert.Equal(t, want.DstPort, h.DstPort(), v.Name)
			assert.Equal(t, want.Seq, h.Seq(), v.Name)
			assert.Equal(t, want.Ack, h.Ack(), v.Name)
			assert.Equal(t, want.DataOffset, h.Len(), v.Name)
			assert.Equal(t, tcp.Flags(want.Flags), h.Flags(), v.Name)
			assert.Equal(t, want.Window, h.Window(), v.Name)
			assert.Equal(t, want.Checksum, h.Checksum(), v.Name)
			assert.Equal(t, want.Urgent, h.Urgent(), v.Name)
			assert.Equal(t, string(want.Options), string(h.Options()), v.Name)
			assert.Equal(t, v.Bytes(v.Layers[i+1]), data, v.Name)
			if want.ChecksumOK != nil {
				checkChecksum(t, v.Name, v.Layers[i-1].(vectors.IPv4), *want.ChecksumOK, h, data)
			}
		}
	}
	assert.Greater(t, headers, 20)
}

// checkChecksum expects scapy's verdict, and that writing a sound header anew changes nothing.
func checkChecksum(t *testing.T, name string, ip vectors.IPv4, ok bool, h tcp.Header, data []byte) {
	t.Helper()
	src, dst := ip.Src.As4(), ip.Dst.As4()
	assert.Equal(t, ok, h.ChecksumOK(src, dst, data), name)
	again, err := tcp.FieldsOf(h).Append(nil, src, dst, data)
	require.NoError(t, err, name)
	if ok && h.Bytes()[12]&0xf == 0 {
		assert.Equal(t, h.Bytes(), again, name)
	}
	h.FixChecksum(src, dst, data)
	assert.True(t, h.ChecksumOK(src, dst, data), name)
}
