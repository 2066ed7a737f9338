package engine

// Runs where the node is not as usual: what keeps packets from being a run, or makes its last packets go another way, and what
// happened before it.

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/tunnel"
)

// runChange is what is done to a node of newRunNode.
type runChange struct {
	name string
	do   func(e *Engine) error
}

// runChanges are changes by which each kind of packets becomes another, or none.
func runChanges() (all []runChange) {
	add := func(name string, do func(e *Engine) error) { all = append(all, runChange{name, do}) }
	vtep, prefix := netip.MustParseAddr("10.0.0.8"), netip.MustParsePrefix
	add("nothing", func(*Engine) error { return nil })
	for _, dev := range []string{"eth1", "br0", "p0", "p1", "vx1", "vx2", "vx7", "vx9", "tun0"} {
		add(dev+" down", func(e *Engine) error { return e.SetLink(dev, LinkChange{Up: Set(false)}) })
	}
	for _, dev := range []string{"eth0", "eth1", "p1"} {
		add(dev+" without carrier", func(e *Engine) error { return e.SetLink(dev, LinkChange{Carrier: Set(false)}) })
	}
	for _, dev := range []string{"eth0", "eth1", "br0", "p0", "p1", "vx1", "vx7", "vx9", "tun0"} {
		for _, mtu := range []int{100, 138, 140, 142, 156, 190} {
			add(dev+" with a small MTU", func(e *Engine) error { return e.SetLink(dev, LinkChange{MTU: Set(mtu)}) })
		}
	}
	for _, dev := range []string{"eth0", "eth2", "br0", "vx2", "tun0"} {
		for name, c := range map[string]Conf{
			"forwards nothing": {}, "redirects": {Forwarding: true, SendRedirects: true},
			"strict": {Forwarding: true, RPFilter: 1}, "loose": {Forwarding: true, RPFilter: 2},
			"takes the node's own": {Forwarding: true, AcceptLocal: true},
		} {
			add(dev+" "+name, func(e *Engine) error { return e.SetConf(dev, c) })
		}
	}
	for _, dev := range []string{"p0", "p1", "vx7", "vx9"} {
		for name, p := range map[string]BridgePort{
			"locked": {Locked: true}, "without learning": {NoLearning: true}, "isolated": {Isolated: true}, "hairpin": {Hairpin: true},
			"open": {},
		} {
			add(dev+" "+name, func(e *Engine) error { return e.SetBridgePort(dev, p) })
		}
		add(dev+" of no bridge", func(e *Engine) error { return e.SetMaster(dev, "") })
	}
	for _, mtu := range []int{135, 136} { // 140 bytes are sent with 136: a tag's worth more
		add("p0 with a smaller MTU than its bridge", func(e *Engine) error {
			return errors.Join(e.SetLink("br0", LinkChange{MTU: Set(1400)}), e.SetLink("p0", LinkChange{MTU: Set(mtu)}))
		})
	}
	add("isolated from each other", func(e *Engine) error {
		p := BridgePort{Isolated: true}
		return errors.Join(e.SetBridgePort("p0", p), e.SetBridgePort("p1", p), e.SetBridgePort("vx9", p))
	})
	add("bridge listens to all", func(e *Engine) error { return e.SetLink("br0", LinkChange{Promisc: Set(true)}) })
	for _, a := range []string{"10.0.0.1", "10.2.0.1", "10.1.0.1"} {
		add(a+" not routed", func(e *Engine) error {
			return e.DeleteRoute(Route{Prefix: prefix(a + "/32"), Type: route.Local, Table: route.TableLocal})
		})
		add(a+" somewhere else", func(e *Engine) error {
			return errors.Join(e.DeleteRoute(Route{Prefix: prefix(a + "/32"), Type: route.Local, Table: route.TableLocal}),
				e.AddRoute(Route{Prefix: prefix(a + "/32"), Dev: "eth1", Via: netip.MustParseAddr("10.1.0.9")}))
		})
	}
	for _, p := range []string{"10.60.0.0/24", "10.50.0.0/24", "10.244.2.0/24", "10.2.0.0/24", "10.70.0.9/32"} {
		for name, typ := range map[string]route.Type{"nowhere": route.Blackhole, "unreachable": route.Unreachable} {
			add(p+" "+name, func(e *Engine) error { return e.AppendRoute(Route{Prefix: prefix(p), Type: typ}) })
		}
		add(p+" with an MTU", func(e *Engine) error {
			return e.ReplaceRoute(Route{Prefix: prefix(p), MTU: 140, Dev: "br0"})
		})
		add(p+" behind a station", func(e *Engine) error {
			return e.ReplaceRoute(Route{Prefix: prefix(p), Via: netip.MustParseAddr("10.2.0.9")})
		})
		add(p+" by two", func(e *Engine) error {
			return e.ReplaceRoute(Route{Prefix: prefix(p), NextHops: []NextHop{{Dev: "br0"}, {Dev: "eth1", Via: netip.MustParseAddr("10.1.0.9")}}})
		})
	}
	for _, n := range []Neigh{{Addr: vtep, Dev: "eth0"}, {Addr: netip.MustParseAddr("10.1.0.9"), Dev: "eth1"}, {Addr: netip.MustParseAddr("10.2.0.9"), Dev: "br0"}} {
		add(n.Addr.String()+" unknown", func(e *Engine) error { return e.DeleteNeigh(n.Addr, n.Dev) })
	}
	station := netip.MustParseAddr("10.2.0.9")
	for name, mac := range map[string]ethernet.MAC{"behind a tunnel": r0, "the bridge": brMAC, "a port": p1MAC, "at a port": s1} {
		add("neighbour is "+name, func(e *Engine) error { return e.ReplaceNeigh(Neigh{Addr: station, Dev: "br0", MAC: mac}) })
	}
	for _, mac := range []ethernet.MAC{s0, s1, r0, r9} {
		for _, dev := range []string{"p0", "p1", "vx7", "vx9", "br0"} {
			add(mac.String()+" at "+dev, func(e *Engine) error {
				return e.ReplaceFDB(FDBEntry{MAC: mac, Dev: dev, Master: true, Flags: fdb.Static})
			})
			add(mac.String()+" is "+dev, func(e *Engine) error {
				return e.ReplaceFDB(FDBEntry{MAC: mac, Dev: dev, Master: true, Flags: fdb.Local})
			})
		}
	}
	for mac, dev := range map[ethernet.MAC]string{r0: "vx7", r9: "vx9"} {
		for name, dst := range map[string]string{"itself": "10.0.0.1", "nowhere": "10.99.0.1", "behind a router": "10.60.0.1"} {
			add("VTEP of "+dev+" is "+name, func(e *Engine) error {
				return e.ReplaceFDB(FDBEntry{MAC: mac, Dev: dev, Dst: netip.MustParseAddr(dst)})
			})
		}
		add("VTEP of "+dev+" has a VNI", func(e *Engine) error { return e.ReplaceFDB(FDBEntry{MAC: mac, Dev: dev, Dst: vtep, VNI: 99}) })
		add(dev+" has no VTEP", func(e *Engine) error { return e.DeleteFDB(FDBEntry{MAC: mac, Dev: dev}) })
	}
	for dev, v := range map[string]VXLAN{"vx7": {VNI: 7}, "vx9": {VNI: 9}, "vx2": {VNI: 2, NoLearning: true}, "vx1": {VNI: 1}} {
		for name, with := range map[string]func(v *VXLAN){
			"answers ARP":      func(v *VXLAN) { v.Proxy = true },
			"of one VTEP":      func(v *VXLAN) { v.VTEPs = []netip.Addr{vtep} },
			"learns nothing":   func(v *VXLAN) { v.NoLearning = true },
			"learns":           func(v *VXLAN) { v.NoLearning = false },
			"with a checksum":  func(v *VXLAN) { v.UDPChecksum = true },
			"with another VNI": func(v *VXLAN) { v.VNI = 10 },
		} {
			changed := v
			with(&changed)
			add(dev+" "+name, func(e *Engine) error { return e.remade(dev, changed) })
		}
	}
	add("two more tunnels", func(e *Engine) error {
		_, err := e.AddIPIP(IPIP{Link: Link{Name: "tun1", Up: true}, Remote: netip.MustParseAddr("10.0.0.77")})
		_, err2 := e.AddIPIP(IPIP{Link: Link{Name: "tun2", Up: true}, Local: netip.MustParseAddr("10.2.0.1"), AnyPeer: true})
		return errors.Join(err, err2)
	})
	add("another tunnel instead", func(e *Engine) error {
		_, err := e.AddIPIP(IPIP{Link: Link{Name: "tun1", Up: true}, Remote: vtep, AnyPeer: true})
		return errors.Join(e.DeleteLink("tun0"), err, e.SetConf("tun1", Conf{Forwarding: true}))
	})
	add("a tunnel of one address instead", func(e *Engine) error {
		_, err := e.AddIPIP(IPIP{Link: Link{Name: "tun1", Up: true}, Local: netip.MustParseAddr("10.0.0.1"), AnyPeer: true})
		return errors.Join(e.DeleteLink("tun0"), err, e.SetConf("tun1", Conf{Forwarding: true}))
	})
	return all
}

