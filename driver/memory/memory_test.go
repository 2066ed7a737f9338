package memory_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

func pair(t testing.TB, c memory.Config) (a, b *memory.Driver) {
	t.Helper()
	a, b, err := memory.NewPair(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, a.Close())
		assert.NoError(t, b.Close())
	})
	return a, b
}

func pool(t testing.TB, c packet.PoolConfig) *packet.Pool {
	t.Helper()
	p, err := packet.NewPool(c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.Zero(t, p.InUse()) }) // behind the drivers' Close, as it is registered before
	return p
}

// datagram is a UDP packet of a flow, or a fragment of one.
func datagram(flow byte, fragment uint16) []byte {
	p, err := ipv4.Fields{TTL: 1, Protocol: ipv4.ProtocolUDP, Src: [4]byte{192, 0, 2, flow}, FragmentOffset: fragment}.Append(nil, 12)
	if err != nil {
		panic(err)
	}
	return append(p, make([]byte, 12)...)
}

func send(t testing.TB, d driver.Driver, packets ...*packet.Buffer) error {
	t.Helper()
	return d.Queues()[0].Send(packets)
}

// receive returns what is in a queue.
func receive(t testing.TB, q driver.Queue) []*packet.Buffer {
	t.Helper()
	batch := make([]*packet.Buffer, 2000)
	n, err := q.Receive(batch, 0)
	require.NoError(t, err)
	return batch[:n]
}

func TestNewPairErrors(t *testing.T) {
	_, _, err := memory.NewPair(memory.Config{
		Raw: true, MTU: 20, Depth: -1,
		A: memory.End{Queues: -1, MAC: ethernet.MAC{2}, Offloads: packet.OffloadVLAN},
		B: memory.End{Queues: 1000, Offloads: packet.OffloadTCP4},
	})
	for _, field := range []string{
		"Config.MTU is 20", "Config.Depth is -1", "Config.A.Queues is -1", "Config.A.MAC is 02:", "Config.A.Offloads are vlan",
		"Config.B.Queues is 1000", "Config.B.Offloads are tcp4",
	} {
		assert.ErrorContains(t, err, field)
	}
	a, _ := pair(t, memory.Config{})
	assert.ErrorContains(t, a.SetMTU(5), "MTU is 5")
}

func TestLink(t *testing.T) {
	mac := ethernet.MAC{2, 0, 0, 0, 0, 9}
	a, b := pair(t, memory.Config{A: memory.End{Name: "a", MAC: mac, Offloads: packet.OffloadVLAN}, MTU: -1})
	assert.Equal(t, driver.Link{Name: "a", MAC: mac, Up: true, Offloads: packet.OffloadVLAN}, a.Link())
	assert.Equal(t, driver.Link{Up: true}, b.Link())
	raw, _ := pair(t, memory.Config{Raw: true})
	assert.Equal(t, driver.Link{Raw: true, MTU: memory.DefaultMTU, Up: true}, raw.Link())
}

// TestUp takes the link down at either end.
func TestUp(t *testing.T) {
	a, b := pair(t, memory.Config{Raw: true})
	up := func(want bool) {
		t.Helper()
		for _, d := range []*memory.Driver{a, b} {
			assert.Equal(t, want, d.Link().Up)
			select {
			case <-d.Changed():
			default:
				t.Error("Changed has not told")
			}
		}
	}
	a.SetUp(false)
	up(false)
	assert.ErrorIs(t, send(t, b, packet.Of(datagram(1, 0))), driver.ErrDown)
	b.SetUp(false)
	a.SetUp(true) // b is still down
	assert.False(t, a.Link().Up)
	assert.Empty(t, a.Changed())
	b.SetUp(true)
	up(true)
	require.NoError(t, send(t, b, packet.Of(datagram(1, 0))))
	require.NoError(t, b.Close())
	up(false)
	assert.ErrorIs(t, send(t, a, packet.Of(datagram(1, 0))), driver.ErrDown)
	assert.Len(t, receive(t, a.Queues()[0]), 1, "what was sent before can still be received")
	assert.ErrorIs(t, send(t, b, packet.Of(datagram(1, 0))), net.ErrClosed)
}

