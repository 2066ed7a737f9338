package engine

// Neighbours: 'ip neigh'.

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

// Neigh is a neighbour.
type Neigh struct {
	Addr  netip.Addr
	Dev   string
	MAC   ethernet.MAC
	State arp.State // 0: permanent
}

// AddNeigh adds a neighbour: 'ip neigh add'.
func (e *Engine) AddNeigh(n Neigh) error { return e.putNeigh("add", n, (*arp.Table).Add) }

// ReplaceNeigh adds a neighbour or changes the one there is. It is also the answer to a miss.
func (e *Engine) ReplaceNeigh(n Neigh) error { return e.putNeigh("replace", n, (*arp.Table).Replace) }

// ChangeNeigh changes a neighbour.
func (e *Engine) ChangeNeigh(n Neigh) error { return e.putNeigh("change", n, (*arp.Table).Change) }

type putNeigh func(*arp.Table, arp.Key, ethernet.MAC, arp.State, time.Duration, []arp.Action) ([]arp.Action, error)

func (e *Engine) putNeigh(what string, n Neigh, put putNeigh) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find(fmt.Sprintf("%s neighbour %v", what, n.Addr), n.Dev)
	if err != nil {
		return err
	}
	switch {
	case !isHost(n.Addr):
		return fmt.Errorf("engine: %s neighbour on %s: Neigh.Addr is %v: want the IPv4 address of one host: %w", what, n.Dev, n.Addr, ErrInvalid)
	case d.raw:
		return fmt.Errorf("engine: %s neighbour %v: device %s has no MAC addresses: %w", what, n.Addr, n.Dev, ErrInvalid)
	}
	if n.State == arp.StateNone {
		n.State = arp.StatePermanent
	}
	actions, err := put(e.neighs, arp.Key{Device: d.index, Addr: n.Addr}, n.MAC, n.State, e.now(), nil)
	e.back.push(actions)
	if err != nil {
		return fmt.Errorf("engine: %s neighbour %v on %s: %w: %w", what, n.Addr, n.Dev, kindOfNeighbour(err), err)
	}
	return nil
}

func kindOfNeighbour(err error) error {
	switch {
	case errors.Is(err, arp.ErrExists):
		return ErrExists
	case errors.Is(err, arp.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, arp.ErrFull):
		return ErrFull
	}
	return ErrInvalid
}

// DeleteNeigh removes a neighbour, of whatever state.
func (e *Engine) DeleteNeigh(addr netip.Addr, dev string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.find("delete neighbour", dev)
	if err != nil {
		return err
	}
	actions, err := e.neighs.Delete(arp.Key{Device: d.index, Addr: addr}, e.now(), nil)
	e.back.push(actions)
	if err != nil {
		return fmt.Errorf("engine: delete neighbour on %s: %w: %w", dev, kindOfNeighbour(err), err)
	}
	return nil
}

// FlushNeigh removes the neighbours of a device, of all if that is "", that are in one of the states: without any, all but
// permanent and NOARP ones. It returns how many.
func (e *Engine) FlushNeigh(dev string, states ...arp.State) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := arp.Filter{States: states}
	if dev != "" {
		d, err := e.find("flush neighbours", dev)
		if err != nil {
			return 0, err
		}
		f.Device = d.index
	}
	actions, n := e.neighs.Flush(f, e.now(), nil)
	e.back.push(actions)
	return n, nil
}

// Neighs returns the neighbours, and what else is known of them.
func (e *Engine) Neighs() iter.Seq2[Neigh, arp.Entry] {
	return func(yield func(Neigh, arp.Entry) bool) {
		s := e.state.Load()
		for k, n := range e.neighs.All() {
			if !yield(Neigh{Addr: k.Addr, Dev: s.device(k.Device).label(), MAC: n.MAC, State: n.State}, n) {
				return
			}
		}
	}
}

// GetNeigh returns a neighbour, and false if there is none.
func (e *Engine) GetNeigh(addr netip.Addr, dev string) (arp.Entry, bool) {
	d, err := e.named("neighbour", dev)
	if err != nil {
		return arp.Entry{}, false
	}
	return e.neighs.Get(arp.Key{Device: d.index, Addr: addr})
}

// AddProxyNeigh makes a device answer ARP requests for an address on behalf of another host: 'ip neigh add proxy'. dev "" is any
// device.
func (e *Engine) AddProxyNeigh(addr netip.Addr, dev string) error {
	return e.proxy("add proxy", addr, dev, (*arp.Table).AddProxy)
}

// ProxyNeighs returns the addresses that are answered for, and the devices on which; "" is any. They come by device and address.
func (e *Engine) ProxyNeighs() iter.Seq2[netip.Addr, string] {
	return func(yield func(netip.Addr, string) bool) {
		s := e.state.Load()
		for k := range e.neighs.Proxies() {
			if !yield(k.Addr, s.device(k.Device).label()) {
				return
			}
		}
	}
}

// DeleteProxyNeigh undoes AddProxyNeigh.
func (e *Engine) DeleteProxyNeigh(addr netip.Addr, dev string) error {
	return e.proxy("delete proxy", addr, dev, (*arp.Table).DeleteProxy)
}

func (e *Engine) proxy(what string, addr netip.Addr, dev string, f func(*arp.Table, arp.Key) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := arp.Key{Addr: addr}
	if dev != "" {
		d, err := e.find(what, dev)
		if err != nil {
			return err
		}
		k.Device = d.index
	}
	if err := f(e.neighs, k); err != nil {
		return fmt.Errorf("engine: %s: %w: %w", what, kindOfNeighbour(err), err)
	}
	e.publishAll(e.edit())
	return nil
}
