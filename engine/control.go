package engine

// What all control calls share: they find devices by name, change a copy of the state, and publish it.

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/internal/wordmap"
	"github.com/culvert-net/culvert/route"
)

// loopback is the index of lo.
const loopback = 1

// now is the latest time that a worker has seen.
func (e *Engine) now() time.Duration { return time.Duration(e.clock.Load()) }

// find returns a device by name; e.mu is held. what is the call that needs it.
func (e *Engine) find(what, name string) (*device, error) {
	if i, ok := e.names[name]; ok {
		return e.state.Load().devices[i], nil
	}
	return nil, fmt.Errorf("engine: %s: device %q: %w", what, name, ErrNotFound)
}

// named is find for calls that do not hold e.mu.
func (e *Engine) named(what, name string) (*device, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.find(what, name)
}

// edit returns a copy of the state, to be changed and published; e.mu is held. Devices are shared: they are replaced, not changed.
func (e *Engine) edit() *state {
	s := *e.state.Load()
	s.devices = slices.Clone(s.devices)
	return &s
}

// change publishes a state in which one device is changed; e.mu is held.
func (e *Engine) change(d *device, f func(*device)) error {
	c := *d
	f(&c)
	s := e.edit()
	s.devices[d.index] = &c
	e.publishState(s)
	return nil
}

// publishState derives what follows from devices that are new or changed, and makes the state current; e.mu is held.
func (e *Engine) publishState(s *state) { e.publishSince(s, e.state.Load()) }

// publishAll is publishState after a change of what holds for all devices.
func (e *Engine) publishAll(s *state) { e.publishSince(s, &state{}) }

// publishSince is publishState for devices that are not those of a state before.
func (e *Engine) publishSince(s, before *state) {
	e.derive(s, before)
	e.state.Store(s)
	e.ends.forgetAll()
}

// derive works out what devices follow from others and from what holds for all. Bridges follow from their ports.
func (e *Engine) derive(s, before *state) {
	for i, d := range s.devices {
		if d == nil || d.bridge == nil && d == before.device(uint32(i)) {
			continue
		}
		if next := e.derived(s, d); next != nil {
			if next.conf.ARPAccept != d.conf.ARPAccept {
				e.accept(d.index, next.conf.ARPAccept)
			}
			s.devices[i], d = next, next
		}
	}
	for i, d := range s.devices {
		if d == nil || d == before.device(uint32(i)) {
			continue
		}
		if answer := e.responderOf(d); answer != d.answer {
			c := *d
			c.answer = answer
			s.devices[i] = &c
		}
	}
	e.indexAll(s, before)
}

// indexAll makes the indexes of addresses and tunnels, unless no device that has any has changed.
func (e *Engine) indexAll(s, before *state) {
	changed := len(before.devices) == 0
	for i := range max(len(s.devices), len(before.devices)) {
		if was, is := before.device(uint32(i)), s.device(uint32(i)); was != is {
			changed = changed || was.indexed() || is.indexed()
		}
	}
	if !changed {
		return
	}
	s.own, s.groups = ownAddrs{}, nil
	s.vxlans, s.ipips = vxlanIndex{}, ipipIndex{}
	for _, d := range s.devices {
		if d == nil {
			continue
		}
		for _, a := range d.addrs {
			s.own.add(number(a.Prefix.Addr()), d.index)
		}
		e.index(s, d)
	}
}

// indexed reports whether a device is to be found by something that it has; d may be nil.
func (d *device) indexed() bool {
	return d != nil && (len(d.addrs) > 0 || d.vxlan != nil || d.ipip != nil)
}

