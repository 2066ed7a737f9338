package ipcmd

// ip link: its verbs. What describes a device is read in linkwords.go, kinds are in link*.go, what show prints in linkshow.go.

import (
	"errors"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/bridges"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) link() error {
	return i.do("link", verbs{
		{Name: "add", Value: (*ip).linkAdd},
		{Name: "set", Value: (*ip).linkSet},
		{Name: "change", Value: (*ip).linkSet},
		{Name: "replace", Value: (*ip).linkReplace},
		{Name: "delete", Value: (*ip).linkDelete},
		{Name: "show", Value: (*ip).linkShow},
		{Name: "lst", Value: (*ip).linkShow},
		{Name: "list", Value: (*ip).linkShow},
		{Name: "xstats"},
		{Name: "afstats"},
		{Name: "property"},
		{Name: "help", Value: func(*ip) error { return help(usageLink) }},
	}, (*ip).linkShow)
}

// kind is a kind of device.
type kind struct {
	name string
	add  func(i *ip, l *linkWords) error // makes one; what follows 'type NAME' is still to be read
	set  func(i *ip, l *linkWords) error // changes one
	is   func(i *ip, l *engine.LinkInfo) bool
	show func(i *ip, l *engine.LinkInfo) // with -d: what it prints, and a blank behind each word
}

// kinds returns the kinds that the lab has.
func kinds() []kind {
	return []kind{
		{name: "veth", add: addVeth, set: setVeth, is: isDevice("veth"), show: func(*ip, *engine.LinkInfo) {}},
		{name: "dummy", add: addDummy, set: setNothing, is: isDevice("dummy"), show: func(*ip, *engine.LinkInfo) {}},
		{name: "bridge", add: addBridge, set: setBridge, is: isKind(engine.KindBridge), show: showBridge},
		{name: "bridge_slave", add: nil, set: setBridgePort, is: isPort, show: showBridgePort},
		{name: "vxlan", add: addVXLAN, set: setVXLAN, is: isKind(engine.KindVXLAN), show: showVXLAN},
		{name: "ipip", add: addIPIP, set: setIPIP, is: isKind(engine.KindIPIP), show: showIPIP},
	}
}

func isDevice(name string) func(*ip, *engine.LinkInfo) bool {
	return func(i *ip, l *engine.LinkInfo) bool {
		d := i.node.Device(l.Name)
		return d != nil && d.Kind == name
	}
}

func isKind(k engine.Kind) func(*ip, *engine.LinkInfo) bool {
	return func(_ *ip, l *engine.LinkInfo) bool { return l.Kind == k }
}

func isPort(_ *ip, l *engine.LinkInfo) bool { return l.Master != "" }

// findKind returns a kind by its name, nil if there is none.
func findKind(name string) *kind {
	for _, k := range kinds() {
		if k.name == name {
			return &k
		}
	}
	return nil
}

func (i *ip) linkAdd() error {
	l := &linkWords{create: true, node: i.node}
	if err := i.readLink(l); err != nil {
		return err
	}
	return i.makeLink(l)
}

func (i *ip) makeLink(l *linkWords) error {
	if !l.typed {
		return words.Errorf(1, `Not enough information: "type" argument is required`)
	}
	k := findKind(l.kind)
	open := i.p.Sys.Drivers[l.kind]
	if open != nil {
		k = &kind{add: func(i *ip, l *linkWords) error { return i.addDriver(l, open) }}
	}
	switch {
	case k == nil && i.args.More():
		return i.trailing()
	case l.name != "" && l.node.E.Index(l.name) != 0:
		return answers("File exists")
	case k == nil || k.add == nil:
		return extack("Unknown device type.")
	}
	return k.add(i, l)
}

// trailing refuses words behind a kind that has none.
func (i *ip) trailing() error {
	if short(i.args.Peek(), "help") {
		return help(usageLink)
	}
	return words.Errorf(1, "Garbage instead of arguments \"%s ...\". Try \"ip link help\".", i.args.Peek())
}

// base returns what the engine is to know of a new device, or the kernel's refusal.
func (l *linkWords) base(lowest int) (engine.Link, error) {
	e := engine.Link{Name: l.name, Index: uint32(l.index), Up: l.up != nil && *l.up}
	if l.address != nil {
		m, ok := mac(l.address)
		switch {
		case !ok:
			return e, answers("Invalid argument")
		case !m.IsStation():
			return e, answers("Cannot assign requested address")
		}
		e.MAC = m
	}
	if l.mtu != nil {
		if err := checkMTU(*l.mtu, lowest); err != nil {
			return e, err
		}
		e.MTU = *l.mtu
	}
	return e, nil
}

