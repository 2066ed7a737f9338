package route

// The trie that IPv4 lookups go through. It holds of each prefix the best path only, spread over all slots that the prefix covers
// and no longer one does, so that a lookup ends with the first slot that is no link.

import "sync/atomic"

// A slot is one word:
//
//	bit 31 set:  bits 0–30 are the index of the node below
//	else:        bits 0–23 are the index of a path, bits 24–29 the length of the prefix that put it there; bit 30 is set
//	             if the path is not among the few that a lookup finds at once. All 0: no route but the default route
//
// The length lets a change touch only slots of its own prefix, or of shorter ones.
//
// Lookups in a big table wait for memory, and how many the processor has under way at a time depends on how little there is to
// be done with a slot once it is there: two comparisons, a mask, a load.
type slot = uint32

const (
	link       slot = 1 << 31
	many       slot = 1 << 30
	pathBits        = 24
	maxPaths        = 1<<pathBits - 1
	lengthMask      = 1<<6 - 1
	nodeSlots       = 256
	maxNodes        = 1 << 20 // a GiB
	fewPaths        = 1 << 10
)

// slotOf returns the slot of a prefix length and a path.
func slotOf(length int, path uint32) slot {
	s := slot(length)<<pathBits | path
	if path >= fewPaths {
		s |= many
	}
	return s
}

// lengthOf returns the length of the prefix that put a slot there that is no link.
func lengthOf(s slot) int { return int(s >> pathBits & lengthMask) }

type node [nodeSlots]uint32

// trie is the trie with its paths. Readers use lookup, all else is for one writer at a time. Slots are read and written
// atomically once readers may have them.
//
// A node or an index of a path that is no longer needed will be used again, and a reader who is slow may still be on his way
// to it. So whoever uses something again counts in reused first; a reader who finds that somebody did so
// meanwhile looks once more. A reader may also have an array of nodes that was replaced by a larger copy of itself: what he finds
// there was right when the copy was made.
type trie struct {
	few    [fewPaths]atomic.Pointer[Path] // paths by index; 0 is that of the default route, which would be in most slots
	reused atomic.Uint64
	nodes  atomic.Pointer[[]node]
	flat   *[1 << 24]uint32             // instead of root
	more   atomic.Pointer[[]atomicPath] // paths from index fewPaths on
	root   [1 << 16]uint32

	// The writer's own.
	below     []uint32 // of each node: how many prefixes end in it or farther down
	freeNodes queue
	pathCount uint32
	freePaths queue
}

type atomicPath = atomic.Pointer[Path]

// init makes t, which is zero, an empty trie.
func (t *trie) init(flat bool) {
	t.pathCount = 1
	if flat {
		t.flat = new([1 << 24]uint32)
	}
	t.nodes.Store(&[]node{})
	t.more.Store(&[]atomicPath{})
}

// lookup returns the path for a destination, nil if there is no route.
func (t *trie) lookup(dst uint32) *Path {
	if t.flat != nil {
		return t.lookupFlat(dst)
	}
	before := t.reused.Load()
	s := atomic.LoadUint32(&t.root[dst>>16])
	if int32(s) < 0 {
		nodes := *t.nodes.Load()
		if s &^= link; uint64(s) >= uint64(len(nodes)) {
			return t.lookupAgain(dst)
		}
		s = atomic.LoadUint32(&nodes[s][dst>>8&0xff])
		if int32(s) < 0 {
			if s &^= link; uint64(s) >= uint64(len(nodes)) {
				return t.lookupAgain(dst)
			}
			s = atomic.LoadUint32(&nodes[s][dst&0xff])
		}
	}
	if s < many {
		if p := t.few[s%fewPaths].Load(); t.reused.Load() == before {
			return p
		}
	}
	return t.lookupAgain(dst)
}

// lookupFlat is lookup with a first stride of 24 bits.
func (t *trie) lookupFlat(dst uint32) *Path {
	before := t.reused.Load()
	s := atomic.LoadUint32(&t.flat[dst>>8])
	if int32(s) < 0 {
		nodes := *t.nodes.Load()
		if s &^= link; uint64(s) >= uint64(len(nodes)) {
			return t.lookupAgain(dst)
		}
		s = atomic.LoadUint32(&nodes[s][dst&0xff])
	}
	if s < many {
		if p := t.few[s%fewPaths].Load(); t.reused.Load() == before {
			return p
		}
	}
	return t.lookupAgain(dst)
}

// lookupAgain is lookup where that did not come to an end: there are many paths, or something on the way was used again, or is
// newer than the array of nodes.
func (t *trie) lookupAgain(dst uint32) *Path {
	for {
		before := t.reused.Load()
		l := t.top()
		s := atomic.LoadUint32(&l.slots[l.index(dst)])
		for s&link != 0 {
			nodes := *t.nodes.Load()
			if uint64(s&^link) >= uint64(len(nodes)) {
				break
			}
			l = level{nodes[s&^link][:], l.base + l.bits, 8}
			s = atomic.LoadUint32(&l.slots[l.index(dst)])
		}
		if p := t.path(s & maxPaths); s&link == 0 && t.reused.Load() == before {
			return p
		}
	}
}

