package arp_test

// What the transcripts do not show: configuration, what is seen of the table while it changes, work in slices, proxy entries.

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

func TestTableConfigFaults(t *testing.T) {
	bad := arp.Params{
		BaseReachable: -2, Delay: -time.Second, Retransmit: -2, StaleTime: 1 << 62, LockTime: -2,
		UnicastProbes: -2, AppProbes: -2, BroadcastProbes: 1 << 20, BroadcastReprobes: -2, QueueBytes: -2, QueuePackets: -2,
	}
	_, err := arp.NewTable(arp.TableConfig{
		Params: bad, GCThresh2: 10, GCThresh3: 9, GCInterval: -1, MaxConfigured: -1, MaxWaiting: 1 << 30, MaxProxies: -5,
	})
	for _, field := range []string{
		"TableConfig.Params.BaseReachable", "Delay", "Retransmit", "StaleTime", "LockTime", "UnicastProbes", "AppProbes",
		"BroadcastProbes", "BroadcastReprobes", "QueueBytes", "QueuePackets", "GCThresh3", "GCInterval", "MaxConfigured",
		"MaxWaiting", "MaxProxies",
	} {
		assert.ErrorContains(t, err, field)
	}
	table := newNeighbours(t, arp.TableConfig{})
	require.Error(t, table.SetParams(1, bad))
	require.Error(t, table.SetThresholds(0, 0, 1))
	require.Error(t, table.SetThresholds(-1, 1, 1))
	assert.Equal(t, table.Params(0), table.Params(1), "refused parameters must change nothing")
}

func TestParamsAreTheKernels(t *testing.T) {
	kernel := arp.Params{ // sysctl net.ipv4.neigh.default of Linux 6.18
		BaseReachable: 30 * time.Second, Delay: 5 * time.Second, Retransmit: time.Second, StaleTime: time.Minute, LockTime: time.Second,
		UnicastProbes: 3, AppProbes: -1, BroadcastProbes: 3, BroadcastReprobes: -1, QueueBytes: 212992, QueuePackets: 101,
	}
	table := newNeighbours(t, arp.TableConfig{})
	assert.Equal(t, kernel, table.Params(7))

	own := kernel
	own.Retransmit, own.AppProbes, own.LockTime = 2*time.Second, 1, -1
	require.NoError(t, table.SetParams(7, own))
	assert.Equal(t, own, table.Params(7))
	assert.Equal(t, kernel, table.Params(8))
	require.NoError(t, table.SetParams(7, table.Params(7)))
	assert.Equal(t, own, table.Params(7), "what is read must be good to be written")

	others := kernel
	others.StaleTime = time.Hour
	require.NoError(t, table.SetParams(0, others))
	assert.Equal(t, own, table.Params(7), "a device with its own does not follow the others")
	assert.Equal(t, others, table.Params(8))
	table.ClearParams(7)
	assert.Equal(t, others, table.Params(7))
}

func TestStateNames(t *testing.T) {
	for s := arp.StateNone; s <= arp.StatePermanent; s++ {
		back, err := arp.ParseState(s.String())
		require.NoError(t, err)
		assert.Equal(t, s, back)
	}
	s, err := arp.ParseState("reachable")
	require.NoError(t, err)
	assert.Equal(t, arp.StateReachable, s)
	_, err = arp.ParseState("reach")
	require.ErrorIs(t, err, arp.ErrState)
	assert.Equal(t, "STATE(77)", arp.State(77).String())
	for k := arp.ActionRequest; k <= arp.ActionDrop; k++ {
		assert.NotContains(t, k.String(), "action")
	}
	for r := arp.DropQueueFull; r <= arp.DropFlushed; r++ {
		assert.NotContains(t, r.String(), "reason")
	}
}

