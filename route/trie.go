package route

// The trie that IPv4 lookups go through. It holds of each prefix the best path only, spread over all slots that the prefix covers
// and no longer one does, so that a lookup ends with the first slot that is no link.

import "sync/atomic"

// A slot is one word, see the constants below:
//
//	bit 31 set:  bits 0–30 are the index of the node below
//	else:        bits 0–23 are the index of a path, bits 24–29 the length of the prefix that put it there
//	all 0:       no route but the default route
//
// The length lets a change touch only slots of its own prefix, or of shorter ones.
//
// A big table does not fit a cache, nor its pages the processor's table of them, so the nodes below the first stride are packed: 16
// bits a slot, the index of its path, and the length elsewhere. What does not fit, links and large indexes, is in a
// second block of the node, in full; most nodes have none. For the same reason a lookup does as little as can be with a slot
// once it is there: the less there is to wait for it, the more lookups the processor has under way.
type slot = uint32

const (
	link       slot = 1 << 31
	pathBits        = 24
	maxPaths        = 1<<pathBits - 1
	lengthMask      = 1<<6 - 1
	fewPaths        = 1 << 10 // which a lookup finds at once
	beyondFew       = maxPaths &^ (fewPaths - 1)

	nodeSlots = 256
	packBits  = 16
	inFull    = 1<<packBits - 1 // in a packed slot: see the block of slots in full
	maxNodes  = 1 << 20         // three quarters of a GiB, and as much again if all have slots in full
)

// slotOf returns the slot of a prefix length and a path.
func slotOf(length int, path uint32) slot { return slot(length)<<pathBits | path }

// lengthOf returns the length of the prefix that put a slot there that is no link.
func lengthOf(s slot) int { return int(s >> pathBits & lengthMask) }

type (
	node  [nodeSlots / 2]uint32 // an even slot in the lower half of a word
	whole [nodeSlots]slot
)

// nodeArray is the nodes by index. It is replaced by a larger copy of itself when they run out.
type nodeArray struct {
	packed []node
	full   []atomic.Pointer[whole] // nil: none is in full
}

// trie is the trie with its paths. Readers use lookup, all else is for one writer at a time. Slots are read and written
// atomically once readers may have them.
//
// A node or an index of a path that is no longer needed will be used again, and a reader who is slow may still be on his way
// to it. So whoever uses something again counts in reused first; a reader who finds that somebody did so
// meanwhile looks once more. So does a reader with nodes that were replaced by a larger copy meanwhile: links lead, by way of
// slots in full, which both have, and of the first stride, to nodes that are in the copy only, also where he has the index.
type trie struct {
	few    [fewPaths]atomic.Pointer[Path] // paths by index; 0 is that of the default route, which would be in most slots
	reused atomic.Uint64
	nodes  atomic.Pointer[nodeArray]
	flat   *[1 << 24]slot               // instead of root
	more   atomic.Pointer[[]atomicPath] // paths from index fewPaths on
	root   [1 << 16]slot

	// Tags of the paths, for those who need no more of them: the paths themselves take a cache line each.
	fewTags  [fewPaths]atomic.Uint32
	moreTags atomic.Pointer[[]atomic.Uint32]

	// The writer's own.
	lengths   [][nodeSlots]uint8 // of packed slots, by node
	below     []uint32           // of each node: how many prefixes end in it or farther down
	freeNodes queue
	pathCount uint32
	freePaths queue
}

type atomicPath = atomic.Pointer[Path]

// init makes t, which is zero, an empty trie.
func (t *trie) init(flat bool) {
	t.pathCount = 1
	if flat {
		t.flat = new([1 << 24]slot)
	}
	t.nodes.Store(&nodeArray{})
	t.more.Store(&[]atomicPath{})
	t.moreTags.Store(&[]atomic.Uint32{})
}

