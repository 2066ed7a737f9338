// Behaviour 20: a learning bridge with Linux's switches.
package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
)

// Stations of the bridge br0, by the port that they are behind. The node itself is 10.9.0.254.
var (
	brMAC              = mac6(0xb0)
	sta0, sta1, sta2   = mac6(0xa0), mac6(0xa1), mac6(0xa2)
	bridgePorts        = []string{"p0", "p1", "p2", "p3"}
	allButP0, fromNode = []string{"p1", "p2", "p3"}, []string{"p0", "p1", "p2", "p3"}
)

func newBridge(t testing.TB, change ...func(*engine.Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	for i, p := range bridgePorts {
		r.port(p, mac6(0x50+byte(i)))
	}
	r.bridge("br0", brMAC, bridgePorts...)
	r.addr("br0", "10.9.0.254/24")
	r.deaf = true
	return r
}

// sentOut returns where frames left, in the order of the names.
func (r *rig) sentOut(dev string, frame []byte) []string {
	r.t.Helper()
	out := r.in(dev, frame)
	for _, s := range out {
		assert.Equal(r.t, frame, s.raw, "a bridge changes nothing")
	}
	d := devices(out)
	slices.Sort(d)
	return d
}

// where returns the port that a bridge has a station behind, "" if it knows none.
func (r *rig) where(m ethernet.MAC) string {
	for e := range r.FDB("br0") {
		if e.MAC == m {
			return e.Dev
		}
	}
	return ""
}

// flagsOf returns the flags of a station's entry.
func (r *rig) flagsOf(m ethernet.MAC) fdb.Flags {
	for e := range r.FDB("br0") {
		if e.MAC == m {
			return e.Flags
		}
	}
	return 0
}

func TestBehaviour20LearningAndFlooding(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			r := newBridge(t, follow(p))
			assert.Equal(t, allButP0, r.sentOut("p0", stationFrame(sta1, sta0)), "unknown unicast")
			assert.Equal(t, []string{"p0"}, r.sentOut("p1", stationFrame(sta0, sta1)), "learned")
			assert.Equal(t, []string{"p1"}, r.sentOut("p0", stationFrame(sta1, sta0)), "learned both ways")
			assert.Equal(t, allButP0, r.sentOut("p0", stationFrame(ethernet.MAC{1, 0, 0x5e, 0, 0, 9}, sta0)), "multicast")
			assert.Equal(t, "p0", r.where(sta0))
			assert.Equal(t, uint64(3), r.stats("p0").RxPackets)
		})
	}
	t.Run("broadcast, also to the node itself", func(t *testing.T) {
		r := newBridge(t)
		out := r.in("p0", whoHas("10.9.0.254", sta0, "10.9.0.1"))
		assert.ElementsMatch(t, []string{"p0", "p1", "p2", "p3"}, devices(out), "the request flooded, and the node's answer")
		require.Len(t, on(out, "p0"), 1)
		assert.Equal(t, isAt(sta0, brMAC, "10.9.0.254", "10.9.0.1"), on(out, "p0")[0].raw)
	})
	t.Run("to the node itself", func(t *testing.T) {
		r := newBridge(t)
		r.deaf = false
		assert.Empty(t, r.in("p0", datagram{src: "10.9.0.1", dst: "10.9.0.254"}.frame(brMAC, sta0)))
		assert.Len(t, r.deliveries(), 1)
	})
	t.Run("back out of its own port", func(t *testing.T) {
		r := newBridge(t)
		r.in("p0", stationFrame(sta1, sta0))
		r.refused(engine.DropSamePort, "p0", stationFrame(sta0, sta2))
	})
}

func TestBehaviour20Ageing(t *testing.T) {
	t.Run("300 s from when it was heard", func(t *testing.T) {
		r := newBridge(t)
		r.in("p0", stationFrame(sta1, sta0))
		r.wait(298 * time.Second)
		assert.Equal(t, []string{"p0"}, r.sentOut("p1", stationFrame(sta0, sta1)), "being sent to does not refresh")
		r.wait(2 * time.Second)
		assert.Equal(t, []string{"p0", "p2", "p3"}, r.sentOut("p1", stationFrame(sta0, sta1)))
		r.wait(301 * time.Second)
		assert.Empty(t, r.where(sta0))
		assert.Empty(t, r.where(sta1))
	})
	t.Run("heard again", func(t *testing.T) {
		r := newBridge(t)
		for range 4 {
			r.in("p0", stationFrame(sta1, sta0))
			r.wait(250 * time.Second)
		}
		assert.Equal(t, "p0", r.where(sta0))
	})
	t.Run("changed", func(t *testing.T) {
		r := newBridge(t)
		r.must(r.SetAgeing("br0", 10*time.Second))
		r.in("p0", stationFrame(sta1, sta0))
		r.wait(11 * time.Second)
		assert.Empty(t, r.where(sta0))
	})
}

