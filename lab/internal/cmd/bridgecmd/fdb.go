package bridgecmd

// bridge fdb: what changes entries. What shows them is in fdbshow.go.

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/lab/internal/bridges"
	"github.com/culvert-net/culvert/lab/internal/words"
)

func (b *bridge) fdb() error {
	return b.do("fdb", verbs{
		{Name: "add", Value: func(b *bridge) error { return b.fdbChange(b.fdbAdd) }},
		{Name: "append", Value: func(b *bridge) error { return b.fdbChange(b.fdbAppend) }},
		{Name: "replace", Value: func(b *bridge) error { return b.fdbChange(b.fdbReplace) }},
		{Name: "delete", Value: func(b *bridge) error { return b.fdbChange(b.fdbDelete) }},
		{Name: "get", Value: (*bridge).fdbGet},
		{Name: "show", Value: (*bridge).fdbShow},
		{Name: "lst", Value: (*bridge).fdbShow},
		{Name: "list", Value: (*bridge).fdbShow},
		{Name: "flush", Value: (*bridge).fdbFlush},
		{Name: "help", Value: func(*bridge) error { return words.Errorf(failed, fdbUsage) }},
	}, (*bridge).fdbShow)
}

const fdbUsage = `Usage: bridge fdb { add | append | del | replace } ADDR dev DEV
              [ self ] [ master ] [ use ] [ sticky ]
              [ local | static | dynamic ]
              [ dst IPADDR ] [ port PORT] [ vni VNI ] [ via DEV ]
       bridge fdb [ show [ br BRDEV ] [ brport DEV ] [ vlan VID ]
              [ state STATE ] [ dynamic ] ]
       bridge fdb get [ to ] LLADDR [ br BRDEV ] { brport | dev } DEV
              [ self ] [ master ] [ dynamic ]
       bridge fdb flush dev DEV [ brport DEV ] [ vlan VID ]
              [ self ] [ master ] [ [no]permanent | [no]static | [no]dynamic ]
              [ [no]added_by_user ] [ [no]extern_learn ] [ [no]sticky ]
              [ [no]offloaded ]`

// state is what an entry is to be (NUD_PERMANENT, NUD_NOARP and NUD_REACHABLE of the kernel).
type state uint8

const (
	permanent state = 1 << iota
	static
	reachable
)

// entry is what is on the command line.
type entry struct {
	engine.FDBEntry
	addr         string
	self, master bool
	use          bool
	sticky       bool
	state        state
}

// fdbChange reads an entry and does something with it.
func (b *bridge) fdbChange(f func(*entry) error) error {
	e := &entry{}
	for b.args.More() {
		if err := b.fdbWord(e, b.args.Next()); err != nil {
			return err
		}
	}
	if e.Dev == "" || e.addr == "" {
		return words.Errorf(failed, "Device and address are required arguments.")
	}
	if !e.self && !e.master {
		e.self = true
	}
	if e.state&(permanent|reachable) == 0 {
		e.state |= permanent
	}
	mac, ok := parseMAC(e.addr)
	if !ok {
		return words.Errorf(failed, "Invalid mac address %s", e.addr)
	}
	e.MAC = mac
	if b.node.E.Index(e.Dev) == 0 {
		return noDevice(e.Dev)
	}
	return f(e)
}

// parseMAC reads six hexadecimal numbers with colons, as sscanf("%hhx:…") does.
func parseMAC(s string) (ethernet.MAC, bool) {
	mac, err := ethernet.ParseMAC(s)
	return mac, err == nil && len(s) <= len("00:00:00:00:00:00")
}

// fdbWord reads a word and its value.
func (b *bridge) fdbWord(e *entry, word string) (err error) {
	switch word {
	case "dev":
		e.Dev, err = b.args.Value()
	case "dst":
		err = b.fdbDst(e)
	case "port":
		e.UDP, err = b.fdbPort()
	case "vni":
		e.VNI, err = b.fdbVNI("invalid VNI")
	case "src_vni": // of devices that collect metadata, which there are none of
		_, err = b.fdbVNI("invalid src VNI")
	case "via":
		if e.Via, err = b.args.Value(); err == nil && b.node.E.Index(e.Via) == 0 {
			err = noDevice(e.Via)
		}
	case "self":
		e.self = true
	default:
		err = b.fdbFlag(e, word)
	}
	return err
}

