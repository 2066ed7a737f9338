package wordmap

import "testing"

// TestSeedsThatDoNotSuitAreReplaced fills maps with keys that follow each other, which some seeds put into few buckets.
func TestSeedsThatDoNotSuitAreReplaced(t *testing.T) {
	const maps, keys = 1000, 256
	for _, step := range []uint64{1, 1 << 8, 1 << 16} {
		for range maps {
			m := New(0)
			for i := range uint64(keys) {
				m.Store(0x020000000000+i*step, 1)
			}
			for range 8 * keys { // as later writes do
				m.Tidy()
			}
			if far := extraBuckets(m, keys, step); far > keys/farther+someFar {
				t.Errorf("step %d, seed %#x: searches go on by %d buckets in all", step, m.view.Load().seed, far)
			}
		}
	}
}

// extraBuckets returns how many buckets beyond the first the searches for all keys look into.
func extraBuckets(m *Map, keys, step uint64) (n int) {
	v := m.view.Load()
	last := uint64(len(v.buckets) - 1)
	for i := range keys {
		key := 0x020000000000 + i*step
		for at := v.home(key) & last; v.buckets[at].keys[v.buckets[at].match(key)].Load() != key; at = (at + 1) & last {
			n++
		}
	}
	return n
}
