package ipcmd

// ip address.

import (
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
)

func (i *ip) address() error {
	return i.do("address", verbs{
		{Name: "add", Value: (*ip).addrAdd},
		{Name: "delete", Value: (*ip).addrDelete},
		{Name: "show", Value: (*ip).addrShow},
		{Name: "list", Value: (*ip).addrShow},
		{Name: "lst", Value: (*ip).addrShow},
	}, (*ip).addrShow)
}

// addrWords reads 'A/L [peer A/L] [broadcast A|+] dev D'.
func (i *ip) addrWords() (a engine.Addr, dev string, err error) {
	for i.args.More() && err == nil {
		switch word := i.args.Next(); word {
		case "dev":
			dev, err = i.args.Value()
		case "peer", "remote":
			a.Peer, err = i.prefixValue()
		case "broadcast", "brd":
			var value string
			value, err = i.args.Value()
			if err == nil && value != "+" {
				a.Broadcast, err = words.Addr(value)
			} else if err == nil {
				a.Broadcast = lastOf(a.Prefix)
			}
		case "local":
			a.Prefix, err = i.prefixValue()
		default:
			a.Prefix, err = words.Prefix(word)
		}
	}
	switch {
	case err != nil:
	case dev == "":
		err = words.Errorf(255, `Not enough information: "dev" argument is required.`)
	case i.node.E.Index(dev) == 0:
		err = words.NoDevice(dev)
	case a.Peer.IsValid():
		a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())
	}
	return a, dev, err
}

func (i *ip) prefixValue() (netip.Prefix, error) {
	value, err := i.args.Value()
	if err != nil {
		return netip.Prefix{}, err
	}
	return words.Prefix(value)
}

// lastOf returns the broadcast address of a subnet.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}

func (i *ip) addrAdd() error {
	a, dev, err := i.addrWords()
	if err != nil {
		return err
	}
	return i.node.E.AddAddr(dev, a)
}

func (i *ip) addrDelete() error {
	a, dev, err := i.addrWords()
	if err != nil {
		return err
	}
	if err := i.node.E.DeleteAddr(dev, a.Prefix); err != nil {
		return words.Errorf(2, "RTNETLINK answers: Cannot assign requested address")
	}
	return nil
}

func (i *ip) addrShow() error {
	links, err := i.selected()
	if err != nil {
		return err
	}
	for _, l := range links {
		i.printLink(l)
		for _, a := range i.node.E.Addrs(l.Name) {
			i.p.Printf("    inet %s", a.Prefix)
			if a.Broadcast.IsValid() {
				i.p.Printf(" brd %s", a.Broadcast)
			}
			i.p.Printf(" scope %s %s\n       valid_lft forever preferred_lft forever\n", a.Scope, l.Name)
		}
	}
	return nil
}
