package ipcmd

// ip link … type bridge and bridge_slave (ip/iplink_bridge.c, ip/iplink_bridge_slave.c).

import (
	"fmt"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/bridges"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// option is a number that a bridge has and that changes nothing on the way of a packet, or of which the lab has one value only: it
// is kept, to be shown.
type option struct {
	name            string
	bits            int
	preset          uint64
	lowest, highest uint64 // outside: 'Numerical result out of range'; highest 0: any
	fixed           bool   // no other value than the preset is implemented
}

// bridgeOptions, in the order in which abbreviations are looked up. Presets are those of net/bridge/br_device.c, in 1/100 s.
var bridgeOptions = []option{
	{name: "forward_delay", bits: 32}, // counts only with STP
	{name: "hello_time", bits: 32, lowest: 100, highest: 1000},
	{name: "max_age", bits: 32, lowest: 600, highest: 4000},
	{name: "ageing_time", bits: 32},
	{name: "stp_state", bits: 32, fixed: true},
	{name: "priority", bits: 16},
	{name: "vlan_filtering", bits: 8, fixed: true},
	{name: "vlan_protocol", fixed: true},
	{name: "group_fwd_mask", bits: 16, fixed: true},
	{name: "group_address", fixed: true},
	{name: "no_linklocal_learn", bits: 8, fixed: true},
	{name: "fdb_flush"},
	{name: "vlan_default_pvid", bits: 16, preset: 1},
	{name: "vlan_stats_enabled", bits: 8},
	{name: "vlan_stats_per_port", bits: 8},
	{name: "mcast_router", bits: 8, preset: 1},
	{name: "mcast_snooping", bits: 8, preset: 1}, // without IGMP groups are flooded in either case
	{name: "mcast_vlan_snooping", bits: 8, fixed: true},
	{name: "mcast_query_use_ifaddr", bits: 8},
	{name: "mcast_querier", bits: 8, fixed: true},
	{name: "mcast_hash_elasticity", bits: 32, preset: 16, fixed: true},
	{name: "mcast_hash_max", bits: 32, preset: 4096},
	{name: "mcast_last_member_count", bits: 32, preset: 2},
	{name: "mcast_startup_query_count", bits: 32, preset: 2},
	{name: "mcast_last_member_interval", bits: 64, preset: 100},
	{name: "mcast_membership_interval", bits: 64, preset: 26000},
	{name: "mcast_querier_interval", bits: 64, preset: 25500},
	{name: "mcast_query_interval", bits: 64, preset: 12500},
	{name: "mcast_query_response_interval", bits: 64, preset: 1000},
	{name: "mcast_startup_query_interval", bits: 64, preset: 3124},
	{name: "mcast_stats_enabled", bits: 8},
	{name: "mcast_igmp_version", bits: 8, preset: 2},
	{name: "mcast_mld_version", bits: 8, preset: 1},
	{name: "nf_call_iptables", bits: 8, fixed: true},
	{name: "nf_call_ip6tables", bits: 8, fixed: true},
	{name: "nf_call_arptables", bits: 8, fixed: true},
}

// bridgeWords are options by name.
type bridgeWords map[string]uint64

// findOption finds the option that a word means; two of them cannot be shortened.
func findOption(options []option, word string) *option {
	for n := range options {
		o := &options[n]
		strict := o.name == "no_linklocal_learn" || o.name == "mcast_vlan_snooping"
		if word == o.name || !strict && short(word, o.name) {
			return o
		}
	}
	return nil
}

// readBridge reads what follows 'type bridge'.
func (i *ip) readBridge() (bridgeWords, error) {
	given := bridgeWords{}
	for i.args.More() {
		word := i.args.Next()
		o := findOption(bridgeOptions, word)
		switch {
		case o == nil && short(word, "help"):
			return nil, exitsNot(usageBridge)
		case o == nil:
			return nil, words.Errorf(1, "bridge: unknown command \"%s\"?\n%s", word, usageBridge)
		case o.name == "fdb_flush":
			given[o.name] = 1
			continue
		case o.bits == 0:
			return nil, unsupported(o.name)
		}
		n, err := i.number(o.bits, "invalid "+o.name)
		if err != nil {
			return nil, err
		}
		if o.fixed && n != o.preset {
			return nil, unsupported(fmt.Sprintf("%s %d", o.name, n))
		}
		given[o.name] = n
	}
	return given, nil
}

// centisecond is the unit of a bridge's times (USER_HZ).
const centisecond = 10 * time.Millisecond

func addBridge(i *ip, l *linkWords) error {
	given, err := i.readBridge()
	if err != nil {
		return err
	}
	freeName(l, "bridge")
	e, err := l.base(minMTU)
	if err != nil {
		return err
	}
	if err := given.inRange(); err != nil {
		return err
	}
	if _, err := l.node.E.AddBridge(engine.Bridge{Link: e}); err != nil {
		return err
	}
	if err := l.node.Retap(); err != nil {
		return err
	}
	if err := given.apply(l, l.name); err != nil {
		return err
	}
	return i.dress(l)
}

func setBridge(i *ip, l *linkWords) error {
	given, err := i.readBridge()
	if err != nil {
		return err
	}
	if _, err := i.kindly("bridge", l); err != nil {
		return err
	}
	if err := given.inRange(); err != nil {
		return err
	}
	return given.apply(l, l.dev)
}

// inRange returns the kernel's refusal of a value.
func (b bridgeWords) inRange() error {
	for _, o := range bridgeOptions {
		if n, ok := b[o.name]; ok && o.highest != 0 && (n < o.lowest || n > o.highest) {
			return answers("Numerical result out of range")
		}
	}
	return nil
}

func (b bridgeWords) apply(l *linkWords, name string) error {
	a, shared := l.node.Attrs(name), bridges.Of(l.node, name)
	for option, n := range b {
		switch option {
		case "fdb_flush", "ageing_time":
		case "priority":
			shared.Priority = uint32(n)
		case "forward_delay":
			shared.ForwardDelay = time.Duration(n) * centisecond
		case "hello_time":
			shared.Hello = time.Duration(n) * centisecond
		case "max_age":
			shared.MaxAge = time.Duration(n) * centisecond
		default:
			if a.Options == nil {
				a.Options = map[string]uint64{}
			}
			a.Options[option] = n
		}
	}
	if n, ok := b["ageing_time"]; ok {
		if err := l.node.E.SetAgeing(name, ageing(n)); err != nil {
			return err
		}
	}
	if b["fdb_flush"] != 0 {
		_, err := l.node.E.FlushFDB(name)
		return err
	}
	return nil
}

// ageing returns the engine's ageing time. 0 lets entries expire at once.
func ageing(centiseconds uint64) time.Duration {
	return max(time.Duration(centiseconds)*centisecond, 1)
}

// bridgeShown is the order in which show prints, with what is printed between the options.
const bridgeShown = "forward_delay hello_time max_age ageing_time stp_state priority vlan_filtering *ids group_fwd_mask *group_address " +
	"mcast_snooping no_linklocal_learn mcast_vlan_snooping mcast_router mcast_query_use_ifaddr mcast_querier mcast_hash_elasticity " +
	"mcast_hash_max mcast_last_member_count mcast_startup_query_count mcast_last_member_interval mcast_membership_interval " +
	"mcast_querier_interval mcast_query_interval mcast_query_response_interval mcast_startup_query_interval mcast_stats_enabled " +
	"mcast_igmp_version mcast_mld_version nf_call_iptables nf_call_ip6tables nf_call_arptables"

// showBridge prints what 'ip -d link show' does of a bridge. The timers stand still.
func showBridge(i *ip, l *engine.LinkInfo) {
	set, shared := i.node.Attrs(l.Name).Options, bridges.Of(i.node, l.Name)
	for name := range strings.FieldsSeq(bridgeShown) {
		switch name {
		case "*ids":
			id := i.bridgeID(l.Name)
			i.p.Printf("bridge_id %s designated_root %s root_port 0 root_path_cost 0 topology_change 0 topology_change_detected 0 ", id, id)
			for _, timer := range []string{"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"} {
				i.p.Printf("%s %4d.%02d ", timer, 0, 0)
			}
		case "*group_address":
			i.p.Printf("group_address 01:80:c2:00:00:00 ")
		case "ageing_time":
			i.p.Printf("ageing_time %d ", shownAgeing(l.Bridge.Ageing))
		case "forward_delay":
			i.p.Printf("forward_delay %d ", shared.ForwardDelay/centisecond)
		case "hello_time":
			i.p.Printf("hello_time %d ", shared.Hello/centisecond)
		case "max_age":
			i.p.Printf("max_age %d ", shared.MaxAge/centisecond)
		case "priority":
			i.p.Printf("priority %d ", shared.Priority)
		default:
			n, ok := set[name]
			if !ok {
				n = findOption(bridgeOptions, name).preset
			}
			i.p.Printf("%s %d ", name, n)
		}
	}
}

func shownAgeing(d time.Duration) int {
	if d == 0 {
		d = defaultAgeing
	}
	return int(d / centisecond)
}

// bridgeID returns a bridge's id: of a bridge that has had no port it has no address yet.
func (i *ip) bridgeID(name string) string {
	l, _ := i.node.E.Link(name)
	var b strings.Builder
	for n, octet := range l.MAC {
		if (l.Unknown || i.isNameless(&l)) && !l.GivenMAC {
			octet = 0
		}
		if n > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%x", octet)
	}
	return fmt.Sprintf("%04x.%s", bridges.Of(i.node, name).Priority, b.String())
}

// portSwitch is a switch of a bridge's port that the engine has; in the engine those are in the negative that are on by default.
type portSwitch struct {
	name     string
	field    func(*engine.BridgePort) *bool
	negative bool
}

// portSwitches returns the switches, those without a field of which the lab has no other value than off.
func portSwitches() []portSwitch {
	return []portSwitch{
		{name: "hairpin", field: func(p *engine.BridgePort) *bool { return &p.Hairpin }},
		{name: "guard"},
		{name: "root_block"},
		{name: "fastleave"},
		{name: "learning", field: func(p *engine.BridgePort) *bool { return &p.NoLearning }, negative: true},
		{name: "flood", field: func(p *engine.BridgePort) *bool { return &p.NoFlood }, negative: true},
		{name: "mcast_flood", field: func(p *engine.BridgePort) *bool { return &p.NoMulticast }, negative: true},
		{name: "bcast_flood", field: func(p *engine.BridgePort) *bool { return &p.NoBroadcast }, negative: true},
		{name: "mcast_to_unicast"},
		{name: "proxy_arp"},
		{name: "proxy_arp_wifi"},
		{name: "mcast_fast_leave"},
		{name: "neigh_suppress"},
		{name: "vlan_tunnel"},
		{name: "isolated", field: func(p *engine.BridgePort) *bool { return &p.Isolated }},
		{name: "locked", field: func(p *engine.BridgePort) *bool { return &p.Locked }},
	}
}

// portWords are what was said of a bridge's port.
type portWords struct {
	flush    bool
	state    *uint64
	numbers  map[string]uint64
	switches []func(*engine.BridgePort)
}

// portTable is in the order of iproute2's source.
var portTable = []keyword[*portWords]{
	{"fdb_flush*", func(_ *ip, w *portWords) error { w.flush = true; return nil }},
	{"state*", func(i *ip, w *portWords) error {
		n, err := i.number(8, "state is invalid")
		w.state = &n
		return err
	}},
	{"priority*", portNumber("priority", 16, "priority is invalid")},
	{"cost*", portNumber("cost", 32, "cost is invalid")},
	{"hairpin*", portFlag("hairpin")},
	{"guard*", portFlag("guard")},
	{"root_block*", portFlag("root_block")},
	{"fastleave*", portFlag("fastleave")},
	{"learning*", portFlag("learning")},
	{"flood*", portFlag("flood")},
	{"mcast_flood*", portFlag("mcast_flood")},
	{"bcast_flood*", portFlag("bcast_flood")},
	{"mcast_to_unicast*", portFlag("mcast_to_unicast")},
	{"proxy_arp*", portFlag("proxy_arp")},
	{"proxy_arp_wifi*", portFlag("proxy_arp_wifi")},
	{"mcast_router*", func(i *ip, _ *portWords) error {
		n, err := i.number(8, "invalid mcast_router")
		if err == nil && n != portMcastQuery {
			err = unsupported("mcast_router " + itoa(uint32(n)))
		}
		return err
	}},
	{"mcast_fast_leave*", portFlag("mcast_fast_leave")},
	{"neigh_suppress*", portFlag("neigh_suppress")},
	{"group_fwd_mask*", nil},
	{"vlan_tunnel*", portFlag("vlan_tunnel")},
	{"isolated*", portFlag("isolated")},
	{"locked*", portFlag("locked")},
	{"backup_port*", nil},
	{"nobackup_port*", skip[*portWords]},
}

func portNumber(key string, bits int, what string) func(*ip, *portWords) error {
	return func(i *ip, w *portWords) error {
		n, err := i.number(bits, what)
		w.numbers[key] = n
		return err
	}
}

func portFlag(key string) func(*ip, *portWords) error {
	return func(i *ip, w *portWords) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		on := short(v, "on")
		if short(v, "off") {
			on = false // 'o' is off
		} else if !on {
			return exits(`Error: argument of "%s" must be one of "off", "on", not "%s"`, key, v)
		}
		for _, s := range portSwitches() {
			switch {
			case s.name != key:
			case s.field == nil && on:
				return unsupported(key + " on")
			case s.field != nil:
				w.switches = append(w.switches, func(p *engine.BridgePort) { *s.field(p) = on != s.negative })
			}
		}
		return nil
	}
}

