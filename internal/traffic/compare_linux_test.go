package traffic_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/internal/traffic"
)

// TestHearFindsFaults: what is not as it was said must not pass, as every test that has traffic relies on it.
func TestHearFindsFaults(t *testing.T) {
	const at, size = 100, 3*traffic.Chunk + 5
	var said bytes.Buffer
	assert.NoError(t, traffic.Say(&said, at, size))
	good := said.Bytes()
	assert.NoError(t, traffic.Hear(bytes.NewReader(good), at, size))
	changed := slices.Clone(good)
	changed[size/2] ^= 1
	for name, p := range map[string][]byte{
		"nothing":         nil,
		"one byte less":   good[:size-1],
		"one byte more":   append(slices.Clone(good), 0),
		"one bit changed": changed,
		"a chunk missing": good[traffic.Chunk:],
		"a chunk twice":   append(slices.Clone(good[:traffic.Chunk]), good[:size-traffic.Chunk]...),
	} {
		assert.Error(t, traffic.Hear(bytes.NewReader(p), at, size), name)
	}
}
