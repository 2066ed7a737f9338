package engine

// Devices as the control side handles them: 'ip link' and 'bridge link'.

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/vxlan"
)

// Sizes of a device's MTU in bytes (RFC 791: 68 is what every link must take).
const (
	defaultMTU = 1500
	minMTU     = 68
	maxMTU     = ipv4.MaxLen
)

// maxName is how long names may be (IFNAMSIZ, with its zero byte).
const maxName = 15

// Set returns a pointer to v, for the fields of [LinkChange].
func Set[T any](v T) *T { return &v }

// AddPort adds a way out of the engine: 'ip link add' of a device whose other side is the caller's. The index is what Process
// and Output call it.
func (e *Engine) AddPort(p Port) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := &device{kind: KindPort, raw: p.Raw, noARP: p.Raw}
	if p.Raw && !p.MAC.IsZero() {
		return 0, fmt.Errorf("engine: port %s: Port.MAC is %v, but raw ports have none: %w", p.Name, p.MAC, ErrInvalid)
	}
	d.offloads = offloads{p.Offloads, p.Coalesce, p.CoalesceUDP}
	if err := errors.Join(d.offloads.check(p.Name, p.Raw), e.checkLink(p.Link)); err != nil {
		return 0, err
	}
	if err := e.makeLarge(d.offloads, p.MTU); err != nil {
		return 0, err
	}
	return e.add(d, p.Link, defaultMTU)
}

// AddPair adds two devices joined by a wire inside the engine: 'ip link add A type veth peer name B'.
func (e *Engine) AddPair(p Pair) (a, b uint32, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := errors.Join(e.checkLink(p.Link), e.checkLink(p.Peer)); err != nil {
		return 0, 0, err
	}
	if p.Name == p.Peer.Name {
		return 0, 0, fmt.Errorf("engine: pair: Name and Peer.Name are both %q: %w", p.Name, ErrInvalid)
	}
	if a, err = e.add(&device{kind: KindPair}, p.Link, defaultMTU); err != nil {
		return 0, 0, err
	}
	if b, err = e.add(&device{kind: KindPair, peer: a}, p.Peer, defaultMTU); err != nil {
		return 0, 0, errors.Join(err, e.remove(e.state.Load().device(a)))
	}
	return a, b, e.change(e.state.Load().device(a), func(d *device) { d.peer = b })
}

// AddBridge adds a learning bridge.
func (e *Engine) AddBridge(b Bridge) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.MaxLearned < 0 || b.MaxLearned > maxStations {
		return 0, fmt.Errorf("engine: bridge %s: Bridge.MaxLearned is %d: want up to %d, or 0 for %d: %w",
			b.Name, b.MaxLearned, maxStations, fdb.DefaultMaxEntries, ErrInvalid)
	}
	c := fdb.Config{Ageing: b.Ageing, MaxLearned: cmp.Or(b.MaxLearned, fdb.DefaultMaxEntries)}
	c.MaxEntries = c.MaxLearned + maxConfigured
	index := uint32(0)
	if f := e.config.OnFDB; f != nil {
		c.OnChange = func(c fdb.Change) { f(index, c) }
	}
	table, err := fdb.New(c)
	if err != nil {
		return 0, fmt.Errorf("engine: bridge %s: Bridge.Ageing is %v: %w: %w", b.Name, b.Ageing, ErrInvalid, err)
	}
	if index, err = e.add(&device{kind: KindBridge, bridge: &bridge{table: table, made: b}}, b.Link, defaultMTU); err != nil {
		return 0, err
	}
	d := e.state.Load().device(index)
	return index, table.Add(fdb.Key(d.mac), fdb.ToPort(index), fdb.Local, e.now())
}

// Limits of forwarding databases: learned entries, and configured ones beside those of a bridge.
const (
	maxStations   = 1 << 25
	maxConfigured = 1 << 20
)

