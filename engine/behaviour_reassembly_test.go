// Behaviour 16: fragments for the node itself, put together within limits of time, memory and source.
package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// piece is a fragment of a UDP datagram from near to the router itself: bytes from to to of its payload, the UDP header included.
func piece(id uint16, whole []byte, from, to int) []byte {
	return pieceOf(near, id, whole, from, to)
}

func pieceOf(src string, id uint16, whole []byte, from, to int) []byte {
	d := datagram{src: src, dst: eth0Addr, proto: protoUDP, id: id, offset: from, mf: to < len(whole), payload: whole[from:to]}
	return d.frame(eth0MAC, nearMAC)
}

// wholeUDP is a UDP datagram of n bytes without its IPv4 header.
func wholeUDP(n int) []byte {
	return datagram{src: near, dst: eth0Addr, noSum: true, size: 20 + n}.packet()[20:]
}

func TestBehaviour16Reassembly(t *testing.T) {
	whole := wholeUDP(3000)
	for _, c := range []struct {
		name string
		cuts [][2]int
		want bool
		why  engine.Reason // 0: nothing is dropped
	}{
		{"in order", [][2]int{{0, 1000}, {1000, 2000}, {2000, 3000}}, true, 0},
		{"reversed", [][2]int{{2000, 3000}, {1000, 2000}, {0, 1000}}, true, 0},
		{"middle last", [][2]int{{0, 1000}, {2000, 3000}, {1000, 2000}}, true, 0},
		{"of 8 bytes first", [][2]int{{0, 8}, {8, 3000}}, true, 0},
		{"overlap by 8 bytes", [][2]int{{0, 1008}, {1000, 3000}}, false, engine.DropReassembly},
		{"overlap from behind", [][2]int{{1000, 3000}, {0, 1008}}, false, engine.DropReassembly},
		{"two ends that differ", [][2]int{{2000, 3000}, {0, 1000}, {1000, 3000}}, false, engine.DropReassembly},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			for _, cut := range c.cuts {
				assert.Empty(t, r.in("eth0", piece(7, whole, cut[0], cut[1])))
			}
			got := r.deliveries()
			if !c.want {
				assert.Empty(t, got)
				r.wait(time.Minute)
				drops := r.drops()
				assert.NotZero(t, drops[c.why], "drops: %v", drops)
				return
			}
			require.Len(t, got, 1)
			got[0].sound(t)
			assert.Equal(t, whole, got[0].ip.Payload)
			assert.False(t, got[0].mf())
			assert.Zero(t, got[0].ip.FragOffset)
			assert.Empty(t, r.drops())
			rise := r.rises()
			assert.Equal(t, uint64(len(c.cuts)), rise[engine.IPReasmReqds])
			assert.Equal(t, uint64(1), rise[engine.IPReasmOKs])
			assert.Equal(t, uint64(1), rise[engine.IPInDelivers])
		})
	}
}

// TestBehaviour16OverlapDropsTheWholeDatagram lets nothing of it survive: the missing part does not complete it (RFC 5722's
// rule for IPv6, which Linux applies to IPv4).
func TestBehaviour16OverlapDropsTheWholeDatagram(t *testing.T) {
	whole := wholeUDP(3000)
	r := newRouter(t)
	r.in("eth0", piece(7, whole, 0, 1000))
	r.in("eth0", piece(7, whole, 992, 2000))
	assert.Zero(t, r.Stats().Held, "both are gone")
	r.in("eth0", piece(7, whole, 1000, 2000))
	r.in("eth0", piece(7, whole, 2000, 3000))
	assert.Empty(t, r.deliveries())
}

// TestBehaviour16Duplicate of a fragment harms nobody (ip_frag_queue: IPFRAG_DUP).
func TestBehaviour16Duplicate(t *testing.T) {
	whole := wholeUDP(2000)
	for name, again := range map[string][2]int{"the same": {0, 1000}, "a part of what came in order": {200, 400}} {
		r := newRouter(t)
		r.in("eth0", piece(7, whole, 0, 1000))
		r.in("eth0", piece(7, whole, again[0], again[1]))
		r.in("eth0", piece(7, whole, 1000, 2000))
		require.Len(t, r.deliveries(), 1, name)
	}
}