func TestNeighbourTexts(t *testing.T) {
	var changes []string
	table := newNeighbours(t, arp.TableConfig{OnChange: func(c arp.Change) { changes = append(changes, c.String()) }})
	table.Output(3, 0x0a000002, nil, 0, 0, nil)
	k := arp.Key{Device: 3, Addr: netip.MustParseAddr("10.0.0.2")}
	mac := ethernet.MustParseMAC("0a:58:0a:f4:01:07")
	_, err := table.Replace(k, mac, arp.StateStale, 0, nil)
	require.NoError(t, err)
	n := table.Lookup(3, 0x0a000002)
	assert.Equal(t, mac, n.MAC())
	assert.Equal(t, uint64(0x0a580af40107), n.MACBits())
	_, err = table.Delete(k, 0, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"10.0.0.2 dev 3: NONE -> INCOMPLETE",
		"10.0.0.2 dev 3: INCOMPLETE -> 0a:58:0a:f4:01:07 STALE",
		"10.0.0.2 dev 3: 0a:58:0a:f4:01:07 STALE -> FAILED",
		"10.0.0.2 dev 3: FAILED -> NONE",
	}, changes)
}

// TestControlErrors: the kind of each error can be told, and its text tells which entry it is about.
func TestControlErrors(t *testing.T) {
	table := newNeighbours(t, arp.TableConfig{})
	good := arp.Key{Device: 1, Addr: netip.MustParseAddr("10.0.0.2")}
	mac := hostMAC(1)
	_, err := table.Add(good, mac, 0, 0, nil)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		err  error
		want error
		text string
	}{
		"exists":         {second(table.Add(good, mac, 0, 0, nil)), arp.ErrExists, "10.0.0.2 dev 1"},
		"no MAC address": {second(table.Add(arp.Key{Device: 2, Addr: good.Addr}, ethernet.MAC{}, 0, 0, nil)), arp.ErrMAC, "dev 2"},
		"incomplete":     {second(table.Change(good, mac, arp.StateIncomplete, 0, nil)), arp.ErrState, "INCOMPLETE"},
		"no such state":  {second(table.Change(good, mac, 99, 0, nil)), arp.ErrState, "STATE(99)"},
		"IPv6":           {second(table.Replace(arp.Key{Device: 1, Addr: netip.MustParseAddr("::1")}, mac, 0, 0, nil)), arp.ErrAddress, "::1"},
		"mapped IPv4":    {second(table.Delete(arp.Key{Device: 1, Addr: netip.MustParseAddr("::ffff:10.0.0.2")}, 0, nil)), arp.ErrAddress, "::ffff"},
		"no address":     {second(table.Delete(arp.Key{Device: 1}, 0, nil)), arp.ErrAddress, "invalid"},
		"no device":      {second(table.Delete(arp.Key{Addr: good.Addr}, 0, nil)), arp.ErrDevice, "10.0.0.2"},
		"not there":      {second(table.Delete(arp.Key{Device: 2, Addr: good.Addr}, 0, nil)), arp.ErrNotFound, "dev 2"},
		"no proxy":       {table.DeleteProxy(good), arp.ErrNotFound, "10.0.0.2 dev 1"},
		"proxy for IPv6": {table.AddProxy(arp.Key{Addr: netip.MustParseAddr("::1")}), arp.ErrAddress, "::1"},
	} {
		require.ErrorIs(t, c.err, c.want, name)
		require.ErrorContains(t, c.err, c.text, name)
	}
	_, found := table.Get(arp.Key{Device: 1})
	assert.False(t, found)
	assert.Equal(t, 1, table.Len())
}

func second(_ []arp.Action, err error) error { return err }

// TestSeeds: reachable times are spread over what the kernel says, differ with the seed and the device, and are otherwise always the
// same, whatever else the table does.
func TestSeeds(t *testing.T) {
	length := func(seed uint64, device uint32, busy bool) time.Duration {
		table := newNeighbours(t, arp.TableConfig{Seed: seed})
		if busy {
			for n := range uint32(50) {
				table.Output(9, hostAddr(n), nil, 0, 0, nil)
			}
		}
		k := hostKey(device, 100)
		_, err := table.Add(k, hostMAC(1), arp.StateReachable, 0, nil)
		require.NoError(t, err)
		for {
			_, next := table.Tick(table.Next(), nil)
			if e, _ := table.Get(k); e.State == arp.StateStale {
				return e.Updated
			}
			require.Less(t, next, time.Minute)
		}
	}
	seen := map[time.Duration]bool{}
	sum := time.Duration(0)
	const seeds = 200
	for seed := range uint64(seeds) {
		d := length(seed, 1, false)
		assert.GreaterOrEqual(t, d, 15*time.Second)
		assert.Less(t, d, 45*time.Second)
		seen[d] = true
		sum += d
	}
	assert.Len(t, seen, seeds)
	assert.InDelta(t, 30, (sum / seeds).Seconds(), 2, "seconds on average")
	assert.Equal(t, length(5, 1, false), length(5, 1, true))
	assert.NotEqual(t, length(5, 1, false), length(5, 2, false))
}