func TestBehaviour20Move(t *testing.T) {
	r := newBridge(t)
	r.in("p0", stationFrame(sta1, sta0))
	r.in("p2", stationFrame(sta1, sta0))
	assert.Equal(t, "p2", r.where(sta0), "with its next frame")
	assert.Equal(t, []string{"p2"}, r.sentOut("p1", stationFrame(sta0, sta1)))
}

func TestBehaviour20SourceAddress(t *testing.T) {
	for name, src := range map[string]ethernet.MAC{
		"group": {1, 0, 0x5e, 0, 0, 1}, "broadcast": ethernet.Broadcast, "zero": {}, "the bridge's own": brMAC,
	} {
		t.Run(name, func(t *testing.T) {
			r := newBridge(t)
			r.refused(engine.DropSourceMAC, "p0", stationFrame(sta1, src))
			if src != brMAC {
				assert.Empty(t, r.where(src))
			}
		})
	}
}

func TestBehaviour20ReservedGroups(t *testing.T) {
	for last := range 16 {
		dst := ethernet.MAC{1, 0x80, 0xc2, 0, 0, byte(last)}
		r := newBridge(t)
		frame := ether(dst, sta0, 0x88b5, make([]byte, 50))
		if last == 0 {
			assert.Equal(t, allButP0, r.sentOut("p0", frame), "%s, while no STP runs", dst)
			continue
		}
		r.refused(engine.DropLinkLocal, "p0", frame)
		if last > 1 { // :01 are pause frames, which stations do not send
			assert.Equal(t, "p0", r.where(sta0), "learned all the same (__br_handle_local_finish)")
		}
	}
	r := newBridge(t)
	assert.Equal(t, allButP0, r.sentOut("p0", ether(ethernet.MAC{1, 0x80, 0xc2, 0, 0, 0x10}, sta0, 0x88b5, make([]byte, 50))))
}

func TestBehaviour20Hairpin(t *testing.T) {
	r := newBridge(t)
	r.must(r.SetBridgePort("p0", engine.BridgePort{Hairpin: true}))
	r.in("p0", stationFrame(sta2, sta0))
	assert.Equal(t, []string{"p0"}, r.sentOut("p0", stationFrame(sta0, sta1)), "to a station behind the same port")
	assert.Equal(t, bridgePorts, r.sentOut("p0", stationFrame(ethernet.MAC{1, 0, 0x5e, 0, 0, 9}, sta0)), "floods there too")
	assert.Equal(t, []string{"p0", "p2", "p3"}, r.sentOut("p1", stationFrame(mac6(0x99), sta2)), "not other ports")
}

func TestBehaviour20Isolated(t *testing.T) {
	r := newBridge(t)
	r.must(r.SetBridgePort("p0", engine.BridgePort{Isolated: true}))
	r.must(r.SetBridgePort("p1", engine.BridgePort{Isolated: true}))
	assert.Equal(t, []string{"p2", "p3"}, r.sentOut("p0", stationFrame(mac6(0x99), sta0)))
	assert.Equal(t, []string{"p2", "p3"}, r.sentOut("p1", stationFrame(mac6(0x99), sta1)))
	assert.Equal(t, []string{"p0", "p1", "p3"}, r.sentOut("p2", stationFrame(mac6(0x99), sta2)))
	assert.Empty(t, r.in("p0", stationFrame(sta1, sta0)), "known, but isolated too")
	assert.Len(t, r.drops(), 1)
	assert.Equal(t, []string{"p0"}, r.sentOut("p2", stationFrame(sta0, sta2)))
	assert.Len(t, r.in("p0", whoHas("10.9.0.254", sta0, "10.9.0.1")), 3, "the node itself hears it, and answers")
}

