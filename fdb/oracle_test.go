package fdb_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/fdb"
)

// oracle is the table as one would write it without a care for speed: a map, and loops over all of it.
type oracle struct {
	entries    map[fdb.Key]*station
	limits     map[uint32]int
	maxEntries int
	maxPerPort int
	maxRemotes int
	ageing     time.Duration
}

type station struct {
	port    uint32 // if there are no remotes
	remotes []fdb.Remote
	flags   fdb.Flags
	heard   time.Duration // in steps of 1/8 s
}

func steps(now time.Duration) time.Duration { return now.Truncate(time.Second / 8) }

func placeOf(d fdb.Dest) station {
	port, _ := d.Port()
	return station{port: port, remotes: d.Remotes()}
}

func (s *station) isAt(p station) bool { return s.port == p.port && slices.Equal(s.remotes, p.remotes) }

func (s *station) isDynamic() bool { return s.flags&(fdb.Static|fdb.Local) == 0 }

func (s *station) String() string {
	if s == nil {
		return "no entry"
	}
	if s.remotes == nil {
		return fmt.Sprintf("port %d %v", s.port, s.flags)
	}
	return fmt.Sprintf("%v %v", fdb.ToRemotes(s.remotes...), s.flags)
}

func (o *oracle) hasRoom(p station) bool {
	if p.remotes != nil {
		return true
	}
	n, limit := 0, o.limits[p.port]
	if limit == 0 {
		limit = o.maxPerPort
	}
	for _, s := range o.entries {
		if s.remotes == nil && s.port == p.port && s.isDynamic() {
			n++
		}
	}
	return n < limit
}

func (o *oracle) learn(key fdb.Key, from fdb.Dest, now time.Duration) fdb.Outcome {
	p := placeOf(from)
	s := o.entries[key]
	switch mac := key.MAC(); {
	case !mac.IsStation():
		return fdb.NotStation
	case len(p.remotes) > 1:
		return fdb.BadDest
	case s == nil && len(o.entries) >= o.maxEntries:
		return fdb.Full
	case s == nil && !o.hasRoom(p):
		return fdb.PortFull
	case s == nil:
		p.heard = steps(now)
		o.entries[key] = &p
		return fdb.Learned
	case s.flags&fdb.Local != 0:
		return fdb.Own
	case s.isAt(p):
		if steps(now)-s.heard >= time.Second {
			s.heard = steps(now)
		}
		return fdb.Known
	case s.flags&fdb.Sticky != 0:
		return fdb.Pinned
	case s.isDynamic() && !o.hasRoom(p):
		return fdb.PortFull
	}
	s.port, s.remotes, s.heard = p.port, p.remotes, steps(now)
	return fdb.Moved
}

// set is what Add and Replace do once they may; it reports whether a dynamic entry has to go for it.
func (o *oracle) set(key fdb.Key, to fdb.Dest, flags fdb.Flags, now time.Duration) (displaces bool, err error) {
	if o.entries[key] == nil && len(o.entries) >= o.maxEntries {
		displaces = slices.ContainsFunc(slices.Collect(values(o.entries)), (*station).isDynamic)
		if !displaces {
			return false, fdb.ErrFull
		}
	}
	p := placeOf(to)
	p.flags, p.heard = flags, steps(now)
	if key.MAC().IsZero() {
		p.flags |= fdb.Static
	}
	o.entries[key] = &p
	return displaces, nil
}

func values(m map[fdb.Key]*station) func(func(*station) bool) {
	return func(yield func(*station) bool) {
		for _, s := range m {
			if !yield(s) {
				return
			}
		}
	}
}

