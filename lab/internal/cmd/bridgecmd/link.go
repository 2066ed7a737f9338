package bridgecmd

// bridge link.

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/bridges"
	"github.com/culvert-net/culvert/lab/internal/words"
)

func (b *bridge) link() error {
	return b.do("link", verbs{
		{Name: "set", Value: (*bridge).linkSet},
		{Name: "change", Value: (*bridge).linkSet},
		{Name: "show", Value: (*bridge).linkShow},
		{Name: "lst", Value: (*bridge).linkShow},
		{Name: "list", Value: (*bridge).linkShow},
		{Name: "help", Value: func(*bridge) error { return words.Errorf(failed, linkUsage) }},
	}, (*bridge).linkShow)
}

const linkUsage = `Usage: bridge link set dev DEV [ cost COST ] [ priority PRIO ] [ state STATE ]
                               [ guard {on | off} ]
                               [ hairpin {on | off} ]
                               [ fastleave {on | off} ]
                               [ root_block {on | off} ]
                               [ learning {on | off} ]
                               [ learning_sync {on | off} ]
                               [ flood {on | off} ]
                               [ mcast_flood {on | off} ]
                               [ bcast_flood {on | off} ]
                               [ mcast_to_unicast {on | off} ]
                               [ neigh_suppress {on | off} ]
                               [ vlan_tunnel {on | off} ]
                               [ isolated {on | off} ]
                               [ locked {on | off} ]
                               [ self ] [ master ]
       bridge link show [dev DEV]`

// portSwitches are the switches of a port, as the engine has them.
var portSwitches = map[string]func(p *engine.BridgePort, on bool){
	"learning":    func(p *engine.BridgePort, on bool) { p.NoLearning = !on },
	"flood":       func(p *engine.BridgePort, on bool) { p.NoFlood = !on },
	"mcast_flood": func(p *engine.BridgePort, on bool) { p.NoMulticast = !on },
	"bcast_flood": func(p *engine.BridgePort, on bool) { p.NoBroadcast = !on },
	"hairpin":     func(p *engine.BridgePort, on bool) { p.Hairpin = on },
	"isolated":    func(p *engine.BridgePort, on bool) { p.Isolated = on },
	"locked":      func(p *engine.BridgePort, on bool) { p.Locked = on },
}

// otherSwitches are those that engines do not have. They are off, and may be set off.
var otherSwitches = map[string]bool{
	"guard": true, "fastleave": true, "root_block": true, "mcast_to_unicast": true, "neigh_suppress": true, "vlan_tunnel": true,
	"learning_sync": true,
}

// portChange is what 'bridge link set' is to change; nil and missing: nothing.
type portChange struct {
	dev            string
	switches       map[string]bool
	cost, priority *uint32
	state          string
	self           bool
}

func (b *bridge) linkSet() error {
	c := portChange{switches: map[string]bool{}}
	for b.args.More() {
		if err := b.linkWord(&c, b.args.Next()); err != nil {
			return err
		}
	}
	if c.dev == "" {
		return words.Errorf(failed, "Device is a required argument.")
	}
	l, ok := b.node.E.Link(c.dev)
	switch {
	case !ok:
		return noBridge(c.dev)
	case l.Port == nil || c.self:
		return engine.ErrNotBridge // Operation not supported
	}
	return b.setPort(l, &c)
}

func (b *bridge) linkWord(c *portChange, word string) (err error) {
	_, known := portSwitches[word]
	switch {
	case known || otherSwitches[word]:
		c.switches[word], err = b.onOff(word)
	case word == "dev":
		c.dev, err = b.args.Value()
	case word == "cost":
		c.cost, err = b.number()
	case word == "priority":
		c.priority, err = b.number()
	case word == "state":
		c.state, err = b.portState()
	case word == "self":
		c.self = true
	case word == "master":
	default:
		err = words.Errorf(failed, linkUsage)
	}
	return err
}

// statusOnOff is the exit status for a value that is neither on nor off: -EINVAL.
const statusOnOff = 234

func (b *bridge) onOff(word string) (bool, error) {
	value, err := b.args.Value()
	if err == nil && value != "on" && value != "off" {
		err = words.Errorf(statusOnOff, `Error: argument of "%s" must be one of "off", "on", not "%s"`, word, value)
	}
	return value == "on", err
}

