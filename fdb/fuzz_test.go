package fdb_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/fdb"
)

// FuzzTable does what the bytes say to a small table, with any keys, destinations and flags: nothing panics, limits hold, and
// what All returns is what Lookup finds.
func FuzzTable(f *testing.F) {
	f.Add([]byte("learn, add, replace, append, delete; flush: 0123456789abcdef"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		table := newTable(t, fdb.Config{MaxEntries: 12, MaxPerPort: 4, MaxRemotes: 3, Ageing: 5 * time.Second, OnChange: func(c fdb.Change) {
			if c.Cause != fdb.ByControl && c.Old.Flags()&(fdb.Static|fdb.Local) != 0 && !c.New.IsValid() {
				t.Errorf("a configured entry is gone: %v", c)
			}
		}})
		dests := []fdb.Dest{
			{},
			fdb.ToPort(0), fdb.ToPort(1), fdb.ToVTEP4(0), fdb.ToVTEP4(1), fdb.ToRemotes(), fdb.ToRemotes(fdb.Remote{}), fdb.ToRemotes(remote("2001:db8::1")),
			fdb.ToRemotes(remote("192.0.2.1"), remote("192.0.2.2")), fdb.ToRemotes(fdb.Remote{Addr: remote("192.0.2.3").Addr, VNI: 1 << 31}),
		}
		now := time.Duration(0)
		for len(ops) >= 3 {
			key := fdb.Key(ops[1]&0xf)<<40 | fdb.Key(ops[1]>>4)
			to, flags := dests[int(ops[2])%len(dests)], fdb.Flags(ops[2]>>4)
			switch ops[0] % 8 {
			case 0, 1:
				table.Learn(key, to, now)
			case 2:
				_ = table.Add(key, to, flags, now)
			case 3:
				_ = table.Replace(key, to, flags, now)
			case 4:
				_ = table.Append(key, to, flags, now)
			case 5:
				_ = table.Delete(key)
			case 6:
				table.RemoveRemote(remote("192.0.2.1").Addr)
			case 7:
				now += time.Duration(ops[1]) * 100 * time.Millisecond
				table.Expire(now)
			}
			ops = ops[3:]
			require.LessOrEqual(t, table.Len(), 12)
		}
		n := 0
		for k, e := range table.All() {
			require.Equal(t, e, table.Get(k))
			require.LessOrEqual(t, len(e.Dest().Remotes()), 3)
			n++
		}
		require.Equal(t, n, table.Len())
	})
}