// AddVXLAN adds a VXLAN device: 'ip link add NAME type vxlan …'.
func (e *Engine) AddVXLAN(v VXLAN) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v.DstPort == 0 {
		v.DstPort = vxlan.PortLinux
	}
	under, err := e.checkVXLAN(&v)
	if err != nil {
		return 0, err
	}
	index := uint32(0)
	table, err := fdb.New(fdb.Config{
		Ageing: v.Ageing, MaxEntries: v.MaxAddress,
		OnChange: func(c fdb.Change) { e.fdbChanged(index, c) },
	})
	if err != nil {
		return 0, fmt.Errorf("engine: vxlan %s: VXLAN.Ageing is %v: %w: %w", v.Name, v.Ageing, ErrInvalid, err)
	}
	dev := &vxlanDevice{table: table, local: number(v.Local), dstPort: v.DstPort, made: v}
	mtu := defaultMTU
	if under != nil {
		dev.under, mtu = under.index, under.mtu-vxlan.Overhead
	}
	dev.allow()
	d := &device{kind: KindVXLAN, vxlan: dev}
	if index, err = e.add(d, v.Link, mtu); err != nil {
		return 0, err
	}
	if v.Remote.IsValid() {
		err = table.Add(0, fdb.ToRemotes(fdb.Remote{Addr: v.Remote}), 0, e.now())
	}
	return index, err
}

// allow works out from whom packets are accepted.
func (v *vxlanDevice) allow() {
	v.vteps = nil
	if v.made.VTEPs == nil {
		return
	}
	v.vteps = newAddrSet()
	for _, a := range v.made.VTEPs {
		v.vteps.add(number(a))
	}
}

// checkVXLAN reports every field that is wrong, and returns the underlay device if there is one.
func (e *Engine) checkVXLAN(v *VXLAN) (under *device, err error) {
	var errs []error
	fault := func(field string, format string, args ...any) {
		errs = append(errs, fmt.Errorf("engine: vxlan %s: VXLAN.%s %s: %w", v.Name, field, fmt.Sprintf(format, args...), ErrInvalid))
	}
	if v.VNI > vxlan.MaxVNI {
		fault("VNI", "is %d: want at most %d", v.VNI, vxlan.MaxVNI)
	}
	if v.Local.IsValid() && !isHost(v.Local) {
		fault("Local", "is %v: want an IPv4 address of the node", v.Local)
	}
	if v.Remote.IsValid() && (!v.Remote.Is4() || v.Remote.IsUnspecified()) {
		fault("Remote", "is %v: want an IPv4 address", v.Remote)
	}
	if v.MaxAddress < 0 || v.MaxAddress > maxStations {
		fault("MaxAddress", "is %d: want up to %d, or 0 for %d", v.MaxAddress, maxStations, fdb.DefaultMaxEntries)
	}
	for i, a := range v.VTEPs {
		if !isHost(a) {
			fault("VTEPs", "has %v at %d: want IPv4 addresses of nodes", a, i)
		}
	}
	if v.Device != "" {
		if under, err = e.find("vxlan "+v.Name, v.Device); err != nil {
			errs = append(errs, err)
		}
	} else if v.Remote.IsMulticast() {
		fault("Device", "is not set, but a multicast Remote needs it")
	}
	if under != nil && v.MTU > under.mtu-vxlan.Overhead {
		fault("MTU", "is %d: want at most %d, as %s has %d", v.MTU, under.mtu-vxlan.Overhead, v.Device, under.mtu)
	}
	for _, d := range e.state.Load().devices {
		if d != nil && d.vxlan != nil && d.name != v.Name && d.vxlan.made.VNI == v.VNI && d.vxlan.dstPort == v.DstPort {
			errs = append(errs, fmt.Errorf("engine: vxlan %s: VXLAN.VNI %d with DstPort %d is that of %s: %w",
				v.Name, v.VNI, v.DstPort, d.name, ErrExists))
		}
	}
	ports, err := v.Ports.OrDefault()
	if err != nil {
		fault("Ports", "are %v: %v", v.Ports, err)
	}
	v.Ports = ports
	_, err = vxlan.NewEncapsulator(vxlan.EncapConfig{ // for what it checks
		Src: AddrOf(1 << 24), Dst: AddrOf(1 << 24), Raw: true, TTL: v.TTL, InheritTTL: v.InheritTTL, TOS: v.TOS,
		InheritTOS: v.InheritTOS, DF: v.DF,
	})
	if err != nil {
		fault("TTL, TOS or DF", "is wrong: %v", err)
	}
	return under, errors.Join(errs...)
}

