package ipcmd

// ip link … type vxlan (ip/iplink_vxlan.c).

import (
	"math"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/tunnel"
)

// vxlanWords are what was said of a VXLAN device. seen are the words that were given: each may be given once.
type vxlanWords struct {
	engine.VXLAN
	seen map[string]bool
}

// once notes that a word was given; value is what the refusal of a second one names.
func (v *vxlanWords) once(key, value string) error {
	if v.seen[key] {
		return garbage(key, value)
	}
	v.seen[key] = true
	return nil
}

// vxlanValue is a word with a value, which set reads.
func vxlanValue(key string, set func(i *ip, v *vxlanWords, value string) error) func(*ip, *vxlanWords) error {
	return func(i *ip, v *vxlanWords) error {
		value, err := i.value()
		if err != nil {
			return err
		}
		if err := v.once(key, value); err != nil {
			return err
		}
		return set(i, v, value)
	}
}

// vxlanSwitch is a word without a value.
func vxlanSwitch(key string, set func(v *vxlanWords)) func(*ip, *vxlanWords) error {
	return func(i *ip, v *vxlanWords) error {
		if v.seen[key] {
			return garbage(i.args.Last, i.args.Last)
		}
		v.seen[key] = true
		set(v)
		return nil
	}
}

var vxlanTable = []keyword[*vxlanWords]{
	{"id*|vni*", vxlanValue("id", func(_ *ip, v *vxlanWords, s string) error {
		n, ok := number(s, 24)
		v.VNI = uint32(n)
		return orWrong(ok, s, "invalid id")
	})},
	{"group*", vxlanGroup},
	{"remote*", vxlanRemote},
	{"local*", vxlanLocal},
	{"dev*", vxlanValue("dev", vxlanDev)},
	{"ttl*|hoplimit*", vxlanValue("ttl", vxlanTTL)},
	{"tos*|dsfield*", vxlanValue("tos", func(_ *ip, v *vxlanWords, s string) (err error) {
		v.TOS, v.InheritTOS, err = tos(s)
		return err
	})},
	{"df*", vxlanValue("df", vxlanDF)},
	{"label*|flowlabel*", nil},
	{"ageing*", vxlanValue("ageing", vxlanAgeing)},
	{"maxaddress*", vxlanValue("maxaddress", vxlanMaxAddress)},
	{"port*|srcport*", vxlanPorts},
	{"dstport*", vxlanValue("dstport", func(_ *ip, v *vxlanWords, s string) error {
		n, ok := number(s, 16)
		v.DstPort = uint16(n)
		return orWrong(ok, s, "dst port")
	})},
	{"nolearning*", vxlanSwitch("learning", func(v *vxlanWords) { v.NoLearning = true })},
	{"learning*", vxlanSwitch("learning", func(v *vxlanWords) { v.NoLearning = false })},
	{"noproxy*", vxlanSwitch("proxy", func(v *vxlanWords) { v.Proxy = false })},
	{"proxy*", vxlanSwitch("proxy", func(v *vxlanWords) { v.Proxy = true })},
	{"norsc*", vxlanSwitch("rsc", func(*vxlanWords) {})},
	{"rsc*", nil},
	{"nol2miss*", vxlanSwitch("l2miss", func(v *vxlanWords) { v.L2Miss = false })},
	{"l2miss*", vxlanSwitch("l2miss", func(v *vxlanWords) { v.L2Miss = true })},
	{"nol3miss*", vxlanSwitch("l3miss", func(v *vxlanWords) { v.L3Miss = false })},
	{"l3miss*", vxlanSwitch("l3miss", func(v *vxlanWords) { v.L3Miss = true })},
	{"udpcsum*", vxlanSwitch("udpcsum", func(v *vxlanWords) { v.UDPChecksum = true })},
	{"noudpcsum*", vxlanSwitch("udpcsum", func(v *vxlanWords) { v.UDPChecksum = false })},
	{"udp6zerocsumtx*", nil},
	{"noudp6zerocsumtx*", vxlanSwitch("udp6zerocsumtx", func(*vxlanWords) {})},
	{"udp6zerocsumrx*", nil},
	{"noudp6zerocsumrx*", vxlanSwitch("udp6zerocsumrx", func(*vxlanWords) {})},
	{"remcsumtx*", nil},
	{"noremcsumtx*", vxlanSwitch("remcsumtx", func(*vxlanWords) {})},
	{"remcsumrx*", nil},
	{"noremcsumrx*", vxlanSwitch("remcsumrx", func(*vxlanWords) {})},
	{"external*", nil},
	{"noexternal*", vxlanSwitch("external", func(*vxlanWords) {})},
	{"gbp*", vxlanSwitch("gbp", func(v *vxlanWords) { v.GBP = true })},
	{"gpe*", nil},
	{"vnifilter", nil},
	{"novnifilter", vxlanSwitch("vnifilter", func(*vxlanWords) {})},
}

