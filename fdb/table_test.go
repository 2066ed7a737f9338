package fdb_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
)

func newTable(t testing.TB, c fdb.Config) *fdb.Table {
	table, err := fdb.New(c)
	require.NoError(t, err)
	return table
}

func key(domain uint16, mac string) fdb.Key { return fdb.KeyOf(domain, ethernet.MustParseMAC(mac)) }

func remote(addr string) fdb.Remote { return fdb.Remote{Addr: netip.MustParseAddr(addr)} }

var (
	podA      = key(0, "9a:16:45:30:3a:c6")
	podB      = key(0, "ee:6f:75:01:ed:bb")
	everybody = key(0, "00:00:00:00:00:00")
	group     = key(0, "01:00:5e:00:00:fb")
	broadcast = key(0, "ff:ff:ff:ff:ff:ff")
)

func TestKey(t *testing.T) {
	k := key(0xabcd, "0a:58:0a:f4:01:07")
	assert.Equal(t, fdb.Key(0xabcd_0a58_0af4_0107), k)
	assert.Equal(t, uint16(0xabcd), k.Domain())
	assert.Equal(t, ethernet.MustParseMAC("0a:58:0a:f4:01:07"), k.MAC())
	assert.Equal(t, "0a:58:0a:f4:01:07 domain 43981", k.String())
	assert.Equal(t, "9a:16:45:30:3a:c6", podA.String())
}

// TestLearning holds the table to a bridge's rules of learning (BEHAVIOUR 20).
func TestLearning(t *testing.T) {
	table := newTable(t, fdb.Config{})
	own := key(0, "02:00:00:00:00:01")
	require.NoError(t, table.Add(own, fdb.ToPort(1), fdb.Local, 0))
	require.NoError(t, table.Add(key(0, "02:00:00:00:00:02"), fdb.ToPort(2), fdb.Static, 0))
	require.NoError(t, table.Add(key(0, "02:00:00:00:00:03"), fdb.ToPort(3), fdb.Static|fdb.Sticky, 0))
	require.NoError(t, table.Add(key(0, "02:00:00:00:00:04"), fdb.ToPort(4), fdb.Sticky, 0))
	for _, c := range []struct {
		name  string
		mac   string
		from  fdb.Dest
		want  fdb.Outcome
		entry string // afterwards
	}{
		{"unknown station", "9a:16:45:30:3a:c6", fdb.ToPort(3), fdb.Learned, "port 3 dynamic"},
		{"the same again", "9a:16:45:30:3a:c6", fdb.ToPort(3), fdb.Known, "port 3 dynamic"},
		{"on another port", "9a:16:45:30:3a:c6", fdb.ToPort(4), fdb.Moved, "port 4 dynamic"},
		{"behind a VTEP", "9a:16:45:30:3a:c6", fdb.ToVTEP4(0xc0000202), fdb.Moved, "dst 192.0.2.2 dynamic"},
		{"behind another VTEP", "9a:16:45:30:3a:c6", fdb.ToVTEP4(0xc0000203), fdb.Moved, "dst 192.0.2.3 dynamic"},
		{"behind an IPv6 VTEP", "9a:16:45:30:3a:c6", fdb.ToRemotes(remote("2001:db8::3")), fdb.Moved, "dst 2001:db8::3 dynamic"},
		{"behind the same IPv6 VTEP", "9a:16:45:30:3a:c6", fdb.ToRemotes(remote("2001:db8::3")), fdb.Known, "dst 2001:db8::3 dynamic"},
		{"multicast source", "01:00:5e:00:00:fb", fdb.ToPort(3), fdb.NotStation, "no entry"},
		{"broadcast source", "ff:ff:ff:ff:ff:ff", fdb.ToPort(3), fdb.NotStation, "no entry"},
		{"zero source", "00:00:00:00:00:00", fdb.ToPort(3), fdb.NotStation, "no entry"},
		{"our own address, elsewhere", "02:00:00:00:00:01", fdb.ToPort(3), fdb.Own, "port 1 permanent"},
		{"our own address, from that very port", "02:00:00:00:00:01", fdb.ToPort(1), fdb.Own, "port 1 permanent"},
		{"static where it is", "02:00:00:00:00:02", fdb.ToPort(2), fdb.Known, "port 2 static"},
		{"static moves, stays static", "02:00:00:00:00:02", fdb.ToPort(9), fdb.Moved, "port 9 static"},
		{"sticky where it is", "02:00:00:00:00:03", fdb.ToPort(3), fdb.Known, "port 3 static sticky"},
		{"sticky never moves", "02:00:00:00:00:03", fdb.ToPort(9), fdb.Pinned, "port 3 static sticky"},
		{"dynamic and sticky never moves", "02:00:00:00:00:04", fdb.ToPort(9), fdb.Pinned, "port 4 dynamic sticky"},
		{"from 0.0.0.0", "02:00:00:00:00:05", fdb.ToVTEP4(0), fdb.BadDest, "no entry"},
		{"from ::", "02:00:00:00:00:05", fdb.ToRemotes(remote("::")), fdb.BadDest, "no entry"},
		{"from nowhere", "02:00:00:00:00:05", fdb.Dest{}, fdb.BadDest, "no entry"},
		{"from nowhere, known station", "02:00:00:00:00:02", fdb.Dest{}, fdb.BadDest, "port 9 static"},
		{"from two places", "02:00:00:00:00:05", fdb.ToRemotes(remote("192.0.2.2"), remote("192.0.2.3")), fdb.BadDest, "no entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := key(0, c.mac)
			before := table.Stats()
			assert.Equal(t, c.want, table.WouldLearn(k, c.from))
			assert.Equal(t, before, table.Stats(), "WouldLearn changes nothing")
			assert.Equal(t, c.want, table.Learn(k, c.from, time.Second))
			assert.Equal(t, c.entry, table.Get(k).String())
			assert.False(t, table.Get(key(1, c.mac)).IsValid(), "another domain has the entry, too")
		})
	}
}