const (
	stateForwarding = 3  // BR_STATE_FORWARDING
	highestPriority = 63 // BR_MAX_PORTS is 1 << 10 of 16 bits
)

func setBridgePort(i *ip, l *linkWords) error {
	w := &portWords{numbers: map[string]uint64{}}
	err := each(i, portTable, w, func(word string) error {
		if short(word, "help") {
			return exitsNot(usageBridgeSlave)
		}
		return words.Errorf(1, "bridge_slave: unknown option \"%s\"?\n%s", word, usageBridgeSlave)
	})
	if err != nil {
		return err
	}
	info, err := i.kindly("bridge_slave", l)
	if err != nil {
		return err
	}
	priority, prioritized := w.numbers["priority"]
	cost, costs := w.numbers["cost"]
	switch {
	case w.state != nil && *w.state != stateForwarding:
		return unsupported("state " + itoa(int(*w.state)))
	case prioritized && priority > highestPriority, costs && (cost < 1 || cost > 65535):
		return answers("Numerical result out of range")
	}
	port := *info.Port
	for _, set := range w.switches {
		set(&port)
	}
	shared := bridges.Of(i.node, info.Master).Port(info.Index)
	if prioritized {
		shared.Priority = uint32(priority)
	}
	if costs {
		shared.Cost = uint32(cost)
	}
	if w.flush {
		if _, err := i.node.E.FlushFDB(l.dev); err != nil {
			return err
		}
	}
	return i.node.E.SetBridgePort(l.dev, port)
}

