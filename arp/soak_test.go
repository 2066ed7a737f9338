package arp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

func hostAddr(n uint32) uint32 { return 10<<24 | n + 1 }

func hostKey(device, n uint32) arp.Key {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], hostAddr(n))
	return arp.Key{Device: device, Addr: netip.AddrFrom4(b)}
}

func hostMAC(n uint32) ethernet.MAC {
	return ethernet.MAC{0x0a, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

var ourMAC = ethernet.MAC{0x02, 0, 0, 0, 0, 1}

// claim returns an ARP packet that says where host n is.
func claim(t testing.TB, op arp.Op, n uint32, mac ethernet.MAC) arp.Packet {
	f := arp.Fields{Op: op, SenderMAC: mac, TargetMAC: ourMAC, TargetIP: [4]byte{10, 255, 0, 1}}
	binary.BigEndian.PutUint32(f.SenderIP[:], hostAddr(n))
	p, err := f.Put(make([]byte, arp.Len))
	require.NoError(t, err)
	return p
}

func newNeighbours(t testing.TB, c arp.TableConfig) *arp.Table {
	table, err := arp.NewTable(c)
	require.NoError(t, err)
	return table
}

// arcs are the changes of state that there are, by anything but the control side (net/core/neighbour.c), and what it takes for the
// one that a timer makes: the shortest and the longest time in the state before.
var arcs = map[[2]arp.State]struct{}{
	{arp.StateNone, arp.StateIncomplete}: {}, {arp.StateNone, arp.StateStale}: {}, {arp.StateNone, arp.StatePermanent}: {},
	{arp.StateIncomplete, arp.StateReachable}: {}, {arp.StateIncomplete, arp.StateStale}: {}, {arp.StateIncomplete, arp.StateFailed}: {},
	{arp.StateFailed, arp.StateIncomplete}: {}, {arp.StateFailed, arp.StateStale}: {}, {arp.StateFailed, arp.StateReachable}: {},
	{arp.StateFailed, arp.StateNone}:     {},
	{arp.StateReachable, arp.StateStale}: {}, {arp.StateReachable, arp.StateDelay}: {}, {arp.StateReachable, arp.StateReachable}: {},
	{arp.StateStale, arp.StateDelay}: {}, {arp.StateStale, arp.StateReachable}: {}, {arp.StateStale, arp.StateStale}: {}, {arp.StateStale, arp.StateNone}: {},
	{arp.StateDelay, arp.StateProbe}: {}, {arp.StateDelay, arp.StateReachable}: {}, {arp.StateDelay, arp.StateStale}: {},
	{arp.StateProbe, arp.StateReachable}: {}, {arp.StateProbe, arp.StateStale}: {}, {arp.StateProbe, arp.StateFailed}: {},
}

// late is by how much three timers in a row may be late here, where time goes on in steps of up to a fifth of a second.
const late = time.Second

// longest is how long an entry may be in a state that a timer ends, without anything that is new.
var longest = map[arp.State]time.Duration{
	arp.StateIncomplete: 3 * time.Second, arp.StateDelay: 5 * time.Second, arp.StateProbe: 3 * time.Second, arp.StateReachable: 45 * time.Second,
}

// soak drives a table at random and holds it to what must be true at any time.
type soak struct {
	t     testing.TB
	rnd   *rand.Rand
	table *arp.Table
	pool  *packet.Pool
	now   time.Duration

	state   map[arp.Key]arp.Neighbour // as OnChange told
	since   map[arp.Key]time.Duration // when a state that a timer ends began, or was confirmed
	control bool                      // the control side is at work
	given   uint64
	back    map[arp.ActionKind]uint64
	actions []arp.Action
}

func newSoak(t testing.TB, seed uint64, c arp.TableConfig) *soak {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 4096, Size: 256})
	require.NoError(t, err)
	s := &soak{
		t: t, rnd: rand.New(rand.NewPCG(seed, 0)), pool: pool,
		state: map[arp.Key]arp.Neighbour{}, since: map[arp.Key]time.Duration{}, back: map[arp.ActionKind]uint64{},
	}
	c.Seed, c.OnChange = seed, s.changed
	s.table = newNeighbours(t, c)
	return s
}