func TestFramesOfGroupAddressesAreNotLearnedOverAnEntryOfTheirs(t *testing.T) {
	table := newTable(t, fdb.Config{})
	require.NoError(t, table.Add(group, fdb.ToPort(1), fdb.Static, 0))
	assert.Equal(t, fdb.NotStation, table.Learn(group, fdb.ToPort(1), 0))
	assert.Equal(t, fdb.NotStation, table.Learn(group, fdb.ToPort(2), 0))
	assert.Equal(t, "port 1 static", table.Get(group).String())
}

func TestAgeing(t *testing.T) {
	table := newTable(t, fdb.Config{})
	assert.Equal(t, fdb.Never, table.Deadline())
	require.NoError(t, table.Add(podB, fdb.ToPort(4), fdb.Static, 0))
	assert.Equal(t, fdb.Never, table.Deadline())
	table.Learn(podA, fdb.ToPort(3), 10*time.Second)
	assert.Equal(t, 310*time.Second, table.Deadline())

	assert.Equal(t, fdb.Known, table.Learn(podA, fdb.ToPort(3), 10*time.Second+900*time.Millisecond))
	assert.Equal(t, time.Second, table.Get(podA).Age(11*time.Second), "a stamp less than a second old is left")
	assert.Equal(t, fdb.Known, table.Learn(podA, fdb.ToPort(3), 100*time.Second))
	assert.Equal(t, 11*time.Second, table.Get(podA).Age(111*time.Second))

	assert.Zero(t, table.Expire(399*time.Second), "heard at 100 s")
	assert.Equal(t, 400*time.Second, table.Deadline())
	assert.True(t, table.Get(podA).IsValid())
	assert.Equal(t, 1, table.Expire(400*time.Second))
	assert.False(t, table.Get(podA).IsValid())
	assert.Equal(t, fdb.Never, table.Deadline())
	assert.Zero(t, table.Expire(9*24*time.Hour))
	assert.Equal(t, "port 4 static", table.Get(podB).String())
	assert.Zero(t, table.Get(podB).Age(9*24*time.Hour))
	assert.Equal(t, uint64(1), table.Stats().Aged)
}