// derived returns a device with what follows from others and from what holds for all, or nil if it is so already.
func (e *Engine) derived(s *state, d *device) *device {
	running, conf, mac, mtu := d.up && d.carrier, d.own.with(e.confs.all), d.mac, d.mtu
	if d.bridge != nil {
		mac, mtu = e.deriveBridge(s, d)
	}
	plain := running && d.tap == nil
	if running == d.running && plain == d.plain && conf == d.conf && mac == d.mac && mtu == d.mtu {
		return nil
	}
	c := *d
	c.running, c.plain, c.conf, c.mac, c.mtu = running, plain, conf, mac, mtu
	c.forwards = conf.Forwarding && !conf.SendRedirects && conf.RPFilter == 0
	if mac != d.mac {
		c.hw = MACOf(mac)
	}
	return &c
}

// index enters a tunnel into the indexes by which outer packets find it.
func (e *Engine) index(s *state, d *device) {
	switch {
	case d.vxlan != nil:
		v := d.vxlan
		if s.vxlans.devices == nil {
			s.vxlans.devices = wordmap.New(0)
		}
		if !slices.Contains(s.vxlans.ports, v.dstPort) {
			s.vxlans.ports = append(slices.Clone(s.vxlans.ports), v.dstPort)
		}
		key := vxlanKey(v.dstPort, v.made.VNI)
		s.vxlans.devices.Store(key, uint64(d.index))
		s.vxlans.only, s.vxlans.device = key, d.index
		if s.vxlans.devices.Len() > 1 {
			s.vxlans.only = 0
		}
		if r := number(v.made.Remote); isMulticast(r) {
			s.groups = append(slices.Clone(s.groups), r)
		}
	case d.ipip != nil && d.running: // ip_tunnel_lookup passes over others
		if s.ipips.tunnels == nil {
			s.ipips.tunnels = wordmap.New(0)
		}
		key, kind := ipipKey(d.ipip.local, d.ipip.remote)
		s.ipips.has[kind] = true
		s.ipips.tunnels.Store(key, uint64(d.index))
		s.ipips.only = d
		if s.ipips.tunnels.Len() > 1 {
			s.ipips.only = nil
		}
	}
}

// responderOf returns what answers ARP requests at a device, the same as before if nothing that matters to it has changed; nil
// for devices without ARP.
func (e *Engine) responderOf(d *device) *responder {
	if d.raw || d.kind == KindLoopback {
		return nil
	}
	want := arp.ResponderConfig{
		MAC: d.hw, Ignore: d.conf.ARPIgnore, ProxyAll: d.conf.ProxyARP && d.conf.Forwarding,
		ProxyDelay: d.conf.ProxyDelay, ProxyQueue: d.conf.ProxyQueue, Seed: e.config.Seed + uint64(d.index),
	}
	for _, a := range d.addrs {
		want.Addrs = append(want.Addrs, a.Prefix)
	}
	if d.conf.Forwarding {
		for k := range e.neighs.Proxies() {
			if k.Device == 0 || k.Device == d.index {
				want.ProxyFor = append(want.ProxyFor, netip.PrefixFrom(k.Addr, 32))
			}
		}
	}
	if d.answer != nil && sameResponder(&d.answer.made, &want) {
		return d.answer
	}
	index := d.index
	want.Route = func(target, _ uint32) arp.Way { return e.wayOf(index, target) }
	r, err := arp.NewResponder(want)
	if err != nil {
		return nil // cannot be: Conf and addresses were checked
	}
	return &responder{r: r, made: want}
}

func sameResponder(a, b *arp.ResponderConfig) bool {
	return a.MAC == b.MAC && a.Ignore == b.Ignore && a.ProxyAll == b.ProxyAll && a.ProxyDelay == b.ProxyDelay &&
		a.ProxyQueue == b.ProxyQueue && slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.ProxyFor, b.ProxyFor)
}

// wayOf tells an ARP responder at a device where packets for an address go.
func (e *Engine) wayOf(device, target uint32) arp.Way {
	path := e.routes.Lookup(target)
	if path == nil {
		return arp.WayNone
	}
	switch path.Type() {
	case route.Local:
		return arp.WayLocal
	case route.Unicast:
		if leadsBy(path, device) {
			return arp.WayBack
		}
		return arp.WayOn
	}
	return arp.WayNone
}
