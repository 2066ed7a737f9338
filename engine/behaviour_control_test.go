// Control calls that are wrong: each says which object and field is at fault, errors.Is finds why, and nothing has changed.
package engine_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/tunnel"
)

// newOffice is a node with one of everything.
func newOffice(t testing.TB) *rig {
	t.Helper()
	r := newRouter(t)
	r.port("p0", mac6(0x50))
	r.bridge("br0", brMAC, "p0")
	r.bridge("br1", mac6(0xb1))
	r.vxlan("vx", mac6(0xe1), engine.VXLAN{VNI: 7, Local: addr4(eth0Addr), Device: "eth0"})
	r.ipip("tun", engine.IPIP{Local: addr4(eth0Addr), Remote: addr4(near)})
	_, err := r.AddPort(engine.Port{Link: engine.Link{Name: "raw", Up: true}, Raw: true})
	r.must(err)
	r.fdb(mac6(0xf1), "vx", near)
	r.must(r.AddFDB(engine.FDBEntry{MAC: sta0, Dev: "p0", Master: true, Flags: fdb.Static}))
	r.route("192.0.2.0/24", far, "eth1")
	r.must(r.SetPeer(engine.Peer{
		Name: "node2", Subnets: []netip.Prefix{prefix("10.244.2.0/24")}, Node: addr4(near), Dev: "vx", Gateway: addr4("10.244.2.0"), MAC: mac6(0xf2),
	}))
	return r
}

// everything returns what control calls change, as text.
func (r *rig) everything() string {
	var b strings.Builder
	for _, l := range r.Links() {
		fmt.Fprintf(&b, "%d %s %v %d up %t master %q peer %q port %+v\n", l.Index, l.Name, l.MAC, l.MTU, l.Up, l.Master, l.Peer, l.Port)
		fmt.Fprintf(&b, "  bridge %+v vxlan %+v ipip %+v\n", l.Bridge, l.VXLAN, l.IPIP)
		fmt.Fprintf(&b, "  addrs %+v\n", r.Addrs(l.Name))
		c, err := r.Conf(l.Name)
		n, err2 := r.NeighParams(l.Name)
		fmt.Fprintf(&b, "  conf %+v %v %+v %v\n", c, err, n, err2)
		for e := range r.FDB(l.Name) {
			fmt.Fprintf(&b, "  fdb %+v\n", e)
		}
	}
	for route := range r.Routes() {
		fmt.Fprintf(&b, "route %+v\n", route)
	}
	for n, e := range r.Neighs() {
		fmt.Fprintf(&b, "neigh %+v %v %v\n", n, e.MAC, e.State)
	}
	fmt.Fprintf(&b, "peers %+v\nglobal %+v\n", r.Peers(), r.Global())
	return b.String()
}