func TestAgeingOfAStationThatMoves(t *testing.T) {
	table := newTable(t, fdb.Config{Ageing: 10 * time.Second})
	table.Learn(podA, fdb.ToPort(3), 0)
	table.Learn(podA, fdb.ToPort(4), 9*time.Second)
	assert.Zero(t, table.Expire(18*time.Second))
	assert.Equal(t, 1, table.Expire(19*time.Second))
}

func TestAgeingChanged(t *testing.T) {
	table := newTable(t, fdb.Config{Ageing: -1})
	table.Learn(podA, fdb.ToPort(3), 0)
	assert.Equal(t, fdb.Never, table.Deadline())
	assert.Zero(t, table.Expire(1000*time.Second))
	require.NoError(t, table.SetAgeing(2000*time.Second))
	assert.LessOrEqual(t, table.Deadline(), 1000*time.Second, "a sweep must find out")
	assert.Zero(t, table.Expire(1000*time.Second))
	assert.Equal(t, 2000*time.Second, table.Deadline())
	require.NoError(t, table.SetAgeing(5*time.Second))
	assert.Equal(t, 1, table.Expire(1000*time.Second))
	require.ErrorContains(t, table.SetAgeing(fdb.MaxAgeing+1), "ageing")
}

// TestStampsOfAClockBehind lets a worker with an earlier clock speak after one with a later: nothing looks ancient.
func TestStampsOfAClockBehind(t *testing.T) {
	table := newTable(t, fdb.Config{})
	table.Learn(podA, fdb.ToPort(3), 100*time.Second)
	assert.Equal(t, fdb.Known, table.Learn(podA, fdb.ToPort(3), 98*time.Second))
	assert.Zero(t, table.Get(podA).Age(98*time.Second))
	assert.Equal(t, time.Second, table.Get(podA).Age(101*time.Second), "the later stamp stays")
}

// TestStampsWrap runs over the end of the 24 days that stamps tell apart.
func TestStampsWrap(t *testing.T) {
	table := newTable(t, fdb.Config{})
	for now := 20 * 24 * time.Hour; now < 60*24*time.Hour; now += 250 * time.Second {
		want := fdb.Known
		if now == 20*24*time.Hour {
			want = fdb.Learned
		}
		require.Equal(t, want, table.Learn(podA, fdb.ToPort(3), now))
		require.Equal(t, 100*time.Second, table.Get(podA).Age(now+100*time.Second))
		require.Zero(t, table.Expire(now))
	}
}