func (o *oracle) appendTo(key fdb.Key, to fdb.Dest, flags fdb.Flags, now time.Duration) (displaces bool, err error) {
	s := o.entries[key]
	if s == nil {
		return o.set(key, to, flags, now)
	}
	p := placeOf(to)
	if key.MAC().IsStation() || s.remotes == nil || p.remotes == nil {
		return false, nil
	}
	all := slices.Clone(s.remotes)
	for _, r := range p.remotes {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	if len(all) > o.maxRemotes {
		return false, fdb.ErrFull
	}
	if len(all) > len(s.remotes) {
		s.remotes, s.heard = all, steps(now)
	}
	return false, nil
}

// drop removes what is true of an entry, and returns of how many it was.
func (o *oracle) drop(is func(fdb.Key, *station) bool) (n int) {
	for k, s := range o.entries {
		if is(k, s) {
			delete(o.entries, k)
			n++
		}
	}
	return n
}

func (o *oracle) dropRemote(is func(fdb.Key, fdb.Remote) bool) (n int) {
	for k, s := range o.entries {
		rest := slices.DeleteFunc(slices.Clone(s.remotes), func(r fdb.Remote) bool { return is(k, r) })
		if len(rest) == len(s.remotes) {
			continue
		}
		n++
		if s.remotes = rest; len(rest) == 0 {
			delete(o.entries, k)
		}
	}
	return n
}

// TestAgainstOracle does a million random operations on the table and on the oracle, with the time going on; what each returns
// is compared, the whole contents now and then, and what OnChange told with the contents as well.
func TestAgainstOracle(t *testing.T) {
	for _, c := range []struct {
		name       string
		operations int
		stations   int
		config     fdb.Config
	}{
		{"small and crowded", 300_000, 60, fdb.Config{MaxEntries: 80, MaxPerPort: 6, MaxRemotes: 4, Ageing: 20 * time.Second}},
		{"roomy", 700_000, 600, fdb.Config{MaxEntries: 4000, MaxPerPort: 4000, MaxRemotes: 8, Ageing: 300 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) { againstOracle(t, c.operations, c.stations, c.config) })
	}
}

func againstOracle(t *testing.T, operations, stations int, config fdb.Config) {
	const seed = 3
	if raceEnabled { // which has nothing to find in one goroutine
		operations /= 10
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, uint64(stations)))
	replica := map[fdb.Key]string{} // by what OnChange tells
	var displaced []fdb.Key
	config.OnChange = func(c fdb.Change) {
		if was := replica[c.Key]; c.Old.IsValid() != (was != "") || c.Old.IsValid() && c.Old.String() != was {
			t.Errorf("told of %v, after %q", c, was)
		}
		if c.New.IsValid() {
			replica[c.Key] = c.New.String()
		} else {
			delete(replica, c.Key)
		}
		if c.Cause == fdb.Displacement {
			displaced = append(displaced, c.Key)
		}
	}
	table := newTable(t, config)
	want := &oracle{
		entries: map[fdb.Key]*station{}, limits: map[uint32]int{},
		maxEntries: config.MaxEntries, maxPerPort: config.MaxPerPort, maxRemotes: config.MaxRemotes, ageing: config.Ageing,
	}
	remotes := make([]fdb.Remote, 12)
	for i := range remotes {
		remotes[i] = fdb.Remote{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i%8 + 1)}), VNI: uint32(i / 8)}
	}
	remotes[11].Addr = netip.MustParseAddr("2001:db8::1")
	remotes[11].VNI = 0
	randomKey := func() fdb.Key {
		k := fdb.Key(rnd.IntN(2))<<48 | (fdb.Key(0x020000000000) + fdb.Key(rnd.IntN(stations)))
		switch rnd.IntN(20) {
		case 0:
			return k &^ (1<<48 - 1)
		case 1:
			return k | 1<<40
		}
		return k
	}
	randomDest := func(most int) fdb.Dest {
		if rnd.IntN(2) == 0 {
			return fdb.ToPort(uint32(rnd.IntN(6)))
		}
		var list []fdb.Remote
		for _, i := range rnd.Perm(len(remotes))[:1+rnd.IntN(most)] {
			list = append(list, remotes[i])
		}
		return fdb.ToRemotes(list...)
	}
	sameError := func(err, want error, what string, key fdb.Key) {
		if (err == nil) != (want == nil) {
			t.Fatalf("%s %v: got %v, want %v", what, key, err, want)
		}
		if want != nil {
			require.ErrorIs(t, err, want)
		}
	}
	displacement := func(wanted bool) {
		if wanted != (len(displaced) == 1) {
			t.Fatalf("displaced %v, want one: %v", displaced, wanted)
		}
		for _, k := range displaced {
			if !want.entries[k].isDynamic() {
				t.Fatalf("displaced the configured entry of %v", k)
			}
			delete(want.entries, k)
		}
		displaced = displaced[:0]
	}
	now := time.Duration(0)
	for op := range operations {
		now += time.Duration(rnd.Int64N(int64(config.Ageing) / 100))
		key := randomKey()
		most := 1
		if !key.MAC().IsStation() {
			most = 3
		}
		flags := []fdb.Flags{0, fdb.Static, fdb.Static | fdb.Sticky, fdb.Sticky, fdb.Static}[rnd.IntN(5)]
		if rnd.IntN(20) == 0 && key.MAC().IsStation() {
			flags = fdb.Local
		}
		if key.MAC().IsZero() {
			flags = fdb.Static
		}
		switch what := rnd.IntN(1000); {
		case what < 800:
			from := randomDest(1 + rnd.IntN(30)/29)
			would := table.WouldLearn(key, from)
			if got, want := table.Learn(key, from, now), want.learn(key, from, now); got != want || would != want {
				t.Fatalf("operation %d: learning %v from %v: %v, WouldLearn said %v, want %v", op, key, from, got, would, want)
			}
		case what < 850:
			to := randomDest(most)
			wanted, wantErr := false, error(nil)
			if want.entries[key] != nil {
				wantErr = fdb.ErrExists
			} else {
				wanted, wantErr = want.set(key, to, flags, now)
			}
			sameError(table.Add(key, to, flags, now), wantErr, "add", key)
			displacement(wanted)
		case what < 880:
			to := randomDest(most)
			wanted, wantErr := want.set(key, to, flags, now)
			sameError(table.Replace(key, to, flags, now), wantErr, "replace", key)
			displacement(wanted)
		case what < 910:
			to := randomDest(most)
			wanted, wantErr := want.appendTo(key, to, flags, now)
			sameError(table.Append(key, to, flags, now), wantErr, "append", key)
			displacement(wanted)
		case what < 980:
			var wantErr error
			if want.drop(func(k fdb.Key, _ *station) bool { return k == key }) == 0 {
				wantErr = fdb.ErrNotFound
			}
			sameError(table.Delete(key), wantErr, "delete", key)
		case what < 990:
			r := remotes[rnd.IntN(len(remotes))]
			var wantErr error
			if want.dropRemote(func(k fdb.Key, x fdb.Remote) bool { return k == key && x == r }) == 0 {
				wantErr = fdb.ErrNotFound
			}
			sameError(table.DeleteRemote(key, r), wantErr, "delete remote", key)
		case what < 991:
			addr := remotes[rnd.IntN(len(remotes))].Addr
			require.Equal(t, want.dropRemote(func(_ fdb.Key, r fdb.Remote) bool { return r.Addr == addr }), table.RemoveRemote(addr))
		case what < 993:
			port := uint32(rnd.IntN(6))
			require.Equal(t, want.drop(func(_ fdb.Key, s *station) bool {
				return s.isDynamic() && s.remotes == nil && s.port == port
			}), table.Flush(fdb.OnPort(port)))
		case what < 994:
			require.Equal(t, want.drop(func(k fdb.Key, s *station) bool { return k.Domain() == 1 && s.isDynamic() }), table.Flush(fdb.InDomain(1)))
		case what < 995:
			port := uint32(rnd.IntN(6))
			require.Equal(t, want.drop(func(_ fdb.Key, s *station) bool { return s.remotes == nil && s.port == port }), table.Remove(fdb.OnPort(port)))
		case what < 997:
			port, limit := uint32(rnd.IntN(6)), rnd.IntN(config.MaxPerPort)
			want.limits[port] = limit
			require.NoError(t, table.SetPortLimit(port, limit))
		case what < 998:
			want.ageing = config.Ageing/2 + time.Duration(rnd.Int64N(int64(config.Ageing)))
			require.NoError(t, table.SetAgeing(want.ageing))
		default:
			now += time.Duration(rnd.Int64N(int64(config.Ageing)))
		}
		if rnd.IntN(50) == 0 {
			aged := 0
			for table.Deadline() <= now {
				aged += table.Expire(now)
			}
			if n := want.drop(func(_ fdb.Key, s *station) bool { return s.isDynamic() && now-s.heard >= want.ageing }); n != aged {
				for k, e := range table.All() {
					if want.entries[k] == nil {
						t.Errorf("%v is %v, %v old", k, e, e.Age(now))
					}
				}
				t.Fatalf("operation %d: at %v %d aged, want %d; deadline %v, ageing %v", op, now, aged, n, table.Deadline(), want.ageing)
			}
		}
		if place := table.Lookup(key); !key.MAC().IsZero() && place != table.Get(key).Place || key.MAC().IsZero() && place.IsValid() {
			t.Fatalf("operation %d: lookup of %v gives %v, want %v", op, key, place, table.Get(key).Place)
		}
		if got, want := table.Get(key), want.entries[key]; got.String() != want.String() {
			t.Fatalf("operation %d: %v is %v, want %v", op, key, got, want)
		}
		if op%5000 == 0 {
			compare(t, table, want, replica, now)
		}
	}
	compare(t, table, want, replica, now)
	t.Logf("%+v", table.Stats())
}

func compare(t *testing.T, table *fdb.Table, want *oracle, replica map[fdb.Key]string, now time.Duration) {
	require.Len(t, want.entries, table.Len())
	require.Len(t, replica, table.Len())
	dynamic := 0
	for k, e := range table.All() {
		s := want.entries[k]
		if s == nil || s.String() != e.String() {
			t.Fatalf("%v is %v, want %v", k, e, s)
		}
		if replica[k] != e.String() {
			t.Fatalf("%v is %v, told was %q", k, e, replica[k])
		}
		if s.isDynamic() {
			dynamic++
			require.Equal(t, steps(now)-s.heard, e.Age(now))
		}
		delete(replica, k)
		defer func() { replica[k] = e.String() }()
	}
	require.Empty(t, replica, "told, and not there")
	require.Equal(t, dynamic, table.Stats().Dynamic)
}
