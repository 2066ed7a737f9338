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

// TestABurstIsReadAtOnce looks at how LookupAll comes to its results: for what it was made for, it does not fall back on looking up
// one by one, and what it reads then is right.
func TestABurstIsReadAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		flat   bool
		paths  uint32 // before those of the prefixes
		length int    // of the longest prefix
		want   bool
	}{
		{"nothing", false, 0, 0, true},
		{"short prefixes", false, 0, 16, true},
		{"prefixes up to /24", false, 0, 24, true},
		{"longer prefixes", false, 0, 32, true},
		{"more paths than are found at once", false, 2 * fewPaths, 24, true},
		{"these, and longer prefixes", false, 2 * fewPaths, 32, true},
		{"paths in full", false, inFull, 24, true},
		{"paths in full below /24", false, inFull, 32, false},
		{"a flat array", true, 0, 24, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr trie
			tr.init(c.flat)
			for range c.paths {
				tr.addPath(&Path{})
			}
			for length := 1; length <= c.length; length++ {
				tr.insert(10<<24|0x010203>>(32-length)<<(32-length), length, tr.addPath(&Path{tag: uint32(length)}), true)
			}
			dst, paths := make([]uint32, burst), make([]*Path, burst)
			for i := range dst {
				dst[i] = 10<<24 | 0x010203 ^ 1<<(i%32)
			}
			tags := make([]uint32, burst)
			require.Equal(t, c.want, tr.lookupBurst(dst, paths))
			require.Equal(t, c.want, tr.tagsOfBurst(dst, tags))
			if !c.want {
				tr.lookupAll(dst, paths)
				tr.lookupTags(dst, tags)
			}
			for i, d := range dst {
				require.Same(t, tr.lookup(d), paths[i], "%x", d)
				require.Equal(t, tagOf(paths[i]), tags[i], "%x", d)
			}
		})
	}
}

// TestABurstWithNodesOfBefore stands for readers of a burst who have an array of nodes, are stopped, and go on when it was replaced.
// They either find that they are sent beyond its end, or the count tells.
func TestABurstWithNodesOfBefore(t *testing.T) {
	var tr trie
	tr.init(false)
	path := tr.addPath(&Path{})
	tr.insert(10<<24, 25, path, true)
	old, node, before := tr.nodes.Load(), tr.root[10<<8]&^link, tr.reused.Load()
	for i := range uint32(100) {
		tr.insert(10<<24|i<<8, 25, path, true)
	}
	require.NotSame(t, old, tr.nodes.Load())
	beyond := 0
	for i := range uint32(100) {
		slots, in := [burst]slot{link}, [burst]uint32{node}
		ok := tr.readFull(old, []uint32{10<<24 | i<<8}, &slots, &in) // goes on where it was stopped
		if !ok {
			beyond++
		}
		assert.True(t, !ok || slots[0]&maxPaths == path || tr.reused.Load() > before, "%d: %#x", i, slots[0])
	}
	assert.Positive(t, beyond)
	assert.Less(t, beyond, 100)
}

// TestABurstThatIsSentNowhere has slots that are newer than what else the reader of a burst has: he must give up, and touch nothing that
// is not there.
func TestABurstThatIsSentNowhere(t *testing.T) {
	for name, change := range map[string]func(*trie){
		"to a node beyond the array":  func(tr *trie) { tr.root[10<<8] = link | uint32(len(tr.nodes.Load().packed)) },
		"to a path beyond the slice":  func(tr *trie) { tr.root[10<<8] = slotOf(16, fewPaths+uint32(len(*tr.more.Load()))) },
		"to slots in full, of a node": func(tr *trie) { tr.nodes.Load().packed[tr.root[10<<8]&^link] = node{inFull} },
	} {
		t.Run(name, func(t *testing.T) {
			var tr trie
			tr.init(false)
			for range 2 * fewPaths {
				tr.addPath(&Path{})
			}
			tr.insert(10<<24, 24, 1, true)
			dst, paths := []uint32{10 << 24}, make([]*Path, 1)
			require.True(t, tr.lookupBurst(dst, paths))
			require.Same(t, tr.path(1), paths[0])
			change(&tr)
			assert.False(t, tr.lookupBurst(dst, paths))
			assert.False(t, tr.tagsOfBurst(dst, make([]uint32, 1)))
		})
	}
}