// isHost reports whether an address can be a host's.
func isHost(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !isZeroNet(number(a)) && number(a) != limitedBroadcast
}

// AddIPIP adds an IPIP tunnel: 'ip tunnel add NAME mode ipip …'.
func (e *Engine) AddIPIP(t IPIP) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	under, err := e.checkIPIP(&t)
	if err != nil {
		return 0, err
	}
	dev := &ipipDevice{
		local: number(t.Local), remote: number(t.Remote), made: t,
		errors: tunnelErrors{state: &tunnelErrorState{}},
	}
	dev.allow()
	mtu := e.underlayMTU(under, t.Remote) - ipip.OverheadIP
	if under != nil {
		dev.under = under.index
	}
	return e.add(&device{kind: KindIPIP, raw: true, noARP: true, ipip: dev}, t.Link, mtu)
}

// allow works out from whom packets are accepted.
func (t *ipipDevice) allow() {
	t.peers = nil
	if t.made.AnyPeer {
		return
	}
	t.peers = newAddrSet()
	for _, p := range t.made.Peers {
		t.peers.add(number(p))
	}
	if t.remote != 0 {
		t.peers.add(t.remote)
	}
}

// underlayMTU returns the MTU of the device that a tunnel is bound to, or that leads to its remote end.
func (e *Engine) underlayMTU(under *device, remote netip.Addr) int {
	if under == nil && remote.IsValid() {
		if path := e.routes.LookupAddr(remote); path != nil && len(path.NextHops()) > 0 {
			under = e.state.Load().device(path.NextHops()[0].Device)
		}
	}
	if under == nil || under.kind == KindLoopback {
		return defaultMTU
	}
	return under.mtu
}

func (e *Engine) checkIPIP(t *IPIP) (under *device, err error) {
	var errs []error
	fault := func(field string, format string, args ...any) {
		errs = append(errs, fmt.Errorf("engine: ipip %s: IPIP.%s %s: %w", t.Name, field, fmt.Sprintf(format, args...), ErrInvalid))
	}
	if t.Local.IsValid() && !isHost(t.Local) {
		fault("Local", "is %v: want an IPv4 address of the node, or none for any", t.Local)
	}
	if t.Remote.IsValid() && !isHost(t.Remote) {
		fault("Remote", "is %v: want an IPv4 address, or none for any", t.Remote)
	}
	if !t.MAC.IsZero() {
		fault("MAC", "is %v, but a tunnel has none", t.MAC)
	}
	if t.TTL != 0 && t.NoPMTUDisc {
		fault("NoPMTUDisc", "needs the inner TTL, 0, instead of %d: else a packet that loops through the tunnel never dies", t.TTL)
	}
	if t.AnyPeer && len(t.Peers) > 0 {
		fault("AnyPeer", "makes Peers meaningless: clear one of them")
	}
	for i, p := range t.Peers {
		if !isHost(p) {
			fault("Peers", "has %v at %d: want IPv4 addresses", p, i)
		}
	}
	if t.Device != "" {
		if under, err = e.find("ipip "+t.Name, t.Device); err != nil {
			errs = append(errs, err)
		}
	}
	for _, d := range e.state.Load().devices {
		if d != nil && d.ipip != nil && d.name != t.Name && d.ipip.local == number(t.Local) && d.ipip.remote == number(t.Remote) {
			errs = append(errs, fmt.Errorf("engine: ipip %s: IPIP.Local and Remote are those of %s: %w", t.Name, d.name, ErrExists))
		}
	}
	return under, errors.Join(errs...)
}