// lookup returns the path for a destination, nil if there is no route.
func (t *trie) lookup(dst uint32) *Path {
	if t.flat != nil {
		return t.lookupFlat(dst)
	}
	before := t.reused.Load()
	s := atomic.LoadUint32(&t.root[dst>>16])
	var nodes *nodeArray
	var i uint32
	if int32(s) < 0 {
		nodes, i = t.nodes.Load(), s&^link
		if uint64(i) >= uint64(len(nodes.packed)) {
			return t.lookupAgain(dst)
		}
		s = atomic.LoadUint32(&nodes.packed[i][dst>>9&0x7f]) >> (dst >> 4 & packBits) & inFull
	}
	if s&beyondFew == 0 {
		if p := t.few[s%fewPaths].Load(); t.reused.Load() == before {
			return p
		}
	}
	if s == inFull && nodes != nil {
		return t.lookupFull(nodes, i, dst, before)
	}
	if p := t.path(s & maxPaths); t.reused.Load() == before {
		return p
	}
	return t.lookupAgain(dst)
}

// burst is how many destinations lookupAll takes one step with at a time.
const burst = 64

// lookupAll is lookup of many destinations, each step of it for all of them, so that they wait for memory together.
func (t *trie) lookupAll(dst []uint32, paths []*Path) {
	for len(dst) > 0 {
		n := min(len(dst), burst)
		if before := t.reused.Load(); !t.lookupBurst(dst[:n], paths[:n]) || t.reused.Load() != before {
			for i, d := range dst[:n] {
				paths[i] = t.lookup(d)
			}
		}
		dst, paths = dst[n:], paths[n:]
	}
}

// lookupTags is lookupAll for the paths' tags.
func (t *trie) lookupTags(dst, tags []uint32) {
	for len(dst) > 0 {
		n := min(len(dst), burst)
		if before := t.reused.Load(); !t.tagsOfBurst(dst[:n], tags[:n]) || t.reused.Load() != before {
			for i, d := range dst[:n] {
				tags[i] = tagOf(t.lookup(d))
			}
		}
		dst, tags = dst[n:], tags[n:]
	}
}

// lookupBurst is lookupAll for no more than burst destinations. It returns false if it came upon something that lookup is for.
func (t *trie) lookupBurst(dst []uint32, paths []*Path) bool {
	more := *t.more.Load()
	var slots [burst]slot
	if !t.readBurst(dst, &slots) {
		return false
	}
	for i := range paths {
		s := slots[i&(burst-1)] & maxPaths
		if s < fewPaths {
			paths[i] = t.few[s].Load()
			continue
		}
		if s -= fewPaths; uint64(s) >= uint64(len(more)) {
			return false
		}
		paths[i] = more[s].Load()
	}
	return true
}

// tagsOfBurst is lookupBurst for the paths' tags.
func (t *trie) tagsOfBurst(dst, tags []uint32) bool {
	more := *t.moreTags.Load()
	var slots [burst]slot
	if !t.readBurst(dst, &slots) {
		return false
	}
	for i := range tags {
		s := slots[i&(burst-1)] & maxPaths
		if s < fewPaths {
			tags[i] = t.fewTags[s].Load()
			continue
		}
		if s -= fewPaths; uint64(s) >= uint64(len(more)) {
			return false
		}
		tags[i] = more[s].Load()
	}
	return true
}

// readBurst finds the slots of no more than burst destinations. It returns false if it came upon something that lookup is for.
func (t *trie) readBurst(dst []uint32, slots *[burst]slot) bool {
	if t.flat != nil {
		return false
	}
	var in [burst]uint32 // node of a slot that is in full
	nodes := t.nodes.Load()
	full := 0
	for i, d := range dst {
		s := atomic.LoadUint32(&t.root[d>>16])
		if int32(s) < 0 {
			if in[i&(burst-1)] = s &^ link; uint64(s&^link) >= uint64(len(nodes.packed)) {
				return false
			}
			s = atomic.LoadUint32(&nodes.packed[s&^link][d>>9&0x7f]) >> (d >> 4 & packBits) & inFull
			if s == inFull {
				s = link
				full++
			}
		}
		slots[i&(burst-1)] = s
	}
	return full == 0 || t.readFull(nodes, dst, slots, &in)
}

