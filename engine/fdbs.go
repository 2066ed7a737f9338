package engine

// Forwarding databases: 'bridge fdb'.

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
)

// FDBEntry is an entry of a bridge's or VXLAN device's forwarding database. Dev is a port of a bridge, the bridge itself, or a
// VXLAN device. An entry for a VXLAN device is its own, with Dst, unless Master is set: then it is that of the bridge whose port
// it is.
type FDBEntry struct {
	MAC    ethernet.MAC // zero, of VXLAN devices: everybody else
	Dev    string
	Master bool
	Flags  fdb.Flags // entries of VXLAN devices are pinned, unless they are to be Dynamic

	Dst netip.Addr // the remote VTEP
	VNI uint32     // 0: the device's
	UDP uint16     // destination port; 0: the device's
	Via string     // device to leave by; "": as routes say

	Dynamic bool // of VXLAN devices: like a learned entry ('dynamic')
}

// AddFDB adds an entry: 'bridge fdb add'. It is also the answer to a miss.
func (e *Engine) AddFDB(f FDBEntry) error { return e.putFDB("add", f, (*fdb.Table).Add) }

// ReplaceFDB adds an entry, or replaces the one there is.
func (e *Engine) ReplaceFDB(f FDBEntry) error { return e.putFDB("replace", f, (*fdb.Table).Replace) }

// AppendFDB adds a remote to the entry of everybody else, or of a group: 'bridge fdb append'. To that of a station nothing is
// added, and that is no error.
func (e *Engine) AppendFDB(f FDBEntry) error { return e.putFDB("append", f, (*fdb.Table).Append) }

func (e *Engine) putFDB(what string, f FDBEntry, put func(*fdb.Table, fdb.Key, fdb.Dest, fdb.Flags, time.Duration) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	table, to, err := e.fdbOf(what, &f)
	if err != nil {
		return err
	}
	if err := put(table, fdb.KeyOf(0, f.MAC), to, f.Flags, e.now()); err != nil {
		return fmt.Errorf("engine: %s FDB entry on %s: %w: %w", what, f.Dev, kindOfFDB(err), err)
	}
	return nil
}

func kindOfFDB(err error) error {
	switch {
	case errors.Is(err, fdb.ErrExists):
		return ErrExists
	case errors.Is(err, fdb.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, fdb.ErrFull):
		return ErrFull
	}
	return ErrInvalid
}

// fdbOf returns the table that an entry is of, and where it leads.
func (e *Engine) fdbOf(what string, f *FDBEntry) (*fdb.Table, fdb.Dest, error) {
	d, err := e.find(what+" FDB entry", f.Dev)
	if err != nil {
		return nil, fdb.Dest{}, err
	}
	fault := func(format string, args ...any) (*fdb.Table, fdb.Dest, error) {
		return nil, fdb.Dest{}, fmt.Errorf("engine: %s FDB entry %v on %s: %s: %w", what, f.MAC, f.Dev, fmt.Sprintf(format, args...), ErrInvalid)
	}
	if d.vxlan != nil && !f.Master {
		if !f.Dst.Is4() || f.Dst.IsUnspecified() {
			return fault("FDBEntry.Dst is %v: want the remote VTEP's IPv4 address", f.Dst)
		}
		r := fdb.Remote{Addr: f.Dst, VNI: f.VNI, Port: f.UDP}
		if f.Via != "" {
			via, err := e.find(fmt.Sprintf("%s FDB entry %v on %s: FDBEntry.Via", what, f.MAC, f.Dev), f.Via)
			if err != nil {
				return nil, fdb.Dest{}, err
			}
			r.Via = via.index
		}
		if !f.Dynamic && f.MAC.IsStation() {
			f.Flags |= fdb.Static | fdb.Sticky
		}
		return d.vxlan.table, fdb.ToRemotes(r), nil
	}
	if f.Dst.IsValid() || f.VNI != 0 || f.UDP != 0 || f.Via != "" {
		return fault("FDBEntry.Dst, VNI, UDP and Via are those of VXLAN devices")
	}
	br := d
	if d.bridge == nil {
		if br = e.state.Load().device(d.master); br == nil {
			return nil, fdb.Dest{}, fmt.Errorf("engine: %s FDB entry %v: device %s: %w", what, f.MAC, f.Dev, ErrNotBridge)
		}
	}
	if !f.MAC.IsStation() {
		return fault("FDBEntry.MAC is %v: want the address of one station", f.MAC)
	}
	return br.bridge.table, fdb.ToPort(d.index), nil
}

// DeleteFDB removes an entry, or one remote of it if Dst is set: 'bridge fdb del'.
func (e *Engine) DeleteFDB(f FDBEntry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	whole := !f.Dst.IsValid()
	if d, err := e.find("delete FDB entry", f.Dev); err == nil && d.vxlan != nil && !f.Master && whole {
		f.Dst = AddrOf(1)
	}
	table, to, err := e.fdbOf("delete", &f)
	if err != nil {
		return err
	}
	key := fdb.KeyOf(0, f.MAC)
	if d, err := e.find("delete FDB entry", f.Dev); err == nil && d.bridge != nil && f.MAC == d.hw {
		return fmt.Errorf("engine: delete FDB entry %v on %s: the bridge's own address: %w", f.MAC, f.Dev, ErrBusy)
	}
	if remotes := to.Remotes(); len(remotes) == 1 && !whole {
		err = table.DeleteRemote(key, remotes[0])
	} else {
		err = table.Delete(key)
	}
	if err != nil {
		return fmt.Errorf("engine: delete FDB entry on %s: %w: %w", f.Dev, kindOfFDB(err), err)
	}
	return nil
}

// FDB returns the entries of a bridge or a VXLAN device, and how long ago each was heard. An entry with several remotes is
// returned once for each.
func (e *Engine) FDB(dev string) iter.Seq2[FDBEntry, time.Duration] {
	return func(yield func(FDBEntry, time.Duration) bool) {
		d, err := e.named("FDB", dev)
		if err != nil || d.table() == nil {
			return
		}
		s, now := e.state.Load(), e.now()
		for k, entry := range d.table().All() {
			f := FDBEntry{MAC: k.MAC(), Dev: dev, Flags: entry.Flags(), Dynamic: entry.Flags() == 0 && k.MAC().IsStation()}
			if port, ok := entry.Port(); ok {
				f.Dev, f.Master = s.device(port).label(), true
				if !yield(f, entry.Age(now)) {
					return
				}
				continue
			}
			for _, r := range entry.Dest().Remotes() {
				f.Dst, f.VNI, f.UDP, f.Via = r.Addr, r.VNI, r.Port, s.device(r.Via).label()
				if !yield(f, entry.Age(now)) {
					return
				}
			}
		}
	}
}

// FlushFDB removes the dynamic entries of a bridge or VXLAN device, or those of one port of a bridge, and returns how many.
func (e *Engine) FlushFDB(dev string) (int, error) {
	d, err := e.named("flush FDB", dev)
	if err != nil {
		return 0, err
	}
	if t := d.table(); t != nil {
		return t.Flush(nil), nil
	}
	br := e.state.Load().device(d.master)
	if br == nil {
		return 0, fmt.Errorf("engine: flush FDB: device %s: %w", dev, ErrNotBridge)
	}
	return br.bridge.table.Flush(fdb.OnPort(d.index)), nil
}
