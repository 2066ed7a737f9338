package route

// The trie that IPv4 lookups go through. It holds of each prefix the best path only, spread over all slots that the prefix covers
// and no longer one does, so that a lookup ends with the first slot that is no link.

import "sync/atomic"

// A slot is one word:
//
//	bit 31 set:  bits 0–30 are the index of the node below
//	else:        bits 25–30 are the length of the prefix that put it there, bits 0–24 the index of its path; all 0: no route
//
// The length lets a change touch only slots of its own prefix, or of shorter ones.
type slot = uint32

const (
	link       slot = 1 << 31
	pathBits        = 25
	maxPaths        = 1<<pathBits - 1
	nodeSlots       = 256
	chunkNodes      = 64
	maxChunks       = 1 << 14
	maxNodes        = maxChunks * chunkNodes // a GiB
)

type (
	node  [nodeSlots]atomic.Uint32
	chunk [chunkNodes]node
)

// trie is the trie with its paths. Readers use lookup, all else is for one writer at a time.
//
// A node or an index of a path that is no longer needed will be used again, and a reader who is slow may still be on his way
// to it. So whoever uses something again counts in reused first; a reader who finds that somebody did so
// meanwhile looks once more.
type trie struct {
	root     *[1 << 16]atomic.Uint32
	flat     *[1 << 24]atomic.Uint32 // instead of root
	fallback atomic.Uint32           // the slot of the default route, which would be in most of the others
	reused   atomic.Uint64
	chunks   [maxChunks]atomic.Pointer[chunk]
	paths    atomic.Pointer[[]atomic.Pointer[Path]]

	// The writer's own.
	below     []uint32 // of each node: how many prefixes end in it or farther down
	freeNodes queue
	pathCount uint32
	freePaths queue
}

// init makes t, which is zero, an empty trie.
func (t *trie) init(flat bool) {
	t.pathCount = 1 // 0 is no path
	if flat {
		t.flat = new([1 << 24]atomic.Uint32)
	} else {
		t.root = new([1 << 16]atomic.Uint32)
	}
	paths := make([]atomic.Pointer[Path], 16)
	t.paths.Store(&paths)
}

func (t *trie) node(s slot) *node {
	i := s &^ link
	return &t.chunks[i/chunkNodes%maxChunks].Load()[i%chunkNodes]
}

// lookup returns the path for a destination, nil if there is no route.
func (t *trie) lookup(dst uint32) *Path {
	before := t.reused.Load()
	var s slot
	if t.root != nil {
		if s = t.root[dst>>16].Load(); s&link != 0 {
			s = t.node(s)[dst>>8&0xff].Load()
		}
	} else {
		s = t.flat[dst>>8].Load()
	}
	if s&link != 0 {
		s = t.node(s)[dst&0xff].Load()
	}
	if s == 0 {
		s = t.fallback.Load()
	}
	i, paths := s&maxPaths, *t.paths.Load()
	if uint64(i) < uint64(len(paths)) {
		if p := paths[i].Load(); t.reused.Load() == before {
			return p
		}
	}
	return t.lookup(dst)
}

// level is one stride of the trie on the way to a prefix.
type level struct {
	slots []atomic.Uint32
	base  int // bits of the address in front of the stride
	bits  int // of the stride
}

func (t *trie) top() level {
	if t.root != nil {
		return level{t.root[:], 0, 16}
	}
	return level{t.flat[:], 0, 24}
}

func (t *trie) next(l level, s slot) level { return level{t.node(s)[:], l.base + l.bits, 8} }

// index returns the slot of the stride that addr goes through.
func (l level) index(addr uint32) int { return int(addr << l.base >> (32 - l.bits)) }

// covered returns the slots that a prefix which ends in this stride covers.
func (l level) covered(addr uint32, length int) []atomic.Uint32 {
	first := l.index(addr)
	return l.slots[first : first+1<<(l.base+l.bits-length)]
}