func TestBehaviour20Switches(t *testing.T) {
	group := ethernet.MAC{1, 0, 0x5e, 0, 0, 9}
	arpAll := whoHas("10.9.0.7", sta0, "10.9.0.1")
	for _, c := range []struct {
		name                      string
		p                         engine.BridgePort // of p1
		unicast, multicast, bcast bool              // whether p1 is flooded
	}{
		{"none", engine.BridgePort{}, true, true, true},
		{"flood off", engine.BridgePort{NoFlood: true}, false, true, true},
		{"mcast_flood off", engine.BridgePort{NoMulticast: true}, true, false, true},
		{"bcast_flood off", engine.BridgePort{NoBroadcast: true}, true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newBridge(t)
			r.must(r.SetBridgePort("p1", c.p))
			assert.Equal(t, c.unicast, slices.Contains(r.sentOut("p0", stationFrame(mac6(0x99), sta0)), "p1"), "unknown unicast")
			assert.Equal(t, c.multicast, slices.Contains(r.sentOut("p0", stationFrame(group, sta0)), "p1"), "multicast")
			assert.Equal(t, c.bcast, slices.Contains(r.sentOut("p0", arpAll), "p1"), "broadcast")
			r.in("p1", stationFrame(sta0, sta1))
			assert.Equal(t, []string{"p1"}, r.sentOut("p0", stationFrame(sta1, sta0)), "known unicast always passes")
			l, _ := r.Link("p1")
			require.NotNil(t, l.Port)
			assert.Equal(t, c.p, *l.Port)
		})
	}
	t.Run("learning off", func(t *testing.T) {
		r := newBridge(t)
		r.must(r.SetBridgePort("p0", engine.BridgePort{NoLearning: true}))
		r.in("p0", stationFrame(sta1, sta0))
		assert.Empty(t, r.where(sta0))
		assert.Equal(t, []string{"p0", "p2", "p3"}, r.sentOut("p1", stationFrame(sta0, sta1)))
	})
	t.Run("locked", func(t *testing.T) {
		r := newBridge(t)
		r.must(r.SetBridgePort("p0", engine.BridgePort{Locked: true, NoLearning: true}))
		r.refused(engine.DropLocked, "p0", stationFrame(sta1, sta0))
		r.must(r.AddFDB(engine.FDBEntry{MAC: sta0, Dev: "p0", Master: true, Flags: fdb.Static}))
		assert.Equal(t, allButP0, r.sentOut("p0", stationFrame(sta1, sta0)), "a station with an entry")
		r.must(r.SetBridgePort("p1", engine.BridgePort{Locked: true, NoLearning: true}))
		r.refused(engine.DropLocked, "p1", stationFrame(sta1, sta0))
	})
}

func TestBehaviour20Limits(t *testing.T) {
	learned := func(r *rig) (n int) {
		for e := range r.FDB("br0") {
			if e.Flags == 0 {
				n++
			}
		}
		return n
	}
	t.Run("of a port", func(t *testing.T) {
		r := newBridge(t)
		r.must(r.SetBridgePort("p0", engine.BridgePort{MaxLearned: 5}))
		for i := range byte(50) {
			assert.Equal(t, allButP0, r.sentOut("p0", stationFrame(mac6(0x99), mac6(100+i))), "frames pass all the same")
		}
		assert.Equal(t, 5, learned(r))
		r.in("p1", stationFrame(mac6(0x99), sta1))
		assert.Equal(t, 6, learned(r), "another port has room")
	})
	t.Run("of the bridge", func(t *testing.T) {
		r := newRig(t)
		r.port("p0", mac6(0x50))
		_, err := r.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", MAC: brMAC, Up: true}, MaxLearned: 7})
		r.must(err)
		r.must(r.SetMaster("p0", "br0"))
		for i := range byte(50) {
			r.in("p0", stationFrame(mac6(0x99), mac6(100+i)))
		}
		assert.Equal(t, 7, learned(r))
	})
}