func TestLimits(t *testing.T) {
	table := newTable(t, fdb.Config{MaxEntries: 8, MaxPerPort: 3})
	station := func(n int) fdb.Key { return key(0, "02:00:00:00:00:00") | fdb.Key(n) }
	for n := range 3 {
		require.Equal(t, fdb.Learned, table.Learn(station(n), fdb.ToPort(1), 0))
	}
	assert.Equal(t, fdb.PortFull, table.Learn(station(3), fdb.ToPort(1), 0))
	require.NoError(t, table.SetPortLimit(2, 1))
	assert.Equal(t, fdb.Learned, table.Learn(station(4), fdb.ToPort(2), 0))
	assert.Equal(t, fdb.PortFull, table.Learn(station(5), fdb.ToPort(2), 0))
	assert.Equal(t, fdb.PortFull, table.Learn(station(4), fdb.ToPort(1), 0), "moving to a full port")
	assert.Equal(t, "port 2 dynamic", table.Get(station(4)).String())
	require.NoError(t, table.SetPortLimit(2, 0))
	assert.Equal(t, fdb.Learned, table.Learn(station(5), fdb.ToPort(2), 0))
	assert.Equal(t, fdb.Moved, table.Learn(station(0), fdb.ToPort(3), 0), "leaves room on its port")
	assert.Equal(t, fdb.Learned, table.Learn(station(3), fdb.ToPort(1), 0))
	require.NoError(t, table.Add(station(6), fdb.ToPort(1), fdb.Static, 0), "configured entries do not count")
	assert.Equal(t, fdb.Learned, table.Learn(station(7), fdb.ToVTEP4(1), 0))
	assert.Equal(t, 8, table.Len())
	assert.Equal(t, fdb.Full, table.Learn(station(8), fdb.ToVTEP4(1), 0))

	for n := range 7 { // configured entries take the place of learned ones
		require.NoError(t, table.Add(station(100+n), fdb.ToPort(1), fdb.Static, 0))
		require.Equal(t, 8, table.Len())
	}
	assert.ErrorIs(t, table.Add(station(200), fdb.ToPort(1), fdb.Static, 0), fdb.ErrFull)
	assert.Equal(t, fdb.Full, table.Learn(station(8), fdb.ToVTEP4(1), 0))
	s := table.Stats()
	assert.Equal(t, uint64(7), s.Displaced)
	assert.Equal(t, uint64(3), s.RefusedPortFull)
	assert.Equal(t, uint64(2), s.RefusedFull)
	assert.Zero(t, s.Dynamic)
	require.ErrorContains(t, table.SetPortLimit(2, -1), "port 2")
}

// TestControl goes through 'bridge fdb add|append|replace|del' (BEHAVIOUR 10).
func TestControl(t *testing.T) {
	table := newTable(t, fdb.Config{MaxRemotes: 4})
	one, two, three := remote("192.0.2.1"), remote("192.0.2.2"), fdb.Remote{Addr: netip.MustParseAddr("192.0.2.2"), VNI: 7, Port: 8472, Via: 3}

	require.NoError(t, table.Add(podA, fdb.ToRemotes(one), fdb.Static, 0))
	assert.ErrorIs(t, table.Add(podA, fdb.ToRemotes(two), fdb.Static, 0), fdb.ErrExists)
	require.NoError(t, table.Append(podA, fdb.ToRemotes(two), fdb.Static, 0), "changes nothing, and is no error")
	assert.Equal(t, []fdb.Remote{one}, table.Get(podA).Dest().Remotes())
	require.NoError(t, table.Replace(podA, fdb.ToRemotes(three), fdb.Static, 0))
	assert.Equal(t, "dst 192.0.2.2 port 8472 vni 7 via 3 static", table.Get(podA).String())
	assert.ErrorIs(t, table.DeleteRemote(podA, two), fdb.ErrNotFound)
	require.NoError(t, table.DeleteRemote(podA, three))
	assert.ErrorIs(t, table.Delete(podA), fdb.ErrNotFound)

	for _, k := range []fdb.Key{everybody, key(7, "00:00:00:00:00:00"), group, broadcast, key(0xffff, "ff:ff:ff:ff:ff:ff")} {
		require.NoError(t, table.Append(k, fdb.ToRemotes(one), fdb.Static, 0))
		held := table.Get(k).Dest().Remotes()
		require.NoError(t, table.Append(k, fdb.ToRemotes(one, two), fdb.Static, 0))
		require.NoError(t, table.Append(k, fdb.ToRemotes(three), fdb.Static, 0))
		assert.Equal(t, []fdb.Remote{one}, held, "who has the list keeps it as it was")
		assert.Equal(t, []fdb.Remote{one, two, three}, table.Get(k).Dest().Remotes())
		assert.ErrorIs(t, table.Append(k, fdb.ToRemotes(remote("192.0.2.8"), remote("192.0.2.9")), fdb.Static, 0), fdb.ErrFull)
		require.NoError(t, table.DeleteRemote(k, two))
		assert.Equal(t, []fdb.Remote{one, three}, table.Get(k).Dest().Remotes())
	}
	assert.Equal(t, []fdb.Remote{one, three}, table.Remotes(7))
	assert.Nil(t, table.Remotes(8))
	assert.Equal(t, 5, table.RemoveRemote(one.Addr))
	assert.Equal(t, []fdb.Remote{three}, table.Remotes(0))
	assert.Equal(t, 5, table.RemoveRemote(two.Addr))
	assert.Zero(t, table.Len())
}

