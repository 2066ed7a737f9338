package arp_test

// Lookups of whole bursts: against those of one address, and beside a writer.

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// untouched is in places that LookupAll has no business with.
const untouched arp.Neighbour = 1<<63 | 1

// TestLookupAllAgainstLookup draws addresses of neighbours in several states, of some that were removed, of nobody and of others'
// device, some of them twice, while the table grows and gets empty.
func TestLookupAllAgainstLookup(t *testing.T) {
	const seed, hosts = 51, 2000
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	table := newNeighbours(t, arp.TableConfig{GCThresh2: 1 << 16, GCThresh3: 1 << 16})
	check := func() {
		for _, size := range []int{0, 1, 63, 64, 65, 127, 128, 129, 200} {
			addrs := make([]uint32, size)
			for i := range addrs {
				switch addrs[i] = hostAddr(rnd.Uint32N(hosts)); rnd.IntN(8) {
				case 0:
					addrs[i] = rnd.Uint32()
				case 1:
					addrs[i] = 0
				case 2:
					addrs[i] = addrs[rnd.IntN(i+1)]
				}
			}
			for device := range uint32(4) {
				found := slices.Repeat([]arp.Neighbour{untouched}, size+2)
				table.LookupAll(device, addrs, found)
				for i, a := range addrs {
					if want := table.Lookup(device, a); found[i] != want {
						t.Fatalf("%#x, which is number %d of %d: %v, want %v", a, i, size, found[i], want)
					}
				}
				require.Equal(t, []arp.Neighbour{untouched, untouched}, found[size:])
			}
		}
	}
	check()
	states := []arp.State{arp.StatePermanent, arp.StateStale, arp.StateReachable, arp.StateNoARP}
	for i := range uint32(10_000) {
		n, device := rnd.Uint32N(hosts), 1+rnd.Uint32N(2)
		switch gone := i > 5000 || i%4 == 0; {
		case gone:
			_, _ = table.Delete(hostKey(device, n), 0, nil) // or it is not there
		case i%5 == 0:
			table.Output(device, hostAddr(n), nil, 0, 0, nil)
		default:
			_, err := table.Replace(hostKey(device, n), hostMAC(i), states[rnd.IntN(len(states))], 0, nil)
			require.NoError(t, err)
		}
		if i%100 == 0 {
			check()
		}
	}
	for _, f := range []arp.Filter{{}, {States: []arp.State{arp.StatePermanent, arp.StateNoARP}}} {
		table.Flush(f, 0, nil)
		check()
	}
	require.Zero(t, table.Len())
}

// TestLookupAllWithTooFewNeighbours: it does not write behind the end of a slice, whatever room there is.
func TestLookupAllWithTooFewNeighbours(t *testing.T) {
	table := newNeighbours(t, arp.TableConfig{})
	found := slices.Repeat([]arp.Neighbour{untouched}, 70)
	assert.Panics(t, func() { table.LookupAll(1, make([]uint32, 66), found[:65]) })
	assert.Equal(t, slices.Repeat([]arp.Neighbour{untouched}, 5), found[65:])
}

// TestLookupAllBesideAWriter lets readers look up few and many neighbours while a writer replaces and removes these, and makes and
// flushes others, so that the map under the table is rebuilt. A MAC address says whose it is and how often that host has changed, so
// what was found is held against what there was from the call's begin to its end.
func TestLookupAllBesideAWriter(t *testing.T) {
	const hosts, staying = 200, 50 // the latter are replaced and never removed
	// With more threads than cores, the system stops readers in the midst of a call.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	table := newNeighbours(t, arp.TableConfig{GCThresh2: 1 << 16, GCThresh3: 1 << 16})
	macOf := func(n, state uint32) (m ethernet.MAC) {
		m[0], m[1] = 0x0a, byte(n)
		binary.BigEndian.PutUint32(m[2:], state)
		return m
	}
	var begun, ended [hosts]atomic.Uint32 // states: with an entry if odd
	become := func(n, state uint32) {
		begun[n].Store(state)
		var err error
		if state%2 == 1 {
			_, err = table.Replace(hostKey(1, n), macOf(n, state), arp.StatePermanent, 0, nil)
		} else {
			_, err = table.Delete(hostKey(1, n), 0, nil)
		}
		require.NoError(t, err)
		ended[n].Store(state)
	}
	for n := range uint32(staying) {
		become(n, 1)
	}
	check := func(n uint32, found arp.Neighbour, first, last uint32) bool {
		if !found.IsValid() {
			return n >= staying && (first%2 == 0 || first < last)
		}
		mac := found.MAC()
		state := binary.BigEndian.Uint32(mac[2:])
		return mac == macOf(n, state) && first <= state && state <= last
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for r, size := range []int{1, 3, 63, 64, 150} {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(r)))
			asked, first := make([]uint32, size), make([]uint32, size)
			addrs, found := make([]uint32, size), make([]arp.Neighbour, size)
			for !stop.Load() {
				for i := range asked {
					n := rnd.Uint32N(hosts)
					if size < 10 {
						n = rnd.Uint32N(staying) // so that all are there
					}
					asked[i], addrs[i], first[i] = n, hostAddr(n), ended[n].Load()
				}
				table.LookupAll(1, addrs, found)
				for i, n := range asked {
					if last := begun[n].Load(); !check(n, found[i], first[i], last) {
						t.Errorf("host %d, one of %d, is %v, in state %d to %d", n, size, found[i], first[i], last)
						return
					}
				}
			}
		})
	}
	const seed = 52
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := uint32(300_000)
	if raceEnabled {
		rounds /= 20
	}
	for i := range rounds {
		if i%2 == 0 {
			_, err := table.Replace(hostKey(1, hosts+i%4096), hostMAC(i), arp.StateStale, 0, nil)
			require.NoError(t, err)
		} else {
			n := rnd.Uint32N(hosts)
			next := ended[n].Load() + 1
			if n < staying {
				next++
			}
			become(n, next)
		}
		if i%5000 == 0 {
			table.Flush(arp.Filter{}, 0, nil)
		}
	}
	stop.Store(true)
	readers.Wait()
}

// The next hops of a burst are looked up together: those that are ready go at once, the others by way of Output.
func ExampleTable_LookupAll() {
	table, err := arp.NewTable(arp.TableConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const eth0 = 1
	router := arp.Key{Device: eth0, Addr: netip.MustParseAddr("10.1.1.1")}
	if _, err := table.Add(router, ethernet.MustParseMAC("0a:58:0a:01:01:01"), arp.StatePermanent, 0, nil); err != nil {
		fmt.Println(err)
		return
	}
	found := make([]arp.Neighbour, 64)
	burst := []uint32{0x0a010103, 0x0a010101} // 10.1.1.3, 10.1.1.1
	for range 2 {
		table.LookupAll(eth0, burst, found)
		for i, n := range found[:len(burst)] {
			if n.Ready() {
				fmt.Println("send to", n.MAC())
				continue
			}
			for _, a := range table.Output(eth0, burst[i], packet.New(64), 0, 0, nil) {
				fmt.Println(a.Kind, a.MAC)
			}
		}
	}
	// Output:
	// request 00:00:00:00:00:00
	// deliver 0a:58:0a:01:01:01
	// send to 0a:58:0a:01:01:01
}