// number reads a number as atoi(3) does.
func (b *bridge) number() (*uint32, error) {
	value, err := b.args.Value()
	if err != nil {
		return nil, err
	}
	end := strings.IndexFunc(value, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		value = value[:end]
	}
	n, _ := strconv.ParseUint(value, 10, 16)
	v := uint32(n)
	return &v, nil
}

// portStates are the states of a port by number (net/bridge: BR_STATE_DISABLED …).
var portStates = []string{"disabled", "listening", "learning", "forwarding", "blocking"}

func (b *bridge) portState() (string, error) {
	value, err := b.args.Value()
	if err != nil {
		return "", err
	}
	for n, name := range portStates {
		if value == name || value == strconv.Itoa(n) {
			return name, nil
		}
	}
	return "", words.Errorf(failed, "Error: invalid STP port state")
}

// setPort changes a port. A port is forwarding or disabled, as it is up or down: no state can be set but the one that it has.
func (b *bridge) setPort(l engine.LinkInfo, c *portChange) error {
	port := *l.Port
	for word, on := range c.switches {
		set := portSwitches[word]
		switch {
		case set != nil:
			set(&port, on)
		case on && word != "learning_sync": // which Linux accepts without effect
			return engine.ErrNotBridge // Operation not supported
		}
	}
	if c.state != "" && c.state != b.stateOf(l) {
		return engine.ErrNotBridge
	}
	p := bridges.Of(b.node, l.Master).Port(l.Index)
	if c.cost != nil {
		p.Cost = *c.cost
	}
	if c.priority != nil {
		p.Priority = *c.priority
	}
	return b.node.E.SetBridgePort(l.Name, port)
}

func (b *bridge) stateOf(l engine.LinkInfo) string {
	if bridges.Forwards(b.node, l) {
		return "forwarding"
	}
	return "disabled"
}

func (b *bridge) linkShow() error {
	var dev string
	for b.args.More() {
		if b.args.Next() != "dev" {
			continue
		}
		value, err := b.args.Value()
		switch {
		case err != nil:
			return err
		case dev != "":
			return duplicate("dev", value)
		case b.node.E.Index(value) == 0:
			return noDevice(value)
		}
		dev = value
	}
	for _, l := range b.node.E.Links() {
		if l.Port != nil && (dev == "" || dev == l.Name) {
			b.printPort(l)
		}
	}
	return nil
}

// printPort prints a port (bridge/link.c, print_linkinfo).
func (b *bridge) printPort(l engine.LinkInfo) {
	flags := []string{"BROADCAST", "MULTICAST"}
	if l.Up && !l.Carrier {
		flags = append([]string{"NO-CARRIER"}, flags...)
	}
	if l.Promisc {
		flags = append(flags, "PROMISC")
	}
	if l.Up {
		flags = append(flags, "UP")
	}
	if l.Up && l.Carrier {
		flags = append(flags, "LOWER_UP")
	}
	title, down := b.title(l)
	if down {
		flags = append(flags, "M-DOWN")
	}
	p := bridges.Of(b.node, l.Master).Port(l.Index)
	b.p.Printf("%d: %s: <%s> mtu %d master %s state %s priority %d cost %d \n",
		l.Index, title, strings.Join(flags, ","), l.MTU, l.Master, b.stateOf(l), p.Priority, p.Cost)
	if b.details {
		s := l.Port
		b.p.Printf("    hairpin %s guard off root_block off fastleave off learning %s flood %s mcast_flood %s bcast_flood %s "+
			"mcast_router 1 mcast_to_unicast off neigh_suppress off vlan_tunnel off isolated %s locked %s \n",
			onOff(s.Hairpin), onOff(!s.NoLearning), onOff(!s.NoFlood), onOff(!s.NoMulticast), onOff(!s.NoBroadcast),
			onOff(s.Isolated), onOff(s.Locked))
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// title is a port's name and the device at the other end of a veth pair, and whether that one is down. The kernel does not say
// here that it is in another namespace, and bridge takes its index for one of its own.
func (b *bridge) title(l engine.LinkInfo) (title string, down bool) {
	d := b.node.Device(l.Name)
	if d == nil || d.Peer == nil {
		return l.Name, false
	}
	index := d.Peer.Node.E.Index(d.Peer.Name)
	name := b.node.E.Name(index)
	if name == "" {
		return fmt.Sprintf("%s@if%d", l.Name, index), false
	}
	peer, _ := b.node.E.Link(name)
	return l.Name + "@" + name, !peer.Up
}
