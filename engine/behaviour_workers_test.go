// Several workers, and control calls beside them: nothing is lost or counted twice, and no packet sees half of a change. These
// tests are for the race detector as well.
package engine_test

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// freely is an Output that only counts and frees.
type freely struct{ frames atomic.Uint64 }

func (f *freely) take(_ uint32, batch []*packet.Buffer) {
	f.frames.Add(uint64(len(batch)))
	packet.FreeBatch(batch)
}

// burst fills a batch with copies of a frame; it is for goroutines other than the test's.
func burst(pool *packet.Pool, frame []byte, n int) (batch []*packet.Buffer) {
	for range n {
		if b := pool.Get(); b != nil {
			if b.SetBytes(frame) == nil {
				batch = append(batch, b)
				continue
			}
			b.Free()
		}
	}
	return batch
}

func TestBehaviourWorkersCount(t *testing.T) {
	r := newRouter(t)
	const workers, bursts, size = 4, 200, 8
	var out freely
	var all sync.WaitGroup
	port, start := r.Index("eth0"), r.now
	for n := range workers {
		w := r.NewWorker(out.take)
		frame := toFar(datagram{sport: uint16(1000 + n), size: 100})
		all.Go(func() {
			for i := range bursts {
				w.Process(port, burst(r.pool, frame, size), start+time.Duration(i)*time.Millisecond)
			}
		})
	}
	all.Wait()
	const total = workers * bursts * size
	s := r.Stats()
	assert.Equal(t, uint64(total), s.In)
	assert.Equal(t, uint64(total), s.Out)
	assert.Equal(t, uint64(total), out.frames.Load())
	assert.Equal(t, engine.LinkStats{RxPackets: total, RxBytes: total * 114}, r.stats("eth0"))
	assert.Equal(t, uint64(total), r.rises()[engine.IPForwDatagrams])
}

// TestBehaviourWorkersKeepFlowsInOrder within what one worker is given.
func TestBehaviourWorkersKeepFlowsInOrder(t *testing.T) {
	r := newFlannel(t)
	for id := range uint16(64) {
		out := r.in("veth0", fromPodA(datagram{id: 3*id + 1}), fromPodA(datagram{id: 3*id + 2}), fromPodA(datagram{id: 3*id + 3}))
		require.Len(t, out, 3)
		for i, s := range out {
			assert.Equal(t, 3*id+uint16(i)+1, s.inner.ip.Id)
		}
	}
}

// TestBehaviourWorkersSeePeersWhole changes a peer back and forth under traffic: MAC and underlay address always belong together.
func TestBehaviourWorkersSeePeersWhole(t *testing.T) {
	r := newNode3(t)
	r.neigh("172.16.100.104", mac6(0x34), "ens192")
	one, other := node3(), node3()
	other.Node, other.MAC = addr4("172.16.100.104"), mac6(0xf4)
	r.must(r.SetPeer(one))
	want := map[string]bool{
		reachesPod3: true, "172.16.100.104 > " + pod3 + " vni 1 to " + mac6(0xf4).String(): true,
	}
	var mu sync.Mutex
	got := map[string]int{}
	check := func(_ uint32, batch []*packet.Buffer) {
		mu.Lock()
		defer mu.Unlock()
		for _, b := range batch {
			got[reaches(parse("ens192", b.Bytes(), true))]++
			b.Free()
		}
	}
	var done atomic.Bool
	var bursts atomic.Int64
	var all sync.WaitGroup
	port, now := r.Index("veth0"), r.now
	for range 2 {
		w := r.NewWorker(check)
		all.Go(func() {
			for !done.Load() {
				w.Process(port, burst(r.pool, toPod3(), 4), now)
				bursts.Add(1)
			}
		})
	}
	for i := 0; i < 400 || bursts.Load() < 200; i++ {
		if i%2 == 0 {
			r.must(r.SetPeer(other))
		} else {
			r.must(r.SetPeer(one))
		}
	}
	done.Store(true)
	all.Wait()
	require.NotEmpty(t, got)
	for way, n := range got {
		assert.True(t, want[way], "%d packets went %s", n, way)
	}
	assert.Zero(t, r.dropCount(), "%v", r.drops())
}

