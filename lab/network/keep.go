package network

// What is kept beside the engines: what commands remember of a node; in which order entries of forwarding databases were made, for
// that is the order in which Linux lists them; and what the kernel has once for all namespaces.

import (
	"errors"
	"maps"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/fdb"
)

// Value returns what was kept with the node under a key, nil if nothing. A key should be of a type of its owner's own, as with
// context.Context.
func (n *Node) Value(key any) any { return n.kept[key] }

// SetValue keeps a value with the node.
func (n *Node) SetValue(key, value any) {
	if n.kept == nil {
		n.kept = map[any]any{}
	}
	n.kept[key] = value
}

// station is an entry of a device's forwarding database.
type station struct {
	device uint32
	key    fdb.Key
}

// Birth is when an entry was made.
type Birth struct {
	Serial uint64 // greater than that of all older ones of the node
	At     time.Duration
}

// Birth returns when an entry of a bridge's or VXLAN device's forwarding database was made; zero if there is none.
func (n *Node) Birth(device uint32, key fdb.Key) Birth {
	n.birthsMu.Lock()
	defer n.birthsMu.Unlock()
	return n.births[station{device, key}]
}

// forgetFDB forgets the entries of a device that is gone.
func (n *Node) forgetFDB(device uint32) {
	n.birthsMu.Lock()
	defer n.birthsMu.Unlock()
	maps.DeleteFunc(n.births, func(s station, _ Birth) bool { return s.device == device })
}

// onFDB is the engine's Config.OnFDB.
func (n *Node) onFDB(device uint32, c fdb.Change) {
	s := station{device, c.Key}
	n.birthsMu.Lock()
	defer n.birthsMu.Unlock()
	switch {
	case !c.New.IsValid():
		delete(n.births, s)
	case !c.Old.IsValid():
		if n.births == nil {
			n.births = map[station]Birth{}
		}
		n.serial++
		n.births[s] = Birth{Serial: n.serial, At: n.net.Now()}
	}
}

// NeighThresholds are the limits of learned neighbours (net.ipv4.neigh.default.gc_thresh1 to 3). The kernel has one table for all
// namespaces; here each node has its own, with the same limits.
type NeighThresholds [3]int

// defaultThresholds are the kernel's (net/ipv4/arp.c, arp_tbl).
var defaultThresholds = NeighThresholds{128, 512, 1024}

// NeighThresholds returns the limits of all nodes' learned neighbours.
func (n *Network) NeighThresholds() NeighThresholds {
	if n.thresholds == (NeighThresholds{}) {
		return defaultThresholds
	}
	return n.thresholds
}

// SetNeighThresholds sets the limits of all nodes' learned neighbours, those of nodes to come included.
func (n *Network) SetNeighThresholds(t NeighThresholds) error {
	n.thresholds = t
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.setThresholds(t))
	}
	return errors.Join(errs...)
}

// most is the greatest limit that an engine's neighbour table takes.
const most = 1 << 24

// setThresholds sets the limits of a node's table. An engine wants them to rise; to the kernel the last is the one that counts.
func (n *Node) setThresholds(t NeighThresholds) error {
	third := min(max(t[2], 1), most)
	return n.E.SetNeighThresholds(min(t[0], most), min(max(t[1], 1), third), third)
}

// Answers by proxy wait up to so long on Linux, and so many (net/ipv4/arp.c, arp_tbl).
const (
	proxyDelay = 800 * time.Millisecond
	proxyQueue = 64
)

// smallPackets is how many small packets wait for a neighbour on Linux, where each takes 768 bytes of 212,992.
const smallPackets = 212992 / 768

// begin gives a new node what Linux gives a new namespace, where an engine has another default; and the timers and limits of
// neighbours that the first namespace has.
func (n *Node) begin() error {
	var errs []error
	for _, dev := range []string{"lo", engine.ConfAll, engine.ConfDefault} {
		c, err := n.E.Conf(dev)
		c.SendRedirects, c.ProxyDelay, c.ProxyQueue = true, proxyDelay, proxyQueue
		errs = append(errs, err, n.E.SetConf(dev, c))
	}
	from := n
	if len(n.net.nodes) > 0 {
		from = n.net.Default()
	}
	p, err := from.E.NeighParams(engine.ConfDefault)
	if from == n {
		p.QueuePackets = smallPackets
	}
	errs = append(errs, err, n.E.SetNeighParams(engine.ConfDefault, p))
	return errors.Join(append(errs, n.setThresholds(n.net.NeighThresholds()))...)
}