// checkLink reports what is wrong with what all devices have.
func (e *Engine) checkLink(l Link) error {
	errs := []error{e.checkName(l.Name)}
	if l.Index > LimitMaxDevices {
		errs = append(errs, fmt.Errorf("engine: device %s: Link.Index is %d: want at most %d: %w", l.Name, l.Index, LimitMaxDevices, ErrInvalid))
	} else if e.state.Load().device(l.Index) != nil {
		errs = append(errs, fmt.Errorf("engine: device %s: Link.Index %d: %w", l.Name, l.Index, ErrExists))
	}
	if !l.MAC.IsZero() && !l.MAC.IsStation() {
		errs = append(errs, fmt.Errorf("engine: device %s: Link.MAC is %v: want the address of one station: %w", l.Name, l.MAC, ErrInvalid))
	}
	if l.MTU != 0 {
		errs = append(errs, checkMTU(l.Name, l.MTU))
	}
	return errors.Join(errs...)
}

func (e *Engine) checkName(name string) error {
	switch {
	case name == "" || len(name) > maxName || strings.ContainsAny(name, " \t\n/:") || name == "." || name == "..":
		return fmt.Errorf("engine: device name %q: want 1 to %d bytes without blanks, slashes and colons: %w", name, maxName, ErrInvalid)
	case name == ConfAll || name == ConfDefault:
		return fmt.Errorf("engine: device name %q stands for something else: %w", name, ErrInvalid)
	case e.names[name] != 0:
		return fmt.Errorf("engine: device %s: %w", name, ErrExists)
	}
	return nil
}

func checkMTU(name string, mtu int) error {
	if mtu < minMTU || mtu > maxMTU {
		return fmt.Errorf("engine: device %s: MTU is %d: want %d to %d: %w", name, mtu, minMTU, maxMTU, ErrInvalid)
	}
	return nil
}

// add enters a device; e.mu is held.
func (e *Engine) add(d *device, l Link, mtu int) (uint32, error) {
	if err := e.checkLink(l); err != nil {
		return 0, err
	}
	if len(e.names) >= e.config.MaxDevices {
		return 0, fmt.Errorf("engine: device %s: there are %d already, see Config.MaxDevices: %w", l.Name, len(e.names), ErrFull)
	}
	s := e.edit()
	d.index, d.name, d.up, d.carrier = e.newIndex(s, l.Index), l.Name, l.Up, true
	d.hw, d.fixedMAC = l.MAC, !l.MAC.IsZero()
	if !d.fixedMAC && !d.raw {
		d.hw = e.randomMAC()
	}
	d.mac = word(d.hw)
	d.mtu, d.fixedMTU = l.MTU, l.MTU != 0
	if !d.fixedMTU {
		d.mtu = max(mtu, minMTU)
	}
	d.own = e.confs.preset
	if d.kind == KindBridge || d.kind == KindVXLAN {
		d.uncounted = ethernet.HeaderLen
	}
	if v := d.vxlan; v != nil {
		if err := v.decapsulator(e, d.hw); err != nil {
			return 0, fmt.Errorf("engine: vxlan %s: %w: %w", d.name, ErrInvalid, err)
		}
	}
	e.names[d.name] = d.index
	s.devices[d.index] = d
	e.publishState(s)
	return d.index, nil
}

// decapsulator makes what opens the device's packets.
func (v *vxlanDevice) decapsulator(e *Engine, mac ethernet.MAC) (err error) {
	v.decap, err = vxlan.NewDecapsulator(vxlan.DecapConfig{
		Raw: true, DstPort: v.dstPort, LocalMAC: mac, GBP: v.made.GBP, Profile: e.config.Profile,
	})
	return err
}

// quarantine is how many indexes of removed devices are kept before one is used again, so that what still names the old device
// does not mean the new one.
const quarantine = 1024

// newIndex returns the index that is wanted, or with 0 one that no device has, and makes room for it.
func (e *Engine) newIndex(s *state, wanted uint32) uint32 {
	if wanted != 0 {
		e.freed = slices.DeleteFunc(e.freed, func(i uint32) bool { return i == wanted })
		return makeRoom(s, wanted)
	}
	if len(e.freed) > quarantine {
		i := e.freed[0]
		e.freed = e.freed[1:]
		e.each(func(w *Worker) {
			if int(i) < len(w.seen) {
				w.seen[i] = shownStats{}
			}
		})
		return i
	}
	for e.last++; s.device(e.last) != nil; {
		e.last++
	}
	return makeRoom(s, e.last)
}

