package fdb_test

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/fdb"
)

// TestReadersBesideWriters lets packet workers look up and learn while others configure, flush, age and grow the table. A station's
// destinations tell which station they belong to, whatever kind they are, so an entry mixed of two, or another's list, is found out.
func TestReadersBesideWriters(t *testing.T) {
	const (
		stations = 4096
		pinned   = 64 // configured, never touched: they must be there at any time
		rounds   = 40_000
	)
	table := newTable(t, fdb.Config{MaxEntries: stations, Ageing: 10 * time.Second})
	keyOf := func(n uint32) fdb.Key { return fdb.Key(n%3)<<48 | fdb.Key(0x020000000000) + fdb.Key(n) }
	far := func(n uint32) fdb.Remote {
		return fdb.Remote{Addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), VNI: n}
	}
	destOf := func(n uint32, kind int) fdb.Dest {
		switch kind {
		case 0:
			return fdb.ToPort(n)
		case 1:
			return fdb.ToVTEP4(10<<24 | n)
		}
		return fdb.ToRemotes(far(n))
	}
	check := func(n uint32, e fdb.Entry) bool {
		if port, ok := e.Port(); ok {
			return port == n
		}
		if addr, ok := e.VTEP4(); ok {
			return addr == 10<<24|n
		}
		remotes := e.Dest().Remotes()
		return len(remotes) == 1 && remotes[0] == far(n)
	}
	for n := range uint32(pinned) {
		require.NoError(t, table.Add(keyOf(n), destOf(n, int(n%3)), fdb.Static|fdb.Sticky, 0))
	}
	everybody := fdb.Key(5) << 48
	require.NoError(t, table.Add(everybody, fdb.ToRemotes(far(1)), 0, 0))

	var clock atomic.Int64
	var stop atomic.Bool
	var workers, writers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for !stop.Load() {
				n := rnd.Uint32N(2 * stations)
				p := table.Lookup(keyOf(n))
				if port, ok := p.Port(); ok && port != n || !p.IsValid() && n < pinned {
					t.Errorf("station %d is at %v", n, p)
					return
				}
				e := table.Get(keyOf(n))
				if e.IsValid() && !check(n, e) || !e.IsValid() && n < pinned {
					t.Errorf("station %d has %v", n, e)
					return
				}
				if n >= pinned && rnd.IntN(4) == 0 {
					table.Learn(keyOf(n), destOf(n, rnd.IntN(3)), time.Duration(clock.Load()))
				}
				for i, r := range table.Remotes(5) {
					if r != far(uint32(i+1)) {
						t.Errorf("remote %d is %v", i, r)
						return
					}
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(w)))
			for range rounds / 2 {
				n := pinned + rnd.Uint32N(2*stations-pinned)
				now := time.Duration(clock.Add(int64(time.Millisecond)))
				switch what := rnd.IntN(1000); {
				case what < 400:
					_ = table.Replace(keyOf(n), destOf(n, rnd.IntN(3)), fdb.Flags(rnd.IntN(2)), now) // or full
				case what < 900:
					_ = table.Delete(keyOf(n)) // or not there
				case what < 990:
					table.Expire(now)
				case what == 995:
					table.Remove(func(_ fdb.Key, e fdb.Entry) bool {
						return e.Flags() != fdb.Static|fdb.Sticky && e.Flags() != fdb.Static
					})
				case what == 996:
					table.Flush(fdb.InDomain(1))
				}
				if w == 0 {
					length := uint32(len(table.Remotes(5)))
					if length < 20 {
						_ = table.Append(everybody, fdb.ToRemotes(far(length+1)), 0, now)
					} else {
						_ = table.Replace(everybody, fdb.ToRemotes(far(1)), 0, now)
					}
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	workers.Wait()
	n := 0
	for k, e := range table.All() {
		if k != everybody {
			assert.True(t, check(uint32(k&0xffffffff), e), "%v %v", k, e)
		}
		n++
	}
	assert.Equal(t, table.Len(), n)
	assert.LessOrEqual(t, n, stations)
	t.Logf("%+v", table.Stats())
}
