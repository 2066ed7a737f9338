package engine

// Switches and limits: what is under net.ipv4.conf, net.ipv4.neigh and net.ipv4 on Linux.

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/internal/icmplimit"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/internal/pmtu"
)

// ConfAll and ConfDefault stand for a device where switches are asked for: what holds for all devices, and what new ones start
// with (net.ipv4.conf.all and default).
const (
	ConfAll     = "all"
	ConfDefault = "default"
)

// Conf are the switches of a device. How those of the device and of [ConfAll] combine is Linux's: the greater RPFilter, ARPIgnore
// and ARPAnnounce count; ProxyARP, SendRedirects, AcceptLocal and ARPAccept are on if either is; Forwarding is the device's own.
type Conf struct {
	Forwarding    bool
	ProxyARP      bool
	SendRedirects bool // off here, where Linux has it on
	AcceptLocal   bool // accept packets from the node's own addresses
	ARPAccept     bool // announcements of unknown neighbours make entries
	RPFilter      int  // 0: off, 1: the way back to a source must leave by the device, 2: by any
	ARPIgnore     int  // 0, 1, 2 or 8; see package arp
	ARPAnnounce   int  // 0, 1 or 2

	ProxyDelay time.Duration // greatest delay of an answer by proxy; 0 as Calico has it, 0.8 s on Linux
	ProxyQueue int           // answers that may wait; 0: arp.DefaultProxyQueue
}

func (c Conf) check(object string) error {
	var errs []error
	if c.RPFilter < 0 || c.RPFilter > 2 {
		errs = append(errs, fmt.Errorf("engine: %s: Conf.RPFilter is %d: want 0, 1 or 2: %w", object, c.RPFilter, ErrInvalid))
	}
	if c.ARPIgnore != 8 && (c.ARPIgnore < 0 || c.ARPIgnore > 2) {
		errs = append(errs, fmt.Errorf("engine: %s: Conf.ARPIgnore is %d: want 0, 1, 2 or 8: %w", object, c.ARPIgnore, ErrInvalid))
	}
	if c.ARPAnnounce < 0 || c.ARPAnnounce > 2 {
		errs = append(errs, fmt.Errorf("engine: %s: Conf.ARPAnnounce is %d: want 0, 1 or 2: %w", object, c.ARPAnnounce, ErrInvalid))
	}
	const longest, most = time.Minute, 1 << 16
	if c.ProxyDelay < 0 || c.ProxyDelay > longest {
		errs = append(errs, fmt.Errorf("engine: %s: Conf.ProxyDelay is %v: want 0 to %v: %w", object, c.ProxyDelay, longest, ErrInvalid))
	}
	if c.ProxyQueue < 0 || c.ProxyQueue > most {
		errs = append(errs, fmt.Errorf("engine: %s: Conf.ProxyQueue is %d: want 0 to %d: %w", object, c.ProxyQueue, most, ErrInvalid))
	}
	return errors.Join(errs...)
}

// with returns what holds for a device, given what holds for all.
func (c Conf) with(all Conf) Conf {
	c.ProxyARP = c.ProxyARP || all.ProxyARP
	c.SendRedirects = c.SendRedirects || all.SendRedirects
	c.AcceptLocal = c.AcceptLocal || all.AcceptLocal
	c.ARPAccept = c.ARPAccept || all.ARPAccept
	c.RPFilter = max(c.RPFilter, all.RPFilter)
	c.ARPIgnore = max(c.ARPIgnore, all.ARPIgnore)
	c.ARPAnnounce = max(c.ARPAnnounce, all.ARPAnnounce)
	return c
}

// Global are the switches and limits of the whole node. Zero fields take the default, which is Linux's.
type Global struct {
	DefaultTTL           uint8         // ip_default_ttl, 64
	EchoIgnoreAll        bool          // icmp_echo_ignore_all
	EchoAnswerBroadcasts bool          // icmp_echo_ignore_broadcasts off
	ICMPMsgsPerSec       int           // icmp_msgs_per_sec, 1000; -1: no limit
	ICMPMsgsBurst        int           // icmp_msgs_burst, 50
	ICMPRateLimit        time.Duration // icmp_ratelimit, 1 s between errors to a host after the first six; negative: no limit
	FragTimeout          time.Duration // ipfrag_time, 30 s
	FragMaxBytes         int           // ipfrag_high_thresh, 4 MiB of buffers, but half of the pool at most
	PMTUExpires          time.Duration // route/mtu_expires, 10 min
	MinPMTU              int           // route/min_pmtu, 552
}

func (g Global) orDefaults() Global {
	if g.DefaultTTL == 0 {
		g.DefaultTTL = 64
	}
	return g
}

// check reports every field that is wrong.
func (g Global) check() error {
	var errs []error
	fault := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("engine: Global.%s is %v: want %s, or 0 for the default: %w", field, value, want, ErrInvalid))
	}
	_, err := icmplimit.New(icmplimit.Config{PerSecond: g.ICMPMsgsPerSec})
	if err != nil {
		fault("ICMPMsgsPerSec", g.ICMPMsgsPerSec, "a number of errors, -1 for no limit")
	}
	if _, err = icmplimit.New(icmplimit.Config{Burst: g.ICMPMsgsBurst}); err != nil {
		fault("ICMPMsgsBurst", g.ICMPMsgsBurst, "a number of errors")
	}
	if _, err = icmplimit.New(icmplimit.Config{Interval: g.ICMPRateLimit}); err != nil {
		fault("ICMPRateLimit", g.ICMPRateLimit, "a time, negative for no limit")
	}
	if _, err = ipfrag.New(ipfrag.Config{Timeout: g.FragTimeout}); err != nil {
		fault("FragTimeout", g.FragTimeout, "a time")
	}
	if _, err = ipfrag.New(ipfrag.Config{MaxBytes: g.FragMaxBytes}); err != nil {
		fault("FragMaxBytes", g.FragMaxBytes, "a number of bytes")
	}
	if _, err = pmtu.New(pmtu.Config{Expires: g.PMTUExpires}); err != nil {
		fault("PMTUExpires", g.PMTUExpires, "a time")
	}
	if _, err = pmtu.New(pmtu.Config{Min: g.MinPMTU}); err != nil {
		fault("MinPMTU", g.MinPMTU, "68 to 65535 bytes")
	}
	return errors.Join(errs...)
}

