package sysctl

// Keys without meaning in the lab that scripts set all the same: of IPv6, which there is none of, and of netfilter, which no packet
// passes. They are remembered.

import (
	"maps"
	"slices"
)

func otherKeys() []Key {
	return slices.Concat(remembered("net/ipv6/conf/*/", map[string]int64{
		"accept_dad": 1, "accept_ra": 1, "accept_redirects": 1, "addr_gen_mode": 0, "autoconf": 1, "dad_transmits": 1,
		"disable_ipv6": 0, "forwarding": 0, "mtu": 1280, "proxy_ndp": 0, "router_solicitations": -1, "use_tempaddr": 0,
	}), remembered("net/bridge/", map[string]int64{
		"bridge-nf-call-arptables": 1, "bridge-nf-call-ip6tables": 1, "bridge-nf-call-iptables": 1,
		"bridge-nf-filter-pppoe-tagged": 0, "bridge-nf-filter-vlan-tagged": 0, "bridge-nf-pass-vlan-input-dev": 0,
	}), remembered("net/core/", map[string]int64{
		"netdev_max_backlog": 1000, "rmem_default": 212992, "rmem_max": 212992, "wmem_default": 212992, "wmem_max": 212992,
	}))
}

// remembered returns keys that do nothing, with their initial values.
func remembered(prefix string, initial map[string]int64) []Key {
	var keys []Key
	for _, name := range slices.Sorted(maps.Keys(initial)) {
		keys = append(keys, number{pattern: prefix + name, initial: initial[name]}.key())
	}
	return keys
}