// remade makes a VXLAN device anew, as another, in its place.
func (e *Engine) remade(name string, v VXLAN) error {
	was, _ := e.Link(name)
	v.Link = Link{Name: name, MAC: was.MAC, MTU: was.MTU, Up: true}
	vtep := netip.MustParseAddr("10.0.0.8")
	errs := []error{e.DeleteLink(name)}
	_, err := e.AddVXLAN(v)
	errs = append(errs, err)
	switch name {
	case "vx7", "vx9":
		mac := map[string]ethernet.MAC{"vx7": r0, "vx9": r9}[name]
		errs = append(errs, e.SetMaster(name, "br0"), e.AddFDB(FDBEntry{MAC: mac, Dev: name, Master: true, Flags: fdb.Static}),
			e.AddFDB(FDBEntry{MAC: mac, Dev: name, Dst: vtep}))
	case "vx1":
		gateway := netip.MustParseAddr("10.244.2.0")
		errs = append(errs, e.AddNeigh(Neigh{Addr: gateway, Dev: name, MAC: farMAC}), e.AddFDB(FDBEntry{MAC: farMAC, Dev: name, Dst: vtep}),
			e.AddRoute(Route{Prefix: netip.MustParsePrefix("10.244.2.0/24"), Via: gateway, Dev: name, Onlink: true}))
	}
	return errors.Join(append(errs, e.SetConf(name, Conf{Forwarding: true}))...)
}