// makeRoom lengthens the list of devices until it has an index.
func makeRoom(s *state, index uint32) uint32 {
	for uint32(len(s.devices)) <= index {
		s.devices = append(s.devices, nil)
	}
	return index
}

// randomMAC returns an address that nobody has: locally administered, of one station.
func (e *Engine) randomMAC() ethernet.MAC {
	e.made++
	m := MACOf(mix(e.config.Seed^e.made<<32) & macBroadcast)
	m[0] = m[0]&0xfe | 0x02
	return m
}

// addLoopback adds lo.
func (e *Engine) addLoopback() error {
	e.mu.Lock()
	_, err := e.add(&device{kind: KindLoopback, raw: true, noARP: true}, Link{Name: "lo", MTU: maxMTU, Up: true}, 0)
	e.mu.Unlock()
	return errors.Join(err, e.AddAddr("lo", Addr{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: route.ScopeHost}))
}

// DeleteLink removes a device: its addresses, routes, neighbours and FDB entries with it, and the other end of a pair. 'ip link
// del'.
func (e *Engine) DeleteLink(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("delete link", name)
	if err != nil {
		return err
	}
	if d.kind == KindLoopback {
		return fmt.Errorf("engine: delete link: lo cannot be removed: %w", ErrInvalid)
	}
	if d.kind == KindPair {
		return errors.Join(e.remove(e.state.Load().device(d.peer)), e.remove(d))
	}
	return e.remove(d)
}

// remove removes a device; e.mu is held.
func (e *Engine) remove(d *device) error {
	if d == nil {
		return nil
	}
	if d.master != 0 {
		e.detach(d)
	}
	s := e.edit()
	if d.bridge != nil {
		for _, i := range d.bridge.ports {
			if p := s.device(i); p != nil {
				c := *p
				c.master, c.port = 0, BridgePort{}
				s.devices[i] = &c
			}
		}
	}
	s.devices[d.index] = nil
	delete(e.names, d.name)
	e.freed = append(e.freed, d.index)
	e.publishState(s)
	e.ends.deviceGone(d.index)
	e.routesDown(d)
	e.routes.Remove(route.ByDevice(d.index))
	for key, r := range e.asleep { // they cannot wake any more
		r.NextHops = slices.DeleteFunc(slices.Clone(r.NextHops), func(h route.NextHop) bool { return h.Device == d.index })
		e.asleep[key] = r
		e.wake(key, r)
	}
	e.back.push(e.neighs.FlushDevice(d.index, arp.DeviceDown, e.now(), nil))
	e.neighs.ClearParams(d.index)
	delete(e.confs.neighs, d.index)
	e.dropWaiting(d.index)
	return nil
}

// dropWaiting drops the frames that wait for an FDB entry of a device.
func (e *Engine) dropWaiting(index uint32) {
	frames := e.waits.take(func(f *waiting) bool { return f.device == index })
	for i := range frames {
		frames[i].why = DropDeviceGone
	}
	e.back.pushFrames(frames)
}

// SetUp sets devices up.
func (e *Engine) SetUp(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, e.SetLink(name, LinkChange{Up: Set(true)}))
	}
	return errors.Join(errs...)
}

// SetMaster makes a device a port of a bridge, or of none if that is "".
func (e *Engine) SetMaster(name, bridge string) error {
	return e.SetLink(name, LinkChange{Master: &bridge})
}

// SetLink changes a device: 'ip link set'. It checks all changes before it makes the first.
func (e *Engine) SetLink(name string, c LinkChange) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("set link", name)
	if err != nil {
		return err
	}
	if err := e.checkChange(d, c); err != nil {
		return err
	}
	if c.Name != nil {
		delete(e.names, d.name)
		e.names[*c.Name] = d.index
	}
	if mtu := d.mtu; d.kind == KindPort {
		if c.MTU != nil {
			mtu = *c.MTU
		}
		if err := e.makeLarge(d.offloads.with(c), mtu); err != nil {
			return err
		}
	}
	wasRunning, oldMAC := d.running, d.hw
	_ = e.change(d, func(d *device) { d.set(c) })
	d = e.state.Load().device(d.index)
	if c.MAC != nil && *c.MAC != oldMAC {
		err = e.changedMAC(d, oldMAC)
	}
	if c.Master != nil {
		e.attach(e.state.Load().device(d.index), *c.Master)
	}
	e.changedState(e.state.Load().device(d.index), wasRunning, c)
	return err
}