// fdbFlag reads a word that may be shortened, or the address.
func (b *bridge) fdbFlag(e *entry, word string) error {
	set, ok := words.Match(fdbFlags, word)
	if ok {
		set(e)
		return nil
	}
	if word == "vlan" || word == "nhid" || word == "extern_learn" {
		return words.Errorf(failed, "RTNETLINK answers: Invalid argument")
	}
	if word == "to" {
		word = b.args.Next()
	}
	if e.addr != "" {
		return duplicate("to", word)
	}
	e.addr = word
	return nil
}

var fdbFlags = []words.Entry[func(*entry)]{
	{Name: "master", Value: func(e *entry) { e.master = true }},
	{Name: "router", Value: func(*entry) {}}, // of neighbours in IPv6
	{Name: "local", Value: func(e *entry) { e.state |= permanent }},
	{Name: "permanent", Value: func(e *entry) { e.state |= permanent }},
	{Name: "temp", Value: func(e *entry) { e.state |= static | reachable }},
	{Name: "static", Value: func(e *entry) { e.state |= static | reachable }},
	{Name: "dynamic", Value: func(e *entry) { e.state = e.state&^static | reachable }},
	{Name: "use", Value: func(e *entry) { e.use = true }},
	{Name: "sticky", Value: func(e *entry) { e.sticky = true }},
}

func (b *bridge) fdbDst(e *entry) error {
	value, err := b.args.Value()
	if err != nil {
		return err
	}
	if e.Dst.IsValid() {
		return duplicate("dst", value)
	}
	if e.Dst, err = netip.ParseAddr(value); err != nil {
		return words.Errorf(1, `Error: any valid address is expected rather than "%s".`, value)
	}
	return nil
}

func (b *bridge) fdbPort() (uint16, error) {
	value, err := b.args.Value()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 0, 16)
	if err != nil {
		return 0, invalid(value, "invalid port")
	}
	return uint16(n), nil
}

func (b *bridge) fdbVNI(fault string) (uint32, error) {
	value, err := b.args.Value()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 0, 24)
	if err != nil {
		return 0, invalid(value, fault)
	}
	return uint32(n), nil
}

// invalid is invarg() with a text that ends in a newline of its own, as those of bridge/fdb.c do.
func invalid(value, fault string) error {
	return words.Errorf(failed, "Error: argument \"%s\" is wrong: %s\n\n", value, fault)
}

// both does what is to be done in the bridge's table, and then what is to be done in the device's own, as rtnl_fdb_add and
// rtnl_fdb_del do (net/core/rtnetlink.c).
func (b *bridge) both(e *entry, inBridge, inVXLAN, inDevice func(*entry) error) error {
	l, _ := b.node.E.Link(e.Dev)
	if e.master {
		if l.Master == "" {
			if !e.self {
				return engine.ErrNotBridge
			}
		} else if err := inBridge(e); err != nil {
			return err
		}
	}
	switch {
	case !e.self:
		return nil
	case l.Kind == engine.KindVXLAN:
		return inVXLAN(e)
	case l.Kind == engine.KindBridge:
		if e.state&permanent == 0 { // "FDB entry towards bridge must be permanent"
			return engine.ErrInvalid
		}
		return inBridge(e)
	}
	return inDevice(e)
}

func (b *bridge) fdbAdd(e *entry) error {
	return b.both(e, b.inBridge(b.node.E.AddFDB), b.inVXLAN(b.node.E.AddFDB), func(e *entry) error { return b.listen(e, true) })
}

func (b *bridge) fdbReplace(e *entry) error {
	inVXLAN := b.inVXLAN(b.node.E.ReplaceFDB)
	return b.both(e, b.inBridge(b.node.E.ReplaceFDB), func(e *entry) error {
		if e.MAC.IsStation() {
			return inVXLAN(e)
		}
		if b.has(e.Dev, e.MAC) {
			return words.Errorf(failed, "Error: Cannot replace non-unicast fdb entries.")
		}
		return engine.ErrNotBridge // Operation not supported
	}, func(e *entry) error { return b.listen(e, false) })
}

func (b *bridge) fdbAppend(e *entry) error {
	return b.both(e, b.inBridge(b.node.E.ReplaceFDB), b.inVXLAN(b.node.E.AppendFDB), func(e *entry) error { return b.listen(e, false) })
}

func (b *bridge) has(dev string, mac ethernet.MAC) bool {
	for f := range b.node.E.FDB(dev) {
		if f.MAC == mac {
			return true
		}
	}
	return false
}

