package ipcmd

// The words that describe a device, for 'ip link add', 'set' and 'del' alike (iplink_parse in ip/iplink.c).

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

// linkWords are what was said of a device; nil and "" is nothing.
type linkWords struct {
	create bool
	node   *network.Node // where it is, or is to be
	target *network.Node // 'netns'

	dev   string // which device, unless it is a new one
	name  string // its name, or its new name
	kind  string
	typed bool
	index int

	address             []byte
	mtu, txQueue        *int
	up, promisc         *bool
	multicast           *bool
	allMulticast        *bool
	master, alias, link *string
	group               *uint32
	txQueues, rxQueues  uint32
	addrGenMode         string
}

// nameLength is IFNAMSIZ.
const nameLength = 16

// validName is iproute2's check_ifname, which leaves the rest to the kernel.
func validName(name string) bool { return len(name) < nameLength && validAltName(name) }

func validAltName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsSpace(r) })
}

// kernelName is the kernel's dev_valid_name (net/core/dev.c).
func kernelName(name string) error {
	switch {
	case len(name) >= nameLength:
		return extack("Attribute failed policy validation.")
	case name == "." || name == ".." || strings.Contains(name, ":"):
		return answers("Invalid argument")
	}
	return nil
}

// readLink reads the words up to the kind.
func (i *ip) readLink(l *linkWords) error {
	for i.args.More() && !l.typed {
		word := i.args.Next()
		do, ok := lookup(linkTable, word)
		var err error
		if ok {
			err = do(i, l)
		} else {
			err = i.linkDevice(l, word)
		}
		if err != nil {
			return err
		}
	}
	return i.checkLink(l)
}

// linkDevice takes a device's name, with or without 'dev' in front.
func (i *ip) linkDevice(l *linkWords, word string) error {
	if short(word, "help") {
		return help(usageLink)
	}
	if word == "dev" {
		v, err := i.value()
		if err != nil {
			return err
		}
		word = v
	}
	switch {
	case l.dev != l.name:
		return garbage("dev", word)
	case !validAltName(word):
		return wrong(word, `"dev" not a valid ifname`)
	}
	l.dev = word
	return nil
}

// checkLink checks that the words make sense together, and finds the device.
func (i *ip) checkLink(l *linkWords) error {
	switch {
	case l.name == "":
		l.name = l.dev
	case l.dev == "":
		l.dev = l.name
	}
	switch {
	case l.create:
		return i.checkNew(l)
	case l.dev == "" && l.group != nil:
		if i.args.More() {
			return words.Errorf(255, "Garbage instead of arguments \"%s ...\". Try \"ip link help\".", i.args.Peek())
		}
		return nil
	case l.dev == "":
		return words.Errorf(255, `Not enough information: "dev" argument is required.`)
	case l.index != 0 && l.target == nil:
		return words.Errorf(255, "index can be used only when creating devices or when moving device to another netns.")
	}
	if l.dev == l.name {
		l.name = "" // no other one
	}
	dev := i.find(l.dev)
	info, ok := i.node.E.Link(dev)
	if !ok {
		return words.NoDevice(l.dev)
	}
	l.dev = dev
	if want := addressLength(info.Raw && info.Name != "lo"); l.address != nil && len(l.address) != want {
		return words.Errorf(1, "Invalid address length %d - must be %d bytes", len(l.address), want)
	}
	if l.name != "" {
		return kernelName(l.name)
	}
	return nil
}

// addressLength returns how long a device's address is in bytes: tunnels have IPv4 addresses.
func addressLength(tunnel bool) int {
	if tunnel {
		return 4
	}
	return 6
}

func (i *ip) checkNew(l *linkWords) error {
	switch {
	case l.dev == "" && l.group != nil:
		return words.Errorf(255, "group cannot be used when creating devices.")
	case l.name != l.dev:
		return words.Errorf(255, `both "name" and "dev" cannot be used when creating devices.`)
	}
	if l.link != nil && i.node.E.Index(*l.link) == 0 {
		return words.NoDevice(*l.link)
	}
	if l.target != nil {
		l.node = l.target
	}
	if l.name == "" {
		return nil
	}
	return kernelName(l.name)
}

// find returns a device's name, which may be given as ifINDEX too; what is none stays as it is.
func (i *ip) find(name string) string {
	if i.node.E.Index(name) != 0 {
		return name
	}
	if digits, ok := strings.CutPrefix(name, "if"); ok {
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil && n != 0 {
			if found := i.node.E.Name(uint32(n)); found != "" {
				return found
			}
		}
	}
	return name
}

