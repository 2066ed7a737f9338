package arp

// The neighbour table: what it is made of, how it is read, and the entry points of the packet path. The rules are in state.go,
// the control side in table_control.go, limits and garbage collection in table_gc.go, waiting packets in queue.go.
//
//	            Output                     Input: a reply            no reply
//	   NONE ─────────────▶ INCOMPLETE ───────────────────▶ REACHABLE      INCOMPLETE, PROBE ──▶ FAILED
//	                           ▲                           │  ▲   ▲         (3 requests each)      │
//	                           └───────────────────────────┼──┼───┼────────────── Output ──────────┘
//	          ReachableTime without a confirmation         ▼  │   │ Confirm
//	                                                     STALE│   │
//	                                          Output       ▼  │   │
//	                                                     DELAY┼───┘
//	                                    5 s unconfirmed    ▼  │ Input: a reply
//	                                                     PROBE┘
//
// Sources: Linux 6.18 net/core/neighbour.c (neigh_update, neigh_timer_handler, __neigh_event_send, neigh_forced_gc,
// neigh_periodic_work) and net/ipv4/arp.c (arp_process, arp_solicit), whose names the comments use.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/packet"
)

// TableConfig sizes a [Table]. Zero fields take the default.
type TableConfig struct {
	// Params hold for devices without their own, see [Table.SetParams].
	Params Params

	// Seed chooses the reachable times. What a table does is a function of its calls and the seed.
	Seed uint64

	// GCThresh1 to 3 are the kernel's gc_thresh1 to 3, 128, 512 and 1024 by default: the number of entries below which none is
	// collected for its age, -1 for 0; of learned entries above which room is made at once; and which learned entries never
	// exceed.
	GCThresh1, GCThresh2, GCThresh3 int

	// GCInterval is the time between collections. The default is half of Params.BaseReachable, as in the kernel, which has a
	// sysctl gc_interval but does not use it.
	GCInterval time.Duration

	MaxConfigured int // permanent and NOARP entries; default 65536
	MaxWaiting    int // packets waiting in all; default 512
	MaxProxies    int // proxy entries; default 65536

	// OnChange is told every change of a neighbour's state or MAC address, in their order, by whoever caused it. It must not
	// call back into the table.
	OnChange func(Change)
}

const (
	defaultMaxConfigured = 1 << 16
	defaultMaxWaiting    = 512
	defaultMaxProxies    = 1 << 16
	maxEntries           = 1 << 24 // of each limit

	tickWork = 256 // entries that one Tick or one holding of the lock looks at
)

// Never is the deadline of a table with nothing to do.
const Never = time.Duration(math.MaxInt64)

// Change is a change of a neighbour: of its state, its MAC address, or both. Old is the zero [Neighbour] if it is new, New if it
// is gone.
type Change struct {
	Device   uint32
	Addr     uint32
	Old, New Neighbour
}

// String returns c as "10.0.0.2 dev 3: INCOMPLETE -> 0a:58:0a:f4:01:07 REACHABLE".
func (c Change) String() string {
	return fmt.Sprintf("%v: %v -> %v", Key{c.Device, netipOf(c.Addr)}, c.Old, c.New)
}

// ActionKind is what is to be done.
type ActionKind uint8

// What the table asks its caller to do. The last three hand a buffer back.
const (
	ActionRequest     ActionKind = iota + 1 // broadcast a request for Addr
	ActionProbe                             // send a request for Addr to MAC alone
	ActionMiss                              // ask the agent for Addr, which answers by Table.Replace
	ActionDeliver                           // send Buffer to MAC
	ActionUnreachable                       // Addr did not answer: report it to Buffer's sender (ICMP 3/1) and free Buffer
	ActionDrop                              // free Buffer, for Reason
)

// String returns k as a word.
func (k ActionKind) String() string {
	switch k {
	case ActionRequest:
		return "request"
	case ActionProbe:
		return "probe"
	case ActionMiss:
		return "miss"
	case ActionDeliver:
		return "deliver"
	case ActionUnreachable:
		return "unreachable"
	case ActionDrop:
		return "drop"
	}
	return fmt.Sprintf("action %d", uint8(k))
}