// readFull replaces slots that are a link by those of their nodes that are in full, and of the nodes below. It returns false if
// that is not to be had.
func (t *trie) readFull(nodes *nodeArray, dst []uint32, slots *[burst]slot, in *[burst]uint32) bool {
	below := 0
	for i, d := range dst {
		if slots[i&(burst-1)] != link {
			continue
		}
		block := nodes.full[in[i&(burst-1)]].Load()
		if block == nil {
			return false
		}
		s := atomic.LoadUint32(&block[d>>8&0xff])
		if s&link != 0 {
			below++
		}
		slots[i&(burst-1)] = s
	}
	if below == 0 {
		return true
	}
	for i, d := range dst {
		s := slots[i&(burst-1)]
		if s&link == 0 {
			continue
		}
		if s &^= link; uint64(s) >= uint64(len(nodes.packed)) {
			return false
		}
		s = atomic.LoadUint32(&nodes.packed[s][d>>1&0x7f]) >> (d << 4 & packBits) & inFull
		if s == inFull {
			return false
		}
		slots[i&(burst-1)] = s
	}
	return true
}

// lookupFull is lookup where the slot of node i is in full: for a prefix longer than /24 it is a link.
func (t *trie) lookupFull(nodes *nodeArray, i, dst uint32, before uint64) *Path {
	full := nodes.full[i].Load()
	if full == nil {
		return t.lookupAgain(dst)
	}
	s := atomic.LoadUint32(&full[dst>>8&0xff])
	if i := s &^ link; int32(s) < 0 && uint64(i) < uint64(len(nodes.packed)) {
		s = atomic.LoadUint32(&nodes.packed[i][dst>>1&0x7f]) >> (dst << 4 & packBits) & inFull
		if s < fewPaths {
			if p := t.few[s].Load(); t.reused.Load() == before {
				return p
			}
		}
	}
	return t.lookupAgain(dst)
}

// lookupFlat is lookup with a first stride of 24 bits.
func (t *trie) lookupFlat(dst uint32) *Path {
	before := t.reused.Load()
	s := atomic.LoadUint32(&t.flat[dst>>8])
	if int32(s) < 0 {
		nodes := t.nodes.Load()
		i := s &^ link
		if uint64(i) >= uint64(len(nodes.packed)) {
			return t.lookupAgain(dst)
		}
		s = atomic.LoadUint32(&nodes.packed[i][dst>>1&0x7f]) >> (dst << 4 & packBits) & inFull
	}
	if s&beyondFew == 0 {
		if p := t.few[s%fewPaths].Load(); t.reused.Load() == before {
			return p
		}
	}
	return t.lookupAgain(dst)
}

// lookupAgain is lookup where that did not come to an end: there are many paths, or something on the way was used again, or is
// newer than the nodes.
func (t *trie) lookupAgain(dst uint32) *Path {
	for {
		before := t.reused.Load()
		l := t.top()
		s, ok := l.load(l.index(dst)), true
		for ok && s&link != 0 {
			if l, ok = l.next(s); ok {
				s, ok = l.read(l.index(dst))
			}
		}
		if ok {
			if p := t.path(s & maxPaths); t.reused.Load() == before {
				return p
			}
		}
	}
}

// level is one stride of the trie on the way to a prefix: the first, or a node.
type level struct {
	first []slot // of the first
	nodes *nodeArray
	node  uint32
	base  int // bits of the address in front of the stride
	bits  int // of the stride
}

func (t *trie) top() level {
	if t.flat != nil {
		return level{first: t.flat[:], nodes: t.nodes.Load(), bits: 24}
	}
	return level{first: t.root[:], nodes: t.nodes.Load(), bits: 16}
}

// next returns the stride that a link leads to; false if it is newer than the nodes.
func (l level) next(s slot) (level, bool) {
	below := level{nodes: l.nodes, node: s &^ link, base: l.base + l.bits, bits: 8}
	return below, uint64(below.node) < uint64(len(l.nodes.packed))
}

// index returns the slot of the stride that addr goes through.
func (l level) index(addr uint32) int { return int(addr << l.base >> (32 - l.bits)) }

// covered returns the slots from which to which a prefix that ends in this stride covers.
func (l level) covered(addr uint32, length int) (from, to int) {
	from = l.index(addr)
	return from, from + 1<<(l.base+l.bits-length)
}

// load returns a slot of the first stride.
func (l level) load(i int) slot { return atomic.LoadUint32(&l.first[i]) }