// TestListsAreNotShared appends to two entries that were made of one destination.
func TestListsAreNotShared(t *testing.T) {
	table := newTable(t, fdb.Config{})
	other := key(1, "00:00:00:00:00:00")
	to := fdb.ToRemotes(remote("192.0.2.1"), remote("192.0.2.2"), remote("192.0.2.3"))
	require.NoError(t, table.Add(everybody, to, 0, 0))
	require.NoError(t, table.Append(everybody, fdb.ToRemotes(remote("192.0.2.4")), 0, 0))
	require.NoError(t, table.Add(other, table.Get(everybody).Dest(), 0, 0))
	require.NoError(t, table.Append(everybody, fdb.ToRemotes(remote("192.0.2.5")), 0, 0))
	require.NoError(t, table.Append(other, fdb.ToRemotes(remote("192.0.2.6")), 0, 0))
	_ = append(table.Remotes(0), remote("192.0.2.7"))
	require.NoError(t, table.Append(everybody, fdb.ToRemotes(remote("192.0.2.8")), 0, 0))
	assert.Equal(t, "dst 192.0.2.1, dst 192.0.2.2, dst 192.0.2.3, dst 192.0.2.4, dst 192.0.2.5, dst 192.0.2.8 static",
		table.Get(everybody).String())
	assert.Equal(t, "dst 192.0.2.1, dst 192.0.2.2, dst 192.0.2.3, dst 192.0.2.4, dst 192.0.2.6 static", table.Get(other).String())
}

func TestRefusedByControl(t *testing.T) {
	table := newTable(t, fdb.Config{MaxRemotes: 2})
	r := remote("192.0.2.1")
	for _, c := range []struct {
		name  string
		key   fdb.Key
		to    fdb.Dest
		flags fdb.Flags
		want  error
		says  string
	}{
		{"nowhere", podA, fdb.Dest{}, 0, fdb.ErrDest, "nowhere"},
		{"no remotes", podA, fdb.ToRemotes(), 0, fdb.ErrDest, "no remotes"},
		{"no address", podA, fdb.ToRemotes(fdb.Remote{}), 0, fdb.ErrDest, "Addr is missing"},
		{"unspecified address", podA, fdb.ToRemotes(remote("0.0.0.0")), 0, fdb.ErrDest, "nobody's"},
		{"address with zone", podA, fdb.ToRemotes(remote("fe80::1%eth0")), 0, fdb.ErrDest, "zone"},
		{"mapped address", podA, fdb.ToRemotes(remote("::ffff:192.0.2.1")), 0, fdb.ErrDest, "plain"},
		{"VNI of 25 bits", podA, fdb.ToRemotes(fdb.Remote{Addr: r.Addr, VNI: 1 << 24}), 0, fdb.ErrDest, "VNI 16777216"},
		{"station behind two", podA, fdb.ToRemotes(r, remote("192.0.2.2")), 0, fdb.ErrDest, "one VTEP, got 2"},
		{"the same twice", group, fdb.ToRemotes(r, r), 0, fdb.ErrDest, "twice"},
		{"too many", group, fdb.ToRemotes(r, remote("192.0.2.2"), remote("192.0.2.3")), 0, fdb.ErrFull, "MaxRemotes, 2"},
		{"local and sticky", podA, fdb.ToPort(1), fdb.Local | fdb.Sticky, fdb.ErrFlags, "Sticky"},
		{"unknown flag", podA, fdb.ToPort(1), 0x80, fdb.ErrFlags, "0x80"},
		{"local group", group, fdb.ToPort(1), fdb.Local, fdb.ErrKey, "one station"},
		{"sticky everybody", everybody, fdb.ToRemotes(r), fdb.Sticky, fdb.ErrFlags, "everybody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, do := range []func(fdb.Key, fdb.Dest, fdb.Flags, time.Duration) error{table.Add, table.Replace, table.Append} {
				err := do(c.key, c.to, c.flags, 0)
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, c.says)
				assert.ErrorContains(t, err, c.key.String())
			}
			assert.Zero(t, table.Len())
		})
	}
}

