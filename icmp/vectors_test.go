package icmp_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/vectors"
)

// TestVectors holds every ICMP message that scapy made, inner ones included, against what scapy says is in it.
func TestVectors(t *testing.T) {
	messages := 0
	for _, v := range vectors.Load(t) {
		for i, layer := range v.Layers {
			want, ok := layer.(vectors.ICMP)
			if !ok {
				continue
			}
			messages++
			h, body, err := icmp.Parse(v.Bytes(want))
			require.NoError(t, err, v.Name)
			assert.Equal(t, want.Type, h.Type(), v.Name)
			assert.Equal(t, want.Code, h.Code(), v.Name)
			assert.Equal(t, want.Checksum, h.Checksum(), v.Name)
			assert.Equal(t, [4]byte(want.Rest), h.Rest(), v.Name)
			assert.Equal(t, v.Bytes(v.Layers[i+1]), body, v.Name)
			checkQuote(t, v, want, h, body)
			if want.ChecksumOK != nil {
				checkRebuild(t, v.Name, *want.ChecksumOK, h, body)
			}
		}
	}
	assert.Greater(t, messages, 40)
}

func checkQuote(t *testing.T, v vectors.Vector, want vectors.ICMP, h icmp.Header, body []byte) {
	t.Helper()
	assert.Equal(t, want.QuoteOffset != nil, h.IsError(), v.Name)
	if want.QuoteOffset == nil {
		assert.Nil(t, h.Quote(body), v.Name)
		assert.Nil(t, h.Extensions(body), v.Name)
	} else {
		end := *want.QuoteOffset + *want.QuoteLen
		assert.Equal(t, []byte(v.Frame[*want.QuoteOffset:end]), h.Quote(body), v.Name)
		assert.Equal(t, string(v.Frame[end:want.End]), string(h.Extensions(body)), v.Name)
	}
	if want.NextHopMTU == nil {
		assert.Zero(t, h.NextHopMTU(), v.Name)
	} else {
		assert.Equal(t, *want.NextHopMTU, h.NextHopMTU(), v.Name)
	}
}

// checkRebuild expects scapy's verdict on the checksum and builds the message anew. A right checksum comes out as it is,
// but for the zero that somebody wrote as 0xffff; a wrong one does not.
func checkRebuild(t *testing.T, name string, checksumOK bool, h icmp.Header, body []byte) {
	t.Helper()
	assert.Equal(t, checksumOK, h.ChecksumOK(body), name)
	rebuilt := icmp.FieldsOf(h).Append(nil, body)
	if checksumOK && h.Checksum() != 0xffff {
		assert.Equal(t, string(h.Bytes())+string(body), string(rebuilt), name)
		return
	}
	assert.NotEqual(t, string(h.Bytes())+string(body), string(rebuilt), name)
	h.FixChecksum(body)
	assert.Equal(t, string(h.Bytes())+string(body), string(rebuilt), name)
}
