package arp

// The knobs: what net.ipv4.neigh.* of Linux sets, for each device and for the table, with the kernel's defaults
// (net/ipv4/arp.c, arp_tbl).

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Params are the timers and limits of a device's neighbours, those of /proc/sys/net/ipv4/neigh/DEVICE. Zero fields take the
// default; where nothing is meant, -1.
type Params struct {
	BaseReachable time.Duration // base_reachable_time_ms, 30 s: a confirmation holds for 0.5 to 1.5 times that
	Delay         time.Duration // delay_first_probe_time, 5 s: how long an entry in use waits for a confirmation before it is checked
	Retransmit    time.Duration // retrans_time_ms, 1 s: between requests; 10 ms at least
	StaleTime     time.Duration // gc_stale_time, 60 s: how long an entry that nobody uses is kept
	LockTime      time.Duration // locktime, 1 s: how long after a change another MAC address is not believed

	UnicastProbes     int // ucast_solicit, 3: requests to the known MAC address, in a check
	AppProbes         int // app_solicit, 0: then, and in a resolution first, requests to the agent
	BroadcastProbes   int // mcast_solicit, 3: requests to everybody, in a resolution
	BroadcastReprobes int // mcast_resolicit, 0: requests to everybody at the end of a check

	QueueBytes   int // unres_qlen_bytes, 212992: bytes waiting for one neighbour; one packet may wait whatever its size
	QueuePackets int // unres_qlen, 101: packets waiting for one neighbour

	AcceptUnsolicited bool // arp_accept: announcements and replies that nobody asked for make entries
}

// The kernel's defaults.
const (
	defaultBaseReachable = 30 * time.Second
	defaultDelay         = 5 * time.Second
	defaultRetransmit    = time.Second
	defaultStaleTime     = 60 * time.Second
	defaultLockTime      = time.Second
	defaultProbes        = 3
	defaultQueueBytes    = 212992
	defaultQueuePackets  = 101

	defaultGCThresh1 = 128
	defaultGCThresh2 = 512
	defaultGCThresh3 = 1024
)

const (
	minTimer     = 10 * time.Millisecond // HZ/100: no timer is set for less, so none can spin
	maxParamTime = 100 * 365 * 24 * time.Hour
	maxProbes    = 1 << 16
	rerollEvery  = 300 * time.Second // how often the kernel draws the reachable times anew
)

// resolve replaces zero fields by their defaults and -1 by nothing.
func (p Params) resolve() Params {
	orTime(&p.BaseReachable, defaultBaseReachable)
	orTime(&p.Delay, defaultDelay)
	orTime(&p.Retransmit, defaultRetransmit)
	orTime(&p.StaleTime, defaultStaleTime)
	orTime(&p.LockTime, defaultLockTime)
	orInt(&p.UnicastProbes, defaultProbes)
	orInt(&p.AppProbes, 0)
	orInt(&p.BroadcastProbes, defaultProbes)
	orInt(&p.BroadcastReprobes, 0)
	orInt(&p.QueueBytes, defaultQueueBytes)
	orInt(&p.QueuePackets, defaultQueuePackets)
	return p
}

func orTime(field *time.Duration, otherwise time.Duration) {
	switch *field {
	case 0:
		*field = otherwise
	case -1:
		*field = 0
	}
}

func orInt(field *int, otherwise int) {
	switch *field {
	case 0:
		*field = otherwise
	case -1:
		*field = 0
	}
}

// public is the inverse of resolve.
func (p Params) public() Params {
	for _, field := range []*time.Duration{&p.BaseReachable, &p.Delay, &p.Retransmit, &p.StaleTime, &p.LockTime} {
		if *field == 0 {
			*field = -1
		}
	}
	for _, field := range []*int{
		&p.UnicastProbes, &p.AppProbes, &p.BroadcastProbes, &p.BroadcastReprobes, &p.QueueBytes, &p.QueuePackets,
	} {
		if *field == 0 {
			*field = -1
		}
	}
	return p
}

// check reports every field that is out of range; prefix is what it is a field of.
func (p Params) check(prefix string) error {
	var errs []error
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"BaseReachable", p.BaseReachable},
		{"Delay", p.Delay},
		{"Retransmit", p.Retransmit},
		{"StaleTime", p.StaleTime},
		{"LockTime", p.LockTime},
	} {
		if f.value < -1 || f.value > maxParamTime {
			errs = append(errs, fmt.Errorf("arp: %s.%s is %v: want 0 for the default, -1 for none, or up to %v",
				prefix, f.name, f.value, maxParamTime))
		}
	}
	for _, f := range []struct {
		name       string
		value, max int
	}{
		{"UnicastProbes", p.UnicastProbes, maxProbes},
		{"AppProbes", p.AppProbes, maxProbes},
		{"BroadcastProbes", p.BroadcastProbes, maxProbes},
		{"BroadcastReprobes", p.BroadcastReprobes, maxProbes},
		{"QueueBytes", p.QueueBytes, math.MaxInt32},
		{"QueuePackets", p.QueuePackets, math.MaxInt32},
	} {
		if f.value < -1 || f.value > f.max {
			errs = append(errs, fmt.Errorf("arp: %s.%s is %d: want 0 for the default, -1 for none, or up to %d",
				prefix, f.name, f.value, f.max))
		}
	}
	return errors.Join(errs...)
}

// SetParams gives a device parameters of its own from now on; device 0 stands for all those without. Running timers are not
// changed, as in the kernel.
func (t *Table) SetParams(device uint32, p Params) error {
	if err := p.check("Params"); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.unlock()
	if device == 0 {
		t.defaults = p.resolve()
	} else {
		resolved := p.resolve()
		t.own[device] = &resolved
	}
	t.noteAccepting()
	return nil
}

// ClearParams lets a device follow those of device 0 again; a removed device should be cleared.
func (t *Table) ClearParams(device uint32) {
	t.mu.Lock()
	defer t.unlock()
	delete(t.own, device)
	t.noteAccepting()
}

// Params returns what holds for a device, every default filled in and -1 where there is none.
func (t *Table) Params(device uint32) Params {
	t.mu.Lock()
	defer t.unlock()
	return t.params(device).public()
}

// params returns what holds for a device.
func (t *Table) params(device uint32) *Params {
	if len(t.own) > 0 {
		if p := t.own[device]; p != nil {
			return p
		}
	}
	return &t.defaults
}

// noteAccepting tells Input whether any device makes entries of unsolicited packets.
func (t *Table) noteAccepting() {
	accepting := t.defaults.AcceptUnsolicited
	for _, p := range t.own {
		accepting = accepting || p.AcceptUnsolicited
	}
	t.accepting.Store(accepting)
}

// reachableTime returns for how long a confirmation at the given time holds. It depends on the seed, the device and which 300 s
// the time is in, and on nothing else: not on what else the table was used for.
func (t *Table) reachableTime(device uint32, confirmed time.Duration) time.Duration {
	base := t.params(device).BaseReachable
	if base == 0 {
		return 0
	}
	var random rand.PCG
	random.Seed(t.seed, uint64(device)<<32|uint64(confirmed/rerollEvery)&0xffffffff)
	return base/2 + time.Duration(random.Uint64()%uint64(base))
}