// read returns a slot, for readers: without its length if it is packed. It returns false if the slot is newer than the nodes.
func (l level) read(i int) (slot, bool) {
	s := atomic.LoadUint32(&l.nodes.packed[l.node][i/2]) >> (i % 2 * packBits) & inFull
	if s != inFull {
		return s, true
	}
	full := l.nodes.full[l.node].Load()
	if full == nil {
		return 0, false
	}
	return atomic.LoadUint32(&full[i]), true
}

// get returns a slot, for the writer.
func (t *trie) get(l level, i int) slot {
	if l.first != nil {
		return l.first[i]
	}
	s, _ := l.read(i)
	if s < inFull {
		return slotOf(int(t.lengths[l.node][i]), s)
	}
	return s
}

// set writes a slot. What is in full is there before the packed slot says so.
func (t *trie) set(l level, i int, s slot) {
	if l.first != nil {
		atomic.StoreUint32(&l.first[i], s)
		return
	}
	packed := s & maxPaths
	if s&link != 0 || packed >= inFull {
		full := l.nodes.full[l.node].Load()
		if full == nil {
			full = new(whole)
			l.nodes.full[l.node].Store(full)
		}
		atomic.StoreUint32(&full[i], s)
		packed = inFull
	} else {
		t.lengths[l.node][i] = uint8(lengthOf(s))
	}
	word := &l.nodes.packed[l.node][i/2]
	shift := i % 2 * packBits
	atomic.StoreUint32(word, *word&^(inFull<<shift)|packed<<shift)
}

// insert gives a prefix its path, or another one if it is not new. There are nodes for it, see [trie.hasNodesFor].
func (t *trie) insert(addr uint32, length int, path uint32, isNew bool) {
	if length == 0 {
		t.setDefault(t.path(path))
		return
	}
	s := slotOf(length, path)
	t.makeRoom()
	l := t.top()
	for length > l.base+l.bits {
		i := l.index(addr)
		down := t.get(l, i)
		if down&link == 0 {
			down = t.newNode(l.nodes, down)
			t.set(l, i, down)
		}
		if isNew {
			t.below[down&^link]++
		}
		l, _ = l.next(down)
	}
	t.fill(l, addr, length, lengths{0, length}, s)
}

// remove takes a prefix out; its slots go to the longest prefix that covers it, of the given length and path, 0 and 0 if there is
// none, or only a default route.
func (t *trie) remove(addr uint32, length int, shorter int, path uint32) {
	if length == 0 {
		t.setDefault(nil)
		return
	}
	s := slotOf(shorter, path)
	var way [2]level // the strides with links to the prefix
	depth := 0
	l := t.top()
	for length > l.base+l.bits {
		way[depth], depth = l, depth+1
		down := t.get(l, l.index(addr))
		t.below[down&^link]--
		l, _ = l.next(down)
	}
	t.fill(l, addr, length, lengths{length, length}, s)
	for depth--; depth >= 0; depth-- {
		l := way[depth]
		i := l.index(addr)
		down := t.get(l, i)
		if t.below[down&^link] > 0 {
			return
		}
		below, _ := l.next(down)
		t.set(l, i, t.get(below, 0)) // all its slots are the same
		t.freeNodes.push(below.node)
	}
}

// setDefault gives index 0 another path. That counts as using it again: a reader who was sent to the default route may be so slow
// that his destination has a longer prefix meanwhile.
func (t *trie) setDefault(p *Path) {
	t.reused.Add(1)
	t.few[0].Store(p)
	t.fewTags[0].Store(tagOf(p))
}

// tagOf returns a path's tag; p may be nil.
func tagOf(p *Path) uint32 {
	if p == nil {
		return 0
	}
	return p.Tag()
}

// lengths are the lengths of prefixes whose slots are to be overwritten, from the least to the greatest.
type lengths struct{ least, greatest int }

func (r lengths) has(length int) bool { return uint(length-r.least) <= uint(r.greatest-r.least) }