// set makes the plain changes.
func (d *device) set(c LinkChange) {
	if c.Name != nil {
		d.name = *c.Name
	}
	if c.Up != nil {
		d.up = *c.Up
	}
	if c.Carrier != nil {
		d.carrier = *c.Carrier
	}
	if c.MTU != nil {
		d.mtu, d.fixedMTU = *c.MTU, true
	}
	if c.MAC != nil {
		d.hw, d.mac, d.fixedMAC = *c.MAC, word(*c.MAC), true
	}
	if c.Promisc != nil {
		d.promisc = *c.Promisc
	}
	d.offloads = d.offloads.with(c)
}

// checkChange reports what is wrong with a change.
func (e *Engine) checkChange(d *device, c LinkChange) error {
	var errs []error
	if c.Name != nil && *c.Name != d.name {
		errs = append(errs, e.checkName(*c.Name))
	}
	if c.MTU != nil {
		errs = append(errs, checkMTU(d.name, *c.MTU))
		if under := e.state.Load().device(d.underlay()); under != nil && d.vxlan != nil && *c.MTU > under.mtu-vxlan.Overhead {
			errs = append(errs, fmt.Errorf("engine: device %s: MTU is %d: want at most %d, as %s has %d: %w",
				d.name, *c.MTU, under.mtu-vxlan.Overhead, under.name, under.mtu, ErrInvalid))
		}
	}
	if c.MAC != nil && (d.raw || !c.MAC.IsStation()) {
		errs = append(errs, fmt.Errorf("engine: device %s: MAC is %v: want the address of one station, and a device that has any: %w",
			d.name, *c.MAC, ErrInvalid))
	}
	if c.Master != nil && *c.Master != "" {
		errs = append(errs, e.checkMaster(d, *c.Master))
	}
	if c.Offloads != nil || c.Coalesce != nil || c.CoalesceUDP != nil {
		if d.kind != KindPort {
			errs = append(errs, fmt.Errorf("engine: device %s: Offloads, Coalesce and CoalesceUDP are for ports: %w", d.name, ErrInvalid))
		}
		errs = append(errs, d.offloads.with(c).check(d.name, d.raw))
	}
	return errors.Join(errs...)
}

// underlay returns the device that a tunnel is bound to, 0 if none or no tunnel.
func (d *device) underlay() uint32 {
	if d.vxlan == nil && d.ipip == nil {
		return 0
	}
	return d.under()
}

func (e *Engine) checkMaster(d *device, name string) error {
	br, err := e.find("set link "+d.name+" master", name)
	switch {
	case err != nil:
		return err
	case br.bridge == nil:
		return fmt.Errorf("engine: set link %s: master %s is not a bridge: %w", d.name, name, ErrInvalid)
	case d.bridge != nil:
		return fmt.Errorf("engine: set link %s: a bridge cannot be a port of a bridge: %w", d.name, ErrLoop)
	case d.raw:
		return fmt.Errorf("engine: set link %s: a device without Ethernet headers cannot be a port of a bridge: %w", d.name, ErrInvalid)
	}
	return nil
}

// attach makes a device a port of a bridge, or of none.
func (e *Engine) attach(d *device, master string) {
	br := e.names[master]
	if d.master == br {
		return
	}
	if d.master != 0 {
		e.detach(d)
	}
	if br == 0 {
		return
	}
	s := e.edit()
	b, c := *s.device(br), *s.device(d.index)
	ports := *b.bridge
	ports.ports, ports.had = slices.Concat([]uint32{d.index}, ports.ports), true
	b.bridge, c.master, c.port = &ports, br, BridgePort{}
	s.devices[br], s.devices[d.index] = &b, &c
	_ = ports.table.Replace(fdb.Key(d.mac), fdb.ToPort(d.index), fdb.Local, e.now())
	e.publishState(s)
}

