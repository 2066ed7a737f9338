package fdb_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/fdb"
)

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// flood is how many addresses an attacker makes up.
func flood() int {
	if raceEnabled {
		return 200_000
	}
	return 10_000_000
}

// TestFlood sends frames from ten million made-up addresses through a table of the default size: what was configured stays, what
// was learned before stays, memory stays, and the counters tell.
func TestFlood(t *testing.T) {
	before := heap()
	table := newTable(t, fdb.Config{})
	require.NoError(t, table.Add(podA, fdb.ToPort(3), fdb.Static, 0))
	require.Equal(t, fdb.Learned, table.Learn(podB, fdb.ToPort(4), 0))
	n := flood()
	for i := range n {
		table.Learn(fdb.Key(0x06_0000_000000)+fdb.Key(i), fdb.ToPort(9), time.Duration(i)*time.Microsecond)
	}
	assert.LessOrEqual(t, table.Len(), fdb.DefaultMaxEntries)
	assert.LessOrEqual(t, heap()-before, int64(7<<20), "bytes")
	assert.Equal(t, "port 3 static", table.Get(podA).String())
	assert.Equal(t, "port 4 dynamic", table.Get(podB).String())
	s := table.Stats()
	assert.Equal(t, uint64(n+1), s.Learned+s.RefusedFull)
	assert.Equal(t, fdb.DefaultMaxEntries, s.Entries)
	require.NoError(t, table.Add(key(0, "02:00:00:00:00:01"), fdb.ToPort(1), fdb.Static, 0), "there is room for what is configured")
	runtime.KeepAlive(table)
}

// TestFloodThatAges lets a million made-up addresses come and go, each heard once, beside a station that speaks every second.
func TestFloodThatAges(t *testing.T) {
	before := heap()
	table := newTable(t, fdb.Config{MaxEntries: 20_000, Ageing: 10 * time.Second})
	n, aged := min(flood(), 1_000_000), 0
	now := time.Duration(0)
	for i := range n {
		now += time.Millisecond
		table.Learn(fdb.Key(0x06_0000_000000)+fdb.Key(i), fdb.ToPort(9), now)
		if i%1000 == 0 {
			require.NotEqual(t, fdb.Full, table.Learn(podA, fdb.ToPort(3), now))
		}
		if i%10 == 0 {
			aged += table.Expire(now)
		}
		require.LessOrEqual(t, table.Len(), 13_000, "ten seconds' worth, and what a sweep may be late")
	}
	assert.LessOrEqual(t, heap()-before, int64(4<<20), "bytes")
	assert.Equal(t, n, aged+table.Len()-1)
	assert.Zero(t, table.Stats().RefusedFull)
	assert.Equal(t, "port 3 dynamic", table.Get(podA).String())
	runtime.KeepAlive(table)
}

// TestFloodOnOnePort leaves the other ports their room.
func TestFloodOnOnePort(t *testing.T) {
	table := newTable(t, fdb.Config{MaxEntries: 3000, MaxPerPort: 1000})
	for i := range 100_000 {
		table.Learn(fdb.Key(0x06_0000_000000)+fdb.Key(i), fdb.ToPort(9), 0)
	}
	assert.Equal(t, 1000, table.Len())
	assert.Equal(t, uint64(99_000), table.Stats().RefusedPortFull)
	for i := range 1000 {
		require.Equal(t, fdb.Learned, table.Learn(fdb.Key(0x0a_0000_000000)+fdb.Key(i), fdb.ToPort(3), 0))
	}
}

// TestEndlessReconfiguration replaces lists of remotes over and over.
func TestEndlessReconfiguration(t *testing.T) {
	before := heap()
	table := newTable(t, fdb.Config{})
	for i := range 300_000 {
		k := fdb.Key(i%50)<<48 | fdb.Key(i%2)<<40
		require.NoError(t, table.Replace(k, fdb.ToRemotes(remote("192.0.2.1"), fdb.Remote{Addr: remote("192.0.2.2").Addr, VNI: uint32(i % 1000)}), 0, 0))
		if i%7 == 0 {
			require.NoError(t, table.Delete(k))
		}
	}
	assert.LessOrEqual(t, heap()-before, int64(256<<10), "bytes")
	runtime.KeepAlive(table)
}