// Reason is why a packet was dropped.
type Reason uint8

// The reasons.
const (
	DropQueueFull   Reason = iota + 1 // too much waits for this neighbour: the oldest went
	DropWaitingFull                   // too much waits in all: the oldest went
	DropTableFull                     // no room for an entry
	DropNoProbes                      // the device's parameters allow no request
	DropAddress                       // not an address to ask for, or no device
	DropFlushed                       // the device went down, or its entries were flushed
	numReasons
)

// String returns r as words.
func (r Reason) String() string {
	switch r {
	case DropQueueFull:
		return "neighbour's queue full"
	case DropWaitingFull:
		return "too many packets waiting"
	case DropTableFull:
		return "table full"
	case DropNoProbes:
		return "no requests allowed"
	case DropAddress:
		return "not a neighbour's address"
	case DropFlushed:
		return "flushed"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Action is one thing that the caller is to do. With Buffer comes its ownership.
type Action struct {
	Buffer *packet.Buffer // of the last three kinds
	Device uint32
	Addr   uint32       // the neighbour, big-endian
	Source uint32       // of the first three kinds: the address to ask from, as it came with the newest waiting packet; 0: any
	MAC    ethernet.MAC // of ActionProbe and ActionDeliver
	Kind   ActionKind
	Reason Reason // of ActionDrop
}

// Query returns the packet that an [ActionRequest] or [ActionProbe] asks for, sent by mac with address ip, and the MAC address to
// send it to. RFC 826 leaves the target MAC address of a request open; it is zero, as in Linux.
func (a Action) Query(mac ethernet.MAC, ip [4]byte) (f Fields, dst ethernet.MAC) {
	var target [4]byte
	binary.BigEndian.PutUint32(target[:], a.Addr)
	dst = ethernet.Broadcast
	if a.Kind == ActionProbe {
		dst = a.MAC
	}
	return WhoHas(target, mac, ip), dst
}

// Reception is how an ARP packet came in, as far as the table cannot tell from the packet.
type Reception uint8

// Bits of a Reception.
const (
	// ToHost: the frame was sent to the device's own MAC address, not to everybody.
	ToHost Reception = 1 << iota

	// ForUs: the packet asks for an address that the caller answers for, its own or by proxy. The sender will want to talk, so it
	// gets an entry.
	ForUs
)

// Table is a neighbour table: which MAC address an IPv4 address on a device has, as Linux finds out and keeps it. It sends
// nothing and has no clock: packets to send, and those that no longer wait, come out as [Action]s, appended to a slice of the
// caller's; and every call that depends on the time is given it, as the time since any moment the caller chose. A time before
// one that the table has seen counts as that one.
//
// The packet path takes addresses as numbers, the first byte the most significant.
//
// # Concurrency
//
// All methods may be called by any goroutine at any time. [Table.Lookup], [Table.LookupAll], [Table.IsProxy] and [Table.Next] take
// no lock, wait for nobody and allocate nothing, whatever others do beside them. Nor does [Table.Input] of packets that change
// nothing. LookupAll finds what each neighbour was at some moment of the call. All else takes turns by a lock inside; [Table.Tick],
// [Table.Flush] and [Table.All] give it back after each slice of work.
//
// # Limits
//
// Learned entries are limited by [TableConfig].GCThresh3, configured ones by MaxConfigured, and neither takes the other's place:
// learning changes no configured entry, and garbage collection removes none. Waiting packets are limited for each neighbour and
// in all. Every buffer given to [Table.Output] comes back in an [Action].
//
// # Differences from Linux
//
//   - NOARP entries are configured ones here, and not collected. Linux makes some itself.
//   - ARP packets with a multicast or zero sender MAC address are not believed; Linux believes multicast ones.
//   - Room is made by removing failed entries first, then stale ones from the least recently changed; Linux goes by age of entry.
//   - unres_qlen_bytes counts the packets' bytes; Linux counts its memory for them, some 750 for a small packet.
type Table struct {
	words     *wordmap.Map // key → Neighbour; written with mu held
	proxies   *wordmap.Map // key → 1; written with mu held
	next      atomic.Int64 // deadline of Tick
	accepting atomic.Bool  // some device has AcceptUnsolicited

	// Packets that Input dealt with without the lock.
	unsolicited, badMAC, badAddress, badOp, pinned atomic.Uint64

	mu       sync.Mutex
	config   TableConfig
	seed     uint64
	defaults Params
	own      map[uint32]*Params
	now      time.Duration // the latest time seen

	records    map[uint64]*record
	all        list // in the order of their creation
	failed     list // collectable at once
	stale      list // in the order of Updated: collectable when old enough
	configured int  // entries
	created    uint64
	spare      *record // removed, to be used again; linked by links[byCreation].next
	spares     int

	timers timers
	room   waitingRoom

	lastForced time.Duration
	collection collection
	cursors    []*cursor
	stats      TableStats
}

// NewTable returns an empty table. It reports every field of c that is out of range.
func NewTable(c TableConfig) (*Table, error) {
	orInt(&c.GCThresh1, defaultGCThresh1)
	orInt(&c.GCThresh2, defaultGCThresh2)
	orInt(&c.GCThresh3, defaultGCThresh3)
	orInt(&c.MaxConfigured, defaultMaxConfigured)
	orInt(&c.MaxWaiting, defaultMaxWaiting)
	orInt(&c.MaxProxies, defaultMaxProxies)
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &Table{
		words:    wordmap.New(0),
		proxies:  wordmap.New(0),
		config:   c,
		seed:     c.Seed,
		defaults: c.Params.resolve(),
		own:      map[uint32]*Params{},
		records:  map[uint64]*record{},
		all:      list{by: byCreation},
		failed:   list{by: byUpdate},
		stale:    list{by: byUpdate},
		room:     waitingRoom{limit: c.MaxWaiting},
	}
	t.collection.due = t.interval()
	t.noteAccepting()
	t.next.Store(int64(Never))
	return t, nil
}

// check reports every field that is out of range.
func (c *TableConfig) check() error {
	errs := []error{c.Params.check("TableConfig.Params"), checkThresholds(c.GCThresh1, c.GCThresh2, c.GCThresh3)}
	if c.GCInterval < 0 {
		errs = append(errs, fmt.Errorf("arp: TableConfig.GCInterval is %v: want 0 for the default, or more", c.GCInterval))
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxConfigured", c.MaxConfigured}, {"MaxWaiting", c.MaxWaiting}, {"MaxProxies", c.MaxProxies}} {
		if f.value < 1 || f.value > maxEntries {
			errs = append(errs, fmt.Errorf("arp: TableConfig.%s is %d: want 0 for the default, or 1 to %d",
				f.name, f.value, maxEntries))
		}
	}
	return errors.Join(errs...)
}

func checkThresholds(t1, t2, t3 int) error {
	if t1 < 0 || t2 < 1 || t3 < t2 || t3 > maxEntries {
		return fmt.Errorf("arp: TableConfig.GCThresh1, GCThresh2, GCThresh3 are %d, %d, %d: want the first not negative, and "+
			"the others rising from 1 to %d at most", t1, t2, t3, maxEntries)
	}
	return nil
}

// SetThresholds changes the limits of learned entries, see [TableConfig].
func (t *Table) SetThresholds(gcThresh1, gcThresh2, gcThresh3 int) error {
	if err := checkThresholds(gcThresh1, gcThresh2, gcThresh3); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.unlock()
	before := t.collection.enough(t)
	t.config.GCThresh1, t.config.GCThresh2, t.config.GCThresh3 = gcThresh1, gcThresh2, gcThresh3
	if !before {
		t.collection.resume(t)
	}
	return nil
}

// unlock publishes the next deadline and gives the lock back.
func (t *Table) unlock() {
	t.next.Store(int64(t.deadline()))
	t.mu.Unlock()
}

// advance takes note of the time.
func (t *Table) advance(now time.Duration) { t.now = max(t.now, now) }

// Lookup returns what is known of the neighbour addr, big-endian, on a device, which is not 0. If the result is
// [Neighbour.Ready], packets go to its MAC address and the table need not hear of them; otherwise they go to [Table.Output].
//
// Linux notes the time of every packet that it sends while an entry is in delay or being checked; with Lookup, only the first of
// each interval between timers is noted, so [Entry].Used may lag behind by that interval. Nothing depends on it in the end, as
// Linux notes nothing while an entry is reachable.
func (t *Table) Lookup(device, addr uint32) Neighbour {
	return Neighbour(t.words.Load(keyOf(device, addr)))
}

// LookupAll sets neighbours[i] to what Lookup returns for addrs[i] on the device, for all addresses. It is for bursts: what of the table is not
// in the processor's cache is waited for together. There are as many neighbours as addresses, or more.
func (t *Table) LookupAll(device uint32, addrs []uint32, neighbours []Neighbour) {
	var keys [batch]uint64
	for len(addrs) > 0 {
		n := min(len(addrs), batch)
		for i, addr := range addrs[:n] {
			keys[i] = keyOf(device, addr)
		}
		wordmap.LoadAll(t.words, keys[:n], neighbours)
		addrs, neighbours = addrs[n:], neighbours[n:]
	}
}

// batch is how many keys LookupAll makes at once.
const batch = 64

// Output takes a packet for the neighbour addr, big-endian, on a device: it comes back in an action, now or later. source is
// the address that a request caused by the packet should come from, 0 for any. A nil packet makes the table find the neighbour, or
// check it, all the same.
func (t *Table) Output(device, addr uint32, b *packet.Buffer, source uint32, now time.Duration, actions []Action) []Action {
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	key := keyOf(device, addr)
	r := t.records[key]
	if r == nil {
		if device == 0 || !isHost(addr) {
			return t.refuse(key, b, DropAddress, actions)
		}
		if !t.makeRoom() {
			return t.refuse(key, b, DropTableFull, actions)
		}
		r = t.create(key)
	}
	return t.output(r, b, source, actions)
}

// refuse drops a packet that got no entry, if there is one.
func (t *Table) refuse(key uint64, b *packet.Buffer, why Reason, actions []Action) []Action {
	if b == nil {
		return actions
	}
	return t.drop(actions, key, b, why)
}

// Confirm tells that the neighbour is known to receive our packets, as when a TCP peer behind it acknowledges them. It does
// nothing if there is no such neighbour.
func (t *Table) Confirm(device, addr uint32, now time.Duration) {
	if t.words.Load(keyOf(device, addr)) == 0 {
		return
	}
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	if r := t.records[keyOf(device, addr)]; r != nil {
		r.confirmed = t.now
	}
}

// Next returns when [Table.Tick] has to be called next, [Never] if there is nothing to wait for. Any call may change it.
func (t *Table) Next() time.Duration { return time.Duration(t.next.Load()) }

// Tick does what is due, a slice of it at most, and returns with the actions the next deadline: one not after now if there is
// more to do at once, so that the caller can look after its packets in between.
func (t *Table) Tick(now time.Duration, actions []Action) ([]Action, time.Duration) {
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	for range tickWork {
		if t.timers.len() == 0 || t.timers.first().deadline > t.now {
			break
		}
		actions = t.expire(t.timers.first(), actions)
	}
	t.collection.run(t, tickWork)
	for n := 0; n < tickWork && t.words.Rebuilding(); n++ {
		t.words.Tidy()
	}
	return actions, t.deadline()
}

// deadline returns when there is something to do.
func (t *Table) deadline() time.Duration {
	if t.words.Rebuilding() { // which slows lookups down
		return t.now
	}
	next := t.collection.deadline(t)
	if t.timers.len() > 0 {
		next = min(next, t.timers.first().deadline)
	}
	return next
}