func (s *soak) changed(c arp.Change) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], c.Addr)
	k := arp.Key{Device: c.Device, Addr: netip.AddrFrom4(b)}
	if was := s.state[k]; was != c.Old {
		s.t.Fatalf("told of %v, after %v", c, was)
	}
	_, known := arcs[[2]arp.State{c.Old.State(), c.New.State()}]
	if !known && !s.control {
		s.t.Fatalf("at %v: %v is no arc of the machine", s.now, c)
	}
	if c.Old.State() == arp.StatePermanent && !s.control {
		s.t.Fatalf("at %v: a configured entry changed: %v", s.now, c)
	}
	s.state[k], s.since[k] = c.New, s.now
	if c.New.State() == arp.StateNone {
		delete(s.state, k)
		delete(s.since, k)
	}
}

// take does what the table asks for, and counts what it gives back.
func (s *soak) take() {
	for _, a := range s.actions {
		s.back[a.Kind]++
		switch a.Kind {
		case arp.ActionDeliver, arp.ActionUnreachable, arp.ActionDrop:
			a.Buffer.Free()
		case arp.ActionRequest, arp.ActionProbe:
			if a.Kind == arp.ActionProbe && a.MAC.IsZero() {
				s.t.Fatalf("probe of %x to nobody", a.Addr)
			}
		}
	}
	s.actions = s.actions[:0]
}

// check compares what can be seen of the table.
func (s *soak) check() {
	stats := s.table.Stats()
	out := s.back[arp.ActionDeliver] + s.back[arp.ActionUnreachable] + s.back[arp.ActionDrop]
	if s.given != out+uint64(stats.Waiting) || s.pool.InUse() != stats.Waiting {
		s.t.Fatalf("given %d packets, %v back, %d wait, %d buffers in use", s.given, s.back, stats.Waiting, s.pool.InUse())
	}
	if stats.Delivered != s.back[arp.ActionDeliver] || stats.Unreachable != s.back[arp.ActionUnreachable] || stats.Dropped != s.back[arp.ActionDrop] {
		s.t.Fatalf("counted %+v, got back %v", stats, s.back)
	}
	if len(s.state) != s.table.Len() {
		s.t.Fatalf("%d entries, told of %d", s.table.Len(), len(s.state))
	}
	waiting := 0
	for k, e := range s.table.All() {
		told := s.state[k]
		if told.State() != e.State || told.MAC() != e.MAC && told.IsValid() {
			s.t.Fatalf("%v is %v %v, told of %v", k, e.MAC, e.State, told)
		}
		if most, timed := longest[e.State]; timed && s.now > max(s.since[k], e.Confirmed)+most+late {
			s.t.Fatalf("%v is %v since %v, confirmed at %v, and it is %v", k, e.State, s.since[k], e.Confirmed, s.now)
		}
		if e.State != arp.StateIncomplete && e.Waiting > 0 {
			s.t.Fatalf("%v is %v, and %d packets wait for it", k, e.State, e.Waiting)
		}
		waiting += e.Waiting
	}
	if waiting != stats.Waiting {
		s.t.Fatalf("%d packets wait in the entries, %d in all", waiting, stats.Waiting)
	}
}

