package ipcmd

// ip address: add, change, replace, del (ipaddr_modify in ip/ipaddress.c).

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

func (i *ip) address() error {
	return i.do("address", verbs{
		{Name: "add", Value: (*ip).addrAdd},
		{Name: "change", Value: (*ip).addrReplace},
		{Name: "chg", Value: (*ip).addrReplace},
		{Name: "replace", Value: (*ip).addrReplace},
		{Name: "delete", Value: (*ip).addrDelete},
		{Name: "list", Value: (*ip).addrShow},
		{Name: "show", Value: (*ip).addrShow},
		{Name: "lst", Value: (*ip).addrShow},
		{Name: "flush", Value: (*ip).addrFlush},
		{Name: "save"},
		{Name: "showdump"},
		{Name: "restore"},
		{Name: "help", Value: func(*ip) error { return help(usageAddress) }},
	}, (*ip).addrShow)
}

// addrWords are what was said of an address.
type addrWords struct {
	engine.Addr
	local, peer *prefix
	given       string // the address as it was given
	dev         string
	broadcast   string // "+", "-", or as Addr has it
	scoped      bool
	label       string
	metric      uint32
}

var addrTable = []keyword[*addrWords]{
	{"peer|remote", func(i *ip, a *addrWords) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		if a.peer != nil {
			return duplicate("peer", v)
		}
		p, err := parsePrefix(v, i.family)
		a.peer = &p
		return err
	}},
	{"broadcast*|brd", addrBroadcast},
	{"anycast", nil},
	{"scope", func(i *ip, a *addrWords) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		n, ok := scopeNames.parse(v)
		a.Scope, a.scoped = route.Scope(n), true
		return orWrong(ok, v, "invalid scope value.")
	}},
	{"dev", text(func(a *addrWords, v string) { a.dev = v })},
	{"label", text(func(a *addrWords, v string) { a.label = v })},
	{"metric*|priority*|preference*", func(i *ip, a *addrWords) error {
		n, err := i.number(32, "\"metric\" value is invalid\n")
		a.metric = uint32(n)
		return err
	}},
	{"valid_lft*", addrLifetime("valid_lft")},
	{"preferred_lft*", addrLifetime("preferred_lft")},
	{"secondary|temporary|dadfailed|deprecated|tentative|permanent|stable-privacy", func(i *ip, _ *addrWords) error {
		i.p.Errorf("Warning: %s option is not mutable from userspace", i.args.Last)
		return nil
	}},
	{"nodad|optimistic|home|mngtmpaddr", func(i *ip, _ *addrWords) error {
		i.p.Errorf("Warning: %s option can be set only for IPv6 addresses", i.args.Last)
		return nil
	}},
	{"noprefixroute", func(_ *ip, a *addrWords) error { a.NoPrefixRoute = true; return nil }},
	{"autojoin", nil},
}

func addrBroadcast(i *ip, a *addrWords) error {
	v, err := i.value()
	switch {
	case err != nil:
		return err
	case a.Broadcast.IsValid():
		return duplicate("broadcast", v)
	}
	if a.broadcast = v; v == "+" || v == "-" {
		return nil
	}
	a.Broadcast, err = address(v, i.family)
	return err
}

// addrLifetime takes 'forever': no address expires in the lab.
func addrLifetime(key string) func(*ip, *addrWords) error {
	return func(i *ip, _ *addrWords) error {
		v, err := i.value()
		switch _, ok := number(v, 32); {
		case err != nil || v == "forever":
			return err
		case ok:
			return unsupported(key + " " + v)
		}
		return wrong(v, key+" value")
	}
}

// readAddr reads an address.
func (i *ip) readAddr(a *addrWords) error {
	err := each(i, addrTable, a, func(word string) error {
		if word == "local" {
			v, err := i.value()
			if err != nil {
				return err
			}
			word = v
		}
		if short(word, "help") {
			return help(usageAddress)
		}
		if a.local != nil {
			return garbage("local", word)
		}
		p, err := parsePrefix(word, i.family)
		a.local, a.given = &p, word
		return err
	})
	if err != nil {
		return err
	}
	if a.dev == "" {
		return words.Errorf(1, `Not enough information: "dev" argument is required.`)
	}
	return nil
}