// detach takes a port out of its bridge.
func (e *Engine) detach(d *device) {
	s := e.edit()
	b, c := *s.device(d.master), *d
	ports := *b.bridge
	ports.ports = slices.DeleteFunc(slices.Clone(ports.ports), func(i uint32) bool { return i == d.index })
	b.bridge, c.master, c.port = &ports, 0, BridgePort{}
	s.devices[b.index], s.devices[c.index] = &b, &c
	e.publishState(s)
	ports.table.Remove(fdb.OnPort(d.index))
	_ = ports.table.SetPortLimit(d.index, 0)
}

// deriveBridge gives a bridge the lowest MAC address and MTU of its ports, unless it was given its own
// (br_stp_recalculate_bridge_id, br_mtu_auto_adjust).
func (e *Engine) deriveBridge(s *state, d *device) (mac uint64, mtu int) {
	if len(d.bridge.ports) == 0 {
		if d.bridge.had && !d.fixedMTU {
			return d.mac, defaultMTU
		}
		return d.mac, d.mtu
	}
	low := uint64(math.MaxUint64)
	mtu = maxMTU
	for _, i := range d.bridge.ports {
		if p := s.device(i); p != nil {
			low, mtu = min(low, p.mac), min(mtu, p.mtu)
		}
	}
	if d.fixedMTU {
		mtu = d.mtu
	}
	if d.fixedMAC || low == math.MaxUint64 || low == d.mac {
		return d.mac, mtu
	}
	table := d.bridge.table
	if place := table.Lookup(fdb.Key(d.mac)); place.IsLocal() {
		if port, _ := place.Port(); port == d.index {
			_ = table.Delete(fdb.Key(d.mac))
		}
	}
	return low, mtu
}

// changedMAC brings in step what knows a device's MAC address.
func (e *Engine) changedMAC(d *device, old ethernet.MAC) error {
	if br := e.state.Load().device(d.master); br != nil {
		_ = br.bridge.table.Delete(fdb.Key(word(old)))
		_ = br.bridge.table.Replace(fdb.Key(d.mac), fdb.ToPort(d.index), fdb.Local, e.now())
	}
	if d.bridge != nil {
		_ = d.bridge.table.Delete(fdb.Key(word(old)))
		_ = d.bridge.table.Replace(fdb.Key(d.mac), fdb.ToPort(d.index), fdb.Local, e.now())
		for _, i := range d.bridge.ports { // one of them may have had the old one
			if p := e.state.Load().device(i); p != nil {
				_ = d.bridge.table.Replace(fdb.Key(p.mac), fdb.ToPort(i), fdb.Local, e.now())
			}
		}
	}
	e.back.push(e.neighs.FlushDevice(d.index, arp.DeviceAddress, e.now(), nil))
	if d.vxlan == nil {
		return nil
	}
	v := *d.vxlan
	if err := v.decapsulator(e, d.hw); err != nil {
		return err
	}
	return e.change(d, func(d *device) { d.vxlan = &v })
}

// changedState brings in step what depends on whether a device is up.
func (e *Engine) changedState(d *device, wasRunning bool, c LinkChange) {
	if c.Up != nil && *c.Up {
		e.routesUp(d)
	}
	if c.Up != nil && !*c.Up {
		e.routesDown(d)
		e.back.push(e.neighs.FlushDevice(d.index, arp.DeviceDown, e.now(), nil))
		e.dropWaiting(d.index)
	} else if wasRunning && !d.running {
		e.back.push(e.neighs.FlushDevice(d.index, arp.DeviceCarrier, e.now(), nil))
	}
	if wasRunning && !d.running {
		if br := e.state.Load().device(d.master); br != nil {
			br.bridge.table.Flush(fdb.OnPort(d.index))
		}
		if t := d.table(); t != nil { // vxlan_stop, br_stp_disable_bridge
			t.Flush(nil)
		}
	}
}