// level is one stride of the trie on the way to a prefix.
type level struct {
	slots []uint32
	base  int // bits of the address in front of the stride
	bits  int // of the stride
}

func (t *trie) top() level {
	if t.flat != nil {
		return level{t.flat[:], 0, 24}
	}
	return level{t.root[:], 0, 16}
}

// next returns the stride that a link leads to. It is the writer's: a reader's array of nodes may be another.
func (t *trie) next(l level, s slot) level {
	return level{(*t.nodes.Load())[s&^link][:], l.base + l.bits, 8}
}

// index returns the slot of the stride that addr goes through.
func (l level) index(addr uint32) int { return int(addr << l.base >> (32 - l.bits)) }

// covered returns the slots that a prefix which ends in this stride covers.
func (l level) covered(addr uint32, length int) []uint32 {
	first := l.index(addr)
	return l.slots[first : first+1<<(l.base+l.bits-length)]
}

// insert gives a prefix its path, or another one if it is not new. There are nodes for it, see [trie.hasNodesFor].
func (t *trie) insert(addr uint32, length int, path uint32, isNew bool) {
	if length == 0 {
		t.few[0].Store(t.path(path))
		return
	}
	s := slotOf(length, path)
	t.makeRoom()
	l := t.top()
	for length > l.base+l.bits {
		at := &l.slots[l.index(addr)]
		if *at&link == 0 {
			atomic.StoreUint32(at, t.newNode(*at))
		}
		down := *at
		if isNew {
			t.below[down&^link]++
		}
		l = t.next(l, down)
	}
	t.fill(l, l.covered(addr, length), func(old slot) bool { return lengthOf(old) <= length }, s)
}

// remove takes a prefix out; its slots go to the longest prefix that covers it, of the given length and path, 0 and 0 if there is
// none, or only a default route.
func (t *trie) remove(addr uint32, length int, shorter int, path uint32) {
	if length == 0 {
		t.few[0].Store(nil)
		return
	}
	s := slotOf(shorter, path)
	var way [2]*uint32 // the slots with links to the prefix
	depth := 0
	l := t.top()
	for length > l.base+l.bits {
		at := &l.slots[l.index(addr)]
		way[depth], depth = at, depth+1
		t.below[*at&^link]--
		l = t.next(l, *at)
	}
	t.fill(l, l.covered(addr, length), func(old slot) bool { return lengthOf(old) == length }, s)
	for depth--; depth >= 0; depth-- {
		down := *way[depth]
		if t.below[down&^link] > 0 {
			return
		}
		atomic.StoreUint32(way[depth], (*t.nodes.Load())[down&^link][0]) // all its slots are the same
		t.freeNodes.push(down &^ link)
	}
}

// fill writes s over all those of the slots, and of the nodes below them, that are to be overwritten.
func (t *trie) fill(l level, slots []uint32, overwrite func(slot) bool, s slot) {
	for i, old := range slots {
		switch {
		case old&link != 0:
			below := t.next(l, old)
			t.fill(below, below.slots, overwrite, s)
		case overwrite(old):
			atomic.StoreUint32(&slots[i], s)
		}
	}
}

// perPrefix is how many nodes a prefix needs at most.
const perPrefix = 2

// makeRoom sees to it that there are nodes for one more prefix. It is called before anything else is done, since slots
// of the array that it replaces must not be written any more.
func (t *trie) makeRoom() {
	nodes := *t.nodes.Load()
	if t.freeNodes.len() >= perPrefix || len(t.below)+perPrefix <= len(nodes) {
		return
	}
	grown := make([]node, len(nodes)+len(nodes)/4+2*perPrefix)
	copy(grown, nodes)
	t.nodes.Store(&grown)
}

// newNode returns the link to a node that says in each slot what s says.
func (t *trie) newNode(s slot) slot {
	i, ok := t.freeNodes.pop()
	if ok {
		t.reused.Add(1)
	} else {
		i = uint32(len(t.below))
		t.below = append(t.below, 0)
	}
	n := &(*t.nodes.Load())[i]
	for j := range n {
		atomic.StoreUint32(&n[j], s)
	}
	return i | link
}

// hasNodesFor reports whether the nodes that a prefix needs can be had.
func (t *trie) hasNodesFor(addr uint32, length int) bool {
	if len(t.below)+perPrefix <= maxNodes || t.freeNodes.len() >= perPrefix {
		return true
	}
	l := t.top()
	for length > l.base+l.bits {
		s := l.slots[l.index(addr)]
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
	if i < fewPaths {
		t.few[i].Store(p)
		return i
	}
	more := *t.more.Load()
	if int(i-fewPaths) >= len(more) {
		grown := make([]atomicPath, 2*len(more)+fewPaths)
		for j := range more {
			grown[j].Store(more[j].Load())
		}
		more = grown
		t.more.Store(&grown)
	}
	more[i-fewPaths].Store(p)
	return i
}

// path returns the path with an index; nil for index 0.
func (t *trie) path(i uint32) *Path {
	if i < fewPaths {
		return t.few[i].Load()
	}
	if more := *t.more.Load(); int(i-fewPaths) < len(more) {
		return more[i-fewPaths].Load()
	}
	return nil // only if i is from before, see reused
}

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