// TestRunsOnceNodesChange changes nodes that have forwarded each kind of packets.
func TestRunsOnceNodesChange(t *testing.T) {
	all := runKinds()
	for i, c := range runChanges() {
		if raceEnabled && i%8 != 0 {
			continue // there is one goroutine
		}
		t.Run(c.name, func(t *testing.T) {
			x := newRunTwins(t, true)
			for _, again := range []string{"before", "after"} {
				for port, kinds := range all {
					for _, kind := range kinds {
						x.take(t, port+" "+kind.name+", "+again, port, burstTime, kind.packets(runLen)...)
					}
				}
				if again == "before" {
					require.NoError(t, c.do(x.short.Engine))
					require.NoError(t, c.do(x.long.Engine))
				}
			}
			x.short.sameAs(t, x.long, c.name)
		})
	}
}

// TestRunsOfOtherTunnels has one packet of each kind in the midst of each kind that comes out of tunnels, as those are changed.
func TestRunsOfOtherTunnels(t *testing.T) {
	const port = "eth0"
	kinds := runKinds()[port]
	tunnels := []string{"two more tunnels", "another tunnel instead", "a tunnel of one address instead", "vx7 of one VTEP", "vx2 of one VTEP"}
	for _, c := range runChanges() {
		if !slices.Contains(tunnels, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			x := newRunTwins(t, true)
			require.NoError(t, errors.Join(c.do(x.short.Engine), c.do(x.long.Engine)))
			for _, kind := range kinds {
				for _, other := range kinds {
					packets := slices.Insert(kind.packets(runLen), leastRun, other.packets(1)...)
					x.take(t, kind.name+" and "+other.name, port, burstTime, packets...)
				}
				x.short.sameAs(t, x.long, kind.name)
			}
		})
	}
}