func TestBehaviour16DatagramsApart(t *testing.T) {
	whole := wholeUDP(2000)
	r := newRouter(t)
	r.in("eth0", piece(1, whole, 0, 1000))
	r.in("eth0", piece(2, whole, 1000, 2000))
	r.in("eth0", pieceOf("10.0.0.10", 1, whole, 1000, 2000))
	assert.Empty(t, r.deliveries(), "of other datagrams")
	r.in("eth0", piece(1, whole, 1000, 2000))
	assert.Len(t, r.deliveries(), 1)
}

func TestBehaviour16Time(t *testing.T) {
	whole := wholeUDP(2000)
	t.Run("first fragment came", func(t *testing.T) {
		r := newRouter(t)
		first := piece(7, whole, 0, 1000)
		r.in("eth0", first)
		assert.Empty(t, r.wait(29900*time.Millisecond))
		assert.Equal(t, uint64(1), r.Stats().Held)
		out := r.wait(200 * time.Millisecond)
		require.Len(t, out, 1)
		out[0].wantICMP(t, 11, 1, eth0Addr, near)
		assert.Equal(t, first[14:14+548], out[0].icmp.Payload)
		assert.Equal(t, map[engine.Reason]uint64{engine.DropReassemblyTime: 1}, r.drops())
		rise := r.rises()
		assert.Equal(t, uint64(1), rise[engine.IPReasmTimeout])
		assert.Equal(t, uint64(1), rise[engine.IPReasmFails])
	})
	t.Run("first fragment did not come", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth0", piece(7, whole, 1000, 2000))
		assert.Empty(t, r.wait(31*time.Second))
		assert.Equal(t, map[engine.Reason]uint64{engine.DropReassemblyTime: 1}, r.drops())
	})
	t.Run("in the last moment", func(t *testing.T) {
		r := newRouter(t)
		r.in("eth0", piece(7, whole, 0, 1000))
		r.wait(29900 * time.Millisecond)
		r.in("eth0", piece(7, whole, 1000, 2000))
		assert.Len(t, r.deliveries(), 1)
	})
}

func TestBehaviour16TooLong(t *testing.T) {
	r := newRouter(t)
	// The ping of death: a last fragment that ends beyond 65,535 bytes.
	d := datagram{src: near, dst: eth0Addr, proto: protoICMP, id: 3, offset: 65528, payload: make([]byte, 64)}
	assert.Empty(t, r.in("eth0", d.frame(eth0MAC, nearMAC)))
	assert.Equal(t, map[engine.Reason]uint64{engine.DropReassembly: 1}, r.drops())
	assert.Zero(t, r.Stats().Held)
}

func TestBehaviour16MiddleNotAMultipleOf8(t *testing.T) {
	r := newRouter(t)
	d := datagram{src: near, dst: eth0Addr, proto: protoUDP, id: 3, mf: true, payload: make([]byte, 61)}
	r.in("eth0", d.frame(eth0MAC, nearMAC))
	r.wait(time.Minute)
	assert.Empty(t, r.deliveries())
	assert.Equal(t, uint64(1), r.dropCount())
}

func TestBehaviour16Memory(t *testing.T) {
	whole := wholeUDP(8000)
	r := newRouter(t)
	g := r.Global()
	g.FragMaxBytes = 100_000
	r.must(r.SetGlobal(g))
	for id := range uint16(400) {
		r.in("eth0", pieceOf(fmt.Sprintf("10.0.0.%d", 20+id%200), id, whole, 0, 1480))
	}
	assert.LessOrEqual(t, int(r.Stats().Held)*1480, 100_000)
	assert.NotZero(t, r.Stats().Held)
	assert.NotZero(t, r.drops()[engine.DropReassemblyFull])
}

