package fdb_test

import (
	"fmt"
	"sync"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
)

// A bridge learns where stations are from the frames that they send, and forgets those that are silent.
func Example() {
	table, err := fdb.New(fdb.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pod := fdb.KeyOf(0, ethernet.MustParseMAC("9a:16:45:30:3a:c6"))
	fmt.Println(table.Learn(pod, fdb.ToPort(3), 0))
	fmt.Println(table.Get(pod))
	fmt.Println(table.Learn(pod, fdb.ToPort(4), time.Second))
	fmt.Println(table.Get(pod))
	for now := time.Second; table.Deadline() != fdb.Never; now += time.Minute {
		if table.Expire(now) > 0 {
			fmt.Println("aged after", now)
		}
	}
	fmt.Println(table.Get(pod))
	// Output:
	// learned
	// port 3 dynamic
	// moved
	// port 4 dynamic
	// aged after 5m1s
	// no entry
}

// What 'bridge fdb' sets up on a VTEP: a station behind a node, and where the rest goes.
func ExampleTable_Append() {
	table, err := fdb.New(fdb.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	station := fdb.KeyOf(0, ethernet.MustParseMAC("e2:5f:c8:9c:11:4a"))
	everybody := fdb.KeyOf(0, ethernet.MAC{})
	node := fdb.ToRemotes(remote("192.168.56.12"))
	fmt.Println(table.Add(station, node, fdb.Static, 0))
	fmt.Println(table.Add(station, node, fdb.Static, 0))
	fmt.Println(table.Append(everybody, node, fdb.Static, 0))
	fmt.Println(table.Append(everybody, fdb.ToRemotes(remote("192.168.56.13")), fdb.Static, 0))
	for _, r := range table.Remotes(0) {
		fmt.Println("copy to", r.Addr)
	}
	// Output:
	// <nil>
	// fdb: add e2:5f:c8:9c:11:4a: entry exists: dst 192.168.56.12 static; Replace overwrites it
	// <nil>
	// <nil>
	// copy to 192.168.56.12
	// copy to 192.168.56.13
}

// The frames of a burst are looked up together, into a slice that is used for each burst.
func ExampleTable_LookupAll() {
	table, err := fdb.New(fdb.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	near := fdb.KeyOf(0, ethernet.MustParseMAC("9a:16:45:30:3a:c6"))
	far := fdb.KeyOf(0, ethernet.MustParseMAC("e2:5f:c8:9c:11:4a"))
	table.Learn(near, fdb.ToPort(3), 0)
	table.Learn(far, fdb.ToVTEP4(0xc0a8380c), 0)

	places := make([]fdb.Place, 64)
	burst := []fdb.Key{far, near, fdb.KeyOf(0, ethernet.MustParseMAC("02:00:00:00:00:01"))}
	table.LookupAll(burst, places)
	for i, key := range burst {
		if port, ok := places[i].Port(); ok {
			fmt.Println(key, "is behind port", port)
		} else if vtep, ok := places[i].VTEP4(); ok {
			fmt.Printf("%v is behind VTEP %#x\n", key, vtep)
		} else {
			fmt.Println(key, "has no entry")
		}
	}
	// Output:
	// e2:5f:c8:9c:11:4a is behind VTEP 0xc0a8380c
	// 9a:16:45:30:3a:c6 is behind port 3
	// 02:00:00:00:00:01 has no entry
}

// Packet workers look up and learn while an agent changes the table; none of them needs a lock of its own.
func Example_readersBesideAWriter() {
	table, err := fdb.New(fdb.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := fdb.KeyOf(0, ethernet.MustParseMAC("e2:5f:c8:9c:11:4a"))
	if err := table.Add(peer, fdb.ToVTEP4(0xc0a8380c), fdb.Static, 0); err != nil {
		fmt.Println(err)
		return
	}
	var workers sync.WaitGroup
	for worker := range uint32(2) {
		workers.Go(func() {
			for i := range 10_000 {
				now := time.Duration(i) * time.Millisecond
				table.Learn(fdb.Key(0x020000000000)+fdb.Key(i%100), fdb.ToPort(worker), now)
				if _, ok := table.Lookup(peer).VTEP4(); !ok {
					fmt.Println("the peer was away for a moment")
				}
			}
		})
	}
	for i := range 1000 { // the agent: the peer's node gets another address, again and again
		node := fdb.ToVTEP4(0xc0a8380c + uint32(i%2))
		if err := table.Replace(peer, node, fdb.Static, 0); err != nil {
			fmt.Println(err)
		}
	}
	workers.Wait()
	fmt.Println(table.Len(), "entries")
	// Output: 101 entries
}