// TestRunsOfThoseWhoMay has tunnels that ask who sends to them.
func TestRunsOfThoseWhoMay(t *testing.T) {
	for _, k := range runKinds()["eth0"] {
		if k.want < runLen {
			continue
		}
		n, want := newRunNode(t, false), runLen
		require.NoError(t, n.remade("vx7", VXLAN{VNI: 7, VTEPs: []netip.Addr{netip.MustParseAddr("10.0.0.8")}}))
		n.warm(t, "eth0", k)
		switch k.name {
		case "overlay of another tunnel's end", "overlay of a station that is pinned elsewhere", "tunnelled of a stranger":
			want = 0
		}
		assert.Equal(t, want, n.run(t, "eth0", k.packets(runLen)...), k.name)
	}
}

// TestRunsOfOtherNodes has nodes that are made in other ways.
func TestRunsOfOtherNodes(t *testing.T) {
	all := runKinds()
	for name, with := range map[string]func(c *Config){
		"by the RFCs":                func(c *Config) { c.Profile = tunnel.RFC },
		"with room for few":          func(c *Config) { c.MaxAdjacencies = 1 },
		"with room for no more":      func(c *Config) { c.MaxAdjacencies = 2 },
		"with no tunnels in tunnels": func(c *Config) { c.MaxEncap = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			x := newRunTwins(t, false, with)
			for round := range 3 {
				for port, kinds := range all {
					for _, kind := range kinds {
						x.take(t, port+" "+kind.name, port, burstTime+time.Duration(round)*time.Second, kind.packets(runLen)...)
					}
				}
			}
			x.short.sameAs(t, x.long, name)
		})
	}
}

// TestRunsComeBehindWhatWasReleased has a control call release a packet that goes through a pair of devices. It leaves before a run
// that comes later, by whatever way.
func TestRunsComeBehindWhatWasReleased(t *testing.T) {
	for port, kinds := range runKinds() {
		for _, kind := range kinds {
			x := newRunTwins(t, true)
			waits := runPacket{frame: burstFrame(MACOf(0x020000000006), hostMAC, burstPacket("10.1.0.9", "10.3.0.9", 40))}
			for _, n := range []*runNode{x.short, x.long} {
				_, _, err := n.AddPair(Pair{Link: Link{Name: "veth0", Up: true}, Peer: Link{Name: "veth1", Up: true}})
				require.NoError(t, errors.Join(err, n.AddAddr("veth0", Addr{Prefix: netip.MustParsePrefix("10.3.0.1/24")}), n.SetMaster("veth1", "br0")))
				n.warm(t, port, kind)
				n.take(t, "eth2", burstTime, waits)
				n.sent = nil
				require.NoError(t, n.ReplaceNeigh(Neigh{Addr: netip.MustParseAddr("10.3.0.9"), Dev: "veth0", MAC: s0}))
			}
			x.take(t, kind.name, port, burstTime, kind.packets(runLen)...)
			x.short.sameAs(t, x.long, kind.name)
		}
	}
}

// TestRunsAllocateNothing has each kind of run, of stations that are to be heard again. The race detector allocates by itself; under it
// no packet may get lost all the same.
func TestRunsAllocateNothing(t *testing.T) {
	for port, kinds := range runKinds() {
		for _, kind := range kinds {
			if kind.want < runLen {
				continue
			}
			t.Run(port+" "+kind.name, func(t *testing.T) {
				n := newRunNode(t, true)
				n.first.out = func(_ uint32, batch []*packet.Buffer) { packet.FreeBatch(batch) }
				n.warm(t, port, kind)
				packets, batch, now := kind.packets(runLen), make([]*packet.Buffer, runLen), burstTime
				index := n.Index(port)
				allocs := testing.AllocsPerRun(50, func() {
					for i := range packets {
						batch[i] = n.pool.Get()
						packets[i].put(t, batch[i], i)
					}
					n.Process(index, batch, now)
					now += 2 * time.Second
				})
				if !raceEnabled {
					assert.Zero(t, allocs)
				}
				require.NoError(t, n.Stats().Check())
				require.Zero(t, n.pool.InUse())
			})
		}
	}
}
