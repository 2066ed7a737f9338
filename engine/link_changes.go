package engine

// Tunnels changed while they are in use: 'ip link set … type vxlan', 'ip tunnel change'.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-net/culvert/fdb"
)

// SetVXLAN changes a VXLAN device: Local, Remote, Device, TTL, TOS, DF, learning, ageing and VTEPs, as vxlan_changelink does.
// What else differs from what the device is, but for Link, is ErrInvalid: begin with LinkInfo.VXLAN.
func (e *Engine) SetVXLAN(name string, v VXLAN) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("set vxlan", name)
	if err != nil {
		return err
	}
	if d.vxlan == nil {
		return fmt.Errorf("engine: set vxlan: device %s is none: %w", name, ErrInvalid)
	}
	old := d.vxlan.made
	v.Name, v.MTU = name, 0
	under, err := e.checkVXLAN(&v)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		field string
		same  bool
	}{
		{"VNI", v.VNI == old.VNI},
		{"DstPort", v.DstPort == old.DstPort},
		{"Ports", v.Ports == old.Ports},
		{"GBP", v.GBP == old.GBP},
		{"MaxAddress", v.MaxAddress == old.MaxAddress},
		{"UDPChecksum", v.UDPChecksum == old.UDPChecksum},
		{"Proxy", v.Proxy == old.Proxy},
		{"L2Miss", v.L2Miss == old.L2Miss},
		{"L3Miss", v.L3Miss == old.L3Miss},
	} {
		if !f.same {
			err = errors.Join(err, fmt.Errorf("engine: vxlan %s: VXLAN.%s cannot change: %w", name, f.field, ErrInvalid))
		}
	}
	if err != nil {
		return err
	}
	if err := d.vxlan.table.SetAgeing(v.Ageing); err != nil {
		return fmt.Errorf("engine: vxlan %s: VXLAN.Ageing is %v: %w: %w", name, v.Ageing, ErrInvalid, err)
	}
	if v.Remote != old.Remote {
		_ = d.vxlan.table.DeleteRemote(0, fdb.Remote{Addr: old.Remote}) // may have been removed by hand
		if v.Remote.IsValid() {
			_ = d.vxlan.table.Append(0, fdb.ToRemotes(fdb.Remote{Addr: v.Remote}), 0, e.now()) // may be there already
		}
	}
	dev := *d.vxlan
	dev.made, dev.local, dev.under = v, number(v.Local), 0
	if under != nil {
		dev.under = under.index
	}
	dev.allow()
	return e.change(d, func(d *device) { d.vxlan = &dev })
}

// SetIPIP changes an IPIP tunnel: everything but Link. Begin with LinkInfo.IPIP.
func (e *Engine) SetIPIP(name string, t IPIP) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("set ipip", name)
	if err != nil {
		return err
	}
	if d.ipip == nil {
		return fmt.Errorf("engine: set ipip: device %s is none: %w", name, ErrInvalid)
	}
	t.Name, t.Peers = name, slices.Clone(t.Peers)
	under, err := e.checkIPIP(&t)
	if err != nil {
		return err
	}
	dev := *d.ipip
	dev.made, dev.local, dev.remote, dev.under = t, number(t.Local), number(t.Remote), 0
	if under != nil {
		dev.under = under.index
	}
	dev.allow()
	return e.change(d, func(d *device) { d.ipip = &dev })
}
