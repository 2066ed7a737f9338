package bridgecmd

// bridge fdb show, get and flush.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/lab/internal/bridges"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// line is an entry as it is shown.
type line struct {
	mac    ethernet.MAC
	dev    string
	remote string // 'dst A …'
	heard  time.Duration
	timed  bool   // has times at all
	master string // the bridge whose entry it is; "": the device's own
	sticky bool
	state  state
}

// String returns the line as fdb.c's print_fdb does, without the name of the device if only that one is shown.
func (l line) text(oneDevice, stats bool) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s ", l.mac)
	if !oneDevice {
		fmt.Fprintf(&s, "dev %s ", l.dev)
	}
	s.WriteString(l.remote)
	if stats && l.timed {
		seconds := int(l.heard / time.Second)
		fmt.Fprintf(&s, "used %d/%d ", seconds, seconds)
	}
	if l.master == "" {
		s.WriteString("self ")
	}
	if l.sticky {
		s.WriteString("sticky ")
	}
	if l.master != "" {
		fmt.Fprintf(&s, "master %s ", l.master)
	}
	s.WriteString(l.state.String())
	return s.String()
}

func (s state) String() string {
	switch {
	case s&permanent != 0:
		return "permanent"
	case s&static != 0:
		return "static"
	}
	return ""
}

// filter is what 'bridge fdb show' is to show.
type filter struct {
	dev, bridge string
	vlan        bool
	dynamic     bool
	state       state
}

func (b *bridge) fdbShow() error {
	var f filter
	for b.args.More() {
		var err error
		switch word := b.args.Next(); {
		case word == "brport" || word == "dev":
			f.dev, err = b.args.Value()
		case word == "br":
			f.bridge, err = b.args.Value()
		case word == "vlan":
			f.vlan = true
			_, err = b.args.Value()
		case word == "state":
			f.state, err = b.stateValue()
		case word == "dynamic":
			f.dynamic = true
		case strings.HasPrefix("help", word):
			return words.Errorf(failed, fdbUsage)
		}
		if err != nil {
			return err
		}
	}
	if f.bridge != "" && b.node.E.Index(f.bridge) == 0 {
		return noBridge(f.bridge)
	}
	if f.dev != "" && b.node.E.Index(f.dev) == 0 {
		return noDevice(f.dev)
	}
	for _, l := range b.lines(f) {
		b.p.Printf("%s\n", l.text(f.dev != "", b.stats))
	}
	return nil
}

func (b *bridge) stateValue() (state, error) {
	value, err := b.args.Value()
	if err != nil {
		return 0, err
	}
	for _, s := range []struct {
		name string
		state
	}{{"permanent", permanent}, {"static", static}, {"temp", static}, {"stale", 0}, {"reachable", reachable}, {"all", permanent | static | reachable}} {
		if s.name == value {
			return s.state, nil
		}
	}
	return 0, words.Invalid(value, "invalid state")
}

// lines returns what a filter lets through, device by device.
func (b *bridge) lines(f filter) []line {
	var lines []line
	links := b.node.E.Links()
	for _, l := range links {
		if f.dev != "" && l.Name != f.dev || f.bridge != "" && !b.belongs(l, f.bridge) || f.vlan {
			continue
		}
		lines = append(lines, b.deviceLines(l, links)...)
	}
	return slices.DeleteFunc(lines, func(l line) bool {
		return f.dynamic && l.state&permanent != 0 || f.state != 0 && l.state&f.state == 0
	})
}

// belongs reports whether a device is a bridge, or one of its ports.
func (b *bridge) belongs(l engine.LinkInfo, name string) bool {
	br, _ := b.node.E.Link(name)
	return br.Kind == engine.KindBridge && (l.Name == name || l.Master == name)
}

// deviceLines returns the entries of a device, one of links: those of its bridge about it, and its own (rtnl_fdb_dump).
func (b *bridge) deviceLines(l engine.LinkInfo, links []engine.LinkInfo) []line {
	var lines []line
	if l.Master != "" {
		lines = b.bridgeLines(l.Master, l.Name)
	}
	switch {
	case l.Kind == engine.KindVXLAN:
		return append(lines, b.vxlanLines(l)...)
	case l.Kind == engine.KindLoopback || l.Kind == engine.KindIPIP || l.Raw:
		return lines
	}
	for _, mac := range slices.Concat(bridges.Unicast(b.node, l.Name), bridges.Groups(l, links)) {
		lines = append(lines, line{mac: mac, dev: l.Name, state: permanent})
	}
	if l.Kind == engine.KindBridge {
		lines = append(lines, b.bridgeLines(l.Name, l.Name)...)
	}
	return lines
}