func TestConfigFaultsNameTheirFields(t *testing.T) {
	_, err := fdb.New(fdb.Config{MaxEntries: -1, MaxPerPort: -2, MaxRemotes: fdb.LimitMaxEntries + 1, Ageing: fdb.MaxAgeing + 1})
	for _, field := range []string{"MaxEntries is -1", "MaxPerPort is -2", "MaxRemotes is ", "Ageing: "} {
		require.ErrorContains(t, err, field)
	}
}

func TestFlush(t *testing.T) {
	fill := func() *fdb.Table {
		table := newTable(t, fdb.Config{})
		for n := range 3000 {
			k := fdb.Key(n%3)<<48 | key(0, "02:00:00:00:00:00") | fdb.Key(n)
			to := []fdb.Dest{fdb.ToPort(1), fdb.ToPort(2), fdb.ToVTEP4(0xc0000201), fdb.ToRemotes(fdb.Remote{Addr: remote("192.0.2.1").Addr, VNI: 5})}[n/3%4]
			require.NoError(t, table.Add(k, to, fdb.Flags(n/12%2), 0))
		}
		require.NoError(t, table.Add(everybody, fdb.ToRemotes(remote("192.0.2.1")), 0, 0))
		return table
	}
	for _, c := range []struct {
		name           string
		match          func(fdb.Key, fdb.Entry) bool
		flush, removed int
	}{
		{"all", nil, 1500, 3001},
		{"a port", fdb.OnPort(2), 375, 750},
		{"a domain", fdb.InDomain(0), 500, 1001},
		{"a remote", fdb.AtRemote(remote("192.0.2.1").Addr), 750, 1501},
		{"another remote", fdb.AtRemote(remote("192.0.2.2").Addr), 0, 0},
		{"an IPv6 remote", fdb.AtRemote(remote("2001:db8::1").Addr), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, want := range map[bool]int{false: c.flush, true: c.removed} {
				table := fill()
				do := table.Flush
				if what {
					do = table.Remove
				}
				assert.Equal(t, want, do(c.match))
				assert.Equal(t, 3001-want, table.Len())
				for k, e := range table.All() {
					gone := (what || e.Flags() == 0) && (c.match == nil || c.match(k, e))
					require.False(t, gone, "%v %v is still there", k, e)
				}
			}
		})
	}
}

func TestChangesAreTold(t *testing.T) {
	var told []string
	table := newTable(t, fdb.Config{MaxEntries: 2, OnChange: func(c fdb.Change) { told = append(told, c.String()) }})
	table.Learn(podA, fdb.ToPort(3), 0)
	table.Learn(podA, fdb.ToPort(3), 100*time.Second) // no change of where it is
	table.Learn(podA, fdb.ToPort(4), 100*time.Second)
	table.Expire(400 * time.Second)
	table.Learn(podA, fdb.ToPort(3), 400*time.Second)
	require.NoError(t, table.Add(everybody, fdb.ToRemotes(remote("192.0.2.1")), 0, 0))
	require.NoError(t, table.Add(podB, fdb.ToPort(4), fdb.Static, 0))
	require.NoError(t, table.Replace(podB, fdb.ToPort(4), fdb.Static, 0))
	require.NoError(t, table.Delete(podB))
	table.Learn(podA, fdb.ToPort(3), 400*time.Second)
	table.Flush(nil)
	assert.Equal(t, []string{
		"9a:16:45:30:3a:c6: no entry -> port 3 dynamic (learning)",
		"9a:16:45:30:3a:c6: port 3 dynamic -> port 4 dynamic (learning)",
		"9a:16:45:30:3a:c6: port 4 dynamic -> no entry (age)",
		"9a:16:45:30:3a:c6: no entry -> port 3 dynamic (learning)",
		"00:00:00:00:00:00: no entry -> dst 192.0.2.1 static (control)",
		"9a:16:45:30:3a:c6: port 3 dynamic -> no entry (displacement)",
		"ee:6f:75:01:ed:bb: no entry -> port 4 static (control)",
		"ee:6f:75:01:ed:bb: port 4 static -> no entry (control)",
		"9a:16:45:30:3a:c6: no entry -> port 3 dynamic (learning)",
		"9a:16:45:30:3a:c6: port 3 dynamic -> no entry (flush)",
	}, told)
	assert.Equal(t, fdb.Stats{Entries: 1, Learned: 3, Moved: 1, Aged: 1, Flushed: 1, Displaced: 1}, table.Stats())
}