// TestBehaviourWorkersBesideControl lets every kind of control call run beside traffic of every kind.
func TestBehaviourWorkersBesideControl(t *testing.T) {
	r := newOffice(t)
	r.must(r.SetMaster("vx", "br0"))
	r.ipip("any", engine.IPIP{Peers: []netip.Addr{addr4("10.1.0.9")}})
	traffic := []struct {
		dev   string
		frame []byte
	}{
		{"eth0", toFar(datagram{size: 100})},
		{"eth0", toFar(datagram{dst: guest, size: 100})},
		{"eth0", toFar(datagram{dst: "192.0.2.9", size: 100})},
		{"eth0", toFar(datagram{dst: "10.244.2.9", size: 100})},
		{"eth0", toFar(datagram{ttl: 1, size: 100})},
		{"eth0", toFar(datagram{dst: eth0Addr, proto: protoUDP, id: 7, mf: true, size: 100})},
		{"eth0", whoHas(eth0Addr, nearMAC, near)},
		{"eth0", datagram{src: near, dst: eth0Addr, dport: portLinux, noSum: true, payload: vxlanHeader(7, stationFrame(sta0, sta2))}.frame(eth0MAC, nearMAC)},
		{"p0", stationFrame(sta1, sta0)},
		{"p0", stationFrame(mac6(0xf1), sta0)},
		{"p0", stationFrame(ethernet.Broadcast, sta0)},
	}
	var out freely
	var done atomic.Bool
	var bursts atomic.Int64
	var all sync.WaitGroup
	start := r.now
	ports := map[string]uint32{"eth0": r.Index("eth0"), "p0": r.Index("p0")}
	for n := range 3 {
		w := r.NewWorker(out.take)
		all.Go(func() {
			for i := 0; !done.Load(); i++ {
				now := start + time.Duration(i)*50*time.Millisecond
				x := traffic[(i+n)%len(traffic)]
				w.Process(ports[x.dev], burst(r.pool, x.frame, 4), now)
				if i%16 == n {
					w.Tick(now)
				}
				bursts.Add(1)
			}
		})
	}
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for i := 0; i < rounds || bursts.Load() < 1000; i++ {
		controlRound(t, r, i)
	}
	done.Store(true)
	all.Wait()
	// What is still held goes when its time is up.
	r.now = start + 1000*time.Hour
	r.wait(time.Hour)
	assert.Zero(t, r.Stats().Held)
	assert.NotZero(t, out.frames.Load())
}

// controlRound makes and unmakes one of everything; it leaves the node as it was.
func controlRound(t *testing.T, r *rig, i int) {
	t.Helper()
	ok := func(err error) { require.NoError(t, err, "round %d", i) }
	name := fmt.Sprintf("new%d", i)
	_, err := r.AddPort(engine.Port{Link: engine.Link{Name: name, Up: true}})
	ok(err)
	ok(r.AddAddr(name, engine.Addr{Prefix: prefix("10.9.9.1/24")}))
	ok(r.AddRoute(engine.Route{Prefix: prefix("10.10.0.0/16"), Dev: name}))
	ok(r.SetMaster(name, "br1"))
	ok(r.SetMaster(name, ""))
	ok(r.SetLink("eth1", engine.LinkChange{MTU: engine.Set(1000 + i%500)}))
	ok(r.ReplaceNeigh(engine.Neigh{Addr: addr4(far), Dev: "eth1", MAC: mac6(byte(i))}))
	ok(r.ReplaceNeigh(engine.Neigh{Addr: addr4(guest), Dev: "eth1", MAC: guestMAC}))
	ok(r.ReplaceFDB(engine.FDBEntry{MAC: mac6(0xf1), Dev: "vx", Dst: addr4(near)}))
	ok(r.ReplaceFDB(engine.FDBEntry{MAC: sta1, Dev: "p0", Master: true, Flags: fdb.Static}))
	ok(r.ReplaceRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Via: addr4(far), Dev: "eth1"}))
	ok(r.ReplaceRoute(engine.Route{Prefix: prefix("192.0.2.0/24"), Type: route.Unreachable}))
	ok(r.SetPeer(engine.Peer{
		Name: "node2", Subnets: []netip.Prefix{prefix("10.244.2.0/24")}, Node: addr4(near), Dev: "vx", Gateway: addr4("10.244.2.0"), MAC: mac6(byte(0xe8 + i%4)),
	}))
	conf, err := r.Conf("eth0")
	ok(err)
	conf.ProxyARP = i%2 == 0
	ok(r.SetConf("eth0", conf))
	r.SetForwarding(i%8 != 0)
	ok(r.SetBridgePort("p0", engine.BridgePort{Hairpin: i%2 == 0}))
	_, err = r.FlushFDB("br0")
	ok(err)
	_, err = r.FlushNeigh("")
	ok(err)
	tr, err := r.Trace(engine.TraceConfig{Count: 2})
	ok(err)
	_, err = r.Explain("eth0", toFar(datagram{size: 100}), r.now)
	ok(err)
	ok(r.DeleteNeigh(addr4(guest), "eth1"))
	_ = r.everything()
	_, _ = r.DeviceStats(name)
	_ = r.Counters()
	tr.Stop()
	ok(r.DeleteLink(name))
}
