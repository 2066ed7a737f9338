package ipcmd

// ip neighbour (ip/ipneigh.c).

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
)

func (i *ip) neigh() error {
	return i.do("neigh", verbs{
		{Name: "add", Value: func(i *ip) error { return i.neighPut((*engine.Engine).AddNeigh) }},
		{Name: "change", Value: func(i *ip) error { return i.neighPut((*engine.Engine).ChangeNeigh) }},
		{Name: "chg", Value: func(i *ip) error { return i.neighPut((*engine.Engine).ChangeNeigh) }},
		{Name: "replace", Value: func(i *ip) error { return i.neighPut((*engine.Engine).ReplaceNeigh) }},
		{Name: "delete", Value: (*ip).neighDelete},
		{Name: "get", Value: (*ip).neighGet},
		{Name: "show", Value: (*ip).neighShow},
		{Name: "lst", Value: (*ip).neighShow},
		{Name: "list", Value: (*ip).neighShow},
		{Name: "flush", Value: (*ip).neighFlush},
		{Name: "help", Value: func(*ip) error { return help(usageNeigh) }},
	}, (*ip).neighShow)
}

// nud is the states of neighbours as iproute2 counts them: a bit for each (NUD_*).
type nud uint

// The states. none has no bit of its own.
const (
	nudIncomplete nud = 1 << iota
	nudReachable
	nudStale
	nudDelay
	nudProbe
	nudFailed
	nudNoARP
	nudPermanent
	nudNone
	nudAll = nudNone<<1 - 1
)

// states are the engine's.
var states = []struct {
	nud   nud
	name  string
	state arp.State
}{
	{nudIncomplete, "INCOMPLETE", arp.StateIncomplete},
	{nudReachable, "REACHABLE", arp.StateReachable},
	{nudStale, "STALE", arp.StateStale},
	{nudDelay, "DELAY", arp.StateDelay},
	{nudProbe, "PROBE", arp.StateProbe},
	{nudFailed, "FAILED", arp.StateFailed},
	{nudNoARP, "NOARP", arp.StateNoARP},
	{nudPermanent, "PERMANENT", arp.StatePermanent},
}

func nudOf(s arp.State) nud {
	for _, n := range states {
		if n.state == s {
			return n.nud
		}
	}
	return nudNone
}

// parseNUD reads a state (nud_state_a2n).
func parseNUD(s string) (nud, bool) {
	switch {
	case short(s, "permanent"):
		return nudPermanent, true
	case short(s, "reachable"):
		return nudReachable, true
	case s == "noarp":
		return nudNoARP, true
	case s == "none":
		return nudNone, true
	case s == "stale":
		return nudStale, true
	case s == "incomplete":
		return nudIncomplete, true
	case s == "delay":
		return nudDelay, true
	case s == "probe":
		return nudProbe, true
	case short(s, "failed"):
		return nudFailed, true
	}
	n, ok := number(s, 8)
	if n == 0 {
		return nudNone, ok
	}
	return nud(n), ok && n&(n-1) == 0
}

// neighWords are what was said of a neighbour.
type neighWords struct {
	to     netip.Addr
	dev    string
	lladdr string
	given  bool // lladdr
	state  nud
	proxy  bool
}

var neighTable = []keyword[*neighWords]{
	{"lladdr*", func(i *ip, n *neighWords) error {
		v, err := i.value()
		if err == nil && n.given {
			err = duplicate("lladdr", v)
		}
		n.lladdr, n.given = v, true
		return err
	}},
	{"nud", func(i *ip, n *neighWords) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		state, ok := parseNUD(v)
		n.state = state
		return orWrong(ok, v, "nud state is bad")
	}},
	{"proxy*", neighProxy},
	{"router|use|managed|extern_learn*", nil},
	{"dev", text(func(n *neighWords, v string) { n.dev = v })},
	{"protocol*", nil},
}

var neighGetTable = []keyword[*neighWords]{
	{"dev", text(func(n *neighWords, v string) { n.dev = v })},
	{"proxy*", neighProxy},
}

func neighProxy(i *ip, n *neighWords) error {
	v, err := i.value()
	switch {
	case err != nil:
		return err
	case short(v, "help"):
		return help(usageNeigh)
	case n.to.IsValid():
		return duplicate("address", v)
	}
	n.proxy = true
	n.to, err = address(v, i.family)
	return err
}