func TestBehaviourControlFaults(t *testing.T) {
	link := func(name string) engine.Link { return engine.Link{Name: name} }
	port := func(l engine.Link) func(*rig) error {
		return func(r *rig) error { _, err := r.AddPort(engine.Port{Link: l}); return err }
	}
	vxlan := func(change func(*engine.VXLAN)) func(*rig) error {
		return func(r *rig) error {
			v := engine.VXLAN{Link: link("vx9"), VNI: 9}
			change(&v)
			_, err := r.AddVXLAN(v)
			return err
		}
	}
	ipip := func(change func(*engine.IPIP)) func(*rig) error {
		return func(r *rig) error {
			i := engine.IPIP{Link: link("tun9")}
			change(&i)
			_, err := r.AddIPIP(i)
			return err
		}
	}
	set := func(dev string, c engine.LinkChange) func(*rig) error {
		return func(r *rig) error { return r.SetLink(dev, c) }
	}
	addRoute := func(x engine.Route) func(*rig) error { return func(r *rig) error { return r.AddRoute(x) } }
	addNeigh := func(n engine.Neigh) func(*rig) error { return func(r *rig) error { return r.AddNeigh(n) } }
	addFDB := func(f engine.FDBEntry) func(*rig) error { return func(r *rig) error { return r.AddFDB(f) } }
	addAddr := func(dev string, a engine.Addr) func(*rig) error {
		return func(r *rig) error { return r.AddAddr(dev, a) }
	}
	conf := func(dev string, change func(*engine.Conf)) func(*rig) error {
		return func(r *rig) error {
			c, err := r.Conf(dev)
			if err != nil {
				return err
			}
			change(&c)
			return r.SetConf(dev, c)
		}
	}
	peer := func(change func(*engine.Peer)) func(*rig) error {
		return func(r *rig) error {
			p := engine.Peer{
				Name: "node3", Subnets: []netip.Prefix{prefix("10.244.3.0/24")}, Node: addr4("10.0.0.8"), Dev: "vx", Gateway: addr4("10.244.3.0"), MAC: mac6(0xf3),
			}
			change(&p)
			return r.SetPeer(p)
		}
	}
	for _, c := range []struct {
		name  string
		call  func(*rig) error
		is    error
		words []string // of the message: the object and the field
	}{
		{"port without a name", port(link("")), engine.ErrInvalid, []string{"name"}},
		{"port with a long name", port(link("abcdefghijklmnop")), engine.ErrInvalid, []string{"abcdefghijklmnop"}},
		{"port with a slash in its name", port(link("a/b")), engine.ErrInvalid, []string{"a/b"}},
		{"port with a blank in its name", port(link("a b")), engine.ErrInvalid, []string{"a b"}},
		{"port with a taken name", port(link("eth0")), engine.ErrExists, []string{"eth0"}},
		{"port with a group's MAC", port(engine.Link{Name: "x", MAC: ethernet.MAC{1}}), engine.ErrInvalid, []string{"x", "MAC"}},
		{"port with an MTU of 67", port(engine.Link{Name: "x", MTU: 67}), engine.ErrInvalid, []string{"x", "MTU", "67"}},
		{"port with an MTU of 65536", port(engine.Link{Name: "x", MTU: 65536}), engine.ErrInvalid, []string{"x", "MTU", "65536"}},
		{"port with a negative MTU", port(engine.Link{Name: "x", MTU: -1}), engine.ErrInvalid, []string{"x", "MTU"}},
		{"raw port with a MAC", func(r *rig) error {
			_, err := r.AddPort(engine.Port{Link: engine.Link{Name: "x", MAC: mac6(1)}, Raw: true})
			return err
		}, engine.ErrInvalid, []string{"x", "MAC"}},
		{"pair of one name", func(r *rig) error {
			_, _, err := r.AddPair(engine.Pair{Link: link("x"), Peer: link("x")})
			return err
		}, engine.ErrInvalid, []string{"x", "Peer.Name"}},
		{"pair whose other end exists", func(r *rig) error {
			_, _, err := r.AddPair(engine.Pair{Link: link("x"), Peer: link("eth0")})
			return err
		}, engine.ErrExists, []string{"eth0"}},
		{"pair whose other end is at fault", func(r *rig) error {
			_, _, err := r.AddPair(engine.Pair{Link: link("x"), Peer: engine.Link{Name: "y", MTU: 9}})
			return err
		}, engine.ErrInvalid, []string{"y", "MTU"}},
		{"bridge with a negative limit", func(r *rig) error {
			_, err := r.AddBridge(engine.Bridge{Link: link("x"), MaxLearned: -1})
			return err
		}, engine.ErrInvalid, []string{"x", "MaxLearned"}},
		{"bridge that ages too slowly", func(r *rig) error {
			_, err := r.AddBridge(engine.Bridge{Link: link("x"), Ageing: 1000 * time.Hour})
			return err
		}, engine.ErrInvalid, []string{"x", "Ageing"}},

		{"VXLAN VNI of 25 bits", vxlan(func(v *engine.VXLAN) { v.VNI = 1 << 24 }), engine.ErrInvalid, []string{"vx9", "VNI"}},
		{"VXLAN VNI taken", vxlan(func(v *engine.VXLAN) { v.VNI = 7 }), engine.ErrExists, []string{"vx9", "VNI"}},
		{"VXLAN device missing", vxlan(func(v *engine.VXLAN) { v.Device = "nope" }), engine.ErrNotFound, []string{"vx9", "nope"}},
		{"VXLAN local is IPv6", vxlan(func(v *engine.VXLAN) { v.Local = addr4("::1") }), engine.ErrInvalid, []string{"vx9", "Local"}},
		{"VXLAN local is a group", vxlan(func(v *engine.VXLAN) { v.Local = addr4("239.1.1.1") }), engine.ErrInvalid, []string{"vx9", "Local"}},
		{"VXLAN remote is IPv6", vxlan(func(v *engine.VXLAN) { v.Remote = addr4("::1") }), engine.ErrInvalid, []string{"vx9", "Remote"}},
		{"VXLAN group without a device", vxlan(func(v *engine.VXLAN) { v.Remote = addr4("239.1.1.1") }), engine.ErrInvalid, []string{"vx9", "Device"}},
		{"VXLAN ports empty", vxlan(func(v *engine.VXLAN) { v.Ports = tunnel.Ports{Min: 9, Max: 9} }), engine.ErrInvalid, []string{"vx9", "Ports"}},
		{"VXLAN DF", vxlan(func(v *engine.VXLAN) { v.DF = 3 }), engine.ErrInvalid, []string{"vx9", "DF"}},
		{"VXLAN negative limit", vxlan(func(v *engine.VXLAN) { v.MaxAddress = -1 }), engine.ErrInvalid, []string{"vx9", "MaxAddress"}},
		{"VXLAN MTU over its device's", vxlan(func(v *engine.VXLAN) { v.Device, v.MTU = "eth0", 1451 }), engine.ErrInvalid, []string{"vx9", "MTU"}},
		{"VXLAN VTEP is a group", vxlan(func(v *engine.VXLAN) { v.VTEPs = []netip.Addr{addr4("239.1.1.1")} }), engine.ErrInvalid, []string{"vx9", "VTEPs"}},
		{"VXLAN with several faults, first", vxlan(func(v *engine.VXLAN) { v.VNI, v.DF = 1<<24, 3 }), engine.ErrInvalid, []string{"VNI", "DF"}},

		{"IPIP ends taken", ipip(func(i *engine.IPIP) { i.Local, i.Remote = addr4(eth0Addr), addr4(near) }), engine.ErrExists, []string{"tun9", "tun"}},
		{"IPIP remote is a group", ipip(func(i *engine.IPIP) { i.Remote = addr4("239.1.1.1") }), engine.ErrInvalid, []string{"tun9", "Remote"}},
		{"IPIP local is IPv6", ipip(func(i *engine.IPIP) { i.Local = addr4("::1") }), engine.ErrInvalid, []string{"tun9", "Local"}},
		{"IPIP device missing", ipip(func(i *engine.IPIP) { i.Device = "nope" }), engine.ErrNotFound, []string{"tun9", "nope"}},
		{"IPIP nopmtudisc with a TTL", ipip(func(i *engine.IPIP) { i.NoPMTUDisc, i.TTL = true, 9 }), engine.ErrInvalid, []string{"tun9", "NoPMTUDisc"}},
		{"IPIP peer is no address", ipip(func(i *engine.IPIP) { i.Peers = []netip.Addr{{}} }), engine.ErrInvalid, []string{"tun9", "Peers"}},
		{"IPIP with a MAC", ipip(func(i *engine.IPIP) { i.MAC = mac6(1) }), engine.ErrInvalid, []string{"tun9", "MAC"}},

		{"delete a device that is missing", func(r *rig) error { return r.DeleteLink("nope") }, engine.ErrNotFound, []string{"nope"}},
		{"delete lo", func(r *rig) error { return r.DeleteLink("lo") }, engine.ErrInvalid, []string{"lo"}},
		{"set a device that is missing", set("nope", engine.LinkChange{Up: engine.Set(true)}), engine.ErrNotFound, []string{"nope"}},
		{"set up a device that is missing", func(r *rig) error { return r.SetUp("eth0", "nope") }, engine.ErrNotFound, []string{"nope"}},
		{"set an MTU of 10", set("eth0", engine.LinkChange{MTU: engine.Set(10)}), engine.ErrInvalid, []string{"eth0", "MTU"}},
		{"set MTU and a taken name", set("eth0", engine.LinkChange{MTU: engine.Set(1000), Name: engine.Set("eth1")}), engine.ErrExists, []string{"eth1"}},
		{"set a zero MAC", set("eth0", engine.LinkChange{MAC: &ethernet.MAC{}}), engine.ErrInvalid, []string{"eth0", "MAC"}},
		{"set the MAC of a tunnel", set("tun", engine.LinkChange{MAC: engine.Set(mac6(1))}), engine.ErrInvalid, []string{"tun", "MAC"}},
		{"set a master that is missing", set("eth0", engine.LinkChange{Master: engine.Set("nope")}), engine.ErrNotFound, []string{"eth0", "nope"}},
		{"set a master that is no bridge", set("p0", engine.LinkChange{Master: engine.Set("eth0")}), engine.ErrInvalid, []string{"p0", "eth0"}},
		{"set a bridge's master", set("br1", engine.LinkChange{Master: engine.Set("br0")}), engine.ErrLoop, []string{"br1"}},
		{"set a bridge's master to itself", set("br1", engine.LinkChange{Master: engine.Set("br1")}), engine.ErrLoop, []string{"br1"}},
		{"set a raw port's master", set("raw", engine.LinkChange{Master: engine.Set("br0")}), engine.ErrInvalid, []string{"raw"}},
		{"set a tunnel's master", set("tun", engine.LinkChange{Master: engine.Set("br0")}), engine.ErrInvalid, []string{"tun"}},
		{"bridge port of none", func(r *rig) error { return r.SetBridgePort("eth0", engine.BridgePort{Hairpin: true}) }, engine.ErrNotBridge, []string{"eth0"}},
		{"bridge port missing", func(r *rig) error { return r.SetBridgePort("nope", engine.BridgePort{}) }, engine.ErrNotFound, []string{"nope"}},
		{"bridge port with a negative limit", func(r *rig) error { return r.SetBridgePort("p0", engine.BridgePort{Hairpin: true, MaxLearned: -1}) }, engine.ErrInvalid, []string{"p0", "MaxLearned"}},
		{"ageing of a port", func(r *rig) error { return r.SetAgeing("eth0", time.Second) }, engine.ErrInvalid, []string{"eth0"}},
		{"ageing for too long", func(r *rig) error { return r.SetAgeing("br0", 1000*time.Hour) }, engine.ErrInvalid, []string{"br0"}},

		{"address on a device that is missing", addAddr("nope", engine.Addr{Prefix: prefix("10.7.0.1/24")}), engine.ErrNotFound, []string{"nope"}},
		{"address that is there", addAddr("eth0", engine.Addr{Prefix: prefix("10.0.0.1/24")}), engine.ErrExists, []string{"eth0", "10.0.0.1"}},
		{"address that is none", addAddr("eth0", engine.Addr{}), engine.ErrInvalid, []string{"eth0", "Prefix"}},
		{"address of IPv6", addAddr("eth0", engine.Addr{Prefix: prefix("fd00::1/64")}), engine.ErrInvalid, []string{"eth0", "fd00::1"}},
		{"address of a group", addAddr("eth0", engine.Addr{Prefix: prefix("224.0.0.1/24")}), engine.ErrInvalid, []string{"eth0", "224.0.0.1"}},
		{"delete an address that is missing", func(r *rig) error { return r.DeleteAddr("eth0", prefix("10.7.0.1/24")) }, engine.ErrNotFound, []string{"eth0", "10.7.0.1"}},
		{"delete an address of another length", func(r *rig) error { return r.DeleteAddr("eth0", prefix("10.0.0.1/25")) }, engine.ErrNotFound, []string{"10.0.0.1/25"}},
		{"flush a device that is missing", func(r *rig) error { return r.FlushAddrs("nope") }, engine.ErrNotFound, []string{"nope"}},

		{"route by a device that is missing", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Dev: "nope"}), engine.ErrNotFound, []string{"10.7.0.0/24", "nope"}},
		{"route that is there", addRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Dev: "eth0"}), engine.ErrExists, []string{"192.0.2.0/24"}},
		{"route without a prefix", addRoute(engine.Route{Dev: "eth0"}), engine.ErrInvalid, []string{"Prefix"}},
		{"route with host bits", addRoute(engine.Route{Prefix: prefix("10.7.0.1/24"), Dev: "eth0"}), engine.ErrInvalid, []string{"10.7.0.1/24"}},
		{"route to nowhere", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24")}), engine.ErrInvalid, []string{"10.7.0.0/24"}},
		{"route by a gateway out of reach", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Via: addr4("203.0.113.1")}), engine.ErrInvalid, []string{"10.7.0.0/24", "203.0.113.1"}},
		{"route by a gateway that is not on the device's link", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Via: addr4("203.0.113.1"), Dev: "eth0"}), engine.ErrInvalid, []string{"10.7.0.0/24", "203.0.113.1"}},
		{"route by the node itself", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Via: addr4(eth0Addr), Dev: "eth0"}), engine.ErrInvalid, []string{"10.7.0.0/24", eth0Addr}},
		{"route from an address that is not the node's", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Dev: "eth0", Source: addr4("203.0.113.1")}), engine.ErrInvalid, []string{"10.7.0.0/24", "203.0.113.1"}},
		{"route with a weight of 257", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), NextHops: []engine.NextHop{{Via: addr4(near), Dev: "eth0", Weight: 257}}}), engine.ErrInvalid, []string{"10.7.0.0/24", "257"}},
		{"blackhole by a device", addRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Type: route.Blackhole, Dev: "eth0"}), engine.ErrInvalid, []string{"10.7.0.0/24"}},
		{"delete a route that is missing", func(r *rig) error { return r.DeleteRoute(engine.Route{Prefix: prefix("10.7.0.0/24")}) }, engine.ErrNotFound, []string{"10.7.0.0/24"}},
		{"delete a route by another device", func(r *rig) error {
			return r.DeleteRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Dev: "eth0"})
		}, engine.ErrNotFound, []string{"192.0.2.0/24"}},
		{"change a route that is missing", func(r *rig) error { return r.ChangeRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Dev: "eth0"}) }, engine.ErrNotFound, []string{"10.7.0.0/24"}},
		{"replace a route by one at fault", func(r *rig) error { return r.ReplaceRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Dev: "nope"}) }, engine.ErrNotFound, []string{"192.0.2.0/24", "nope"}},
		{"swap routes, the last at fault", func(r *rig) error {
			return r.SwapRoutes(func(yield func(engine.Route) bool) {
				_ = yield(engine.Route{Prefix: prefix("10.7.0.0/24"), Dev: "eth0"}) && yield(engine.Route{Prefix: prefix("10.8.0.0/24"), Dev: "nope"})
			})
		}, engine.ErrNotFound, []string{"10.8.0.0/24", "nope"}},

		{"neighbour on a device that is missing", addNeigh(engine.Neigh{Addr: addr4("10.0.0.5"), Dev: "nope", MAC: mac6(5)}), engine.ErrNotFound, []string{"10.0.0.5", "nope"}},
		{"neighbour that is there", addNeigh(engine.Neigh{Addr: addr4(near), Dev: "eth0", MAC: mac6(5)}), engine.ErrExists, []string{near, "eth0"}},
		{"neighbour without an address", addNeigh(engine.Neigh{Dev: "eth0", MAC: mac6(5)}), engine.ErrInvalid, []string{"Addr"}},
		{"neighbour of IPv6", addNeigh(engine.Neigh{Addr: addr4("fe80::1"), Dev: "eth0", MAC: mac6(5)}), engine.ErrInvalid, []string{"fe80::1"}},
		{"neighbour that is a group", addNeigh(engine.Neigh{Addr: addr4("224.0.0.1"), Dev: "eth0", MAC: mac6(5)}), engine.ErrInvalid, []string{"224.0.0.1"}},
		{"neighbour without a MAC", addNeigh(engine.Neigh{Addr: addr4("10.0.0.5"), Dev: "eth0"}), engine.ErrInvalid, []string{"10.0.0.5", "MAC"}},
		{"neighbour in a state of learned ones", addNeigh(engine.Neigh{Addr: addr4("10.0.0.5"), Dev: "eth0", MAC: mac6(5), State: arp.StateIncomplete}), engine.ErrInvalid, []string{"10.0.0.5"}},
		{"change a neighbour that is missing", func(r *rig) error {
			return r.ChangeNeigh(engine.Neigh{Addr: addr4("10.0.0.5"), Dev: "eth0", MAC: mac6(5)})
		}, engine.ErrNotFound, []string{"10.0.0.5", "eth0"}},
		{"delete a neighbour that is missing", func(r *rig) error { return r.DeleteNeigh(addr4("10.0.0.5"), "eth0") }, engine.ErrNotFound, []string{"10.0.0.5", "eth0"}},
		{"flush neighbours of a device that is missing", func(r *rig) error { _, err := r.FlushNeigh("nope"); return err }, engine.ErrNotFound, []string{"nope"}},
		{"delete a proxy entry that is missing", func(r *rig) error { return r.DeleteProxyNeigh(addr4("10.0.0.5"), "eth0") }, engine.ErrNotFound, []string{"10.0.0.5"}},

		{"FDB entry on a device that is missing", addFDB(engine.FDBEntry{MAC: sta1, Dev: "nope"}), engine.ErrNotFound, []string{"nope"}},
		{"FDB entry on a port of no bridge", addFDB(engine.FDBEntry{MAC: sta1, Dev: "eth1", Master: true}), engine.ErrNotBridge, []string{"eth1"}},
		{"FDB entry that is there", addFDB(engine.FDBEntry{MAC: sta0, Dev: "p0", Master: true}), engine.ErrExists, []string{sta0.String(), "p0"}},
		{"FDB entry of a group", addFDB(engine.FDBEntry{MAC: ethernet.MAC{1}, Dev: "p0", Master: true}), engine.ErrInvalid, []string{"p0", "MAC"}},
		{"FDB entry of a port with a VTEP", addFDB(engine.FDBEntry{MAC: sta1, Dev: "p0", Master: true, Dst: addr4(near)}), engine.ErrInvalid, []string{"p0", "Dst"}},
		{"FDB entry of VXLAN that is there", addFDB(engine.FDBEntry{MAC: mac6(0xf1), Dev: "vx", Dst: addr4(near)}), engine.ErrExists, []string{mac6(0xf1).String(), "vx"}},
		{"FDB entry of VXLAN without a VTEP", addFDB(engine.FDBEntry{MAC: sta1, Dev: "vx"}), engine.ErrInvalid, []string{"vx", "Dst"}},
		{"FDB entry of VXLAN to IPv6", addFDB(engine.FDBEntry{MAC: sta1, Dev: "vx", Dst: addr4("::1")}), engine.ErrInvalid, []string{"vx", "Dst"}},
		{"FDB entry of VXLAN with a VNI of 25 bits", addFDB(engine.FDBEntry{MAC: sta1, Dev: "vx", Dst: addr4(near), VNI: 1 << 24}), engine.ErrInvalid, []string{"vx", "VNI"}},
		{"FDB entry of VXLAN via a device that is missing", addFDB(engine.FDBEntry{MAC: sta1, Dev: "vx", Dst: addr4(near), Via: "nope"}), engine.ErrNotFound, []string{"vx", "nope"}},
		{"delete an FDB entry that is missing", func(r *rig) error { return r.DeleteFDB(engine.FDBEntry{MAC: sta1, Dev: "vx"}) }, engine.ErrNotFound, []string{sta1.String(), "vx"}},
		{"flush the FDB of a port", func(r *rig) error { _, err := r.FlushFDB("eth1"); return err }, engine.ErrNotBridge, []string{"eth1"}},

		{"switches of a device that is missing", conf("nope", func(*engine.Conf) {}), engine.ErrNotFound, []string{"nope"}},
		{"rp_filter 3", conf("eth0", func(c *engine.Conf) { c.RPFilter, c.ProxyARP = 3, true }), engine.ErrInvalid, []string{"eth0", "RPFilter"}},
		{"arp_ignore 5", conf("all", func(c *engine.Conf) { c.ARPIgnore = 5 }), engine.ErrInvalid, []string{"all", "ARPIgnore"}},
		{"arp_announce -1", conf("eth0", func(c *engine.Conf) { c.ARPAnnounce = -1 }), engine.ErrInvalid, []string{"eth0", "ARPAnnounce"}},
		{"proxy_delay below 0", conf("eth0", func(c *engine.Conf) { c.ProxyDelay = -1 }), engine.ErrInvalid, []string{"eth0", "ProxyDelay"}},
		{"min_pmtu below 0", func(r *rig) error {
			g := r.Global()
			g.MinPMTU, g.DefaultTTL = -5, 9
			return r.SetGlobal(g)
		}, engine.ErrInvalid, []string{"MinPMTU"}},
		{"ipfrag_time below 0", func(r *rig) error {
			g := r.Global()
			g.FragTimeout = -1
			return r.SetGlobal(g)
		}, engine.ErrInvalid, []string{"FragTimeout"}},
		{"neighbour timers of a device that is missing", func(r *rig) error { return r.SetNeighParams("nope", arp.Params{}) }, engine.ErrNotFound, []string{"nope"}},
		{"neighbour timers below 0", func(r *rig) error { return r.SetNeighParams("eth0", arp.Params{Delay: -5}) }, engine.ErrInvalid, []string{"eth0", "Delay"}},

		{"peer without a name", peer(func(p *engine.Peer) { p.Name = "" }), engine.ErrInvalid, []string{"Name"}},
		{"peer without a node", peer(func(p *engine.Peer) { p.Node = netip.Addr{} }), engine.ErrInvalid, []string{"node3", "Node"}},
		{"peer by a device that is missing", peer(func(p *engine.Peer) { p.Dev = "nope" }), engine.ErrNotFound, []string{"node3", "nope"}},
		{"peer without a MAC", peer(func(p *engine.Peer) { p.MAC = ethernet.MAC{} }), engine.ErrInvalid, []string{"node3", "MAC"}},
		{"peer without a gateway", peer(func(p *engine.Peer) { p.Gateway = netip.Addr{} }), engine.ErrInvalid, []string{"node3", "Gateway"}},
		{"peer whose last subnet is at fault", peer(func(p *engine.Peer) { p.Subnets = append(p.Subnets, prefix("fd00::/64")) }), engine.ErrInvalid, []string{"node3", "fd00::/64"}},
		{"peer whose route is there", peer(func(p *engine.Peer) { p.Subnets = []netip.Prefix{prefix("10.244.9.0/24"), prefix("192.0.2.0/24")} }), engine.ErrExists, []string{"node3", "192.0.2.0/24"}},
		{"peer whose subnet is another peer's", peer(func(p *engine.Peer) { p.Subnets = []netip.Prefix{prefix("10.244.2.0/24")} }), engine.ErrExists, []string{"node3", "10.244.2.0/24"}},
		{"delete a peer that is missing", func(r *rig) error { return r.DeletePeer("nope") }, engine.ErrNotFound, []string{"nope"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newOffice(t)
			before := r.everything()
			err := c.call(r)
			require.Error(t, err)
			assert.ErrorIs(t, err, c.is)
			for _, w := range c.words {
				assert.Contains(t, err.Error(), w)
			}
			assert.Equal(t, before, r.everything(), "nothing has changed")
		})
	}
}

