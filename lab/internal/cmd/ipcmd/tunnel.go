package ipcmd

// ip tunnel (ip/iptunnel.c), of which the lab has the mode ipip.

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) tunnel() error {
	if i.family == inet6 || i.family == link {
		return unsupported("ip -family " + i.family.String() + " tunnel")
	}
	if !i.args.More() {
		return i.tunnelShow()
	}
	table := verbs{
		{Name: "add", Value: (*ip).tunnelAdd},
		{Name: "change", Value: (*ip).tunnelChange},
		{Name: "delete", Value: (*ip).tunnelDelete},
		{Name: "show", Value: (*ip).tunnelShow},
		{Name: "lst", Value: (*ip).tunnelShow},
		{Name: "list", Value: (*ip).tunnelShow},
		{Name: "prl"},
		{Name: "6rd"},
		{Name: "help", Value: func(*ip) error { return help(usageTunnel) }},
	}
	word := i.args.Next()
	f, ok := words.Match(table, word)
	switch {
	case !ok:
		return words.Errorf(255, `Command "%s" is unknown, try "ip tunnel help"`, word)
	case f == nil:
		return unsupported("ip tunnel " + word)
	}
	return f(i)
}

// tunnelWords are what was said of a tunnel.
type tunnelWords struct {
	ipipWords
	name   string
	device string // as it was given
	count  int    // of words before
	change bool   // what is not said stays as it is
}

var tunnelTable = []keyword[*tunnelWords]{
	{"mode", tunnelMode},
	{"key|ikey|okey", func(*ip, *tunnelWords) error {
		return words.Errorf(1, "Keys are not allowed with ipip and sit tunnels")
	}},
	{"seq|iseq|oseq|csum|icsum|ocsum", nil}, // of GRE
	{"nopmtudisc", func(_ *ip, t *tunnelWords) error { t.NoPMTUDisc = true; return nil }},
	{"pmtudisc", func(_ *ip, t *tunnelWords) error { t.NoPMTUDisc = false; return nil }},
	{"remote", func(i *ip, t *tunnelWords) error { return i.tunnelEnd(&t.Remote) }},
	{"local", func(i *ip, t *tunnelWords) error { return i.tunnelEnd(&t.Local) }},
	{"dev", text(func(t *tunnelWords, v string) { t.device = v })},
	{"ttl|hoplimit|hlim", func(i *ip, t *tunnelWords) error { return ipipTTL(i, &t.ipipWords) }},
	{"tos|tclass|dsfield*", tunnelTOS},
}

func tunnelMode(i *ip, t *tunnelWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	switch v {
	case "ipip", "ip/ip":
		t.mode = true
		return nil
	case "gre", "gre/ip", "sit", "ipv6/ip", "isatap", "vti", "ipv6/ipv6", "ip6ip6", "vti6", "ip/ipv6", "ipv4/ipv6", "ipip6", "ip4ip6",
		"ip6gre", "gre/ipv6", "any/ipv6", "any":
		return unsupported("mode " + v)
	}
	return words.Errorf(255, `Unknown tunnel mode "%s"`, v)
}

// tunnelEnd takes an address (get_addr32).
func (i *ip) tunnelEnd(to *netip.Addr) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	a, err := address(v, inet)
	if err != nil {
		return exits(`Error: an IP address is expected rather than "%s"`, v)
	}
	*to = orNone(a)
	return nil
}

// tunnelTOS takes NUMBER, 'inherit', or 'inherit/NUMBER'.
func tunnelTOS(i *ip, t *tunnelWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	field, both := strings.CutPrefix(v, "inherit/")
	if both {
		return unsupported("tos inherit/" + field)
	}
	t.TOS, t.InheritTOS, err = tos(v)
	return err
}

// readTunnel reads a tunnel's words.
func (i *ip) readTunnel(t *tunnelWords) error {
	for i.args.More() {
		word := i.args.Next()
		do, ok := lookup(tunnelTable, word)
		var err error
		if ok {
			err = do(i, t)
		} else {
			err = i.tunnelName(t, word)
		}
		if err != nil {
			return err
		}
		t.count++
	}
	if strings.HasPrefix(t.name, "ipip") {
		t.mode = true
	}
	if t.device != "" {
		t.Device = i.find(t.device)
		if i.node.E.Index(t.Device) == 0 {
			return words.NoDevice(t.device)
		}
	}
	return nil
}

func (i *ip) tunnelName(t *tunnelWords, word string) error {
	if short(word, "help") {
		return help(usageTunnel)
	}
	if word == "name" {
		v, err := i.value()
		if err != nil {
			return err
		}
		word = v
	}
	switch {
	case t.name != "":
		return garbage("name", word)
	case !validName(word):
		return wrong(word, `"name" not a valid ifname`)
	}
	if t.name = word; !t.change || t.count > 0 {
		return nil
	}
	old, err := i.getTunnel(word)
	if err == nil {
		t.IPIP, t.mode, t.device = *old.IPIP, true, old.IPIP.Device
	}
	return err
}

// getTunnel returns a tunnel as it is (SIOCGETTUNNEL).
func (i *ip) getTunnel(name string) (engine.LinkInfo, error) {
	l, ok := i.node.E.Link(name)
	switch {
	case !ok:
		return l, words.Errorf(1, `get tunnel "%s" failed: No such device`, name)
	case l.IPIP == nil:
		return l, words.Errorf(1, `get tunnel "%s" failed: Operation not supported`, name)
	}
	return l, nil
}

