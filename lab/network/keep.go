package network

// What is kept with a node beside its engine: what commands remember of it, and in which order entries of forwarding databases
// were made, for that is the order in which Linux lists them.

import (
	"maps"
	"time"

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
func (n *Node) Birth(device uint32, key fdb.Key) Birth { return n.births[station{device, key}] }

// forgetFDB forgets the entries of a device that is gone.
func (n *Node) forgetFDB(device uint32) {
	maps.DeleteFunc(n.births, func(s station, _ Birth) bool { return s.device == device })
}

// onFDB is the engine's Config.OnFDB.
func (n *Node) onFDB(device uint32, c fdb.Change) {
	s := station{device, c.Key}
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