func TestBehaviourControlNew(t *testing.T) {
	_, err := engine.New(engine.Config{
		Profile: 9, MaxDevices: -1, MaxAdjacencies: -1, MaxEncap: 99, MaxMissing: -2,
		Routes: route.Config{MaxRoutes: -1}, Neighbours: arp.TableConfig{MaxWaiting: -5},
	})
	require.Error(t, err)
	for _, field := range []string{"Profile", "MaxDevices", "MaxAdjacencies", "MaxEncap", "MaxMissing"} {
		assert.Contains(t, err.Error(), "Config."+field, "all faults at once")
	}
	_, err = engine.New(engine.Config{Routes: route.Config{MaxRoutes: -1}})
	assert.ErrorContains(t, err, "MaxRoutes")
	_, err = engine.New(engine.Config{Neighbours: arp.TableConfig{MaxWaiting: -5}})
	assert.ErrorContains(t, err, "MaxWaiting")
}

func TestBehaviourControlMaxDevices(t *testing.T) {
	r := newRig(t, func(c *engine.Config) { c.MaxDevices = 3 })
	r.port("a", mac6(1))
	_, _, err := r.AddPair(engine.Pair{Link: engine.Link{Name: "x"}, Peer: engine.Link{Name: "y"}})
	assert.ErrorIs(t, err, engine.ErrFull)
	_, ok := r.Link("x")
	assert.False(t, ok, "half a pair")
	r.port("b", mac6(2))
	_, err = r.AddPort(engine.Port{Link: engine.Link{Name: "c"}})
	assert.ErrorIs(t, err, engine.ErrFull)
	r.must(r.DeleteLink("a"))
	r.port("c", mac6(3))
}