// run does n random things to some hosts.
func (s *soak) run(n int, hosts uint32) {
	for range n {
		s.now += time.Duration(s.rnd.IntN(int(200 * time.Millisecond)))
		for s.table.Next() <= s.now {
			s.actions, _ = s.table.Tick(s.now, s.actions)
			s.take()
		}
		device, host := 1+s.rnd.Uint32N(2), s.rnd.Uint32N(hosts)
		mac := hostMAC(host)
		if s.rnd.IntN(10) == 0 {
			mac = hostMAC(host + 1<<20)
		}
		switch what := s.rnd.IntN(1000); {
		case what < 500:
			b := s.pool.Get()
			_, err := b.Extend(20 + s.rnd.IntN(100))
			require.NoError(s.t, err)
			s.given++
			if place := s.table.Lookup(device, hostAddr(host)); place.Ready() && s.rnd.IntN(2) == 0 {
				s.given-- // as an engine does
				b.Free()
				break
			}
			s.actions = s.table.Output(device, hostAddr(host), b, 0, s.now, s.actions)
		case what < 700:
			s.actions = s.table.Input(device, claim(s.t, arp.Reply, host, mac), arp.ToHost, s.now, s.actions)
		case what < 850:
			s.actions = s.table.Input(device, claim(s.t, arp.Request, host, mac), arp.Reception(s.rnd.IntN(4)), s.now, s.actions)
		case what < 880:
			s.table.Confirm(device, hostAddr(host), s.now)
			if e, ok := s.table.Get(hostKey(device, host)); ok && e.Confirmed != s.now {
				s.t.Fatalf("confirmed at %v: %+v", s.now, e)
			}
		case what < 980:
		default:
			s.control = true
			s.configure(what, device, host)
			s.control = false
		}
		s.take()
		if s.rnd.IntN(500) == 0 {
			s.check()
		}
	}
	s.check()
}

func (s *soak) configure(what int, device, host uint32) {
	k := hostKey(device, host)
	var err error
	switch {
	case what < 985:
		s.actions, err = s.table.Replace(k, hostMAC(host), arp.StatePermanent, s.now, s.actions)
	case what < 997:
		s.actions, err = s.table.Delete(k, s.now, s.actions)
	case what < 999:
		s.actions, _ = s.table.Flush(arp.Filter{Device: device}, s.now, s.actions)
	default:
		s.actions = s.table.FlushDevice(device, arp.DeviceEvent(s.rnd.IntN(3)), s.now, s.actions)
	}
	if err != nil && !errorIsOneOf(err, arp.ErrFull, arp.ErrNotFound) {
		s.t.Fatal(err)
	}
}

func errorIsOneOf(err error, any ...error) bool {
	return slices.ContainsFunc(any, func(e error) bool { return errors.Is(err, e) })
}

// TestSoak does a million random things: packets to hosts that answer or not, true and false claims, configuration, devices that
// go down. No packet is lost, no change is without an arc, no timer is forgotten, no limit exceeded.
func TestSoak(t *testing.T) {
	const seed = 12
	t.Logf("seed %d", seed)
	n := 1_000_000
	if raceEnabled { // which has nothing to find in one goroutine
		n /= 20
	}
	for name, c := range map[string]struct {
		hosts  uint32
		config arp.TableConfig
	}{
		"few hosts":  {30, arp.TableConfig{}},
		"many hosts": {400, arp.TableConfig{GCThresh1: 20, GCThresh2: 60, GCThresh3: 100, MaxWaiting: 8, Params: arp.Params{QueueBytes: 400}, MaxConfigured: 40}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSoak(t, seed, c.config)
			s.run(n, c.hosts)
			t.Logf("%+v", s.table.Stats())
			s.control = true
			s.actions, _ = s.table.Flush(arp.Filter{States: []arp.State{
				arp.StateIncomplete, arp.StateFailed, arp.StateReachable, arp.StateStale, arp.StateDelay, arp.StateProbe, arp.StateNoARP, arp.StatePermanent,
			}}, s.now, nil)
			s.take()
			assert.Zero(t, s.table.Len())
			assert.Zero(t, s.pool.InUse())
			assert.Equal(t, arp.Never, s.table.Next())
		})
	}
}