func TestFullQueue(t *testing.T) {
	p := pool(t, packet.PoolConfig{})
	a, b := pair(t, memory.Config{Raw: true, Depth: 3, B: memory.End{Pool: p}})
	for range 5 {
		require.NoError(t, send(t, a, packet.Of(datagram(1, 0))), "who sends cannot know")
	}
	assert.Equal(t, 3, p.InUse())
	packet.FreeBatch(receive(t, b.Queues()[0]))
	assert.Equal(t, driver.Stats{RxPackets: 3, RxBytes: 96, RxDropped: 2}, b.Stats())
	assert.Equal(t, driver.Stats{TxPackets: 5, TxBytes: 160}, a.Stats())
}

// TestMTUs has two: that of the sender refuses, that of the receiver loses.
func TestMTUs(t *testing.T) {
	a, b := pair(t, memory.Config{MTU: 1000})
	frame := func(n int) *packet.Buffer { return packet.Of(make([]byte, n)) }
	require.NoError(t, send(t, a, frame(1018)), "Linux leaves room for a tag in the frame")
	assert.ErrorIs(t, send(t, a, frame(1019)), driver.ErrTooLong)
	require.NoError(t, b.SetMTU(1000))
	assert.Empty(t, b.Changed(), "it was 1000")
	require.NoError(t, b.SetMTU(500))
	assert.Len(t, b.Changed(), 1)
	require.NoError(t, send(t, a, frame(600), frame(518)))
	assert.EqualValues(t, 1, b.Stats().RxErrors)
	assert.Len(t, receive(t, b.Queues()[0]), 2)
	assert.ErrorIs(t, send(t, a, frame(13)), driver.ErrShort)
}

func TestQueues(t *testing.T) {
	const flows = 40
	_, b := pair(t, memory.Config{})
	assert.Len(t, b.Queues(), 1)
	a, b := pair(t, memory.Config{Raw: true, B: memory.End{Queues: 4}})
	for range 2 {
		for flow := range byte(flows) { // a whole packet would be hashed by ports, too
			require.NoError(t, send(t, a, packet.Of(datagram(flow, 8)), packet.Of(datagram(flow, 1000))))
		}
	}
	total := 0
	for i, q := range b.Queues() {
		got := receive(t, q)
		assert.InDelta(t, flows, len(got), flows/1.5, "queue %d", i)
		of := map[[4]byte]int{}
		for _, b := range got {
			of[[4]byte(b.Bytes()[12:16])]++
		}
		for src, n := range of {
			assert.Equal(t, 4, n, "fragments of %v in queue %d", src, i)
		}
		total += len(got)
	}
	assert.Equal(t, 4*flows, total)
}

func TestShare(t *testing.T) {
	from, to := pool(t, packet.PoolConfig{Headroom: 100}), pool(t, packet.PoolConfig{Headroom: 80})
	a, b := pair(t, memory.Config{Raw: true, Share: true, B: memory.End{Pool: to}})
	make3 := func(headrooms ...int) []*packet.Buffer {
		var all []*packet.Buffer
		for _, n := range headrooms {
			b := from.Get()
			require.NoError(t, b.SetBytes(datagram(1, 0)))
			_, err := b.Prepend(100 - n)
			require.NoError(t, err)
			b.Bytes()[0] = byte(n)
			all = append(all, b)
		}
		return all
	}
	sent := make3(100, 79, 80)
	require.NoError(t, send(t, a, append([]*packet.Buffer(nil), sent...)...))
	got := receive(t, b.Queues()[0])
	require.Len(t, got, 3)
	assert.Same(t, sent[0], got[0], "handed over")
	assert.NotSame(t, sent[1], got[1], "copied, since the receiver wants more headroom")
	assert.Same(t, sent[2], got[2])
	for i, n := range []byte{100, 79, 80} {
		assert.Equal(t, n, got[i].Bytes()[0], "the order")
	}
	assert.Equal(t, 2, from.InUse())
	assert.Equal(t, 1, to.InUse())
	packet.FreeBatch(got)
}