// TestNothingAllocated covers what happens for each packet, refusals included.
func TestNothingAllocated(t *testing.T) {
	table := newTable(t, fdb.Config{MaxEntries: 6, MaxPerPort: 1})
	v6 := fdb.ToRemotes(remote("2001:db8::1"))
	far := key(0, "02:00:00:00:00:06")
	table.Learn(podA, fdb.ToPort(3), 0)
	table.Learn(podB, fdb.ToVTEP4(5), 0)
	table.Learn(far, v6, 0)
	require.NoError(t, table.Add(everybody, fdb.ToRemotes(remote("192.0.2.1")), 0, 0))
	require.NoError(t, table.Add(group, fdb.ToRemotes(remote("192.0.2.1"), remote("192.0.2.2")), fdb.Static, 0))
	pinned := key(0, "02:00:00:00:00:07")
	require.NoError(t, table.Add(pinned, fdb.ToPort(1), fdb.Sticky, 0))
	keys, places := []fdb.Key{podA, 0, podB, far, pinned, group, broadcast}, make([]fdb.Place, 7)
	now, sum := time.Duration(0), 0
	for name, f := range map[string]func(){
		"lookups": func() {
			for _, k := range []fdb.Key{podA, podB, far, pinned, group, broadcast, key(0, "02:00:00:00:00:99")} {
				e := table.Lookup(k)
				port, _ := e.Port()
				sum += int(port) + int(e.Flags())
			}
			sum += len(table.Remotes(0)) + len(table.Get(group).Dest().Remotes()) + len(table.Get(far).Dest().Remotes())
		},
		"a burst": func() {
			table.LookupAll(keys, places)
			if port, _ := places[0].Port(); port != 3 || places[0].IsFrom(fdb.ToPort(4), fdb.StampOf(now)) {
				t.Error("wrong place")
			}
		},
		"refresh": func() {
			now += 2 * time.Second
			for k, d := range map[fdb.Key]fdb.Dest{podA: fdb.ToPort(3), podB: fdb.ToVTEP4(5), far: v6} {
				if table.Learn(k, d, now) != fdb.Known {
					t.Error("not known")
				}
			}
		},
		"move": func() {
			if table.Learn(podB, fdb.ToVTEP4(6), now) != fdb.Moved || table.Learn(podB, fdb.ToVTEP4(5), now) != fdb.Moved {
				t.Error("not moved")
			}
		},
		"refusals": func() {
			for k, d := range map[fdb.Key]fdb.Dest{
				broadcast: fdb.ToPort(1), pinned: fdb.ToPort(9), podB: {}, podB + 1: fdb.ToPort(1),
			} {
				if !table.Learn(k, d, now).Refused() {
					t.Error("not refused")
				}
			}
		},
		"nothing to expire": func() { table.Expire(now) },
	} {
		assert.Zero(t, testing.AllocsPerRun(500, f), name)
	}
}