// TestTimeDoesNotGoBack: a worker with an older clock reading than another's does no harm.
func TestTimeDoesNotGoBack(t *testing.T) {
	table := newNeighbours(t, arp.TableConfig{})
	table.Output(1, hostAddr(1), nil, 0, 10*time.Second, nil)
	table.Output(1, hostAddr(2), nil, 0, 9*time.Second, nil)
	assert.Equal(t, 11*time.Second, table.Next())
	_, next := table.Tick(9*time.Second, nil)
	assert.Equal(t, 11*time.Second, next)
	e, _ := table.Get(hostKey(1, 2))
	assert.Equal(t, 10*time.Second, e.Updated)
}

// crowd returns a table with n stale entries.
func crowd(t *testing.T, n uint32, c arp.TableConfig) *arp.Table {
	c.GCThresh2, c.GCThresh3 = 1<<16, 1<<16
	table := newNeighbours(t, c)
	for i := range n {
		_, err := table.Add(hostKey(1, i), hostMAC(i), arp.StateStale, 0, nil)
		require.NoError(t, err)
	}
	return table
}

// settleTable does what has to be done at once.
func settleTable(table *arp.Table, now time.Duration) {
	for table.Next() <= now {
		table.Tick(now, nil)
	}
}

// TestAllWhileItChanges: the entries that stay are visited once, those that go before their turn not at all.
func TestAllWhileItChanges(t *testing.T) {
	const n = 3000
	table := crowd(t, n, arp.TableConfig{})
	rnd := rand.New(rand.NewPCG(1, 1))
	visits, gone := map[arp.Key]int{}, map[arp.Key]bool{}
	fresh := uint32(n)
	for k := range table.All() {
		visits[k]++
		for range 2 {
			victim := hostKey(1, rnd.Uint32N(n))
			if _, err := table.Delete(victim, 0, nil); err == nil {
				gone[victim] = true
			}
			fresh++
			_, err := table.Add(hostKey(1, fresh), hostMAC(1), arp.StateStale, 0, nil)
			require.NoError(t, err)
		}
	}
	for i := range uint32(n) {
		if k := hostKey(1, i); !gone[k] {
			require.Equal(t, 1, visits[k], "visits of %v", k)
		}
	}
	for k, v := range visits {
		require.Equal(t, 1, v, "visits of %v", k)
		require.LessOrEqual(t, uintOf(k.Addr), hostAddr(n-1), "an entry made during the loop")
	}
	assert.NotEmpty(t, gone)

	for range table.All() {
		break // and the table is as usable as before
	}
	_, removed := table.Flush(arp.Filter{}, 0, nil)
	assert.Equal(t, int(fresh-n)+n-len(gone), removed)
	assert.Zero(t, table.Len())
}

// TestCollectionInSlices: a pass over many entries takes several calls, and what happens in between does not confuse it.
func TestCollectionInSlices(t *testing.T) {
	const n = 3000
	for _, disturbed := range []bool{false, true} {
		table := crowd(t, n, arp.TableConfig{GCThresh1: 1})
		settleTable(table, 0)
		now := table.Params(0).StaleTime
		before := table.Len()
		_, next := table.Tick(now, nil)
		require.Equal(t, now, next, "there is more to do at once")
		assert.Equal(t, 256, before-table.Len(), "entries looked at by one call")
		if disturbed {
			for i := range uint32(n) { // the next to be looked at among them
				if i%3 == 0 {
					_, _ = table.Delete(hostKey(1, i), now, nil) // or it went before
				}
			}
			_, err := table.Add(hostKey(1, n), hostMAC(1), arp.StateStale, now, nil)
			require.NoError(t, err)
		}
		settleTable(table, now)
		if !disturbed {
			require.Zero(t, table.Len())
			assert.Equal(t, arp.Never, table.Next())
			continue
		}
		require.Equal(t, 1, table.Len())
		_, there := table.Get(hostKey(1, n))
		assert.True(t, there, "the entry made during the pass")
	}
}

