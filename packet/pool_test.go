// The pool: a fixed number of buffers that is never exceeded and never lost, whoever takes and gives them.
package packet_test

import (
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/packet"
)

func newPool(t testing.TB, c packet.PoolConfig) *packet.Pool {
	t.Helper()
	p, err := packet.NewPool(c)
	require.NoError(t, err)
	return p
}

func TestPoolDefaults(t *testing.T) {
	p := newPool(t, packet.PoolConfig{})
	assert.Equal(t, 1024, packet.DefaultBuffers)
	assert.Equal(t, 2048, packet.DefaultSize)
	assert.Equal(t, packet.DefaultBuffers, p.Len())
	assert.Zero(t, p.InUse())
	b := p.Get()
	require.NotNil(t, b)
	assert.Equal(t, state{headroom: packet.DefaultHeadroom, tailroom: packet.DefaultSize - packet.DefaultHeadroom}, stateOf(b))
}

func TestPoolOutside(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 1, Size: 300, Headroom: 100})
	require.NotNil(t, p.Get())
	for range 2 { // though the pool is empty
		b := p.Outside()
		assert.Equal(t, state{headroom: 100, tailroom: 200}, stateOf(b))
		require.NoError(t, b.SetBytes(make([]byte, 200)))
		b.Free()
	}
	assert.Equal(t, 1, p.InUse())
	assert.Nil(t, p.Get(), "none came to the pool")
	assert.Zero(t, new(packet.Pool).Outside().Len(), "of a pool that nobody made")
}

func TestPoolConfig(t *testing.T) {
	for _, c := range []struct {
		name               string
		config             packet.PoolConfig
		headroom, tailroom int
	}{
		{"no headroom", packet.PoolConfig{Buffers: 2, Size: 100, Headroom: -1}, 0, 100},
		{"all headroom", packet.PoolConfig{Buffers: 2, Size: 100, Headroom: 100}, 100, 0},
		{"default headroom fills the buffer", packet.PoolConfig{Buffers: 2, Size: packet.DefaultHeadroom}, packet.DefaultHeadroom, 0},
		{"one byte", packet.PoolConfig{Buffers: 2, Size: 1, Headroom: -1}, 0, 1},
		{"largest headroom", packet.PoolConfig{Buffers: 2, Size: 1 << 16, Headroom: 1 << 15}, 1 << 15, 1 << 15},
		{"largest size", packet.PoolConfig{Buffers: 1, Size: 1 << 24}, 128, 1<<24 - 128},
		{"just enough memory", packet.PoolConfig{Buffers: 2, Size: 200, Memory: make([]byte, 400)}, 128, 72},
		{"room for a superframe", packet.PoolConfig{Buffers: 2, Size: 128 + 1<<17}, 128, 1 << 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, c.config)
			for range p.Len() {
				assert.Equal(t, state{headroom: c.headroom, tailroom: c.tailroom}, stateOf(p.Get()))
			}
		})
	}
}

func TestPoolConfigErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		config packet.PoolConfig
		want   []string
	}{
		{"negative count", packet.PoolConfig{Buffers: -1}, []string{"PoolConfig.Buffers is -1: want 1 to"}},
		{"one buffer too many", packet.PoolConfig{Buffers: 1<<24 + 1}, []string{"PoolConfig.Buffers is 16777217: want 1 to 16777216"}},
		{
			"more memory than there can be",
			packet.PoolConfig{Buffers: 1 << 24, Size: 1 << 24},
			[]string{"PoolConfig.Buffers×Size is 281474976710656 bytes: want at most"},
		},
		{"count beyond all memory", packet.PoolConfig{Buffers: math.MaxInt}, []string{"PoolConfig.Buffers is"}},
		{"negative size", packet.PoolConfig{Size: -1, Headroom: -1}, []string{"PoolConfig.Size is -1: want 1 to"}},
		{"size beyond any packet", packet.PoolConfig{Size: 1<<24 + 1}, []string{"PoolConfig.Size is 16777217: want 1 to 16777216 bytes"}},
		{"negative headroom", packet.PoolConfig{Headroom: -2}, []string{"PoolConfig.Headroom is -2"}},
		{"headroom larger than the buffer", packet.PoolConfig{Size: 100, Headroom: 101}, []string{"PoolConfig.Headroom is 101: want at most Size (100)"}},
		{"default headroom larger than the buffer", packet.PoolConfig{Size: 100}, []string{"PoolConfig.Headroom is 128: want at most Size (100)"}},
		{"headroom beyond 16 bits of metadata", packet.PoolConfig{Size: 1 << 17, Headroom: 1<<15 + 1}, []string{"PoolConfig.Headroom is 32769"}},
		{
			"memory one byte short",
			packet.PoolConfig{Buffers: 3, Size: 200, Memory: make([]byte, 599)},
			[]string{"PoolConfig.Memory has 599 bytes: want Buffers×Size = 600"},
		},
		{
			"memory of no bytes",
			packet.PoolConfig{Buffers: 1, Size: 200, Memory: []byte{}},
			[]string{"PoolConfig.Memory has 0 bytes"},
		},
		{
			"everything at once",
			packet.PoolConfig{Buffers: -3, Size: 1 << 30, Headroom: 1 << 20},
			[]string{"PoolConfig.Buffers is -3", "PoolConfig.Size is 1073741824", "PoolConfig.Headroom is 1048576"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := packet.NewPool(c.config)
			require.Error(t, err)
			assert.Nil(t, p)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

// TestPoolMemory: given memory is used in place, each buffer its own part, and not beyond what was asked for.
func TestPoolMemory(t *testing.T) {
	const buffers, size, spare = 4, 32, 8
	mem := make([]byte, buffers*size+spare)
	p := newPool(t, packet.PoolConfig{Buffers: buffers, Size: size, Headroom: -1, Memory: mem})
	batch := make([]*packet.Buffer, buffers)
	require.Equal(t, buffers, p.GetBatch(batch))
	for i, b := range batch {
		room, err := b.Extend(size)
		require.NoError(t, err)
		for j := range room {
			room[j] = byte(i + 1)
		}
		_, err = b.Extend(1)
		require.ErrorIs(t, err, packet.ErrTailroom, "one buffer must not reach into the next")
	}
	for i := range buffers {
		part := mem[i*size : (i+1)*size]
		require.NotZero(t, part[0])
		for _, v := range part {
			require.Equal(t, part[0], v, "part %d is shared by two buffers", i)
		}
	}
	assert.Equal(t, make([]byte, spare), mem[buffers*size:])
}

func TestPoolExhaustion(t *testing.T) {
	const buffers = 5
	p := newPool(t, packet.PoolConfig{Buffers: buffers, Size: 256})
	seen := map[*packet.Buffer]bool{}
	for i := range buffers {
		b := p.Get()
		require.NotNil(t, b)
		require.False(t, seen[b], "the same buffer twice")
		seen[b] = true
		require.Equal(t, i+1, p.InUse())
	}
	assert.Nil(t, p.Get())
	batch := make([]*packet.Buffer, 3)
	assert.Zero(t, p.GetBatch(batch))
	assert.Equal(t, make([]*packet.Buffer, 3), batch, "nothing may be written where nothing was to be had")
	assert.Equal(t, buffers, p.InUse())
	for b := range seen {
		b.Free()
	}
	assert.Zero(t, p.InUse())
	assert.Equal(t, buffers, p.Len())
	assert.NotNil(t, p.Get(), "what was freed is to be had again")
}

func TestGetBatch(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 5, Size: 256})
	batch := make([]*packet.Buffer, 4)
	assert.Equal(t, 4, p.GetBatch(batch))
	rest := make([]*packet.Buffer, 4)
	assert.Equal(t, 1, p.GetBatch(rest), "fewer than asked for")
	assert.NotNil(t, rest[0])
	assert.Equal(t, make([]*packet.Buffer, 3), rest[1:])
	assert.Zero(t, p.GetBatch(nil))
	assert.Equal(t, 5, p.InUse())
	packet.FreeBatch(batch)
	packet.FreeBatch(rest)
	assert.Zero(t, p.InUse())
	assert.Equal(t, make([]*packet.Buffer, 4), batch, "freed entries must be nil")
}

// TestGetIsEmpty: whatever the last owner left in a buffer, the next one gets an empty one.
func TestGetIsEmpty(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 1, Size: 256, Headroom: 64})
	b := p.Get()
	fresh := stateOf(b)
	require.NoError(t, b.SetBytes(make([]byte, 100)))
	decorate(t, b)
	_, err := b.Prepend(50)
	require.NoError(t, err)
	b.Free()
	assert.Equal(t, fresh, stateOf(p.Get()))
}

func TestFreeTwicePanics(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 3, Size: 256})
	b := p.Get()
	b.Free()
	const text = "packet: buffer freed twice"
	assert.PanicsWithValue(t, text, b.Free)
	assert.PanicsWithValue(t, text, func() { packet.FreeBatch([]*packet.Buffer{b}) })
	c := p.Get()
	assert.PanicsWithValue(t, text, func() { packet.FreeBatch([]*packet.Buffer{c, c}) })
	assert.Zero(t, p.InUse(), "the pool must be usable after a panic that somebody recovered from")
	assert.NotNil(t, p.Get())
}