func orWrong(ok bool, value, what string) error {
	if ok {
		return nil
	}
	return wrong(value, what)
}

func vxlanGroup(i *ip, v *vxlanWords) error {
	if v.seen["group"] && v.Remote.IsValid() && !v.Remote.IsMulticast() {
		return words.Errorf(1, "vxlan: both group and remote cannot be specified")
	}
	return vxlanValue("group", func(_ *ip, v *vxlanWords, s string) (err error) {
		if v.Remote, err = address(s, unspec); err != nil {
			return err
		}
		return orWrong(v.Remote.IsMulticast(), s, "invalid group address")
	})(i, v)
}

func vxlanRemote(i *ip, v *vxlanWords) error {
	if v.seen["group"] && v.Remote.IsMulticast() {
		return words.Errorf(1, "vxlan: both group and remote cannot be specified")
	}
	return vxlanValue("group", func(_ *ip, v *vxlanWords, s string) (err error) {
		if v.Remote, err = address(s, unspec); err != nil {
			return err
		}
		ok := !v.Remote.IsMulticast()
		v.Remote = orNone(v.Remote)
		return orWrong(ok, s, "invalid remote address")
	})(i, v)
}

func vxlanLocal(i *ip, v *vxlanWords) error {
	return vxlanValue("local", func(_ *ip, v *vxlanWords, s string) (err error) {
		if v.Local, err = address(s, unspec); err != nil {
			return err
		}
		ok := !v.Local.IsMulticast()
		v.Local = orNone(v.Local)
		return orWrong(ok, s, "invalid local address")
	})(i, v)
}