// TestTimersInSlices: so does a crowd of timers.
func TestTimersInSlices(t *testing.T) {
	const n = 2000
	table := newNeighbours(t, arp.TableConfig{GCThresh2: n, GCThresh3: n})
	for i := range uint32(n) {
		table.Output(1, hostAddr(i), nil, 0, 0, nil)
	}
	settleTable(table, 0)
	actions, next := table.Tick(time.Second, nil)
	assert.Len(t, actions, 256)
	assert.LessOrEqual(t, next, time.Second)
	for next <= time.Second {
		actions, next = table.Tick(time.Second, actions)
	}
	assert.Len(t, actions, n)
	assert.True(t, slices.IsSortedFunc(actions, func(a, b arp.Action) int { return int(a.Addr) - int(b.Addr) }),
		"timers of the same time run in the order of addresses")
	assert.Equal(t, 2*time.Second, next)
}

func TestProxies(t *testing.T) {
	table := newNeighbours(t, arp.TableConfig{MaxProxies: 3})
	on := func(device uint32, addr string) arp.Key {
		return arp.Key{Device: device, Addr: netip.MustParseAddr(addr)}
	}
	require.False(t, table.IsProxy(1, 0x0a000002))
	for _, k := range []arp.Key{on(2, "10.0.0.3"), on(1, "10.0.0.2"), on(0, "10.0.0.9")} {
		require.NoError(t, table.AddProxy(k))
		require.NoError(t, table.AddProxy(k), "again")
	}
	require.ErrorIs(t, table.AddProxy(on(1, "10.0.0.4")), arp.ErrFull)
	assert.Equal(t, []arp.Key{on(0, "10.0.0.9"), on(1, "10.0.0.2"), on(2, "10.0.0.3")}, slices.Collect(table.Proxies()))
	for range table.Proxies() {
		break
	}

	assert.True(t, table.IsProxy(1, 0x0a000002))
	assert.False(t, table.IsProxy(2, 0x0a000002), "another device")
	assert.True(t, table.IsProxy(77, 0x0a000009), "device 0 is any")
	assert.False(t, table.IsProxy(0, 0))
	assert.Zero(t, table.Len(), "a proxy entry is no neighbour")

	table.FlushDevice(1, arp.DeviceCarrier, 0, nil)
	table.FlushDevice(1, arp.DeviceAddress, 0, nil)
	assert.True(t, table.IsProxy(1, 0x0a000002), "proxy entries stay without carrier")
	table.FlushDevice(1, arp.DeviceDown, 0, nil)
	assert.False(t, table.IsProxy(1, 0x0a000002))
	require.NoError(t, table.DeleteProxy(on(0, "10.0.0.9")))
	assert.False(t, table.IsProxy(77, 0x0a000009))
	assert.Equal(t, []arp.Key{on(2, "10.0.0.3")}, slices.Collect(table.Proxies()))
}

// TestThresholdsChange: they can be changed at any time, as sysctls can.
func TestThresholdsChange(t *testing.T) {
	table := crowd(t, 100, arp.TableConfig{})
	require.Equal(t, arp.Never, table.Next(), "128 entries are not looked at")
	table.Tick(100*time.Second, nil)
	require.NoError(t, table.SetThresholds(10, 20, 50))
	assert.Equal(t, 105*time.Second, table.Next())
	table.Output(1, hostAddr(500), nil, 0, 101*time.Second, nil)
	assert.Equal(t, 20, table.Len(), "stale entries made room down to the second threshold")
}
