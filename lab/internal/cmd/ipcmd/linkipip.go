package ipcmd

// ip link … type ipip (ip/link_iptnl.c), and what it shares with ip tunnel.

import (
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// ipipWords are what was said of an IPIP tunnel.
type ipipWords struct {
	engine.IPIP
	mode bool // 'mode ipip', not 'any'
}

var ipipTable = []keyword[*ipipWords]{
	{"mode", func(i *ip, t *ipipWords) error {
		v, err := i.value()
		switch v {
		case "ipv4/ipv4", "ipip", "ip4ip4":
			t.mode = true
		case "any/ipv4", "any":
			t.mode = false
		case "mpls/ipv4", "mplsip":
			return unsupported("mode mplsip")
		default:
			if err == nil {
				err = wrong(v, "Cannot guess tunnel mode.")
			}
		}
		return err
	}},
	{"remote", func(i *ip, t *ipipWords) error { return i.endpoint(&t.Remote) }},
	{"local", func(i *ip, t *ipipWords) error { return i.endpoint(&t.Local) }},
	{"dev*", func(i *ip, t *ipipWords) error {
		v, err := i.value()
		if t.Device = i.find(v); err == nil && i.node.E.Index(t.Device) == 0 {
			err = words.Errorf(255, `Cannot find device "%s"`, v)
		}
		return err
	}},
	{"ttl|hoplimit|hlim", ipipTTL},
	{"tos|tclass|tc|dsfield*", func(i *ip, t *ipipWords) error {
		v, err := i.value()
		if err == nil {
			t.TOS, t.InheritTOS, err = tos(v)
		}
		return err
	}},
	{"nopmtudisc", func(_ *ip, t *ipipWords) error { t.NoPMTUDisc = true; return nil }},
	{"pmtudisc", func(_ *ip, t *ipipWords) error { t.NoPMTUDisc = false; return nil }},
	{"noencap", skip[*ipipWords]},
	{"encap|encap-sport|encap-dport|encap-csum|encap-udp6-csum|encap-remcsum|external|fwmark", nil},
	{"noencap-csum|noencap-udp6-csum|noencap-remcsum", skip[*ipipWords]},
	{"6rd-prefix|6rd-relay_prefix|6rd-reset", nil},
}

// endpoint takes the address of a tunnel's end.
func (i *ip) endpoint(to *netip.Addr) error {
	a, err := i.addressValue(inet)
	*to = orNone(a)
	return err
}

func ipipTTL(i *ip, t *ipipWords) error {
	v, err := i.value()
	if err != nil {
		return err
	}
	n, ok := number(v, 8)
	if t.TTL = uint8(n); v != "inherit" && !ok {
		return wrong(v, "invalid TTL\n")
	}
	return nil
}

// readIPIP reads what follows 'type ipip'.
func (i *ip) readIPIP(t *ipipWords) error {
	err := each(i, ipipTable, t, func(string) error { return exitsNot(usageIPIP) })
	if err != nil {
		return err
	}
	return t.check()
}

func (t *ipipWords) check() error {
	if t.TTL != 0 && t.NoPMTUDisc {
		return words.Errorf(255, "ttl != 0 and nopmtudisc are incompatible")
	}
	return nil
}

func addIPIP(i *ip, l *linkWords) (err error) {
	t := &ipipWords{mode: !i.args.More()}
	if err := i.readIPIP(t); err != nil {
		return err
	}
	if err := i.p.Sys.Net.LoadIPIP(); err != nil {
		return err
	}
	freeName(l, "ipip")
	if t.Link, err = l.base(0); err != nil {
		return err
	}
	if i.hasTunnel(t) {
		return answers("File exists")
	}
	return i.makeIPIP(l, t)
}

// hasTunnel reports whether there is a tunnel with the same ends.
func (i *ip) hasTunnel(t *ipipWords) bool {
	for _, l := range i.node.E.Links() {
		if l.IPIP != nil && l.Name != t.Name && l.IPIP.Local == t.Local && l.IPIP.Remote == t.Remote && l.IPIP.Device == t.Device {
			return true
		}
	}
	return false
}

// makeIPIP makes a tunnel, which as on Linux takes packets from everybody if it has no remote end.
func (i *ip) makeIPIP(l *linkWords, t *ipipWords) error {
	t.AnyPeer = !t.Remote.IsValid()
	if _, err := l.node.E.AddIPIP(t.IPIP); err != nil {
		return err
	}
	if err := l.node.Retap(); err != nil {
		return err
	}
	if t.mode {
		l.node.Attrs(l.name).Options = map[string]uint64{"ipip": 1}
	}
	return i.dress(l)
}

func setIPIP(i *ip, l *linkWords) error {
	info, err := i.kindly("ipip", l)
	if info.IPIP == nil || !i.args.More() {
		return err
	}
	t := &ipipWords{IPIP: *info.IPIP}
	if err := i.readIPIP(t); err != nil {
		return err
	}
	return i.changeTunnel(l.dev, t)
}

func (i *ip) changeTunnel(name string, t *ipipWords) error {
	if t.Name = name; i.hasTunnel(t) {
		return answers("File exists")
	}
	t.AnyPeer, t.Peers = !t.Remote.IsValid(), nil
	return i.node.E.SetIPIP(name, t.IPIP)
}

// showIPIP prints what 'ip -d link show' does of an IPIP tunnel.
func showIPIP(i *ip, l *engine.LinkInfo) {
	t, mode := l.IPIP, "any"
	if i.node.Attrs(l.Name).Options["ipip"] != 0 {
		mode = "ipip"
	}
	i.p.Printf("%s remote %s local %s ", mode, orAny(t.Remote), orAny(t.Local))
	if t.Device != "" {
		i.p.Printf("dev %s ", t.Device)
	}
	i.p.Printf("ttl %s ", ttlWord(t.TTL, false, "inherit"))
	i.showTOS(t.TOS, t.InheritTOS)
	i.marks(mark{"pmtudisc", !t.NoPMTUDisc}, mark{"nopmtudisc", t.NoPMTUDisc})
}

// orAny returns an address as text; none is any.
func orAny(a netip.Addr) string {
	if !a.IsValid() {
		return "any"
	}
	return a.String()
}