// TestBehaviourControlUndo takes back what each call made, and finds the node as it was.
func TestBehaviourControlUndo(t *testing.T) {
	for _, c := range []struct {
		name     string
		do, undo func(*rig) error
	}{
		{
			"address", func(r *rig) error { return r.AddAddr("eth0", engine.Addr{Prefix: prefix("10.7.0.1/24")}) },
			func(r *rig) error { return r.DeleteAddr("eth0", prefix("10.7.0.1/24")) },
		},
		{
			"route", func(r *rig) error { return r.AddRoute(engine.Route{Prefix: prefix("10.7.0.0/24"), Via: addr4(near)}) },
			func(r *rig) error { return r.DeleteRoute(engine.Route{Prefix: prefix("10.7.0.0/24")}) },
		},
		{
			"neighbour", func(r *rig) error {
				return r.AddNeigh(engine.Neigh{Addr: addr4("10.0.0.5"), Dev: "eth0", MAC: mac6(5)})
			},
			func(r *rig) error { return r.DeleteNeigh(addr4("10.0.0.5"), "eth0") },
		},
		{
			"FDB entry", func(r *rig) error {
				return r.AddFDB(engine.FDBEntry{MAC: sta1, Dev: "vx", Dst: addr4(near)})
			},
			func(r *rig) error { return r.DeleteFDB(engine.FDBEntry{MAC: sta1, Dev: "vx"}) },
		},
		{
			"bridge's port", func(r *rig) error { return r.SetMaster("eth1", "br0") },
			func(r *rig) error { return r.SetMaster("eth1", "") },
		},
		{
			"device with all that is its", func(r *rig) error {
				r.vxlan("vx9", mac6(9), engine.VXLAN{VNI: 9})
				r.addr("vx9", "10.7.0.1/24")
				r.neigh("10.7.0.2", mac6(2), "vx9")
				r.fdb(mac6(2), "vx9", near)
				r.route("10.8.0.0/16", "10.7.0.2", "vx9")
				return r.SetMaster("vx9", "br0")
			}, func(r *rig) error { return r.DeleteLink("vx9") },
		},
		{
			"peer", func(r *rig) error {
				return r.SetPeer(engine.Peer{
					Name: "node3", Subnets: []netip.Prefix{prefix("10.244.3.0/24"), prefix("10.244.4.0/24")},
					Node: addr4("10.0.0.8"), Dev: "vx", Gateway: addr4("10.244.3.0"), MAC: mac6(0xf3),
				})
			}, func(r *rig) error { return r.DeletePeer("node3") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newOffice(t)
			before := r.everything()
			require.NoError(t, c.do(r))
			assert.NotEqual(t, before, r.everything())
			require.NoError(t, c.undo(r))
			assert.Equal(t, before, r.everything())
		})
	}
}