// bridgeLines returns the entries of a bridge that lead to a port.
func (b *bridge) bridgeLines(br, port string) []line {
	var lines []line
	for _, e := range bridges.Entries(b.node, br) {
		if e.Dev != port {
			continue
		}
		l := line{mac: e.MAC, dev: port, heard: e.Age, timed: true, master: br, sticky: e.Flags&fdb.Sticky != 0, state: reachable}
		switch {
		case e.Flags&fdb.Local != 0:
			l.state = permanent
		case e.Flags&fdb.Static != 0:
			l.state = static | reachable
		}
		lines = append(lines, l)
	}
	return lines
}

// vxlanLines returns the entries of a VXLAN device.
func (b *bridge) vxlanLines(dev engine.LinkInfo) []line {
	var lines []line
	for _, e := range bridges.Entries(b.node, dev.Name) {
		l := line{mac: e.MAC, dev: dev.Name, remote: b.remote(e.FDBEntry), heard: e.Age, timed: true, state: permanent}
		switch {
		case e.Dynamic:
			l.state = reachable
		case strings.HasSuffix(e.Words, "static"):
			l.state = static | reachable
		}
		l.sticky = strings.HasPrefix(e.Words, "sticky")
		lines = append(lines, l)
	}
	return lines
}

// remote returns 'dst A [port P] [vni N] [via D] '.
func (b *bridge) remote(f engine.FDBEntry) string {
	s := fmt.Sprintf("dst %s ", f.Dst)
	if f.UDP != 0 {
		s += fmt.Sprintf("port %d ", f.UDP)
	}
	if f.VNI != 0 {
		s += fmt.Sprintf("vni %d ", f.VNI)
	}
	if via := b.via(f); via != "" {
		s += fmt.Sprintf("via %s ", via)
	}
	return s
}

// via returns the device that a remote is to be reached by: the one that the VXLAN device was made with has that of the device.
func (b *bridge) via(f engine.FDBEntry) string {
	l, _ := b.node.E.Link(f.Dev)
	if f.Via == "" && f.MAC.IsZero() && l.VXLAN != nil && f.Dst == l.VXLAN.Remote && f.VNI == 0 && f.UDP == 0 {
		return l.VXLAN.Device
	}
	return f.Via
}

// fdbGet shows one entry: 'bridge fdb get ADDR {dev|brport D [master|self] | br B}'.
func (b *bridge) fdbGet() error {
	var addr, dev, br string
	var self, master bool
	for b.args.More() {
		var err error
		switch word := b.args.Next(); {
		case word == "brport" || word == "dev":
			dev, err = b.args.Value()
		case word == "br":
			br, err = b.args.Value()
		case word == "self":
			self = true
		case strings.HasPrefix("master", word):
			master = true
		case strings.HasPrefix("dynamic", word):
		default:
			if word == "to" {
				word = b.args.Next()
			}
			if addr != "" {
				return duplicate("to", word)
			}
			addr = word
		}
		if err != nil {
			return err
		}
	}
	if dev == "" && br == "" || addr == "" {
		return words.Errorf(failed, "Device or master and address are required arguments.")
	}
	mac, ok := parseMAC(addr)
	switch {
	case !ok:
		return words.Errorf(failed, "Invalid mac address %s", addr)
	case dev != "" && b.node.E.Index(dev) == 0:
		return noDevice(dev)
	case br != "" && b.node.E.Index(br) == 0:
		return noBridge(br)
	}
	return b.fdbGetFrom(mac, dev, br, self && !master)
}

// statusGet is the exit status of a 'get' that the kernel refused.
const statusGet = 254

