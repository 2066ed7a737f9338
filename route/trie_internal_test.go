package route

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReuseIsCounted stands for a reader who has read a link, or the index of a path, and is then stopped: when he goes on, what he
// comes to belongs to somebody else, and the count tells. No other test can stop a reader at that very place.
func TestReuseIsCounted(t *testing.T) {
	var tr trie
	tr.init(false)
	mine, others := &Path{}, &Path{}
	path := tr.addPath(mine)
	tr.insert(10<<24, 24, path, true)
	before := tr.reused.Load()
	down := tr.root[10<<8] // the reader's
	require.NotZero(t, down&link)

	tr.remove(10<<24, 24, 0, 0)
	assert.Equal(t, before, tr.reused.Load(), "what was given back still is as it was")
	for n := uint32(0); n < 8 && tr.root[20<<8] != down; n++ {
		tr.insert(20<<24, 24, path, true) // elsewhere, until it gets that node
		if tr.root[20<<8] != down {
			tr.remove(20<<24, 24, 0, 0)
		}
	}
	require.Equal(t, down, tr.root[20<<8], "the node was not used again")
	assert.Greater(t, tr.reused.Load(), before, "the reader does not learn that his node is another's")

	before = tr.reused.Load()
	tr.remove(20<<24, 24, 0, 0)
	tr.freePath(path)
	assert.Same(t, mine, tr.path(path), "a path stays for readers on their way until its index is used again")
	assert.Equal(t, before, tr.reused.Load())
	require.Equal(t, path, tr.addPath(others))
	assert.Greater(t, tr.reused.Load(), before, "the reader does not learn that his path is another's")
}