func TestMetadata(t *testing.T) {
	a, b := pair(t, memory.Config{A: memory.End{Offloads: everything}})
	p := packet.Of(make([]byte, 100))
	tag := ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 5}
	p.SetVLAN(tag)
	p.SetHash(77)
	require.NoError(t, p.SetChecksumPartial(20, 6))
	require.NoError(t, send(t, a, p))
	got := receive(t, b.Queues()[0])
	require.Len(t, got, 1)
	start, field, ok := got[0].PartialChecksum()
	assert.Equal(t, []any{tag, uint32(77), 20, 6, true}, []any{got[0].VLAN(), got[0].Hash(), start, field, ok})
	packet.FreeBatch(got)
}

func TestNoAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, share := range []bool{false, true} {
		for _, queues := range []int{1, 3} {
			t.Run(fmt.Sprintf("share %v, %d queues", share, queues), func(t *testing.T) {
				p := pool(t, packet.PoolConfig{})
				a, b := pair(t, memory.Config{Share: share, A: memory.End{Pool: p}, B: memory.End{Pool: p, Queues: queues}})
				batch := make([]*packet.Buffer, driver.BatchSize)
				assert.Zero(t, testing.AllocsPerRun(100, func() { round(a, b, p, batch, 100) }))
				a.SetUp(false)
				assert.Zero(t, testing.AllocsPerRun(100, func() { round(a, b, p, batch, 100) }), "while the link is down")
			})
		}
	}
}

// round sends a batch of frames and receives it, and returns how many arrived.
func round(a, b *memory.Driver, p *packet.Pool, batch []*packet.Buffer, size int) int {
	n := p.GetBatch(batch)
	for i, b := range batch[:n] {
		if frame, err := b.Extend(size); err == nil {
			frame[20] = byte(i)
		}
	}
	_ = a.Queues()[0].Send(batch[:n])
	arrived := 0
	for _, q := range b.Queues() {
		n, _ = q.Receive(batch, 0)
		packet.FreeBatch(batch[:n])
		arrived += n
	}
	return arrived
}

// BenchmarkWire takes frames from the pool, sends, receives and frees them, in batches of 64 by one goroutine; ns/op is for a packet.
func BenchmarkWire(b *testing.B) {
	for _, share := range []bool{false, true} {
		for _, size := range []int{64, 1514} {
			b.Run(fmt.Sprintf("share=%v/bytes=%d", share, size), func(b *testing.B) {
				p := pool(b, packet.PoolConfig{Buffers: 256})
				near, far := pair(b, memory.Config{Share: share, A: memory.End{Pool: p}, B: memory.End{Pool: p}})
				batch := make([]*packet.Buffer, driver.BatchSize)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for n := 0; n < b.N; n += len(batch) {
					if round(near, far, p, batch, size) != len(batch) {
						b.Fatal("packets lost")
					}
				}
			})
		}
	}
}

// BenchmarkHandOff sends from one goroutine to another, which waits.
func BenchmarkHandOff(b *testing.B) {
	p := pool(b, packet.PoolConfig{Buffers: 4096})
	near, far := pair(b, memory.Config{Share: true, Depth: 4096, A: memory.End{Pool: p}, B: memory.End{Pool: p}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch := make([]*packet.Buffer, driver.BatchSize)
		for total := 0; total < b.N; {
			n, err := far.Queues()[0].Receive(batch, time.Minute)
			if err != nil {
				return
			}
			packet.FreeBatch(batch[:n])
			total += n
		}
	}()
	b.ReportAllocs()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for left := b.N; left > 0; {
		n := p.GetBatch(batch[:min(left, len(batch))])
		for _, b := range batch[:n] {
			_, _ = b.Extend(64)
		}
		_ = near.Queues()[0].Send(batch[:n])
		left -= n
	}
	<-done
}