var linkTable = []keyword[*linkWords]{
	{"up", func(_ *ip, l *linkWords) error { l.up = new(bool); *l.up = true; return nil }},
	{"down", func(_ *ip, l *linkWords) error { l.up = new(bool); return nil }},
	{"name", linkName},
	{"index", linkIndex},
	{"link*", text(func(l *linkWords, v string) { l.link = &v })},
	{"address*", linkAddress},
	{"broadcast*|brd", nil},
	{"txqueuelen*|qlen|txqlen*", func(i *ip, l *linkWords) error { return i.once(&l.txQueue, "txqueuelen") }},
	{"mtu", func(i *ip, l *linkWords) error { return i.once(&l.mtu, "mtu") }},
	{"xdpgeneric|xdpdrv|xdpoffload|xdp", nil},
	{"netns", linkNetns},
	{"multicast", flag(func(l *linkWords) **bool { return &l.multicast })},
	{"allmulticast", flag(func(l *linkWords) **bool { return &l.allMulticast })},
	{"promisc", flag(func(l *linkWords) **bool { return &l.promisc })},
	{"trailers", only("on")},
	{"arp", only("on")},
	{"carrier", nil},
	{"vf", nil},
	{"master*", linkMaster},
	{"vrf", nil},
	{"nomaster*", func(_ *ip, l *linkWords) error { l.master = new(string); return nil }},
	{"dynamic*", only("off")},
	{"type*", func(i *ip, l *linkWords) (err error) {
		l.kind, err = i.value()
		l.typed = true
		return err
	}},
	{"alias*", linkAlias},
	{"group", linkGroup},
	{"mode", only("default")},
	{"state", nil},
	{"numtxqueues*", func(i *ip, l *linkWords) error { return i.queues(&l.txQueues, "numtxqueues") }},
	{"numrxqueues*", func(i *ip, l *linkWords) error { return i.queues(&l.rxQueues, "numrxqueues") }},
	{"addrgenmode*", linkAddrGenMode},
	{"link-netns*|link-netnsid*", nil},
	{"protodown", only("off")},
	{"protodown_reason|gso_max_size|gso_max_segs|gro_max_size|parentdev", nil},
}

// flag is a word with on or off behind it.
func flag(field func(*linkWords) **bool) func(*ip, *linkWords) error {
	return func(i *ip, l *linkWords) error {
		on, err := i.onOff()
		*field(l) = &on
		return err
	}
}

// only is a word of which the lab has one value: that which a device has anyway.
func only(value string) func(*ip, *linkWords) error {
	return func(i *ip, _ *linkWords) error {
		name := i.args.Last
		switch v, err := i.value(); {
		case err != nil:
			return err
		case v != value:
			return unsupported(name + " " + v)
		}
		return nil
	}
}

// once takes a number that may be given once.
func (i *ip) once(to **int, key string) error {
	if *to != nil {
		v, err := i.value()
		if err != nil {
			return err
		}
		return duplicate(key, v)
	}
	n, err := i.integer(`Invalid "` + key + "\" value\n")
	*to = &n
	return err
}

func (i *ip) queues(to *uint32, key string) error {
	n, err := i.integer(`Invalid "` + key + "\" value\n")
	*to = uint32(n)
	return err
}

func linkName(i *ip, l *linkWords) error {
	v, err := i.value()
	switch {
	case err != nil:
		return err
	case l.name != "":
		return duplicate("name", v)
	case !validName(v):
		return wrong(v, `"name" not a valid ifname`)
	}
	if l.name = v; l.dev == "" {
		l.dev = v
	}
	return nil
}

func linkIndex(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	if l.index != 0 {
		return duplicate("index", v)
	}
	if l.index, _ = strconv.Atoi(v); l.index <= 0 {
		return wrong(v, `Invalid "index" value`)
	}
	return nil
}

func linkAddress(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	l.address, err = lladdr(v)
	return err
}

func linkNetns(i *ip, l *linkWords) error {
	v, err := i.value()
	switch {
	case err != nil:
		return err
	case l.target != nil:
		return duplicate("netns", v)
	}
	switch l.target = i.namespace(v); {
	case l.target != nil:
	case v == "1": // the namespace of process 1
		l.target = i.p.Sys.Net.Default()
	default:
		if _, ok := number(v, 31); ok {
			return answers("No such process")
		}
		return wrong(v, "Invalid \"netns\" value\n")
	}
	return nil
}

func linkMaster(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	name := i.find(v)
	if i.node.E.Index(name) == 0 {
		return wrong(v, "Device does not exist\n")
	}
	l.master = &name
	return nil
}

// aliasLength is IFALIASZ.
const aliasLength = 256

func linkAlias(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	if len(v) >= aliasLength {
		return wrong(v, "alias too long\n")
	}
	l.alias = &v
	return nil
}

func linkGroup(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	if l.group != nil {
		return duplicate("group", v)
	}
	group, err := parseGroup(v)
	l.group = &group
	return err
}

func parseGroup(v string) (uint32, error) {
	for number, name := range groupNames {
		if name == v {
			return uint32(number), nil
		}
	}
	n, ok := number(v, 31)
	if !ok {
		return 0, wrong(v, "Invalid \"group\" value\n")
	}
	return uint32(n), nil
}

func linkAddrGenMode(i *ip, l *linkWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	switch v {
	case "eui64", "none", "random", "stable_secret":
		l.addrGenMode = v
		return nil
	}
	return wrong(v, "Invalid address generation mode\n")
}
