package ipcmd

// ip address show and flush, and what they and ip link show may select by.

import (
	"path"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

// filter says which devices and addresses are to be shown.
type filter struct {
	isLink bool // ip link show

	dev, master, kind, slave string
	up, noMaster             bool
	group                    *uint32

	to     prefix
	scope  *route.Scope
	flags  map[string]bool
	label  string
	labels bool
}

// addressFlags are the flags that addresses of IPv6 have, or that may be asked for of any.
var addressFlags = []string{
	"secondary", "temporary", "nodad", "optimistic", "dadfailed", "home", "deprecated", "tentative", "permanent", "mngtmpaddr",
	"noprefixroute", "autojoin", "stable-privacy",
}

var filterTable = []keyword[*filter]{
	{"to", func(i *ip, f *filter) (err error) {
		if f.to, err = i.prefixValue(i.family); i.family == unspec && !f.to.any {
			i.family = inet
		}
		return err
	}},
	{"scope", func(i *ip, f *filter) error {
		v, err := i.value()
		if err != nil || v == "all" {
			return err
		}
		n, ok := scopeNames.parse(v)
		scope := route.Scope(n)
		f.scope = &scope
		return orWrong(ok, v, "invalid \"scope\"\n")
	}},
	{"up", func(_ *ip, f *filter) error { f.up = true; return nil }},
	{"label", func(i *ip, f *filter) (err error) {
		f.label, err = i.value()
		f.labels = true
		return err
	}},
	{"group", func(i *ip, f *filter) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		group, err := parseGroup(v)
		f.group = &group
		return err
	}},
	{"master", func(i *ip, f *filter) error {
		v, err := i.value()
		if f.master = i.find(v); err == nil && i.node.E.Index(f.master) == 0 {
			return wrong(v, "Device does not exist\n")
		}
		return err
	}},
	{"vrf", nil},
	{"nomaster", func(_ *ip, f *filter) error { f.noMaster = true; return nil }},
	{"type", func(i *ip, f *filter) error {
		v, err := i.value()
		const suffix = "_slave"
		if len(v) > len(suffix) && v[len(v)-len(suffix):] == suffix {
			f.slave = v[:len(v)-len(suffix)]
		} else {
			f.kind = v
		}
		return err
	}},
}

// readFilter reads what to show.
func (i *ip) readFilter(f *filter) error {
	f.flags = map[string]bool{}
	dev := ""
	err := each(i, filterTable, f, func(word string) error {
		if f.readFlag(word) {
			return nil
		}
		if word == "dev" {
			v, err := i.value()
			if err != nil {
				return err
			}
			word = v
		} else if short(word, "help") {
			return help(map[bool]string{true: usageLink, false: usageAddress}[f.isLink])
		}
		if dev != "" {
			return garbage("dev", word)
		}
		dev = word
		return nil
	})
	if err != nil || dev == "" {
		return err
	}
	f.dev = i.find(dev)
	if i.node.E.Index(f.dev) == 0 {
		return words.Errorf(1, `Device "%s" does not exist.`, dev)
	}
	return nil
}

// readFlag reads a flag that addresses must have, or with - in front must not have.
func (f *filter) readFlag(word string) bool {
	want := true
	if len(word) > 1 && word[0] == '-' {
		word, want = word[1:], false
	}
	switch word {
	case "dynamic":
		word, want = "permanent", !want
	case "primary":
		word, want = "secondary", !want
	}
	if !slices.Contains(addressFlags, word) {
		return false
	}
	f.flags[word] = want
	return true
}

// fits reports whether an address is to be shown.
func (f *filter) fits(l *engine.LinkInfo, a *engine.Addr) bool {
	has := map[string]bool{"permanent": true, "secondary": a.Secondary, "temporary": a.Secondary, "noprefixroute": a.NoPrefixRoute}
	for flag, want := range f.flags {
		if has[flag] != want {
			return false
		}
	}
	if f.labels {
		if ok, err := path.Match(f.label, labelOf(l, a)); err != nil || !ok {
			return false
		}
	}
	return (f.scope == nil || *f.scope == a.Scope) && (!f.to.IsValid() || f.to.Bits() == 0 || f.to.Masked().Contains(a.Prefix.Addr()))
}

func labelOf(l *engine.LinkInfo, a *engine.Addr) string {
	if a.Label != "" {
		return a.Label
	}
	return l.Name
}