// readNeigh reads a neighbour; required is said if something is missing.
func (i *ip) readNeigh(table []keyword[*neighWords], required error) (*neighWords, error) {
	n := &neighWords{state: nudPermanent}
	err := each(i, table, n, func(word string) (err error) {
		if word == "to" {
			if word, err = i.value(); err != nil {
				return err
			}
		}
		if short(word, "help") {
			return help(usageNeigh)
		}
		if n.to.IsValid() {
			return garbage("to", word)
		}
		n.to, err = address(word, i.family)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !n.to.IsValid() || n.dev == "" && !n.proxy:
		return nil, required
	}
	if n.dev == "" {
		return n, nil
	}
	dev := i.find(n.dev)
	if i.node.E.Index(dev) == 0 {
		return nil, words.NoDevice(n.dev)
	}
	n.dev = dev
	return n, nil
}

// mac returns the MAC address that was given.
func (n *neighWords) mac() (m ethernet.MAC, err error) {
	if !n.given || n.lladdr == "null" {
		return m, nil
	}
	b, err := lladdr(n.lladdr)
	if err != nil {
		return m, err
	}
	m, ok := mac(b)
	if !ok {
		return m, extack("Invalid link address.")
	}
	return m, nil
}

func (i *ip) neighWords() (*neighWords, error) {
	return i.readNeigh(neighTable, words.Errorf(255, "Device and destination are required arguments."))
}

// neighPut gives a neighbour to the engine's call.
func (i *ip) neighPut(put func(*engine.Engine, engine.Neigh) error) error {
	n, err := i.neighWords()
	if err != nil {
		return err
	}
	m, err := n.mac()
	switch {
	case err != nil:
		return err
	case n.proxy:
		if err := i.node.E.AddProxyNeigh(n.to, n.dev); err != nil && !errors.Is(err, engine.ErrExists) {
			return fatal{err}
		}
		return nil
	}
	valid := nudPermanent | nudNoARP | nudReachable | nudProbe | nudStale | nudDelay
	if n.state&valid != 0 && (!n.given || n.lladdr == "null") {
		if _, known := i.node.E.GetNeigh(n.to, n.dev); !known {
			return fatal{extack("No link layer address given.")}
		}
	}
	for _, s := range states {
		if s.nud == n.state {
			return ending(put(i.node.E, engine.Neigh{Addr: n.to, Dev: n.dev, MAC: m, State: s.state}))
		}
	}
	return unsupported("nud none")
}

// ending makes the kernel's refusal end ip: ip neigh calls exit(2).
func ending(err error) error {
	if err == nil {
		return nil
	}
	return fatal{words.Answer(err)}
}

func (i *ip) neighDelete() error {
	n, err := i.neighWords()
	if err != nil {
		return err
	}
	if _, err := n.mac(); err != nil {
		return err
	}
	if n.proxy {
		return ending(i.node.E.DeleteProxyNeigh(n.to, n.dev))
	}
	return ending(i.node.E.DeleteNeigh(n.to, n.dev))
}

func (i *ip) neighGet() error {
	n, err := i.readNeigh(neighGetTable, words.Errorf(1, "Device and address are required arguments."))
	if err != nil {
		return err
	}
	all := &neighFilter{states: nudAll, proxy: n.proxy, to: prefix{Prefix: netip.PrefixFrom(n.to, n.to.BitLen())}}
	for _, x := range i.neighs(all) {
		if x.Dev == n.dev {
			i.printNeigh(all, &x)
			return nil
		}
	}
	if n.proxy {
		return extack("Proxy neighbour entry not found.")
	}
	return extack("Neighbour entry not found.")
}

// neighFilter says which neighbours are to be shown.
type neighFilter struct {
	dev      string
	master   string
	noMaster bool
	states   nud
	stated   bool
	proxy    bool
	none     bool // by something that no neighbour has
	flush    bool
	to       prefix
}

var neighFilterTable = []keyword[*neighFilter]{
	{"dev", func(i *ip, f *neighFilter) error {
		v, err := i.value()
		if err == nil && f.dev != "" {
			err = duplicate("dev", v)
		}
		f.dev = v
		return err
	}},
	{"master", func(i *ip, f *neighFilter) error {
		v, err := i.value()
		if f.master = i.find(v); err == nil && i.node.E.Index(f.master) == 0 {
			return wrong(v, "Device does not exist\n")
		}
		return err
	}},
	{"vrf", nil},
	{"nomaster", func(_ *ip, f *neighFilter) error { f.noMaster = true; return nil }},
	{"unused", nil},
	{"nud", func(i *ip, f *neighFilter) error {
		v, err := i.value()
		if err != nil {
			return err
		}
		if !f.stated {
			f.states, f.stated = 0, true
		}
		n, ok := parseNUD(v)
		if v == "all" {
			n, ok = nudAll, true
			if f.flush {
				n &^= nudNoARP
			}
		}
		f.states |= n
		return orWrong(ok, v, "nud state is bad")
	}},
	{"proxy", func(_ *ip, f *neighFilter) error { f.proxy = true; return nil }},
	{"protocol*", func(i *ip, f *neighFilter) error {
		v, err := i.value()
		if err != nil || v == "all" {
			return err
		}
		n, ok := protocolNames.parse(v)
		f.none = n != 0
		return orWrong(ok, v, "invalid \"protocol\"\n")
	}},
}

func (i *ip) readNeighFilter(f *neighFilter) error {
	err := each(i, neighFilterTable, f, func(word string) (err error) {
		if word == "to" {
			if word, err = i.value(); err != nil {
				return err
			}
		}
		if short(word, "help") {
			return help(usageNeigh)
		}
		f.to, err = parsePrefix(word, i.family)
		return err
	})
	if err != nil || f.dev == "" {
		return err
	}
	dev := i.find(f.dev)
	if i.node.E.Index(dev) == 0 {
		return words.NoDevice(f.dev)
	}
	f.dev = dev
	return nil
}

// neighbour is one to be printed.
type neighbour struct {
	engine.Neigh
	arp.Entry
	proxy bool
}

// neighs returns the neighbours that a filter selects.
func (i *ip) neighs(f *neighFilter) []neighbour {
	var all []neighbour
	if i.family == inet6 || i.family == link || f.none {
		return nil
	}
	if f.proxy {
		for addr, dev := range i.node.E.ProxyNeighs() {
			all = append(all, neighbour{Neigh: engine.Neigh{Addr: addr, Dev: dev}, proxy: true})
		}
	} else {
		for n, e := range i.node.E.Neighs() {
			if f.states&nudOf(n.State) != 0 {
				all = append(all, neighbour{Neigh: n, Entry: e})
			}
		}
	}
	return slices.DeleteFunc(all, func(n neighbour) bool { return !i.selectNeigh(f, &n) })
}

func (i *ip) selectNeigh(f *neighFilter, n *neighbour) bool {
	l, _ := i.node.E.Link(n.Dev)
	return (f.dev == "" || f.dev == n.Dev) && (f.master == "" || l.Master == f.master) && (!f.noMaster || l.Master == "") &&
		(!f.to.IsValid() || f.to.Bits() == 0 || f.to.Masked().Contains(n.Addr))
}

func (i *ip) neighShow() error {
	f := &neighFilter{states: nudAll &^ nudNoARP &^ nudNone}
	if err := i.readNeighFilter(f); err != nil {
		return err
	}
	for _, n := range i.neighs(f) {
		i.printNeigh(f, &n)
	}
	return nil
}

// printNeigh prints a neighbour.
func (i *ip) printNeigh(f *neighFilter, n *neighbour) {
	state := nudOf(n.Neigh.State)
	known := !n.proxy && state&(nudIncomplete|nudFailed|nudNone) == 0
	if i.brief {
		i.p.Printf("%-39s ", n.Addr)
		if f.dev == "" && n.Dev != "" {
			i.p.Printf("%-16s ", n.Dev)
		}
		if known {
			i.p.Printf("%s", n.Neigh.MAC)
		}
		i.p.Printf("\n")
		return
	}
	i.p.Printf("%s ", n.Addr)
	if f.dev == "" && n.Dev != "" {
		i.p.Printf("dev %s ", n.Dev)
	}
	if known {
		i.p.Printf("lladdr %s ", n.Neigh.MAC)
	}
	if n.proxy {
		i.p.Printf("proxy \n")
		return
	}
	if i.stats > 0 {
		i.printUse(n, state)
	}
	for _, s := range states {
		if s.nud == state {
			i.p.Printf("%s ", s.name)
		}
	}
	i.p.Printf("\n")
}

// printUse prints how long ago a neighbour was used, confirmed and updated, in seconds, and the probes. The kernel's references are
// those of timers and of packets that wait.
func (i *ip) printUse(n *neighbour, state nud) {
	if state&(nudIncomplete|nudReachable|nudDelay|nudProbe) != 0 {
		i.p.Printf(" ref 1")
	}
	now := i.p.Now()
	i.p.Printf(" used %d/%d/%dprobes %d ", int((now - n.Used).Seconds()), int((now - n.Confirmed).Seconds()), int((now - n.Updated).Seconds()), n.Probes)
}

func (i *ip) neighFlush() error {
	if !i.args.More() {
		return words.Errorf(1, "Flush requires arguments.")
	}
	f := &neighFilter{flush: true, states: nudAll &^ nudPermanent &^ nudNoARP}
	if err := i.readNeighFilter(f); err != nil {
		return err
	}
	round := 0
	for {
		all := i.neighs(f)
		if len(all) == 0 {
			break
		}
		for _, n := range all {
			if i.stats > 1 {
				i.printNeigh(f, &n)
			}
			if err := i.removeNeigh(&n); err != nil {
				return err
			}
		}
		if round++; i.stats > 0 {
			i.p.Printf("\n*** Round %d, deleting %d entries ***\n", round, len(all))
		}
		f.states &^= nudFailed
	}
	i.flushed(round)
	return nil
}

func (i *ip) removeNeigh(n *neighbour) error {
	if n.proxy {
		return i.node.E.DeleteProxyNeigh(n.Addr, n.Dev)
	}
	return i.node.E.DeleteNeigh(n.Addr, n.Dev)
}