func FuzzTable(f *testing.F) {
	f.Add(uint64(1), uint16(300), uint8(5))
	f.Add(uint64(2), uint16(3000), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, hosts uint8) {
		config := arp.TableConfig{GCThresh1: 2, GCThresh2: 4, GCThresh3: 8, MaxWaiting: 5, Params: arp.Params{QueuePackets: 3}, MaxConfigured: 3}
		newSoak(t, seed, config).run(int(n%4096), uint32(hosts)+1)
	})
}

// TestFloodOfClaims hears ten million ARP packets from addresses that nobody asked for, and as many different ones that ask us.
func TestFloodOfClaims(t *testing.T) {
	n := uint32(10_000_000)
	if raceEnabled {
		n = 100_000
	}
	before := heapBytes()
	table := newNeighbours(t, arp.TableConfig{})
	var actions []arp.Action
	actions, err := table.Add(hostKey(1, 1<<23), ourMAC, arp.StatePermanent, 0, actions)
	require.NoError(t, err)
	p := claim(t, arp.Reply, 0, hostMAC(1))
	ask := claim(t, arp.Request, 0, hostMAC(1))
	for i := range n {
		now := time.Duration(i) * time.Microsecond
		binary.BigEndian.PutUint32(p.Bytes()[14:], hostAddr(i%(1<<24-2)))
		actions = table.Input(1, p, arp.ToHost, now, actions)
		if i%1000 == 0 {
			binary.BigEndian.PutUint32(p.Bytes()[14:], hostAddr(1<<23))
			actions = table.Input(1, p, arp.ToHost, now, actions)
		}
		if i%4 == 0 { // every fourth claims to need us
			binary.BigEndian.PutUint32(ask.Bytes()[14:], hostAddr(i%(1<<22)))
			actions = table.Input(1, ask, arp.ForUs, now, actions)
		}
		if table.Next() <= now {
			actions, _ = table.Tick(now, actions)
		}
		if len(actions) > 0 {
			t.Fatalf("%d: %+v", i, actions)
		}
	}
	s := table.Stats()
	t.Logf("%+v", s)
	assert.LessOrEqual(t, s.Entries, 1025)
	assert.Greater(t, s.RefusedUnsolicited, uint64(n)/2)
	assert.Positive(t, s.TableFulls)
	assert.Equal(t, ourMAC, table.Lookup(1, hostAddr(1<<23)).MAC())
	assert.GreaterOrEqual(t, s.RefusedConfigured, uint64(n/1000))
	assert.LessOrEqual(t, heapBytes()-before, int64(1<<20), "bytes")
	runtime.KeepAlive(table)
}