const maxMTU = 65535

func checkMTU(mtu, lowest int) error {
	switch {
	case mtu < lowest:
		return extack("mtu less than device minimum.")
	case mtu > maxMTU:
		return extack("mtu greater than device maximum.")
	}
	return nil
}

// dress gives a new device what else was said of it.
func (i *ip) dress(l *linkWords) error {
	a := l.node.Attrs(l.name)
	a.Opened = l.up != nil && *l.up
	a.TxQueues, a.RxQueues = l.txQueues, l.rxQueues
	l.alias = nil // the kernel forgets it
	l.attributes(a)
	if l.master != nil {
		if err := l.node.SetLink(l.name, engine.LinkChange{Master: l.master}); err != nil {
			return errors.Join(i.masterError(l.node, l.name, *l.master), l.node.DeleteLink(l.name))
		}
		bridges.Of(l.node, *l.master) // gives it its number
	}
	if l.promisc != nil {
		return l.node.SetLink(l.name, engine.LinkChange{Promisc: l.promisc})
	}
	return nil
}

// attributes sets those of no effect on packets that were given.
func (l *linkWords) attributes(a *network.Attrs) {
	if l.alias != nil {
		a.Alias = *l.alias
	}
	if l.group != nil {
		a.Group = *l.group
	}
	if l.txQueue != nil {
		a.TxQueue = l.txQueue
	}
	if l.multicast != nil {
		a.NoMulticast = !*l.multicast
	}
	if l.allMulticast != nil {
		a.AllMulticast = *l.allMulticast
	}
	if l.addrGenMode != "" {
		a.AddrGenMode = l.addrGenMode
	}
}

// freeName gives a device without a name the first of BASE0, BASE1 … that its node does not have.
func freeName(l *linkWords, base string, taken ...string) {
	for n := 0; l.name == ""; n++ {
		name := base + itoa(n)
		if l.node.E.Index(name) == 0 && (len(taken) == 0 || name != taken[0]) {
			l.name = name
		}
	}
}

func (i *ip) linkDelete() error {
	l := &linkWords{node: i.node}
	if err := i.readLink(l); err != nil {
		return err
	}
	if i.args.More() {
		return i.trailing()
	}
	if l.dev == "" {
		for _, name := range i.inGroup(*l.group) {
			if err := i.deleteDevice(name); err != nil {
				return err
			}
		}
		return nil
	}
	return i.deleteDevice(l.dev)
}

func (i *ip) deleteDevice(name string) error {
	if name == "lo" {
		return answers("Operation not supported")
	}
	if l, _ := i.node.E.Link(name); name == network.Fallback && l.IPIP != nil {
		return nil // it stays, without a word
	}
	return i.node.DeleteLink(name)
}

// inGroup returns the names of a group's devices.
func (i *ip) inGroup(group uint32) []string {
	var names []string
	for _, l := range i.node.E.Links() {
		if i.node.Attrs(l.Name).Group == group {
			names = append(names, l.Name)
		}
	}
	return names
}

func (i *ip) linkReplace() error {
	l := &linkWords{create: true, node: i.node}
	if err := i.readLink(l); err != nil {
		return err
	}
	if l.name == "" || i.node.E.Index(l.name) == 0 {
		return i.makeLink(l)
	}
	l.dev, l.name = l.name, ""
	return i.changeLink(l)
}

func (i *ip) linkSet() error {
	l := &linkWords{node: i.node}
	if err := i.readLink(l); err != nil {
		return err
	}
	if l.dev != "" {
		return i.changeLink(l)
	}
	group := *l.group // of all devices that are in it
	l.group = nil
	for _, name := range i.inGroup(group) {
		l.dev = name
		if err := i.changeLink(l); err != nil {
			return err
		}
	}
	return nil
}

// changeLink makes the changes one after the other, in the order of the kernel's do_setlink; if one fails, those before it stay.
func (i *ip) changeLink(l *linkWords) error {
	if l.typed {
		if err := i.changeKind(l); err != nil {
			return err
		}
	}
	for _, change := range []func(*ip, *linkWords) error{changeNetns, changeAddress, changeMTU, changeName, changeMaster, changeFlags} {
		if err := change(i, l); err != nil {
			return err
		}
	}
	return nil
}

