// Package bridges is what 'bridge' and 'brctl' share: the entries of a node's forwarding databases as Linux lists them, and what
// Linux remembers of bridges and ports that an engine has no use for.
package bridges

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/lab/network"
)

// Port is what is remembered of a bridge's port, and changes nothing as long as the bridge does not run the spanning tree
// protocol.
type Port struct {
	Number   int // from 1
	Cost     uint32
	Priority uint32
}

// Defaults of a port (net/bridge/br_if.c: port_cost, new_nbp).
const (
	defaultPriority = 32
	fastCost        = 2   // of a device that says that it does 10 Gb/s
	slowCost        = 100 // of one that says nothing
)

// Bridge is what is remembered of a bridge. Times are those of the spanning tree protocol.
type Bridge struct {
	Priority                    uint32
	ForwardDelay, Hello, MaxAge time.Duration
	ports                       map[uint32]*Port // by index
}

// Defaults of a bridge (net/bridge/br_device.c, br_dev_setup).
const (
	defaultBridgePriority = 0x8000
	defaultForwardDelay   = 15 * time.Second
	defaultHello          = 2 * time.Second
	defaultMaxAge         = 20 * time.Second
)

// memory is all that is remembered with a node, by the indexes of devices.
type memory struct {
	bridges map[uint32]*Bridge
	unicast map[uint32][]ethernet.MAC
	words   map[station]string
}

type station struct {
	device uint32
	mac    ethernet.MAC
}

type memoryKey struct{}

func remembered(n *network.Node) *memory {
	m, ok := n.Value(memoryKey{}).(*memory)
	if !ok {
		m = &memory{bridges: map[uint32]*Bridge{}, unicast: map[uint32][]ethernet.MAC{}, words: map[station]string{}}
		n.SetValue(memoryKey{}, m)
	}
	return m
}

// Of returns what is remembered of a bridge, to be changed.
func Of(n *network.Node, name string) *Bridge {
	m, index := remembered(n), n.E.Index(name)
	b := m.bridges[index]
	if b == nil {
		b = &Bridge{
			Priority: defaultBridgePriority, ForwardDelay: defaultForwardDelay, Hello: defaultHello, MaxAge: defaultMaxAge,
			ports: map[uint32]*Port{},
		}
		m.bridges[index] = b
	}
	b.number(n, name)
	return b
}

// number gives ports that are new the lowest numbers that are free, in the order in which they joined, as the entries of their own
// addresses tell; and forgets those that are gone.
func (b *Bridge) number(n *network.Node, name string) {
	used, here := map[int]bool{}, map[uint32]bool{}
	ports, bridge := Ports(n, name), n.E.Index(name)
	for _, l := range ports {
		here[l.Index] = true
	}
	for index, p := range b.ports {
		if !here[index] {
			delete(b.ports, index)
			continue
		}
		used[p.Number] = true
	}
	joined := func(l engine.LinkInfo) uint64 { return n.Birth(bridge, fdb.KeyOf(0, l.MAC)).Serial }
	slices.SortStableFunc(ports, func(a, b engine.LinkInfo) int { return cmp.Compare(joined(a), joined(b)) })
	for _, l := range ports {
		if b.ports[l.Index] != nil {
			continue
		}
		p := &Port{Number: 1, Cost: cost(n, l), Priority: defaultPriority}
		for used[p.Number] {
			p.Number++
		}
		used[p.Number] = true
		b.ports[l.Index] = p
	}
}

func cost(n *network.Node, l engine.LinkInfo) uint32 {
	if d := n.Device(l.Name); d != nil && d.Kind == "dummy" {
		return slowCost
	}
	return fastCost
}

// Port returns what is remembered of a port of the bridge, nil if it is none.
func (b *Bridge) Port(index uint32) *Port { return b.ports[index] }

// Forwards reports whether a bridge forwards by a port: both must be up, and the port must have a carrier.
func Forwards(n *network.Node, l engine.LinkInfo) bool {
	br, ok := n.E.Link(l.Master)
	return ok && br.Up && l.Up && l.Carrier
}

// Ports returns the ports of a bridge by index.
func Ports(n *network.Node, name string) []engine.LinkInfo {
	return slices.DeleteFunc(n.E.Links(), func(l engine.LinkInfo) bool { return l.Master != name })
}

// Entry is an entry of a forwarding database.
type Entry struct {
	engine.FDBEntry
	Age   time.Duration // since it was heard; of configured ones, since it was made
	Words string        // of a VXLAN device: the state that it was given, see SetWords
}

// Entries returns the entries of a bridge or VXLAN device, the youngest first, as Linux lists them (net/bridge/br_fdb.c,
// fdb_create; drivers/net/vxlan/vxlan_core.c, vxlan_fdb_insert).
func Entries(n *network.Node, name string) []Entry {
	var entries []Entry
	device := n.E.Index(name)
	m := remembered(n)
	for f, age := range n.E.FDB(name) {
		if f.Flags != 0 {
			age = n.Now() - n.Birth(device, fdb.KeyOf(0, f.MAC)).At
		}
		entries = append(entries, Entry{FDBEntry: f, Age: age, Words: m.words[station{device, f.MAC}]})
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Compare(n.Birth(device, fdb.KeyOf(0, b.MAC)).Serial, n.Birth(device, fdb.KeyOf(0, a.MAC)).Serial)
	})
	return entries
}

// SetWords remembers which state and flags an entry of a VXLAN device was given ("sticky static"; "" is permanent), for all that
// are configured are the same to the engine.
func SetWords(n *network.Node, device string, mac ethernet.MAC, words string) {
	m, s := remembered(n), station{n.E.Index(device), mac}
	if words == "" {
		delete(m.words, s)
		return
	}
	m.words[s] = words
}

// Unicast returns the further addresses that a device was told to listen to (net/core/dev_addr_lists.c). They change nothing:
// devices of an engine hear everything that comes by their wire.
func Unicast(n *network.Node, device string) []ethernet.MAC {
	return remembered(n).unicast[n.E.Index(device)]
}

// SetUnicast sets what Unicast returns.
func SetUnicast(n *network.Node, device string, list []ethernet.MAC) {
	remembered(n).unicast[n.E.Index(device)] = list
}

// Group addresses that devices listen to: all nodes of IPv6 from when they are made, all hosts of IPv4 while they are up, and
// those of snoopers while a bridge is up.
var (
	allNodes  = ethernet.MAC{0x33, 0x33, 0, 0, 0, 0x01}
	snoopers6 = ethernet.MAC{0x33, 0x33, 0, 0, 0, 0x6a}
	allHosts  = ethernet.MAC{0x01, 0x00, 0x5e, 0, 0, 0x01}
	snoopers4 = ethernet.MAC{0x01, 0x00, 0x5e, 0, 0, 0x6a}
)

// Groups returns the group addresses that a device, one of links, listens to, in the order in which Linux lists them.
func Groups(l engine.LinkInfo, links []engine.LinkInfo) []ethernet.MAC {
	groups := []ethernet.MAC{allNodes}
	if l.Up && l.Kind == engine.KindBridge {
		groups = append(groups, snoopers4, snoopers6)
	}
	if l.Up {
		groups = append(groups, allHosts)
	}
	for _, other := range links {
		if v := other.VXLAN; v != nil && other.Up && v.Device == l.Name && v.Remote.Is4() && v.Remote.IsMulticast() {
			a := v.Remote.As4()
			if g := (ethernet.MAC{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}); !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
	}
	return groups
}