// portMcastQuery is the preset of mcast_router (MDB_RTR_TYPE_TEMP_QUERY).
const portMcastQuery = 1

// showBridgePort prints what 'ip -d link show' does of a bridge's port.
func showBridgePort(i *ip, l *engine.LinkInfo) {
	on := func(name string) string {
		for _, s := range portSwitches() {
			if s.name == name && s.field != nil && *s.field(l.Port) != s.negative {
				return "on"
			}
		}
		return "off"
	}
	state := "disabled"
	if bridges.Forwards(i.node, *l) {
		state = "forwarding"
	}
	shared, id := bridges.Of(i.node, l.Master).Port(l.Index), i.bridgeID(l.Master)
	number, portID := shared.Number, shared.Priority<<10|uint32(shared.Number)
	i.p.Printf("state %s priority %d cost %d ", state, shared.Priority, shared.Cost)
	for _, name := range []string{"hairpin", "guard", "root_block", "fastleave", "learning", "flood"} {
		i.p.Printf("%s %s ", name, on(name))
	}
	i.p.Printf("port_id %#x port_no %#x designated_port %d designated_cost 0 designated_bridge %s designated_root %s ",
		portID, number, portID, id, id)
	for _, timer := range []string{"hold_timer", "message_age_timer", "forward_delay_timer"} {
		i.p.Printf("%s %4d.%02d ", timer, 0, 0)
	}
	i.p.Printf("topology_change_ack 0 config_pending 0 proxy_arp %s proxy_arp_wifi %s mcast_router %d mcast_fast_leave %s ",
		on("proxy_arp"), on("proxy_arp_wifi"), portMcastQuery, on("mcast_fast_leave"))
	for _, name := range []string{"mcast_flood", "bcast_flood", "mcast_to_unicast", "neigh_suppress"} {
		i.p.Printf("%s %s ", name, on(name))
	}
	i.p.Printf("group_fwd_mask 0 group_fwd_mask_str 0x0 vlan_tunnel %s isolated %s locked %s ", on("vlan_tunnel"), on("isolated"), on("locked"))
}
