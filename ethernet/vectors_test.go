package ethernet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/vectors"
)

// TestVectors holds every Ethernet header that scapy made, inner ones included, against what scapy says is in it.
func TestVectors(t *testing.T) {
	headers := 0
	for _, v := range vectors.Load(t) {
		for i, layer := range v.Layers {
			want, ok := layer.(vectors.Ethernet)
			if !ok {
				continue
			}
			headers++
			h, payload, err := ethernet.Parse(v.Bytes(want))
			require.NoError(t, err, v.Name)
			assert.Equal(t, want.HeaderLen, h.Len(), v.Name)
			assert.Equal(t, ethernet.MAC(want.Dst), h.Dst(), v.Name)
			assert.Equal(t, ethernet.MAC(want.Src), h.Src(), v.Name)
			assert.Equal(t, want.EtherType, h.EtherType(), v.Name)
			assert.Equal(t, v.Bytes(v.Layers[i+1]), payload, v.Name)
			checkTags(t, v.Name, want.Tags, h)

			rebuilt, err := ethernet.FieldsOf(h, nil).Append(nil)
			require.NoError(t, err, v.Name)
			assert.Equal(t, h.Bytes(), rebuilt, v.Name)
		}
	}
	assert.Greater(t, headers, 300)
}

func checkTags(t *testing.T, name string, want []vectors.Tag, h ethernet.Header) {
	t.Helper()
	require.Equal(t, len(want), h.Tags(), name)
	for i, tag := range want {
		tci, err := ethernet.NewTCI(tag.VID, tag.PCP, tag.DEI)
		require.NoError(t, err, name)
		assert.Equal(t, ethernet.Tag{TPID: tag.TPID, TCI: tci}, h.Tag(i), name)
		assert.Equal(t, tag.VID, h.Tag(i).TCI.VLAN(), name)
		assert.Equal(t, tag.PCP, h.Tag(i).TCI.Priority(), name)
		assert.Equal(t, tag.DEI, h.Tag(i).TCI.DropEligible(), name)
	}
}