func TestBehaviour20ConfiguredEntries(t *testing.T) {
	add := func(r *rig, f fdb.Flags) {
		r.must(r.AddFDB(engine.FDBEntry{MAC: sta0, Dev: "p0", Master: true, Flags: f}))
	}
	t.Run("static is not aged", func(t *testing.T) {
		r := newBridge(t)
		add(r, fdb.Static)
		r.wait(time.Hour)
		assert.Equal(t, []string{"p0"}, r.sentOut("p1", stationFrame(sta0, sta1)))
	})
	t.Run("static follows the station and stays static", func(t *testing.T) {
		r := newBridge(t)
		add(r, fdb.Static)
		r.in("p2", stationFrame(sta1, sta0))
		assert.Equal(t, "p2", r.where(sta0))
		assert.Equal(t, fdb.Static, r.flagsOf(sta0))
		r.wait(time.Hour)
		assert.Equal(t, []string{"p2"}, r.sentOut("p1", stationFrame(sta0, sta1)))
	})
	t.Run("sticky never moves", func(t *testing.T) {
		r := newBridge(t)
		add(r, fdb.Static|fdb.Sticky)
		r.in("p2", stationFrame(sta1, sta0))
		assert.Equal(t, "p0", r.where(sta0))
	})
	t.Run("the bridge's own address is local", func(t *testing.T) {
		r := newBridge(t)
		assert.NotZero(t, r.flagsOf(brMAC)&fdb.Local)
		r.in("p0", stationFrame(sta1, brMAC))
		assert.NotZero(t, r.flagsOf(brMAC)&fdb.Local, "nobody else can have it")
		for _, s := range r.in("p1", stationFrame(brMAC, sta1)) {
			assert.Nil(t, s.ip, "frames to it are not flooded")
		}
	})
	t.Run("so are its ports'", func(t *testing.T) {
		r := newBridge(t)
		assert.NotZero(t, r.flagsOf(mac6(0x51))&fdb.Local)
	})
}

func TestBehaviour20Ports(t *testing.T) {
	t.Run("that leave take their stations along", func(t *testing.T) {
		r := newBridge(t)
		r.in("p0", stationFrame(sta1, sta0))
		r.must(r.SetMaster("p0", ""))
		assert.Empty(t, r.where(sta0))
		assert.Equal(t, []string{"p2", "p3"}, r.sentOut("p1", stationFrame(sta0, sta1)))
	})
	t.Run("that go down take their stations along", func(t *testing.T) {
		r := newBridge(t)
		r.in("p0", stationFrame(sta1, sta0))
		r.must(r.SetLink("p0", engine.LinkChange{Up: engine.Set(false)}))
		assert.Equal(t, []string{"p2", "p3"}, r.sentOut("p1", stationFrame(sta0, sta1)))
		r.refused(engine.DropDown, "p0", stationFrame(sta1, sta0))
	})
	t.Run("with less MTU do not get what is too long", func(t *testing.T) {
		r := newBridge(t)
		r.setMTU("p1", 1000)
		// By more than a VLAN tag (is_skb_forwardable in net/core/dev.c).
		long := datagram{src: "10.9.0.1", dst: "10.9.0.2", size: 1005}.frame(sta1, sta0)
		assert.Equal(t, []string{"p2", "p3"}, r.sentOut("p0", long))
		r.in("p1", stationFrame(sta0, sta1))
		r.drops()
		r.refused(engine.DropFrameTooBig, "p0", long)
		assert.Equal(t, []string{"p1"}, r.sentOut("p0", datagram{src: "10.9.0.1", dst: "10.9.0.2", size: 1004}.frame(sta1, sta0)))
	})
	t.Run("a bridge without an address of its own takes the lowest of theirs", func(t *testing.T) {
		r := newRig(t)
		r.port("p0", mac6(9))
		r.port("p1", mac6(3))
		r.bridge("br0", ethernet.MAC{}, "p0", "p1")
		l, _ := r.Link("br0")
		assert.Equal(t, mac6(3), l.MAC)
	})
}

func TestBehaviour20Tenants(t *testing.T) {
	r := newBridge(t)
	r.port("q0", mac6(0x60))
	r.port("q1", mac6(0x61))
	r.bridge("br1", mac6(0xb1), "q0", "q1")
	r.in("p0", stationFrame(sta1, sta0))
	assert.Equal(t, []string{"q1"}, r.sentOut("q0", stationFrame(sta0, sta1)), "the same addresses on another bridge")
	assert.Empty(t, r.where(sta1))
}

// TestBehaviour20FrameFromTheNode leaves by the port that the neighbour was heard on.
func TestBehaviour20FrameFromTheNode(t *testing.T) {
	r := newBridge(t)
	out, err := r.send(echo(1, 1, 56), engine.Send{Dst: addr4("10.9.0.1"), Protocol: protoICMP})
	require.NoError(t, err)
	assert.ElementsMatch(t, fromNode, devices(out), "the request for 10.9.0.1")
	out = r.in("p2", isAt(brMAC, sta0, "10.9.0.1", "10.9.0.254"))
	require.Equal(t, []string{"p2"}, devices(out))
	out[0].sound(t)
	assert.Equal(t, fmt.Sprint(sta0, " < ", brMAC), out[0].dstMAC()+" < "+out[0].srcMAC())
	assert.Equal(t, "10.9.0.254 > 10.9.0.1", out[0].src()+" > "+out[0].dst())
}