// readTunnelToMake reads a tunnel to be added or changed.
func (i *ip) readTunnelToMake(t *tunnelWords) error {
	switch err := i.readTunnel(t); {
	case err != nil:
		return err
	case t.check() != nil:
		return words.Errorf(1, "ttl != 0 and nopmtudisc are incompatible")
	case !t.mode:
		return words.Errorf(1, "cannot determine tunnel mode (ipip, gre, vti or sit)")
	}
	return nil
}

func (i *ip) tunnelAdd() error {
	t := &tunnelWords{}
	if err := i.readTunnelToMake(t); err != nil {
		return err
	}
	if err := i.p.Sys.Net.LoadIPIP(); err != nil {
		return err
	}
	const base = network.Fallback
	failed := func(errno string) error { return words.Errorf(1, `add tunnel "%s" failed: %s`, base, errno) }
	if t.name != "" && i.node.E.Index(t.name) != 0 || i.hasTunnel(&t.ipipWords) {
		return failed("File exists")
	}
	l := &linkWords{node: i.node, name: t.name}
	freeName(l, "ipip")
	t.Link = engine.Link{Name: l.name}
	if kernelName(l.name) != nil {
		return failed("Invalid argument")
	}
	if err := i.makeIPIP(l, &t.ipipWords); err != nil {
		return failed(words.Errno(err))
	}
	i.node.Attrs(l.name).TunnelByIoctl = true
	return nil
}

func (i *ip) tunnelChange() error {
	t := &tunnelWords{change: true}
	if err := i.readTunnelToMake(t); err != nil {
		return err
	}
	if err := i.changeTunnel(t.name, &t.ipipWords); err != nil {
		var refusal *words.Error
		errno := words.Errno(err)
		if errors.As(err, &refusal) {
			errno = "File exists"
		}
		return words.Errorf(1, `add tunnel "%s" failed: %s`, t.name, errno)
	}
	return nil
}

func (i *ip) tunnelDelete() error {
	t := &tunnelWords{}
	if err := i.readTunnel(t); err != nil {
		return err
	}
	l, ok := i.node.E.Link(t.name)
	switch {
	case !ok:
		return words.Errorf(1, `delete tunnel "%s" failed: No such device`, t.name)
	case l.IPIP == nil:
		return words.Errorf(1, `delete tunnel "%s" failed: Operation not supported`, t.name)
	case t.name == network.Fallback:
		return words.Errorf(1, `delete tunnel "%s" failed: Operation not permitted`, t.name)
	}
	return i.node.DeleteLink(t.name)
}

func (i *ip) tunnelShow() error {
	t := &tunnelWords{}
	if err := i.readTunnel(t); err != nil {
		return err
	}
	if t.mode {
		name := t.name
		if name == "" {
			name = network.Fallback
		}
		l, err := i.getTunnel(name)
		if err == nil {
			i.printTunnel(l)
			i.p.Printf("\n")
		}
		return err
	}
	for _, l := range i.node.E.Links() {
		if l.IPIP == nil || !t.fits(&l) {
			continue
		}
		i.printTunnel(l)
		if i.stats > 0 {
			i.printTunnelStats(l.Name)
		}
		i.p.Printf("\n")
	}
	return nil
}

// fits reports whether a tunnel is one of those that were asked for.
func (t *tunnelWords) fits(l *engine.LinkInfo) bool {
	return (t.name == "" || t.name == l.Name) && (t.Device == "" || t.Device == l.IPIP.Device) &&
		(!t.Remote.IsValid() || t.Remote == l.IPIP.Remote) && (!t.Local.IsValid() || t.Local == l.IPIP.Local)
}

func (i *ip) printTunnel(l engine.LinkInfo) {
	t, mode := l.IPIP, "any"
	if i.node.Attrs(l.Name).Options["ipip"] != 0 {
		mode = "ip"
	}
	i.p.Printf("%s: %s/ip remote %s local %s", l.Name, mode, orAny(t.Remote), orAny(t.Local))
	if t.Device != "" {
		i.p.Printf(" dev %s", t.Device)
	}
	i.p.Printf(" ttl %s", ttlWord(t.TTL, false, "inherit"))
	switch {
	case t.InheritTOS:
		i.p.Printf(" tos inherit")
	case t.TOS != 0:
		i.p.Printf(" tos %s", dsfieldName(t.TOS))
	}
	if t.NoPMTUDisc {
		i.p.Printf(" nopmtudisc")
	}
}

func (i *ip) printTunnelStats(name string) {
	s, _ := i.node.Stats(name)
	nl := i.newline()
	i.p.Printf("%sRX: Packets    Bytes        Errors CsumErrs OutOfSeq Mcasts%s", nl, nl)
	i.p.Printf("    %-10d %-12d %-6d %-8d %-8d %-8d%s", s.RxPackets, s.RxBytes, s.RxErrors, 0, 0, s.Multicast, nl)
	i.p.Printf("TX: Packets    Bytes        Errors DeadLoop NoRoute  NoBufs%s", nl)
	i.p.Printf("    %-10d %-12d %-6d %-8d %-8d %-6d", s.TxPackets, s.TxBytes, s.TxErrors, s.Collisions, s.TxCarrier, s.TxDropped)
}