func (g Global) limits() icmplimit.Config {
	return icmplimit.Config{PerSecond: g.ICMPMsgsPerSec, Burst: g.ICMPMsgsBurst, Interval: g.ICMPRateLimit}
}

func (g Global) pathMTU() pmtu.Config { return pmtu.Config{Expires: g.PMTUExpires, Min: g.MinPMTU} }

// confs are the switches that are no device's.
type confs struct {
	all, preset Conf
	global      Global
	neighs      map[uint32]arp.Params // as set
}

func newConfs() confs { return confs{global: Global{}.orDefaults(), neighs: map[uint32]arp.Params{}} }

// Conf returns the switches of a device as they were set, of [ConfAll] or of [ConfDefault].
func (e *Engine) Conf(dev string) (Conf, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch dev {
	case ConfAll:
		return e.confs.all, nil
	case ConfDefault:
		return e.confs.preset, nil
	}
	d, err := e.find("conf", dev)
	if err != nil {
		return Conf{}, err
	}
	return d.own, nil
}

// SetConf sets the switches of a device, of [ConfAll] or of [ConfDefault]: all of them, so begin with those of [Engine.Conf].
func (e *Engine) SetConf(dev string, c Conf) error {
	if err := c.check("conf " + dev); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch dev {
	case ConfAll:
		e.confs.all = c
	case ConfDefault:
		e.confs.preset = c
		return nil
	default:
		d, err := e.find("conf", dev)
		if err != nil {
			return err
		}
		return e.change(d, func(d *device) { d.own = c })
	}
	e.publishAll(e.edit())
	return nil
}

// SetForwarding switches forwarding on or off for all devices, those to come included ('sysctl net.ipv4.ip_forward').
func (e *Engine) SetForwarding(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.confs.all.Forwarding, e.confs.preset.Forwarding = on, on
	s := e.edit()
	for i, d := range s.devices {
		if d != nil {
			c := *d
			c.own.Forwarding = on
			s.devices[i] = &c
		}
	}
	e.publishAll(s)
}

// Global returns the switches and limits of the node; zero fields stand for the default.
func (e *Engine) Global() Global {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.confs.global
}

// SetGlobal sets the switches and limits of the node: all of them, so begin with those of [Engine.Global].
func (e *Engine) SetGlobal(g Global) error {
	g = g.orDefaults()
	if err := g.check(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := errors.Join(e.limits.SetConfig(g.limits()), e.reasm.SetConfig(e.reassembly(g)), e.pmtus.SetConfig(g.pathMTU())); err != nil {
		return fmt.Errorf("engine: Global: %w: %w", ErrInvalid, err)
	}
	e.confs.global = g
	s := e.edit()
	s.global = g
	e.publishAll(s)
	return nil
}

// NeighParams returns the timers and limits of a device's neighbours, every default filled in; those of [ConfDefault] hold for
// devices without their own.
func (e *Engine) NeighParams(dev string) (arp.Params, error) {
	if dev == ConfDefault {
		return e.neighs.Params(0), nil
	}
	d, err := e.named("neighbour parameters", dev)
	if err != nil {
		return arp.Params{}, err
	}
	return e.neighs.Params(d.index), nil
}

// SetNeighParams sets the timers and limits of a device's neighbours, or with [ConfDefault] of all devices without their own.
func (e *Engine) SetNeighParams(dev string, p arp.Params) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	index := uint32(0)
	if dev != ConfDefault {
		d, err := e.find("neighbour parameters", dev)
		if err != nil {
			return err
		}
		index = d.index
	}
	if err := e.neighs.SetParams(index, p); err != nil {
		return fmt.Errorf("engine: neighbour parameters of %s: %w: %w", dev, ErrInvalid, err)
	}
	e.confs.neighs[index] = p
	for _, d := range e.state.Load().devices {
		if d != nil {
			e.accept(d.index, d.conf.ARPAccept)
		}
	}
	return nil
}

// accept brings the parameters of a device's neighbours in step with its switch ARPAccept; e.mu is held.
func (e *Engine) accept(index uint32, on bool) {
	p, own := e.confs.neighs[index]
	if !own {
		p = e.confs.neighs[0]
	}
	if !own && !on {
		e.neighs.ClearParams(index)
		return
	}
	p.AcceptUnsolicited = p.AcceptUnsolicited || on
	_ = e.neighs.SetParams(index, p) // was checked without the switch
}

// SetNeighThresholds sets the limits of learned neighbours (net.ipv4.neigh.default.gc_thresh1 to 3).
func (e *Engine) SetNeighThresholds(gcThresh1, gcThresh2, gcThresh3 int) error {
	if err := e.neighs.SetThresholds(gcThresh1, gcThresh2, gcThresh3); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}
