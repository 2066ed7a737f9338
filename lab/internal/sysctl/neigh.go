package sysctl

// net.ipv4.neigh.DEVICE: timers and limits of neighbours.

import (
	"math"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

const neighPattern = "net/ipv4/neigh/*/"

// hasNeigh reports whether there is a directory of neighbours: each device has one, the default only in the first namespace
// (net/core/neighbour.c, neigh_sysctl_register; net/ipv4/arp.c, arp_init).
func hasNeigh(n *network.Node, dev string) bool {
	return dev != engine.ConfAll && (dev != engine.ConfDefault || n == n.Network().Default())
}

// hasGC reports whether the limits of the whole table are here.
func hasGC(n *network.Node, dev string) bool { return dev == engine.ConfDefault && hasNeigh(n, dev) }

func neighKeys() []Key {
	var keys []Key
	for _, x := range neighNumbers() {
		x.pattern = neighPattern + x.pattern
		if x.has == nil {
			x.has = hasNeigh
		}
		keys = append(keys, x.key())
	}
	return keys
}

func neighNumbers() []number {
	base := func(p *arp.Params) *time.Duration { return &p.BaseReachable }
	retransmit := func(p *arp.Params) *time.Duration { return &p.Retransmit }
	old := func(x number) number { x.deprecated = true; return x }
	return []number{
		neighTime("base_reachable_time_ms", milliseconds, base),
		old(neighTime("base_reachable_time", seconds, base)),
		neighTime("delay_first_probe_time", seconds, func(p *arp.Params) *time.Duration { return &p.Delay }),
		neighTime("gc_stale_time", seconds, func(p *arp.Params) *time.Duration { return &p.StaleTime }),
		neighTime("locktime", hundredths, func(p *arp.Params) *time.Duration { return &p.LockTime }),
		neighTime("retrans_time_ms", milliseconds, retransmit),
		old(neighTime("retrans_time", hundredths, retransmit)),
		neighCount("app_solicit", func(p *arp.Params) *int { return &p.AppProbes }),
		neighCount("mcast_resolicit", func(p *arp.Params) *int { return &p.BroadcastReprobes }),
		neighCount("mcast_solicit", func(p *arp.Params) *int { return &p.BroadcastProbes }),
		neighCount("ucast_solicit", func(p *arp.Params) *int { return &p.UnicastProbes }),
		queueBytes("unres_qlen_bytes", 1),
		queueBytes("unres_qlen", packetMemory),
		proxyDelay(),
		{
			pattern: "proxy_qlen", high: math.MaxInt32,
			get: func(n *network.Node, dev string) (int64, error) {
				c, err := n.E.Conf(dev)
				return int64(c.ProxyQueue), err
			},
			set: func(n *network.Node, dev string, v int64) error {
				return change(n, dev, func(c *engine.Conf) { c.ProxyQueue = int(min(max(v, 1), 1<<16)) })
			},
		},
		{pattern: "anycast_delay", unit: hundredths, initial: 100},
		{pattern: "interval_probe_time_ms", unit: milliseconds, initial: 5000},
		{pattern: "gc_interval", unit: seconds, initial: 30, has: hasGC},
		gcThreshold("gc_thresh1", 0),
		gcThreshold("gc_thresh2", 1),
		gcThreshold("gc_thresh3", 2),
	}
}

// nothing is what engines have for 0, where 0 means the default.
const nothing = -1

// changeParams changes the timers and limits of a device's neighbours. The default is that of all namespaces, for the kernel has
// one table.
func changeParams(n *network.Node, dev string, f func(*arp.Params)) error {
	nodes := []*network.Node{n}
	if dev == engine.ConfDefault {
		nodes = n.Network().Nodes()
	}
	for _, n := range nodes {
		p, err := n.E.NeighParams(dev)
		if err != nil {
			return err
		}
		f(&p)
		if err := n.E.SetNeighParams(dev, p); err != nil {
			return ErrInvalid
		}
	}
	return nil
}

func neighTime(name string, u unit, field func(*arp.Params) *time.Duration) number {
	x := number{pattern: name, unit: u}
	x.get = func(n *network.Node, dev string) (int64, error) {
		p, err := n.E.NeighParams(dev)
		return x.count(max(*field(&p), 0)), err
	}
	x.set = func(n *network.Node, dev string, v int64) error {
		return changeParams(n, dev, func(p *arp.Params) {
			if *field(p) = x.duration(v); v <= 0 {
				*field(p) = nothing
			}
		})
	}
	return x
}

func neighCount(name string, field func(*arp.Params) *int) number {
	return number{
		pattern: name, high: math.MaxInt32,
		get: func(n *network.Node, dev string) (int64, error) {
			p, err := n.E.NeighParams(dev)
			return int64(max(*field(&p), 0)), err
		},
		set: func(n *network.Node, dev string, v int64) error {
			const most = 1 << 16
			return changeParams(n, dev, func(p *arp.Params) {
				if *field(p) = int(min(v, most)); v == 0 {
					*field(p) = nothing
				}
			})
		},
	}
}

// What packets take of the memory for those that wait: the greatest frame, by which the kernel reckons unres_qlen
// (SKB_TRUESIZE(ETH_FRAME_LEN)), and a small packet, of which so many more may wait.
const (
	packetMemory      = 2090
	smallPacketMemory = 768
)

// queueBytes is the length of the queue of packets that wait for a neighbour, in units of so many bytes. An engine counts packets
// and their bytes, so it gets the number of small packets that would fit.
func queueBytes(name string, unit int64) number {
	get := func(n *network.Node, dev string) (int64, error) {
		p, err := n.E.NeighParams(dev)
		return int64(max(p.QueueBytes, 0)) / unit, err
	}
	return number{
		pattern: name, high: math.MaxInt32 / unit, get: get,
		set: func(n *network.Node, dev string, v int64) error {
			return changeParams(n, dev, func(p *arp.Params) {
				p.QueueBytes, p.QueuePackets = nothing, nothing
				if v > 0 {
					p.QueueBytes, p.QueuePackets = int(v*unit), int(max(v*unit/smallPacketMemory, 1))
				}
			})
		},
	}
}

func proxyDelay() number {
	x := number{pattern: "proxy_delay", unit: hundredths}
	x.get = func(n *network.Node, dev string) (int64, error) {
		c, err := n.E.Conf(dev)
		return x.count(c.ProxyDelay), err
	}
	x.set = func(n *network.Node, dev string, v int64) error {
		return change(n, dev, func(c *engine.Conf) { c.ProxyDelay = x.duration(max(v, 0)) })
	}
	return x
}

// gcThreshold is one of the limits of the table, which the kernel has one of for all namespaces.
func gcThreshold(name string, i int) number {
	return number{
		pattern: name, high: math.MaxInt32, has: hasGC,
		get: func(n *network.Node, _ string) (int64, error) { return int64(n.Network().NeighThresholds()[i]), nil },
		set: func(n *network.Node, _ string, v int64) error {
			t := n.Network().NeighThresholds()
			t[i] = int(v)
			if n.Network().SetNeighThresholds(t) != nil {
				return ErrInvalid
			}
			return nil
		},
	}
}