// inBridge returns what puts an entry into a bridge's table (br_fdb_add).
func (b *bridge) inBridge(put func(engine.FDBEntry) error) func(*entry) error {
	return func(e *entry) error {
		f := engine.FDBEntry{MAC: e.MAC, Dev: e.Dev, Master: true}
		switch {
		case e.sticky && e.state&permanent != 0:
			return engine.ErrInvalid
		case e.state&permanent != 0:
			f.Flags = fdb.Local
		case e.state&static != 0:
			f.Flags = fdb.Static
		}
		if e.sticky {
			f.Flags |= fdb.Sticky
		}
		if e.use {
			return b.use(f)
		}
		return put(f)
	}
}

// use does what a frame from the station would: it makes a dynamic entry, or moves the one there is (br_fdb_update).
func (b *bridge) use(f engine.FDBEntry) error {
	l, _ := b.node.E.Link(f.Dev)
	f.Flags = 0
	for have := range b.node.E.FDB(l.Master) {
		if have.MAC == f.MAC {
			f.Flags = have.Flags
		}
	}
	if f.Flags&(fdb.Local|fdb.Sticky) != 0 {
		return nil
	}
	return b.node.E.ReplaceFDB(f)
}

// inVXLAN returns what puts an entry into a VXLAN device's table (vxlan_fdb_add).
func (b *bridge) inVXLAN(put func(engine.FDBEntry) error) func(*entry) error {
	return func(e *entry) error {
		f := e.FDBEntry
		b.ownVNI(&f)
		if f.Dst.Is6() {
			return words.Errorf(failed, "RTNETLINK answers: Address family not supported by protocol")
		}
		f.Dynamic = e.state&(permanent|static) == 0
		if err := put(f); err != nil {
			return err
		}
		var text string // "" is permanent, which most are
		if e.sticky {
			text = "sticky "
		}
		if e.state&permanent == 0 && e.state&static != 0 {
			text += "static"
		}
		bridges.SetWords(b.node, f.Dev, f.MAC, text)
		return nil
	}
}

// ownVNI leaves out what is the device's own anyway.
func (b *bridge) ownVNI(f *engine.FDBEntry) {
	l, _ := b.node.E.Link(f.Dev)
	if f.VNI == l.VXLAN.VNI {
		f.VNI = 0
	}
	if f.UDP == l.VXLAN.DstPort {
		f.UDP = 0
	}
}

// listen adds an address to those that a device listens to (ndo_dflt_fdb_add).
func (b *bridge) listen(e *entry, exclusive bool) error {
	if e.state != permanent {
		return engine.ErrInvalid
	}
	list := bridges.Unicast(b.node, e.Dev)
	if slices.Contains(list, e.MAC) {
		if exclusive {
			return engine.ErrExists
		}
		return nil
	}
	bridges.SetUnicast(b.node, e.Dev, append(list, e.MAC))
	return nil
}

func (b *bridge) fdbDelete(e *entry) error {
	return b.both(e, b.deleteMaster, b.deleteVXLAN, func(e *entry) error {
		if e.state != permanent {
			return engine.ErrInvalid
		}
		list := bridges.Unicast(b.node, e.Dev)
		i := slices.Index(list, e.MAC)
		if i < 0 {
			return engine.ErrNotFound
		}
		bridges.SetUnicast(b.node, e.Dev, slices.Delete(list, i, i+1))
		return nil
	})
}

// deleteMaster removes an entry from a bridge's table, if it is that of the port (br_fdb_delete).
func (b *bridge) deleteMaster(e *entry) error {
	l, _ := b.node.E.Link(e.Dev)
	br := l.Master
	if l.Kind == engine.KindBridge {
		br = e.Dev
	}
	for f := range b.node.E.FDB(br) {
		if f.MAC == e.MAC && f.Dev == e.Dev {
			return b.node.E.DeleteFDB(engine.FDBEntry{MAC: e.MAC, Dev: e.Dev, Master: true})
		}
	}
	return engine.ErrNotFound
}

// deleteVXLAN removes an entry from a VXLAN device's table, or one of its remotes. A remote that the entry does not have is no
// error (__vxlan_fdb_delete).
func (b *bridge) deleteVXLAN(e *entry) error {
	f := e.FDBEntry
	b.ownVNI(&f)
	if !b.has(f.Dev, f.MAC) {
		return engine.ErrNotFound
	}
	if f.Dst.IsValid() && f.Dst != netip.IPv4Unspecified() {
		for g := range b.node.E.FDB(f.Dev) {
			if g.MAC == f.MAC && g.Dst == f.Dst && g.VNI == f.VNI && g.UDP == f.UDP && b.via(g) == f.Via {
				f.Via = g.Via
				return b.node.E.DeleteFDB(f)
			}
		}
		return nil
	}
	return b.node.E.DeleteFDB(engine.FDBEntry{MAC: f.MAC, Dev: f.Dev})
}
