package sysctl

// net.ipv4.conf.DEVICE: the switches of devices.

import (
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

const confPattern = "net/ipv4/conf/*/"

func confKeys() []Key {
	var keys []Key
	for _, x := range confNumbers() {
		x.pattern = confPattern + x.pattern
		keys = append(keys, x.key())
	}
	return append(keys, remembered(confPattern, map[string]int64{
		"accept_redirects": 1, "accept_source_route": 1, "arp_evict_nocarrier": 1, "arp_filter": 0, "arp_notify": 0,
		"bc_forwarding": 0, "bootp_relay": 0, "disable_policy": 0, "disable_xfrm": 0, "drop_gratuitous_arp": 0,
		"drop_unicast_in_l2_multicast": 0, "force_igmp_version": 0, "igmpv2_unsolicited_report_interval": 10000,
		"igmpv3_unsolicited_report_interval": 1000, "ignore_routes_with_linkdown": 0, "log_martians": 0, "mc_forwarding": 0,
		"medium_id": 0, "promote_secondaries": 0, "proxy_arp_pvlan": 0, "route_localnet": 0, "secure_redirects": 1,
		"shared_media": 1, "src_valid_mark": 0, "tag": 0,
	})...)
}

// confNumbers are the switches that engines have; beside them are those that are only remembered, with the kernel's defaults
// (net/ipv4/devinet.c).
func confNumbers() []number {
	return []number{
		{pattern: "forwarding", get: getForwarding, set: setForwarding},
		confSwitch("proxy_arp", func(c *engine.Conf) *bool { return &c.ProxyARP }),
		confSwitch("send_redirects", func(c *engine.Conf) *bool { return &c.SendRedirects }),
		confSwitch("accept_local", func(c *engine.Conf) *bool { return &c.AcceptLocal }),
		confSwitch("arp_accept", func(c *engine.Conf) *bool { return &c.ARPAccept }),
		confLevel("rp_filter", func(c *engine.Conf) *int { return &c.RPFilter }, rpFilter),
		confLevel("arp_ignore", func(c *engine.Conf) *int { return &c.ARPIgnore }, arpIgnore),
		confLevel("arp_announce", func(c *engine.Conf) *int { return &c.ARPAnnounce }, arpAnnounce),
	}
}

// change changes the switches of a device, of all, or of those to come.
func change(n *network.Node, dev string, f func(*engine.Conf)) error {
	c, err := n.E.Conf(dev)
	if err != nil {
		return err
	}
	f(&c)
	if err := n.E.SetConf(dev, c); err != nil {
		return ErrInvalid
	}
	return nil
}

// confSwitch is a switch: whatever is not 0 is on.
func confSwitch(name string, field func(*engine.Conf) *bool) number {
	return number{
		pattern: name,
		get: func(n *network.Node, dev string) (int64, error) {
			c, err := n.E.Conf(dev)
			return boolOf(*field(&c)), err
		},
		set: func(n *network.Node, dev string, v int64) error {
			return change(n, dev, func(c *engine.Conf) { *field(c) = v != 0 })
		},
	}
}

// confLevel is a switch with more than two positions; level returns what a number means to the kernel.
func confLevel(name string, field func(*engine.Conf) *int, level func(int64) int) number {
	return number{
		pattern: name,
		get: func(n *network.Node, dev string) (int64, error) {
			c, err := n.E.Conf(dev)
			return int64(*field(&c)), err
		},
		set: func(n *network.Node, dev string, v int64) error {
			return change(n, dev, func(c *engine.Conf) { *field(c) = level(v) })
		},
	}
}

// rpFilter is fib_validate_source's (net/ipv4/fib_frontend.c): 1 is strict, whatever else is not 0 loose.
func rpFilter(v int64) int {
	switch v {
	case 0, 1:
		return int(v)
	}
	return 2
}

// arpIgnore is arp_ignore's (net/ipv4/arp.c). 3, which looks at the scope of addresses, is 2 to an engine, which is stricter.
func arpIgnore(v int64) int {
	switch v {
	case 1, 2, 8:
		return int(v)
	case 3:
		return 2
	}
	return 0
}

// arpAnnounce is arp_solicit's (net/ipv4/arp.c).
func arpAnnounce(v int64) int {
	switch v {
	case 1, 2:
		return int(v)
	}
	return 0
}

func getForwarding(n *network.Node, dev string) (int64, error) {
	c, err := n.E.Conf(dev)
	return boolOf(c.Forwarding), err
}

// setForwarding switches all devices with conf.all, and those to come (inet_forward_change).
func setForwarding(n *network.Node, dev string, v int64) error {
	if dev == engine.ConfAll {
		n.E.SetForwarding(v != 0)
		return nil
	}
	return change(n, dev, func(c *engine.Conf) { c.Forwarding = v != 0 })
}

// ipForward is net.ipv4.ip_forward: conf.all.forwarding by another name.
func ipForward() Key {
	all := number{pattern: confPattern + "forwarding", get: getForwarding, set: setForwarding}.key()
	return Key{
		Pattern: "net/ipv4/ip_forward",
		Get:     func(n *network.Node, _ string) (string, error) { return all.Get(n, engine.ConfAll) },
		Set:     func(n *network.Node, _, value string) error { return all.Set(n, engine.ConfAll, value) },
	}
}