// orNone makes 0.0.0.0 no address.
func orNone(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func vxlanDev(i *ip, v *vxlanWords, name string) error {
	v.Device = i.find(name)
	if i.node.E.Index(v.Device) == 0 {
		return words.Errorf(255, `Cannot find device "%s"`, name)
	}
	return nil
}

func vxlanTTL(_ *ip, v *vxlanWords, s string) error {
	v.TTL, v.InheritTTL = 0, s == "inherit"
	if v.InheritTTL || s == "auto" {
		return nil
	}
	n, ok := number(s, 32)
	switch {
	case !ok:
		return wrong(s, "invalid TTL")
	case n > math.MaxUint8:
		return wrong(s, "TTL must be <= 255")
	}
	v.TTL = uint8(n)
	return nil
}

// tos reads a TOS byte, or 'inherit'.
func tos(s string) (value uint8, inherit bool, err error) {
	if s == "inherit" {
		return 0, true, nil
	}
	value, ok := dsfield(s)
	return value, value == 1, orWrong(ok, s, "bad TOS value")
}

func vxlanDF(_ *ip, v *vxlanWords, s string) error {
	switch s {
	case "unset":
		v.DF = tunnel.DFUnset
	case "set":
		v.DF = tunnel.DFSet
	case "inherit":
		v.DF = tunnel.DFInherit
	default:
		return wrong(s, "DF must be 'unset', 'set' or 'inherit'")
	}
	return nil
}

// noAgeing is the engine's value of Ageing for 'none'.
const noAgeing = -time.Second

func vxlanAgeing(_ *ip, v *vxlanWords, s string) error {
	n, ok := number(s, 32)
	v.Ageing = time.Duration(n) * time.Second
	if n == 0 {
		v.Ageing = noAgeing
	}
	return orWrong(ok || s == "none", s, "ageing timer")
}

func vxlanMaxAddress(_ *ip, v *vxlanWords, s string) error {
	n, ok := number(s, 32)
	v.MaxAddress = int(n)
	return orWrong(ok || s == "unlimited", s, "max addresses")
}

func vxlanPorts(i *ip, v *vxlanWords) error {
	low, err := i.value()
	if err != nil {
		return err
	}
	if err := v.once("srcport", low); err != nil {
		return err
	}
	n, ok := number(low, 16)
	if !ok {
		return wrong(low, "min port")
	}
	high, err := i.number(16, "max port")
	v.Ports = tunnel.Ports{Min: uint16(n), Max: uint16(high)}
	return err
}

// readVXLAN reads what follows 'type vxlan'.
func (i *ip) readVXLAN(v *vxlanWords) error {
	v.seen = map[string]bool{}
	return each(i, vxlanTable, v, func(word string) error {
		if short(word, "help") {
			return exitsNot(usageVXLAN)
		}
		return words.Errorf(1, "vxlan: unknown command \"%s\"?\n%s", word, usageVXLAN)
	})
}

func addVXLAN(i *ip, l *linkWords) error {
	if !i.args.More() {
		return extack("Required attributes not provided to perform the operation.")
	}
	v := &vxlanWords{VXLAN: engine.VXLAN{UDPChecksum: true}}
	if err := i.readVXLAN(v); err != nil {
		return err
	}
	switch {
	case !v.seen["id"]:
		return words.Errorf(1, "vxlan: missing virtual network identifier")
	case v.Remote.IsMulticast() && v.Device == "":
		return words.Errorf(1, "vxlan: 'group' requires 'dev' to be specified")
	case !v.seen["dstport"]:
		i.p.Errorf("vxlan: destination port not specified\nWill use Linux kernel default (non-standard value)\n" +
			"Use 'dstport 4789' to get the IANA assigned value\nUse 'dstport 0' to get default and quiet this message")
	}
	if v.Device != "" && l.node != i.node {
		return unsupported("vxlan dev in another namespace")
	}
	return i.makeVXLAN(l, v)
}

func (i *ip) makeVXLAN(l *linkWords, v *vxlanWords) (err error) {
	freeName(l, "vxlan")
	if v.Link, err = l.base(minMTU); err != nil {
		return err
	}
	if most := i.vxlanMTU(v.Device); most != 0 {
		v.MTU = min(v.MTU, most)
	}
	for _, other := range l.node.E.Links() {
		if other.VXLAN != nil && other.VXLAN.VNI == v.VNI && other.VXLAN.DstPort == dstPort(v.DstPort) {
			return extack("A VXLAN device with the specified VNI already exists.")
		}
	}
	if _, err := l.node.E.AddVXLAN(v.VXLAN); err != nil {
		return err
	}
	if err := l.node.Retap(); err != nil {
		return err
	}
	l.node.Attrs(l.name).Options = map[string]uint64{"srcport": uint64(v.Ports.Min)<<16 | uint64(v.Ports.Max)}
	return i.dress(l)
}

// vxlanMTU returns the greatest MTU above an underlay device, 0 if there is none.
func (i *ip) vxlanMTU(under string) int {
	const overhead = 50 // VXLAN_HEADROOM
	l, ok := i.node.E.Link(under)
	if !ok {
		return 0
	}
	return l.MTU - overhead
}

// linuxPort is the kernel's port of VXLAN, which is not IANA's.
const linuxPort = 8472

func dstPort(port uint16) uint16 {
	if port == 0 {
		return linuxPort
	}
	return port
}

// setVXLAN changes what vxlan_changelink changes, and refuses the rest as it does.
func setVXLAN(i *ip, l *linkWords) error {
	info, err := i.kindly("vxlan", l)
	if !i.args.More() || info.VXLAN == nil {
		return err
	}
	old := *info.VXLAN
	v := &vxlanWords{VXLAN: old}
	if err := i.readVXLAN(v); err != nil {
		return err
	}
	if v.Remote.IsMulticast() && v.Device == "" {
		return words.Errorf(1, "vxlan: 'group' requires 'dev' to be specified")
	}
	for _, fixed := range []struct {
		changed bool
		text    string
	}{
		{v.VNI != old.VNI, "Cannot change VNI."},
		{v.seen["proxy"] && v.Proxy != old.Proxy, "vxlan: cannot change PROXY flag."},
		{v.seen["l2miss"] && v.L2Miss != old.L2Miss, "vxlan: cannot change L2MISS flag."},
		{v.seen["l3miss"] && v.L3Miss != old.L3Miss, "vxlan: cannot change L3MISS flag."},
		{v.seen["maxaddress"], "Cannot change limit."},
		{v.seen["srcport"], "Cannot change port range."},
		{v.seen["dstport"], "Cannot change port."},
		{v.seen["udpcsum"], "Cannot change UDP_CSUM flag."},
		{v.seen["gbp"], "vxlan: cannot change GBP flag."},
	} {
		if fixed.changed {
			return extack(fixed.text)
		}
	}
	v.InheritTTL = v.InheritTTL || old.InheritTTL // the kernel has no way back
	if v.InheritTTL {
		v.TTL = 0
	}
	return i.node.E.SetVXLAN(l.dev, v.VXLAN)
}

// showVXLAN prints what 'ip -d link show' does of a VXLAN device.
func showVXLAN(i *ip, l *engine.LinkInfo) {
	v := l.VXLAN
	i.p.Printf("id %d ", v.VNI)
	switch {
	case v.Remote.IsMulticast():
		i.p.Printf("group %s ", v.Remote)
	case v.Remote.IsValid():
		i.p.Printf("remote %s ", v.Remote)
	}
	if v.Local.IsValid() {
		i.p.Printf("local %s ", v.Local)
	}
	if v.Device != "" {
		i.p.Printf("dev %s ", v.Device)
	}
	ports := i.node.Attrs(l.Name).Options["srcport"] // as given: the engine has filled in the default
	i.p.Printf("srcport %d %d dstport %d ", ports>>16, ports&math.MaxUint16, v.DstPort)
	i.marks(mark{"nolearning", v.NoLearning}, mark{"proxy", v.Proxy}, mark{"l2miss", v.L2Miss}, mark{"l3miss", v.L3Miss})
	i.showTOS(v.TOS, v.InheritTOS)
	i.p.Printf("ttl %s ", ttlWord(v.TTL, v.InheritTTL, "auto"))
	switch v.DF {
	case tunnel.DFSet:
		i.p.Printf("df set ")
	case tunnel.DFInherit:
		i.p.Printf("df inherit ")
	}
	i.p.Printf("ageing %s ", ageingWord(v.Ageing))
	if v.MaxAddress != 0 {
		i.p.Printf("maxaddr %d ", v.MaxAddress)
	}
	i.marks(mark{"udpcsum", v.UDPChecksum}, mark{"noudpcsum", !v.UDPChecksum})
	i.p.Printf("noudp6zerocsumtx noudp6zerocsumrx ")
	i.marks(mark{"gbp", v.GBP})
}

// mark is a switch and its word.
type mark struct {
	word string
	on   bool
}

// marks prints the words of the switches that are on.
func (i *ip) marks(all ...mark) {
	for _, m := range all {
		if m.on {
			i.p.Printf("%s ", m.word)
		}
	}
}

func (i *ip) showTOS(value uint8, inherit bool) {
	switch {
	case inherit:
		i.p.Printf("tos inherit ")
	case value != 0:
		i.p.Printf("tos %#x ", value)
	}
}

// ttlWord returns a TTL, or its word if it is 0.
func ttlWord(ttl uint8, inherit bool, zero string) string {
	switch {
	case inherit:
		return "inherit"
	case ttl == 0:
		return zero
	}
	return itoa(ttl)
}

const defaultAgeing = 300 * time.Second

func ageingWord(d time.Duration) string {
	switch {
	case d < 0:
		return "none"
	case d == 0:
		d = defaultAgeing
	}
	return itoa(int(d / time.Second))
}