// complete finds the device, and works out what follows from the words.
func (a *addrWords) complete(i *ip) error {
	if i.node.E.Index(i.find(a.dev)) == 0 {
		return words.NoDevice(a.dev)
	}
	a.dev = i.find(a.dev)
	switch {
	case a.local == nil && a.peer == nil:
		return answers("Operation not supported")
	case a.local == nil:
		return extack("ipv4: Local address is not supplied.")
	case len(a.label) >= nameLength:
		return extack("Attribute failed policy validation.")
	}
	a.Prefix, a.Metric = a.local.Prefix, a.metric
	if a.label != a.dev {
		a.Label = a.label
	}
	if a.peer != nil && a.peer.Addr() == a.Prefix.Addr() {
		a.Prefix, a.peer = a.peer.Prefix, nil
	}
	subnet := a.Prefix
	if a.peer != nil {
		a.Peer, subnet = a.peer.Prefix, a.peer.Prefix
		a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())
	}
	const widest = 30 // longer subnets have no broadcast address (RFC 3021)
	switch {
	case subnet.Bits() > widest:
	case a.broadcast == "+":
		a.Broadcast = lastOf(subnet)
	case a.broadcast == "-":
		a.Broadcast = subnet.Masked().Addr()
	}
	if b := a.Prefix.Addr().As4(); !a.scoped && b[0] == 127 {
		a.Scope = route.ScopeHost
	}
	return nil
}

// lastOf returns the last address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}

func (i *ip) addrAdd() error {
	a, err := i.newAddr()
	if err != nil {
		return err
	}
	switch err := i.node.E.AddAddr(a.dev, a.Addr); {
	case errors.Is(err, engine.ErrExists):
		return extack("ipv4: Address already assigned.")
	case errors.Is(err, engine.ErrScope):
		return extack("ipv4: Invalid scope value.")
	default:
		return err
	}
}

func (i *ip) newAddr() (*addrWords, error) {
	a := &addrWords{}
	if err := i.readAddr(a); err != nil {
		return nil, err
	}
	return a, a.complete(i)
}

// addrReplace adds an address if it is not there. One that is there stays as it is, as on Linux, which changes nothing but what
// the lab does not have.
func (i *ip) addrReplace() error {
	a, err := i.newAddr()
	if err != nil {
		return err
	}
	for _, old := range i.node.E.Addrs(a.dev) {
		if old.Prefix == a.Prefix && old.Peer == a.Peer {
			return nil
		}
	}
	return i.node.E.AddAddr(a.dev, a.Addr)
}

func (i *ip) addrDelete() error {
	a := &addrWords{}
	if err := i.readAddr(a); err != nil {
		return err
	}
	wildcard := a.peer == nil && a.local != nil && !a.local.specified
	if wildcard {
		i.p.Errorf("Warning: Executing wildcard deletion to stay compatible with old scripts.\n"+
			"         Explicitly specify the prefix length (%s/32) to avoid this warning.\n"+
			"         This special behaviour is likely to disappear in further releases,\n         fix your scripts!", a.given)
	}
	if err := a.complete(i); err != nil {
		return err
	}
	err := i.node.E.DeleteAddrFunc(a.dev, func(old engine.Addr) bool { return a.deletes(&old, wildcard) })
	if errors.Is(err, engine.ErrNotFound) {
		return extack("ipv4: Address not found.")
	}
	return err
}

// deletes reports whether an address is the one to be deleted (inet_rtm_deladdr): the length must fit, and what was given lie in
// its subnet.
func (a *addrWords) deletes(old *engine.Addr, wildcard bool) bool {
	subnet, given := old.Prefix, a.local.Prefix
	if old.Peer.IsValid() {
		subnet = old.Peer
	}
	if a.Peer.IsValid() {
		given = a.Peer
	}
	return old.Prefix.Addr() == a.local.Addr() && (a.label == "" || a.label == old.Label) &&
		(wildcard || given.Bits() == subnet.Bits() && subnet.Masked().Contains(given.Addr()))
}