// fill writes s over those slots of a prefix that belong to prefixes of certain lengths, in the stride that it ends in and in
// the nodes below.
func (t *trie) fill(l level, addr uint32, length int, overwrite lengths, s slot) {
	from, to := l.covered(addr, length)
	if l.first == nil {
		t.fillNode(l, from, to, overwrite, s)
		return
	}
	for i := from; i < to; i++ {
		switch old := l.first[i]; {
		case old&link != 0:
			below, _ := l.next(old)
			t.fillNode(below, 0, nodeSlots, overwrite, s)
		case overwrite.has(lengthOf(old)):
			atomic.StoreUint32(&l.first[i], s)
		}
	}
}

// fillNode is fill for the slots of a node.
func (t *trie) fillNode(l level, from, to int, overwrite lengths, s slot) {
	packed, length := s&maxPaths, uint8(lengthOf(s))
	node, owners := &l.nodes.packed[l.node], &t.lengths[l.node]
	for i := from; i < to; i++ {
		word, shift := &node[i/2], i%2*packBits
		if *word>>shift&inFull == inFull || packed >= inFull {
			t.fillSlot(l, i, overwrite, s)
			continue
		}
		if overwrite.has(int(owners[i])) {
			owners[i] = length
			atomic.StoreUint32(word, *word&^(inFull<<shift)|packed<<shift)
		}
	}
}

// fillSlot is fill for one slot of a node, where it is in full or will be.
func (t *trie) fillSlot(l level, i int, overwrite lengths, s slot) {
	switch old := t.get(l, i); {
	case old&link != 0:
		below, _ := l.next(old)
		t.fillNode(below, 0, nodeSlots, overwrite, s)
	case overwrite.has(lengthOf(old)):
		t.set(l, i, s)
	}
}

// perPrefix is how many nodes a prefix needs at most.
const perPrefix = 2

// makeRoom sees to it that there are nodes for one more prefix. It is called before anything else is done, since nodes that
// were replaced must not be written any more.
func (t *trie) makeRoom() {
	nodes := t.nodes.Load()
	n := len(nodes.packed)
	if t.freeNodes.len() >= perPrefix || len(t.below)+perPrefix <= n {
		return
	}
	size := n + n/4 + 2*perPrefix
	grown := &nodeArray{packed: make([]node, size), full: make([]atomic.Pointer[whole], size)}
	copy(grown.packed, nodes.packed)
	for i := range nodes.full {
		grown.full[i].Store(nodes.full[i].Load())
	}
	t.nodes.Store(grown)
	t.reused.Add(1) // behind the store, and before the new nodes are written: whoever misses it has them
}

// newNode returns the link to a node that says in each slot what s says.
func (t *trie) newNode(nodes *nodeArray, s slot) slot {
	i, ok := t.freeNodes.pop()
	if ok {
		t.reused.Add(1)
	} else {
		i = uint32(len(t.below))
		t.below = append(t.below, 0)
		t.lengths = append(t.lengths, [nodeSlots]uint8{})
	}
	if packed := s & maxPaths; packed < inFull {
		word := packed<<packBits | packed
		n := &nodes.packed[i]
		for j := range n {
			atomic.StoreUint32(&n[j], word)
		}
		owners := &t.lengths[i]
		owners[0] = uint8(lengthOf(s))
		for n := 1; n < nodeSlots; n *= 2 {
			copy(owners[n:], owners[:n])
		}
		return i | link
	}
	l := level{nodes: nodes, node: i}
	for j := range nodeSlots {
		t.set(l, j, s)
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
		s := t.get(l, l.index(addr))
		if s&link == 0 {
			return false
		}
		l, _ = l.next(s)
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
		t.fewTags[i].Store(tagOf(p))
		return i
	}
	more, tags := *t.more.Load(), *t.moreTags.Load()
	if int(i-fewPaths) >= len(more) {
		grown, grownTags := make([]atomicPath, 2*len(more)+fewPaths), make([]atomic.Uint32, 2*len(more)+fewPaths)
		for j := range more {
			grown[j].Store(more[j].Load())
			grownTags[j].Store(tags[j].Load())
		}
		more, tags = grown, grownTags
		t.more.Store(&grown)
		t.moreTags.Store(&grownTags)
	}
	more[i-fewPaths].Store(p)
	tags[i-fewPaths].Store(tagOf(p))
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