// changeKind makes the changes that 'type KIND' asks for.
func (i *ip) changeKind(l *linkWords) error {
	k := findKind(l.kind)
	switch {
	case k == nil && i.args.More():
		return i.trailing()
	case k == nil:
		return nil // as Linux
	}
	return k.set(i, l)
}

// kindly refuses changes of a device that is not of the kind.
func (i *ip) kindly(name string, l *linkWords) (engine.LinkInfo, error) {
	info, ok := i.node.E.Link(l.dev)
	if k := findKind(name); !ok || !k.is(i, &info) {
		return info, answers("Operation not supported")
	}
	return info, nil
}

// setNothing changes a device of a kind without words of its own: iproute2 ignores them.
func setNothing(i *ip, l *linkWords) error {
	_, err := i.kindly(l.kind, l)
	return err
}

func changeNetns(i *ip, l *linkWords) error {
	if l.target == nil || l.target == i.node {
		return nil
	}
	info, _ := i.node.E.Link(l.dev)
	if info.Kind == engine.KindLoopback || info.Kind == engine.KindBridge {
		return extack("The interface netns is immutable.")
	}
	as := engine.Link{Name: l.dev, Index: uint32(l.index)}
	if l.name != "" {
		as.Name = l.name
	}
	if l.target.E.Index(as.Name) != 0 {
		return extack("An interface with the same name exists in the target netns.")
	}
	err := i.node.MoveLinkAs(l.dev, l.target, as)
	if errors.Is(err, network.ErrImmovable) {
		return unsupported("ip link set netns of a tunnel")
	}
	i.node, l.node, l.dev, l.name = l.target, l.target, as.Name, ""
	return err
}

func changeAddress(i *ip, l *linkWords) error {
	if l.address == nil {
		return nil
	}
	info, _ := i.node.E.Link(l.dev)
	m, ok := mac(l.address)
	switch {
	case info.Raw || !ok:
		return answers("Operation not supported")
	case !m.IsStation():
		return answers("Cannot assign requested address")
	}
	return i.node.SetLink(l.dev, engine.LinkChange{MAC: &m})
}

func changeMTU(i *ip, l *linkWords) error {
	if l.mtu == nil {
		return nil
	}
	lowest, highest, _, none := i.mtuRange(l.dev)
	outside := *l.mtu < lowest || *l.mtu > highest
	switch info, _ := i.node.E.Link(l.dev); {
	case info.IPIP != nil && none == 0 && outside: // the tunnel itself says so
		return answers("Invalid argument")
	case *l.mtu < lowest:
		return extack("mtu less than device minimum.")
	case *l.mtu > highest:
		return extack("mtu greater than device maximum.")
	}
	return i.node.SetLink(l.dev, engine.LinkChange{MTU: l.mtu})
}

func changeName(i *ip, l *linkWords) error {
	l.attributes(i.node.Attrs(l.dev))
	if l.name == "" {
		return nil
	}
	err := i.node.SetLink(l.dev, engine.LinkChange{Name: &l.name})
	if err == nil {
		l.dev, l.name = l.name, ""
	}
	return err
}

func changeMaster(i *ip, l *linkWords) error {
	info, _ := i.node.E.Link(l.dev)
	if l.master == nil || *l.master == info.Master {
		return nil
	}
	if err := i.node.SetLink(l.dev, engine.LinkChange{Master: new(string)}); err != nil { // even if it will not get the new one
		return err
	}
	if err := i.node.SetLink(l.dev, engine.LinkChange{Master: l.master}); err != nil {
		return i.masterError(i.node, l.dev, *l.master)
	}
	if *l.master != "" {
		bridges.Of(i.node, *l.master) // gives it its number
	}
	return nil
}

// masterError is the kernel's refusal of a port (br_add_if).
func (i *ip) masterError(node *network.Node, dev, master string) error {
	d, _ := node.E.Link(dev)
	m, _ := node.E.Link(master)
	switch {
	case m.Kind != engine.KindBridge:
		return answers("Operation not supported")
	case d.Kind == engine.KindBridge:
		return extack("Can not enslave a bridge to a bridge.")
	}
	return answers("Invalid argument")
}

func changeFlags(i *ip, l *linkWords) error {
	if l.promisc != nil {
		if err := i.node.SetLink(l.dev, engine.LinkChange{Promisc: l.promisc}); err != nil {
			return err
		}
	}
	if l.up == nil {
		return nil
	}
	return i.node.SetLink(l.dev, engine.LinkChange{Up: l.up})
}