// TestBehaviour16OneSourceDoesNotShutOutOthers is the limit by source.
func TestBehaviour16OneSourceDoesNotShutOutOthers(t *testing.T) {
	whole := wholeUDP(2000)
	r := newRouter(t)
	g := r.Global()
	g.FragMaxBytes = 200_000
	r.must(r.SetGlobal(g))
	r.in("eth0", pieceOf("10.0.0.10", 1, whole, 0, 1000))
	for id := range uint16(2000) {
		r.in("eth0", piece(id, whole, 0, 1000))
	}
	assert.Empty(t, r.in("eth0", pieceOf("10.0.0.10", 1, whole, 1000, 2000)))
	assert.Len(t, r.deliveries(), 1, "another source's datagram was there first and is completed")
}

// TestBehaviour16ForwardedFragmentsAreNotReassembled.
func TestBehaviour16ForwardedFragmentsPass(t *testing.T) {
	r := newRouter(t)
	s := r.one("eth0", toFar(datagram{id: 8, mf: true, size: 500}))
	assert.True(t, s.mf())
	assert.Zero(t, r.Stats().Held)
	assert.Zero(t, r.rises()[engine.IPReasmReqds])
}

// TestBehaviour16WaitingLeavesBuffers floods a node with all that can wait, from many senders, in pools of all sizes: there are
// buffers left to receive into, to answer from and for copies.
func TestBehaviour16WaitingLeavesBuffers(t *testing.T) {
	whole := wholeUDP(4000)
	for _, size := range []int{64, packet.DefaultBuffers, engine.DefaultBuffers} {
		t.Run(fmt.Sprintf("%d buffers", size), func(t *testing.T) {
			pool, err := packet.NewPool(packet.PoolConfig{Buffers: size})
			require.NoError(t, err)
			r := newTenant(t, engine.VXLAN{L2Miss: true}, func(c *engine.Config) { c.Pool = pool })
			r.SetForwarding(true)
			toNode := func(d datagram) []byte { return d.frame(underMAC, mac6(2)) }
			for i := range 2 * size {
				src := fmt.Sprintf("10.%d.%d.1", i>>8, i&0xff)
				r.in("eth0",
					toNode(datagram{src: src, dst: tunnelEnd1, proto: protoUDP, id: uint16(i), mf: true, payload: whole[20:1500]}),
					toNode(datagram{src: src, dst: fmt.Sprintf("172.16.0.%d", 10+i%200), size: 1000}))
				r.in("p0", stationFrame(ethernet.MAC{2, 0, 0, 9, byte(i >> 8), byte(i)}, mac6(0xa1)))
			}
			drops := r.drops()
			for _, why := range []engine.Reason{engine.DropReassemblyFull, engine.DropNeighbourQueue, engine.DropFDBWaitFull} {
				assert.NotZero(t, drops[why], "the flood has reached the limit of %v", why)
			}
			assert.Zero(t, drops[engine.DropNoBuffer])
			assert.LessOrEqual(t, pool.InUse(), size*3/4)
			ping := toNode(datagram{src: tunnelEnd2, dst: tunnelEnd1, proto: protoICMP, payload: echo(1, 1, 20)})
			assert.Len(t, r.in("eth0", ping), 1, "an answer")
			assert.Len(t, r.in("p0", stationFrame(ethernet.Broadcast, mac6(0xa1))), 1, "a copy")
		})
	}
}

// TestBehaviour16MemoryAsTold has a limit that somebody wants to be larger than what the pool would suggest.
func TestBehaviour16MemoryAsTold(t *testing.T) {
	whole := wholeUDP(4000)
	r := newRouter(t, func(c *engine.Config) {
		pool, err := packet.NewPool(packet.PoolConfig{Buffers: 64})
		require.NoError(t, err)
		c.Pool = pool
	})
	g := r.Global()
	g.FragMaxBytes = 60 * packet.DefaultSize
	r.must(r.SetGlobal(g))
	for i := range 60 {
		r.in("eth0", pieceOf(fmt.Sprintf("10.0.0.%d", 20+i), 1, whole, 0, 1480))
	}
	assert.Equal(t, uint64(60), r.Stats().Held)
}