func TestForeignBuffers(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 1, Size: 256})
	b := packet.New(10)
	b.Free()
	b.Free() // of no pool: nothing happens, twice
	batch := []*packet.Buffer{b, packet.Of([]byte("x")), {}}
	packet.FreeBatch(batch)
	assert.Equal(t, make([]*packet.Buffer, 3), batch)
	assert.Zero(t, p.InUse())
	assert.NotNil(t, p.Get())
	assert.Nil(t, p.Get(), "foreign buffers must not end up in a pool")
}

// TestFreeBatchMixed frees buffers of two pools, of none, and nils, in every order that changes hands.
func TestFreeBatchMixed(t *testing.T) {
	a := newPool(t, packet.PoolConfig{Buffers: 8, Size: 256})
	b := newPool(t, packet.PoolConfig{Buffers: 8, Size: 256})
	kinds := []func() *packet.Buffer{
		a.Get, b.Get,
		func() *packet.Buffer { return packet.New(1) },
		func() *packet.Buffer { return nil },
	}
	const length = 5
	for n := range 1 << (2 * length) { // each entry one of four kinds
		batch := make([]*packet.Buffer, length)
		for i := range batch {
			batch[i] = kinds[n>>(2*i)&3]()
		}
		packet.FreeBatch(batch)
		require.Zero(t, a.InUse(), "order %o", n)
		require.Zero(t, b.InUse(), "order %o", n)
		require.Equal(t, make([]*packet.Buffer, length), batch)
	}
	packet.FreeBatch(nil)
	packet.FreeBatch([]*packet.Buffer{})
}

// TestPoolConcurrency is for -race: several goroutines take, mark and give back, alone and by the batch, and no buffer
// has two owners.
func TestPoolConcurrency(t *testing.T) {
	const buffers, workers, rounds = 64, 8, 2000
	p := newPool(t, packet.PoolConfig{Buffers: buffers, Size: 64, Headroom: 8})
	hand := make(chan *packet.Buffer, buffers) // half of them are freed by somebody else
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			batch := make([]*packet.Buffer, 5)
			for range rounds {
				if b := p.Get(); b != nil {
					own(t, b, byte(w))
					hand <- b
				}
				n := p.GetBatch(batch)
				for _, b := range batch[:n] {
					own(t, b, byte(w))
				}
				packet.FreeBatch(batch[:n])
				if p.InUse() > p.Len() {
					t.Error("more buffers out than there are")
				}
				select {
				case b := <-hand:
					b.Free()
				default:
				}
			}
		})
	}
	wg.Wait()
	close(hand)
	for b := range hand {
		b.Free()
	}
	assert.Zero(t, p.InUse())
	all := make([]*packet.Buffer, buffers+1)
	assert.Equal(t, buffers, p.GetBatch(all), "none was lost, none was made")
}

// own writes and reads a buffer as its only owner does; a second one would be a race.
func own(t *testing.T, b *packet.Buffer, mark byte) {
	if b.Len() != 0 || b.Headroom() != 8 {
		t.Error("not an empty buffer")
	}
	p, err := b.Extend(8)
	if err != nil {
		t.Error(err)
		return
	}
	for i := range p {
		p[i] = mark
	}
	for _, v := range p {
		if v != mark {
			t.Error("somebody else wrote into the buffer")
		}
	}
}

func TestPoolAllocatesNothing(t *testing.T) {
	p := newPool(t, packet.PoolConfig{Buffers: 40, Size: 256})
	batch := make([]*packet.Buffer, 32)
	for name, run := range map[string]func(){
		"Get and Free":            func() { p.Get().Free() },
		"GetBatch and FreeBatch":  func() { packet.FreeBatch(batch[:p.GetBatch(batch)]) },
		"GetBatch of more":        func() { _ = p.GetBatch(batch); p.GetBatch(batch); packet.FreeBatch(batch) },
		"InUse":                   func() { _ = p.InUse() },
		"FreeBatch of nils":       func() { packet.FreeBatch(batch) },
		"Get when there are none": drained(p),
	} {
		assert.Zero(t, testing.AllocsPerRun(100, run), name)
	}
}

// drained returns a run that finds a pool of its own empty.
func drained(like *packet.Pool) func() {
	p, err := packet.NewPool(packet.PoolConfig{Buffers: like.Len()})
	if err != nil {
		return func() { panic(err) }
	}
	for p.Get() != nil {
	}
	one := make([]*packet.Buffer, 4)
	return func() {
		if p.Get() != nil || p.GetBatch(one) != 0 {
			panic("a buffer out of nothing")
		}
	}
}
