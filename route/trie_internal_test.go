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

// TestGrowthIsCounted stands for readers who have an array of nodes, are stopped, and go on when it was replaced. What they are sent
// to may have an index that they have too, but was made in the new array only.
func TestGrowthIsCounted(t *testing.T) {
	var tr trie
	tr.init(false)
	for tr.pathCount <= inFull {
		tr.addPath(&Path{})
	}
	large, longer := &Path{}, &Path{}
	path := tr.addPath(large)
	require.Greater(t, path, uint32(inFull), "in full")
	for i := uint32(0); len(tr.below)+perPrefix <= len(tr.nodes.Load().packed) || i == 0; i++ {
		tr.insert(10<<24|i<<16, 24, path, true)
	}
	old, before := tr.nodes.Load(), tr.reused.Load()
	require.Less(t, len(tr.below), len(old.packed), "an index that is not in use yet")
	node := tr.root[10<<8] &^ link

	tr.insert(10<<24, 25, tr.addPath(longer), true)
	require.NotSame(t, old, tr.nodes.Load())
	for _, dst := range []uint32{10 << 24, 10<<24 | 0x80} {
		p := tr.lookupFull(old, node, dst, before) // goes on where it was stopped
		assert.True(t, p == large || p == longer, "%x has a route all the time", dst)
	}
	assert.Greater(t, tr.reused.Load(), before, "the reader does not learn that his nodes were replaced")
}