// TestBehaviourControlPacketsThatWait are freed with what they wait for.
func TestBehaviourControlPacketsThatWait(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(*rig) error
	}{
		{"neighbour deleted", func(r *rig) error { return r.DeleteNeigh(addr4(guest), "eth1") }},
		{"device deleted", func(r *rig) error { return r.DeleteLink("eth1") }},
		{"device down", func(r *rig) error { return r.SetLink("eth1", engine.LinkChange{Up: engine.Set(false)}) }},
		{"carrier lost", func(r *rig) error { return r.SetLink("eth1", engine.LinkChange{Carrier: engine.Set(false)}) }},
		{"neighbours flushed", func(r *rig) error { _, err := r.FlushNeigh("", arp.StateIncomplete); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.in("eth0", toGuest(1), toGuest(2), toGuest(3))
			assert.Equal(t, uint64(3), r.Stats().Held)
			r.must(c.call(r))
			r.wait(0)
			assert.Zero(t, r.Stats().Held)
			assert.Equal(t, uint64(3), r.dropCount())
		})
	}
	t.Run("neighbour told by the agent", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth0", toGuest(1), toGuest(2))
		r.must(r.ReplaceNeigh(engine.Neigh{Addr: addr4(guest), Dev: "eth1", MAC: guestMAC}))
		assert.LessOrEqual(t, r.Next(), r.now)
		assert.Len(t, r.wait(0), 2)
		assert.Zero(t, r.dropCount())
	})
}