// SetBridgePort sets the switches of a bridge's port, all of them: 'bridge link set dev NAME …'.
func (e *Engine) SetBridgePort(name string, p BridgePort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("set bridge port", name)
	if err != nil {
		return err
	}
	br := e.state.Load().device(d.master)
	if br == nil {
		return fmt.Errorf("engine: set bridge port: device %s: %w", name, ErrNotBridge)
	}
	if err := br.bridge.table.SetPortLimit(d.index, p.MaxLearned); err != nil {
		return fmt.Errorf("engine: set bridge port: device %s: BridgePort.MaxLearned: %w: %w", name, ErrInvalid, err)
	}
	return e.change(d, func(d *device) { d.port = p })
}

// SetAgeing sets how long dynamic entries of a bridge or VXLAN device are kept; negative: for ever. 'brctl setageing'.
func (e *Engine) SetAgeing(name string, ageing time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("set ageing", name)
	if err != nil {
		return err
	}
	if d.table() == nil {
		return fmt.Errorf("engine: set ageing: device %s is neither a bridge nor VXLAN: %w", name, ErrInvalid)
	}
	if err := d.table().SetAgeing(ageing); err != nil {
		return fmt.Errorf("engine: set ageing: device %s: %w: %w", name, ErrInvalid, err)
	}
	return e.change(d, func(d *device) {
		if d.bridge != nil {
			br := *d.bridge
			br.made.Ageing = ageing
			d.bridge = &br
			return
		}
		v := *d.vxlan
		v.made.Ageing = ageing
		d.vxlan = &v
	})
}

// Tap lets f see what crosses a device, in both directions, like a packet socket; nil ends that. It is called by workers, and
// must not call the engine.
func (e *Engine) Tap(name string, f Tap) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("tap", name)
	if err != nil {
		return err
	}
	return e.change(d, func(d *device) { d.tap = f })
}

// Index returns a device's index, 0 if there is none of that name.
func (e *Engine) Index(name string) uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.names[name]
}

// Name returns a device's name, "" if there is none of that index.
func (e *Engine) Name(index uint32) string { return e.state.Load().device(index).label() }

// Links returns all devices in the order of their indexes.
func (e *Engine) Links() []LinkInfo {
	s := e.state.Load()
	var all []LinkInfo
	for _, d := range s.devices {
		if d != nil {
			all = append(all, s.info(d))
		}
	}
	return all
}

// Link returns a device.
func (e *Engine) Link(name string) (LinkInfo, bool) {
	d, err := e.named("link", name)
	if err != nil {
		return LinkInfo{}, false
	}
	return e.state.Load().info(d), true
}

// info describes a device as the control side made it.
func (s *state) info(d *device) LinkInfo {
	i := LinkInfo{
		Index: d.index, Kind: d.kind, Name: d.name, MAC: d.hw, MTU: d.mtu, Up: d.up, Carrier: d.carrier, Promisc: d.promisc, Raw: d.raw,
		Master: s.device(d.master).label(), Peer: s.device(d.peer).label(), Offloads: d.offloads.takes, Coalesce: d.offloads.tcp, CoalesceUDP: d.offloads.udp,
	}
	i.Unknown = d.kind == KindLoopback || d.kind == KindVXLAN || d.kind == KindIPIP
	l := Link{Name: d.name, MAC: d.hw, MTU: d.mtu, Up: d.up}
	if d.master != 0 {
		i.Port = Set(d.port)
	}
	switch {
	case d.bridge != nil:
		i.Bridge = Set(d.bridge.made)
		i.Bridge.Link = l
		alone := !d.bridge.had && !d.fixedMAC // a new address makes Linux look for the ports too (br_stp_change_bridge_id)
		i.Carrier = alone || slices.ContainsFunc(d.bridge.ports, func(p uint32) bool {
			port := s.device(p)
			return port != nil && port.running
		})
		i.Unknown = alone
	case d.vxlan != nil:
		i.VXLAN = Set(d.vxlan.made)
		i.VXLAN.Link = l
	case d.ipip != nil:
		i.IPIP = Set(d.ipip.made)
		i.IPIP.Link = l
	}
	i.GivenMAC = d.fixedMAC
	return i
}