// TestUnresolvableAtLineRate sends a million packets a second to addresses where nobody is: entries, packets and requests stay
// within their limits, and every packet comes back.
func TestUnresolvableAtLineRate(t *testing.T) {
	n := uint32(3_000_000)
	if raceEnabled {
		n = 100_000
	}
	table := newNeighbours(t, arp.TableConfig{MaxWaiting: 256})
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 1024, Size: 128})
	require.NoError(t, err)
	before := heapBytes()
	var actions []arp.Action
	back, requests := 0, 0
	for i := range n {
		now := time.Duration(i) * 3 * time.Microsecond
		b := pool.Get()
		require.NotNil(t, b, "buffers are lost")
		actions = table.Output(1, hostAddr(i*7919%100_000), b, 0, now, actions[:0])
		if table.Next() <= now {
			actions, _ = table.Tick(now, actions)
		}
		for _, a := range actions {
			if a.Buffer != nil {
				a.Buffer.Free()
				back++
			} else {
				requests++
			}
		}
	}
	s := table.Stats()
	t.Logf("%+v, %d requests", s, requests)
	assert.Equal(t, int(n), back+s.Waiting)
	assert.LessOrEqual(t, s.Entries, 1024)
	assert.LessOrEqual(t, s.Waiting, 256)
	assert.Equal(t, s.Waiting, pool.InUse())
	assert.LessOrEqual(t, heapBytes()-before, int64(1<<20), "bytes")
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestNeighboursBesideEachOther lets packet workers look up, send and hear while others tick and configure. A host's MAC addresses
// tell whose they are.
func TestNeighboursBesideEachOther(t *testing.T) {
	const hosts = 300
	table := newNeighbours(t, arp.TableConfig{GCThresh1: 50, GCThresh2: 100, GCThresh3: 200})
	for n := range uint32(10) {
		_, err := table.Add(hostKey(1, n), hostMAC(n), arp.StatePermanent, 0, nil)
		require.NoError(t, err)
	}
	var clock atomic.Int64
	var given, back atomic.Int64
	var wg sync.WaitGroup
	rounds := 60_000
	if raceEnabled {
		rounds /= 6
	}
	take := func(actions []arp.Action) {
		for _, a := range actions {
			if a.Buffer != nil {
				back.Add(1)
				if n := a.Addr - hostAddr(0); a.Kind == arp.ActionDeliver && a.MAC != hostMAC(n) {
					t.Errorf("a packet for host %d goes to %v", n, a.MAC)
				}
			}
		}
	}
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			var actions []arp.Action
			for range rounds {
				n := rnd.Uint32N(hosts)
				now := time.Duration(clock.Add(int64(100 * time.Microsecond)))
				switch found := table.Lookup(1, hostAddr(n)); {
				case found.IsValid() && found.MAC() != hostMAC(n):
					t.Errorf("host %d is at %v", n, found)
					return
				case n < 10 && found.State() != arp.StatePermanent:
					t.Errorf("configured host %d is %v", n, found)
					return
				}
				switch rnd.IntN(8) {
				case 0, 1:
					actions = table.Input(1, claim(t, arp.Reply, n, hostMAC(n)), arp.ToHost, now, actions[:0])
				case 2:
					actions = table.Input(1, claim(t, arp.Request, n, hostMAC(n)), arp.ForUs, now, actions[:0])
				case 3:
					actions, _ = table.Tick(now, actions[:0])
				case 4:
					if n >= 10 {
						actions, _ = table.Delete(hostKey(1, n), now, actions[:0]) // or it is not there
						break
					}
					actions = actions[:0]
				default:
					given.Add(1)
					actions = table.Output(1, hostAddr(n), packet.New(64), 0, now, actions[:0])
				}
				take(actions)
			}
		})
	}
	wg.Wait()
	for k, e := range table.All() {
		assert.True(t, e.MAC.IsZero() || e.State == arp.StateFailed || e.MAC[0] == 0x0a, "%v %+v", k, e)
	}
	assert.Equal(t, given.Load(), back.Load()+int64(table.Stats().Waiting))
	t.Logf("%+v", table.Stats())
}

