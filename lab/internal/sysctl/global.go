package sysctl

// net.ipv4 and net.ipv4.route: switches and limits of a node.

import (
	"math"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// The kernel's defaults (net/ipv4/sysctl_net_ipv4.c, net/ipv4/ip_fragment.c, net/ipv4/route.c), which engines write as 0.
const (
	defaultRateLimit   = 1000 // ms
	defaultMsgsPerSec  = 1000
	defaultMsgsBurst   = 50
	defaultFragTime    = 30 // s
	defaultFragBytes   = 4 << 20
	defaultFragLow     = 3 << 20
	defaultMTUExpires  = 600 // s
	defaultMinPMTU     = 552
	lowestMinPMTU      = 68
	highestTTL         = 255
	shortest           = time.Nanosecond // for 0, which engines take for the default
	defaultICMPMask    = 6168
	defaultFragMaxDist = 64
)

func globalKeys() []Key {
	keys := []Key{ipForward(), flushRoutes()}
	for _, x := range append(globalNumbers(), fragmentNumbers()...) {
		x.pattern = "net/ipv4/" + x.pattern
		keys = append(keys, x.key())
	}
	keys = append(keys, remembered("net/ipv4/", map[string]int64{
		"fib_multipath_hash_fields": 7, "fib_multipath_hash_policy": 0, "fib_multipath_use_neigh": 0, "fwmark_reflect": 0,
		"icmp_echo_enable_probe": 0, "icmp_errors_use_inbound_ifaddr": 0, "icmp_ignore_bogus_error_responses": 1,
		"icmp_ratemask": defaultICMPMask, "igmp_link_local_mcast_reports": 1, "igmp_max_memberships": 20, "igmp_max_msf": 10,
		"igmp_qrv": 2, "ip_autobind_reuse": 0, "ip_dynaddr": 0, "ip_early_demux": 1, "ip_forward_update_priority": 1,
		"ip_forward_use_pmtu": 0, "ip_no_pmtu_disc": 0, "ip_nonlocal_bind": 0, "ip_unprivileged_port_start": 1024,
		"ipfrag_max_dist": defaultFragMaxDist, "nexthop_compat_mode": 1, "raw_l3mdev_accept": 1, "route/min_adv_mss": 256,
	})...)
	return append(keys, textKey("net/ipv4/ip_local_port_range", "32768\t60999"), textKey("net/ipv4/ping_group_range", "1\t0"))
}

// flushRoutes is net.ipv4.route.flush, which may be written only, and does nothing: there is no cache of routes.
func flushRoutes() Key {
	return Key{Pattern: "net/ipv4/route/flush", Set: func(*network.Node, string, string) error { return nil }}
}

// changeGlobal changes the switches and limits of a node.
func changeGlobal(n *network.Node, f func(*engine.Global)) error {
	g := n.E.Global()
	f(&g)
	if err := n.E.SetGlobal(g); err != nil {
		return ErrInvalid
	}
	return nil
}

// global is a number of the node's, with the default that the engine writes as 0. read and write are between numbers and the
// engine's field.
func global(x number, otherwise int64, read func(*engine.Global) int64, write func(*engine.Global, int64)) number {
	x.get = func(n *network.Node, _ string) (int64, error) {
		g := n.E.Global()
		v := read(&g)
		if v == 0 {
			v = otherwise
		}
		return max(v, 0), nil
	}
	x.set = func(n *network.Node, _ string, v int64) error {
		return changeGlobal(n, func(g *engine.Global) { write(g, v) })
	}
	return x
}

func globalNumbers() []number {
	rate := number{pattern: "icmp_ratelimit", unit: milliseconds}
	expires := number{pattern: "route/mtu_expires", unit: seconds}
	return []number{
		global(number{pattern: "ip_default_ttl", low: 1, high: highestTTL}, 0,
			func(g *engine.Global) int64 { return int64(g.DefaultTTL) }, func(g *engine.Global, v int64) { g.DefaultTTL = uint8(v) }),
		global(number{pattern: "icmp_echo_ignore_all", high: 1}, 0,
			func(g *engine.Global) int64 { return boolOf(g.EchoIgnoreAll) }, func(g *engine.Global, v int64) { g.EchoIgnoreAll = v != 0 }),
		global(number{pattern: "icmp_echo_ignore_broadcasts", high: 1}, 0,
			func(g *engine.Global) int64 { return boolOf(!g.EchoAnswerBroadcasts) }, func(g *engine.Global, v int64) { g.EchoAnswerBroadcasts = v == 0 }),
		global(number{pattern: "icmp_msgs_per_sec", high: math.MaxInt32}, defaultMsgsPerSec,
			func(g *engine.Global) int64 { return int64(g.ICMPMsgsPerSec) }, func(g *engine.Global, v int64) { g.ICMPMsgsPerSec = int(max(v, 1)) }),
		global(number{pattern: "icmp_msgs_burst", high: math.MaxInt32}, defaultMsgsBurst,
			func(g *engine.Global) int64 { return int64(g.ICMPMsgsBurst) }, func(g *engine.Global, v int64) { g.ICMPMsgsBurst = int(max(v, 1)) }),
		global(rate, defaultRateLimit,
			func(g *engine.Global) int64 { return rate.count(g.ICMPRateLimit) },
			func(g *engine.Global, v int64) {
				if g.ICMPRateLimit = rate.duration(v); v == 0 {
					g.ICMPRateLimit = -time.Second // no limit
				}
			}),
		global(expires, defaultMTUExpires,
			func(g *engine.Global) int64 { return expires.count(g.PMTUExpires) },
			func(g *engine.Global, v int64) { g.PMTUExpires = max(expires.duration(v), shortest) }),
		global(number{pattern: "route/min_pmtu", low: lowestMinPMTU, high: math.MaxInt32}, defaultMinPMTU,
			func(g *engine.Global) int64 { return int64(g.MinPMTU) },
			func(g *engine.Global, v int64) { g.MinPMTU = int(min(v, math.MaxUint16)) }),
	}
}

// fragmentNumbers are those of reassembly. The lower threshold must not be above the higher one; it does nothing, as in the
// kernel since 4.17.
func fragmentNumbers() []number {
	timeout := number{pattern: "ipfrag_time", unit: seconds}
	low := number{pattern: "ipfrag_low_thresh", high: math.MaxInt64, initial: defaultFragLow}
	high := global(number{pattern: "ipfrag_high_thresh", high: math.MaxInt64}, defaultFragBytes,
		func(g *engine.Global) int64 { return int64(g.FragMaxBytes) },
		func(g *engine.Global, v int64) { g.FragMaxBytes = int(max(v, 1)) })
	lowValue := func(n *network.Node) int64 {
		x := low
		x.pattern, x.set, x.get = "net/ipv4/"+x.pattern, nil, nil
		v, _ := x.value(n, "") // remembered, so without error
		return v
	}
	setHigh := high.set
	high.set = func(n *network.Node, dev string, v int64) error {
		if v < lowValue(n) {
			return ErrInvalid
		}
		return setHigh(n, dev, v)
	}
	return []number{
		global(timeout, defaultFragTime,
			func(g *engine.Global) int64 { return timeout.count(g.FragTimeout) },
			func(g *engine.Global, v int64) { g.FragTimeout = max(timeout.duration(v), shortest) }),
		high, low,
	}
}