// insert gives a prefix its path, or another one if it is not new. There are nodes for it, see [trie.hasNodesFor].
func (t *trie) insert(addr uint32, length int, path uint32, isNew bool) {
	s := slot(length)<<pathBits | path
	if length == 0 {
		t.fallback.Store(s)
		return
	}
	l := t.top()
	for length > l.base+l.bits {
		at := &l.slots[l.index(addr)]
		if at.Load()&link == 0 {
			at.Store(t.newNode(at.Load()))
		}
		down := at.Load()
		if isNew {
			t.below[down&^link]++
		}
		l = t.next(l, down)
	}
	t.fill(l, l.covered(addr, length), func(old slot) bool { return int(old>>pathBits) <= length }, s)
}

// remove takes a prefix out; its slots go to the longest prefix that covers it, of the given length and path, 0 and 0 if there is
// none, or only a default route.
func (t *trie) remove(addr uint32, length int, shorter int, path uint32) {
	if length == 0 {
		t.fallback.Store(0)
		return
	}
	s := slot(shorter)<<pathBits | path
	if path == 0 {
		s = 0
	}
	var way [2]*atomic.Uint32 // the slots with links to the prefix
	depth := 0
	l := t.top()
	for length > l.base+l.bits {
		at := &l.slots[l.index(addr)]
		way[depth], depth = at, depth+1
		t.below[at.Load()&^link]--
		l = t.next(l, at.Load())
	}
	t.fill(l, l.covered(addr, length), func(old slot) bool { return old != 0 && int(old>>pathBits) == length }, s)
	for depth--; depth >= 0; depth-- {
		down := way[depth].Load()
		if t.below[down&^link] > 0 {
			return
		}
		way[depth].Store(t.node(down)[0].Load()) // all its slots are the same
		t.freeNodes.push(down &^ link)
	}
}

// fill writes s over all those of the slots, and of the nodes below them, that are to be overwritten.
func (t *trie) fill(l level, slots []atomic.Uint32, overwrite func(slot) bool, s slot) {
	for i := range slots {
		switch old := slots[i].Load(); {
		case old&link != 0:
			below := t.next(l, old)
			t.fill(below, below.slots, overwrite, s)
		case overwrite(old):
			slots[i].Store(s)
		}
	}
}

// newNode returns the link to a node that says in each slot what s says.
func (t *trie) newNode(s slot) slot {
	i, ok := t.freeNodes.pop()
	if ok {
		t.reused.Add(1)
	} else {
		i = uint32(len(t.below))
		t.below = append(t.below, 0)
		if i%chunkNodes == 0 {
			t.chunks[i/chunkNodes].Store(new(chunk))
		}
	}
	n := t.node(i)
	for j := range n {
		n[j].Store(s)
	}
	return i | link
}

// hasNodesFor reports whether the nodes that a prefix needs can be had.
func (t *trie) hasNodesFor(addr uint32, length int) bool {
	if len(t.below)+2 <= maxNodes || t.freeNodes.len() >= 2 {
		return true
	}
	l := t.top()
	for length > l.base+l.bits {
		s := l.slots[l.index(addr)].Load()
		if s&link == 0 {
			return false
		}
		l = t.next(l, s)
	}
	return true
}

// addPath gives a path an index; 0 if there are too many.
func (t *trie) addPath(p *Path) uint32 {
	i, ok := t.freePaths.pop()
	if ok {
		t.reused.Add(1)
	} else {
		if t.pathCount > maxPaths {
			return 0
		}
		i = t.pathCount
		t.pathCount++
	}
	paths := *t.paths.Load()
	if int(i) >= len(paths) {
		grown := make([]atomic.Pointer[Path], 2*len(paths))
		for j := range paths {
			grown[j].Store(paths[j].Load())
		}
		grown[i].Store(p)
		t.paths.Store(&grown)
		return i
	}
	paths[i].Store(p)
	return i
}

// path returns the path with an index.
func (t *trie) path(i uint32) *Path { return (*t.paths.Load())[i].Load() }

// freePath gives back the index of a path that no slot has any more. The path stays until the index is used again, for
// readers on their way.
func (t *trie) freePath(i uint32) { t.freePaths.push(i) }

// queue hands out what was given back longest ago.
type queue struct {
	items []uint32
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(i uint32) {
	if q.head > len(q.items)/2 {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	q.items = append(q.items, i)
}

func (q *queue) pop() (uint32, bool) {
	if q.len() == 0 {
		return 0, false
	}
	q.head++
	return q.items[q.head-1], true
}