// TestNeighboursAllocateNothing covers what happens for each packet and for each ARP packet of somebody known.
func TestNeighboursAllocateNothing(t *testing.T) {
	table := newNeighbours(t, arp.TableConfig{MaxWaiting: 8, GCThresh2: 4, GCThresh3: 4})
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 64, Size: 128})
	require.NoError(t, err)
	actions := make([]arp.Action, 0, 64)
	now := time.Duration(0)
	known, stranger, changed := claim(t, arp.Reply, 1, hostMAC(1)), claim(t, arp.Reply, 77, hostMAC(77)), claim(t, arp.Reply, 1, hostMAC(9))
	actions = table.Input(1, claim(t, arp.Request, 1, hostMAC(1)), arp.ForUs, now, actions)
	output := func(n uint32) {
		actions = table.Output(1, hostAddr(n), pool.Get(), 0, now, actions[:0])
		for _, a := range actions {
			if a.Buffer != nil {
				a.Buffer.Free()
			}
		}
	}
	for i := range uint32(40) { // all there will be
		output(2 + i)
	}
	burst, found := make([]uint32, 100), make([]arp.Neighbour, 100)
	for i := range burst {
		burst[i] = hostAddr(uint32(i % 10))
	}
	for name, f := range map[string]func(){
		"lookup":         func() { _ = table.Lookup(1, hostAddr(1)).Ready() || table.Lookup(1, hostAddr(50)).Ready() },
		"a burst":        func() { table.LookupAll(1, burst, found) },
		"known":          func() { output(1) },
		"held, dropped":  func() { output(2) },
		"table is full":  func() { output(60) },
		"not an address": func() { output(1<<31 - 1 - 10<<24) },
		"heard again":    func() { actions = table.Input(1, known, arp.ToHost, now, actions[:0]) },
		"stranger":       func() { actions = table.Input(1, stranger, arp.ToHost, now, actions[:0]) },
		"moves":          func() { now += 2 * time.Second; actions = table.Input(1, changed, 0, now, actions[:0]) },
		"confirm":        func() { table.Confirm(1, hostAddr(1), now) },
		"timers": func() {
			now += time.Second
			output(1)
			actions, _ = table.Tick(now, actions[:0])
			for _, a := range actions {
				if a.Buffer != nil {
					a.Buffer.Free()
				}
			}
		},
	} {
		f()
		assert.Zero(t, testing.AllocsPerRun(300, f), name)
	}
}

// A node resolves the address of a neighbour for a packet: the table says what to send and when to look again.
func ExampleTable() {
	table, err := arp.NewTable(arp.TableConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const eth0, peer = 1, 0x0a010103 // 10.1.1.3
	mac := ethernet.MustParseMAC("0a:58:0a:01:01:02")
	ours := [4]byte{10, 1, 1, 2}

	actions := table.Output(eth0, peer, packet.Of(make([]byte, 98)), 0, 0, nil)
	for _, a := range actions {
		request, to := a.Query(mac, ours)
		fmt.Println(a.Kind, "to", to, "for", netip.AddrFrom4(request.TargetIP))
	}
	fmt.Println(table.Lookup(eth0, peer), "look again at", table.Next())

	answer := arp.Fields{
		Op: arp.Reply, SenderMAC: ethernet.MustParseMAC("0a:58:0a:01:01:03"), SenderIP: [4]byte{10, 1, 1, 3}, TargetMAC: mac, TargetIP: ours,
	}
	p, err := arp.Parse(answer.Append(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range table.Input(eth0, p, arp.ToHost, time.Millisecond, nil) {
		fmt.Println(a.Kind, a.Buffer.Len(), "bytes to", a.MAC)
	}
	fmt.Println(table.Lookup(eth0, peer))
	// Output:
	// request to ff:ff:ff:ff:ff:ff for 10.1.1.3
	// INCOMPLETE look again at 1s
	// deliver 98 bytes to 0a:58:0a:01:01:03
	// 0a:58:0a:01:01:03 REACHABLE
}

// Packet workers look neighbours up beside an agent that replaces one over and over.
func ExampleTable_readersBesideAWriter() {
	table, err := arp.NewTable(arp.TableConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := arp.Key{Device: 1, Addr: netip.MustParseAddr("10.244.1.0")}
	set := func(last byte) {
		if _, err := table.Replace(peer, ethernet.MAC{0x0e, 0, 0, 0, 0, last}, arp.StatePermanent, 0, nil); err != nil {
			fmt.Println(err)
		}
	}
	set(0)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for range 10_000 {
				if found := table.Lookup(1, 0x0af40100); found.MAC()[0] != 0x0e {
					fmt.Println("the peer was away for a moment:", found)
				}
			}
		})
	}
	for i := range 1000 {
		set(byte(i % 2))
	}
	workers.Wait()
	fmt.Println(table.Lookup(1, 0x0af40100))
	// Output: 0e:00:00:00:00:01 PERMANENT
}
