package engine_test

// Changes of the configuration beside the traffic, made to the engine and to the reference.

import (
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/reference"
)

// both makes a change that may send or drop packets.
func (w *twin) both(what string, err error, change func()) {
	w.t.Helper()
	w.note("%s", what)
	w.do(err)
	w.tickAfterControl(w.ref.Do(w.now, change))
}

// change makes a random change.
func (w *world) change() {
	w.t.Helper()
	d := oneOf(w.r, w.ref.Devices[1:])
	switch w.r.IntN(10) {
	case 0, 1:
		w.changeState(d)
	case 2:
		w.routes()
	case 3:
		w.removeRoute()
	case 4:
		h := oneOf(w.r, w.hosts)
		if !h.device.Raw && h.device.Up {
			w.setNeighbour(h.device, h.ip, h.mac)
		}
	case 5:
		w.removeNeighbour()
	case 6:
		w.changeTables(d)
	case 7:
		if d.Master == nil && d.Kind != reference.Loopback {
			w.finish(d)
		}
	case 8:
		w.changeAddress(d)
	case 9:
		w.changeMTU(d)
	}
}

// changeState sets a device up or down, or plugs its wire in or out.
func (w *world) changeState(d *reference.Device) {
	w.t.Helper()
	switch {
	case d.Kind == reference.Pair || d.Kind == reference.Bridge && d.Up: // both take the carrier of others with them
	case d.Kind == reference.Port && w.chance(0.3):
		carrier := !d.Carrier
		w.both("carrier of "+d.Name, w.e.SetLink(d.Name, engine.LinkChange{Carrier: &carrier}), func() { w.ref.SetCarrier(d, carrier) })
	default:
		up := !d.Up
		w.both("state of "+d.Name, w.e.SetLink(d.Name, engine.LinkChange{Up: &up}), func() { w.ref.SetUp(d, up) })
	}
}

func (w *world) removeRoute() {
	w.t.Helper()
	i := w.r.IntN(len(w.ref.Routes))
	if r := w.ref.Routes[i]; !r.OfAddress() {
		w.both("no route "+r.Prefix.String(), w.e.DeleteRoute(engineRoute(r)), func() { w.ref.Routes = slices.Delete(w.ref.Routes, i, i+1) })
	}
}

func (w *world) removeNeighbour() {
	w.t.Helper()
	h := oneOf(w.r, w.hosts)
	if w.chance(0.3) {
		_, err := w.e.FlushNeigh(h.device.Name)
		w.both("flush neighbours of "+h.device.Name, err, func() { w.ref.FlushNeighbours(h.device) })
		return
	}
	err := w.e.DeleteNeigh(h.ip, h.device.Name)
	found := false
	w.both("no neighbour "+h.ip.String()+" dev "+h.device.Name, nil, func() { found = w.ref.DeleteNeighbour(h.device, h.ip) })
	if found != (err == nil) {
		w.fail("neighbour to be deleted: one of the two had none")
	}
}

// changeTables forgets stations, or pins one.
func (w *world) changeTables(d *reference.Device) {
	w.t.Helper()
	switch {
	case d.Kind == reference.Bridge || d.Kind == reference.VXLAN:
		_, err := w.e.FlushFDB(d.Name)
		w.both("flush stations of "+d.Name, err, func() { d.Flush() })
	case d.Master != nil:
		mac := oneOf(w.r, w.hosts).mac
		if mac != (ethernet.MAC{}) && d.Master.Stations[mac] == nil {
			w.addStation(d.Master, d, mac, w.chance(0.5))
		}
	}
}

// changeAddress gives a device a further address, or takes it away again.
func (w *world) changeAddress(d *reference.Device) {
	w.t.Helper()
	if d.Master != nil {
		return
	}
	p := netip.PrefixFrom(quad("10.60.%d.1", slices.Index(w.ref.Devices, d)), 24)
	has := slices.ContainsFunc(w.ref.Addresses, func(a reference.Address) bool { return a.Prefix == p })
	if !has {
		w.addAddress(d, p)
		w.addrs = append(w.addrs, p.Addr(), p.Addr().Next())
		w.tickAfterControl(w.ref.Do(w.now, func() {}))
		return
	}
	w.both("no address "+p.String(), w.e.DeleteAddr(d.Name, p), func() { w.ref.RemoveAddress(d, p) })
}

// changeMTU changes that of a device that no tunnel depends on.
func (w *world) changeMTU(d *reference.Device) {
	w.t.Helper()
	if d.Name == "eth0" || d.Kind == reference.VXLAN || d.Kind == reference.IPIP {
		return
	}
	mtu := oneOf(w.r, []int{600, 1280, 1500})
	w.both("mtu of "+d.Name, w.e.SetLink(d.Name, engine.LinkChange{MTU: &mtu}), func() { d.MTU = mtu })
}