// fdbGetFrom shows the entry of a MAC address in a bridge's or a device's own table (rtnl_fdb_get).
func (b *bridge) fdbGetFrom(mac ethernet.MAC, dev, br string, self bool) error {
	var found []line
	l, _ := b.node.E.Link(dev)
	bl, _ := b.node.E.Link(br)
	switch {
	case br == "" && !self && l.Master == "":
		return words.Errorf(statusGet, "Error: Device is not a bridge port.")
	case br == "" && !self:
		br = l.Master
	case br != "" && bl.Kind != engine.KindBridge || br == "" && l.Kind != engine.KindVXLAN && l.Kind != engine.KindBridge:
		return words.Errorf(statusGet, "Error: Fdb get operation not supported by device.")
	}
	if br == "" && l.Kind == engine.KindVXLAN {
		found = b.vxlanLines(l)
	} else {
		if br == "" {
			br = dev
		}
		for _, port := range append(bridges.Ports(b.node, br), engine.LinkInfo{Name: br}) {
			found = append(found, b.bridgeLines(br, port.Name)...)
		}
	}
	for _, f := range found {
		if f.mac == mac {
			b.p.Printf("%s\n", f.text(false, b.stats))
			return nil
		}
	}
	return words.Errorf(statusGet, "Error: Fdb entry not found.")
}

// flush is which entries 'bridge fdb flush' is to remove. The masks are of permanent, static and sticky.
type flush struct {
	dev, port    string
	self, master bool
	vlan         bool
	want, not    string // letters: p, s, d, k
}

var flushWords = map[string]string{"permanent": "p", "static": "s", "dynamic": "d", "sticky": "k"}

func (b *bridge) fdbFlush() error {
	var f flush
	for b.args.More() {
		var err error
		switch word := b.args.Next(); word {
		case "dev":
			f.dev, err = b.args.Value()
		case "brport":
			f.port, err = b.args.Value()
		case "vlan":
			f.vlan = true
			_, err = b.args.Value()
		case "self":
			f.self = true
		case "master":
			f.master = true
		default:
			bare, no := strings.CutPrefix(word, "no")
			if no {
				f.not += flushWords[bare]
			} else {
				f.want += flushWords[word]
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case f.dev == "":
		return words.Errorf(failed, "Device is a required argument.")
	case b.node.E.Index(f.dev) == 0:
		return noBridge(f.dev)
	case f.port != "" && b.node.E.Index(f.port) == 0:
		return words.Errorf(failed, `Cannot find bridge port device "%s"`, f.port)
	}
	return b.flush(f)
}

// flush removes entries from a bridge's or VXLAN device's table: all of them, configured ones too, unless words say otherwise
// (br_fdb_delete_bulk, vxlan_fdb_delete_bulk).
func (b *bridge) flush(f flush) error {
	l, _ := b.node.E.Link(f.dev)
	table := f.dev
	switch {
	case f.master && l.Master != "":
		table, f.port = l.Master, f.dev
	case l.Kind != engine.KindBridge && l.Kind != engine.KindVXLAN:
		return engine.ErrNotBridge // Operation not supported
	}
	if p, _ := b.node.E.Link(f.port); f.port != "" && p.Master != table && f.port != table {
		return words.Errorf(failed, "Error: bridge: Flush device is not a bridge or bridge port.")
	}
	if f.vlan {
		return nil
	}
	var gone []engine.FDBEntry
	for _, e := range bridges.Entries(b.node, table) {
		if f.chooses(e) && (f.port == "" || e.Dev == f.port) {
			gone = append(gone, engine.FDBEntry{MAC: e.MAC, Dev: e.Dev, Master: e.Master})
		}
	}
	for _, e := range slices.CompactFunc(gone, func(a, b engine.FDBEntry) bool { return a.MAC == b.MAC }) {
		_ = b.node.E.DeleteFDB(e) // the bridge's own address stays
	}
	return nil
}

func (f *flush) chooses(e bridges.Entry) bool {
	is := map[byte]bool{
		'p': e.Flags&fdb.Local != 0 || !e.Master && !e.Dynamic && !strings.HasSuffix(e.Words, "static"),
		's': e.Flags&fdb.Static != 0 && (e.Master || strings.HasSuffix(e.Words, "static")) || e.Flags&fdb.Local != 0,
		'd': e.Flags == 0,
		'k': e.Flags&fdb.Sticky != 0 && (e.Master || strings.HasPrefix(e.Words, "sticky")),
	}
	for _, w := range []byte(f.want) {
		if !is[w] {
			return false
		}
	}
	for _, w := range []byte(f.not) {
		if is[w] {
			return false
		}
	}
	return true
}