func (i *ip) addrShow() error {
	f := &filter{}
	if err := i.readFilter(f); err != nil {
		return err
	}
	return i.show(f)
}

// show prints the devices and addresses that a filter selects.
func (i *ip) show(f *filter) error {
	for _, l := range i.node.E.Links() {
		addrs, ok := i.selectAddrs(f, &l)
		if !ok || !i.selectLink(f, &l) || f.noMaster && l.Master != "" {
			continue
		}
		alone := i.family == link
		printed := !f.labels && (i.brief || alone || !i.oneline)
		if printed {
			i.printLink(f, l)
		}
		if alone {
			continue
		}
		for _, a := range addrs {
			i.printAddr(f, &l, &a)
		}
		switch {
		case i.brief:
			i.p.Printf("\n")
		case printed && i.stats > 0:
			i.printStats(l.Name)
			i.p.Printf("%s", i.newline())
		}
	}
	return nil
}

// selectAddrs returns the addresses of a device that are to be shown, and whether the device is: if it has such addresses, or none
// at all.
func (i *ip) selectAddrs(f *filter, l *engine.LinkInfo) ([]engine.Addr, bool) {
	if i.family == link {
		return nil, true
	}
	all := i.node.E.Addrs(l.Name)
	none := len(all) == 0 && i.family == unspec && !f.to.IsValid()
	if i.family == inet6 {
		return nil, false
	}
	all = slices.DeleteFunc(all, func(a engine.Addr) bool { return !f.fits(l, &a) })
	return all, len(all) > 0 || none
}

// printAddr prints an address (print_addrinfo).
func (i *ip) printAddr(_ *filter, l *engine.LinkInfo, a *engine.Addr) {
	if !i.brief {
		if i.oneline {
			i.p.Printf("%d: %s", l.Index, l.Name)
		}
		i.p.Printf("    inet ")
	}
	if a.Peer.IsValid() {
		i.p.Printf("%s peer %s ", a.Prefix.Addr(), a.Peer)
	} else {
		i.p.Printf("%s ", a.Prefix)
	}
	if a.Metric != 0 {
		i.p.Printf("metric %d ", a.Metric)
	}
	if i.brief {
		return
	}
	if a.Broadcast.IsValid() {
		i.p.Printf("brd %s ", a.Broadcast)
	}
	i.p.Printf("scope %s ", scopeNames.name(uint32(a.Scope)))
	i.marks(mark{"secondary", a.Secondary}, mark{"noprefixroute", a.NoPrefixRoute})
	i.p.Printf("%s%s       valid_lft forever preferred_lft forever\n", labelOf(l, a), i.newline())
}

func (i *ip) addrFlush() error {
	switch {
	case !i.args.More():
		return words.Errorf(1, "Flush requires arguments.")
	case i.family == link:
		return words.Errorf(1, "Cannot flush link addresses.")
	}
	f := &filter{}
	if err := i.readFilter(f); err != nil {
		return err
	}
	round := 0
	for {
		n := i.flushAddrs(f)
		if n == 0 {
			break
		}
		round++
		if i.stats > 0 {
			i.p.Printf("\n*** Round %d, deleting %d addresses ***\n", round, n)
		}
	}
	i.flushed(round)
	return nil
}

// flushed tells with -s that a flush is complete.
func (i *ip) flushed(rounds int) {
	switch {
	case i.stats == 0:
	case rounds == 0:
		i.p.Printf("Nothing to flush.\n")
	default:
		i.p.Printf("*** Flush is complete after %d round%s ***\n", rounds, map[bool]string{true: "s"}[rounds > 1])
	}
}

// flushAddrs deletes the addresses that a filter selects, and returns how many they were.
func (i *ip) flushAddrs(f *filter) int {
	n := 0
	type found struct {
		dev  string
		addr engine.Addr
	}
	var all []found
	for _, l := range i.node.E.Links() {
		addrs, _ := i.selectAddrs(f, &l)
		if f.dev != "" && f.dev != l.Name {
			continue
		}
		for _, a := range addrs {
			if n++; i.stats > 1 {
				i.p.Printf("%d: %s", l.Index, l.Name)
				i.printAddr(f, &l, &a)
			}
			all = append(all, found{l.Name, a})
		}
	}
	for _, x := range all { // secondary ones may have gone with their primary one
		_ = i.node.E.DeleteAddrFunc(x.dev, func(a engine.Addr) bool { return a.Prefix == x.addr.Prefix && a.Peer == x.addr.Peer })
	}
	return n
}
