package packet

// Pool: a fixed number of buffers over one piece of memory, shared by all who receive and send.

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// Defaults and limits of a [PoolConfig].
const (
	DefaultBuffers = 1024
	DefaultSize    = 2048 // bytes: a full-size Ethernet frame with two tunnels around it

	maxBuffers  = 1 << 24
	maxSize     = 1 << 24                 // bytes of one buffer; a superframe is at most 64 KiB plus headers
	maxHeadroom = 1 << 15                 // bytes; metadata holds offsets of 16 bits
	maxMemory   = min(1<<36, math.MaxInt) // bytes of all buffers: 64 GiB, or what the platform can address
)

// PoolConfig sizes a [Pool]. Zero fields take the default.
type PoolConfig struct {
	Buffers  int    // how many; default DefaultBuffers
	Size     int    // bytes of each, headroom included; default DefaultSize
	Headroom int    // bytes in front of an empty buffer; default DefaultHeadroom, -1 for none
	Memory   []byte // Buffers×Size bytes to use, such as a device's ring; default: allocated
}

// Pool is a fixed set of buffers. It never grows: when all buffers are out, there are no more to be had until one is
// freed. It is safe for concurrent use; taking and giving by the batch takes its lock once.
type Pool struct {
	mu   sync.Mutex
	free []*Buffer
	all  []Buffer
}

// NewPool returns a pool with all its buffers free. It reports every field of c that is out of range.
func NewPool(c PoolConfig) (*Pool, error) {
	if c.Buffers == 0 {
		c.Buffers = DefaultBuffers
	}
	if c.Size == 0 {
		c.Size = DefaultSize
	}
	switch c.Headroom {
	case 0:
		c.Headroom = DefaultHeadroom
	case -1:
		c.Headroom = 0
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Memory == nil {
		c.Memory = make([]byte, c.Buffers*c.Size)
	}
	p := &Pool{all: make([]Buffer, c.Buffers), free: make([]*Buffer, 0, c.Buffers)}
	for i := range p.all {
		b := &p.all[i]
		b.mem = c.Memory[i*c.Size : (i+1)*c.Size : (i+1)*c.Size]
		b.headroom = uint16(c.Headroom)
		b.pool = p
		b.freed = true
		p.free = append(p.free, b)
	}
	return p, nil
}

// check reports every field that is out of range.
func (c *PoolConfig) check() error {
	var errs []error
	if c.Buffers < 0 || c.Buffers > maxBuffers {
		errs = append(errs, fmt.Errorf("packet: PoolConfig.Buffers is %d: want 1 to %d", c.Buffers, maxBuffers))
	}
	if c.Size < 0 || c.Size > maxSize {
		errs = append(errs, fmt.Errorf("packet: PoolConfig.Size is %d: want 1 to %d bytes", c.Size, maxSize))
	}
	if c.Headroom < 0 || c.Headroom > maxHeadroom || len(errs) == 0 && c.Headroom > c.Size {
		errs = append(errs, fmt.Errorf("packet: PoolConfig.Headroom is %d: want at most Size (%d) and at most %d bytes; "+
			"0 is %d, -1 is none", c.Headroom, c.Size, maxHeadroom, DefaultHeadroom))
	}
	if len(errs) == 0 && uint64(c.Buffers)*uint64(c.Size) > maxMemory {
		errs = append(errs, fmt.Errorf("packet: PoolConfig.Buffers×Size is %d bytes: want at most %d",
			uint64(c.Buffers)*uint64(c.Size), uint64(maxMemory)))
	}
	if c.Memory != nil && len(errs) == 0 && len(c.Memory) < c.Buffers*c.Size {
		errs = append(errs, fmt.Errorf("packet: PoolConfig.Memory has %d bytes: want Buffers×Size = %d",
			len(c.Memory), c.Buffers*c.Size))
	}
	return errors.Join(errs...)
}

// Get returns an empty buffer, or nil if all are out.
func (p *Pool) Get() *Buffer {
	var one [1]*Buffer
	p.GetBatch(one[:])
	return one[0]
}

// Outside returns an empty buffer as large as the pool's, with their headroom, that is none of them: freeing it does nothing. It
// is for trying out what would become of a packet.
func (p *Pool) Outside() *Buffer {
	if len(p.all) == 0 { // not from NewPool
		return New(0)
	}
	like := &p.all[0]
	b := &Buffer{mem: make([]byte, len(like.mem)), headroom: like.headroom}
	b.Reset()
	return b
}

// GetBatch fills batch from the front with empty buffers and returns how many there were.
func (p *Pool) GetBatch(batch []*Buffer) int {
	p.mu.Lock()
	n := min(len(batch), len(p.free))
	rest := len(p.free) - n
	copy(batch, p.free[rest:])
	p.free = p.free[:rest]
	for _, b := range batch[:n] {
		b.freed = false
	}
	p.mu.Unlock()
	for _, b := range batch[:n] {
		b.Reset()
	}
	return n
}

// FreeBatch gives all buffers of batch back, each to its pool, and sets the entries to nil; nil entries are skipped.
func FreeBatch(batch []*Buffer) {
	for len(batch) > 0 {
		if batch[0] == nil || batch[0].pool == nil {
			batch[0] = nil
			batch = batch[1:]
			continue
		}
		n := batch[0].pool.putRun(batch)
		batch = batch[n:]
	}
}

// putRun takes back the buffers at the front of batch that belong to p, under one lock, and returns how many.
func (p *Pool) putRun(batch []*Buffer) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range batch {
		if b == nil || b.pool != p {
			return i
		}
		p.putLocked(b)
		batch[i] = nil
	}
	return len(batch)
}

func (p *Pool) put(b *Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.putLocked(b)
}

func (p *Pool) putLocked(b *Buffer) {
	if b.freed {
		panic("packet: buffer freed twice")
	}
	b.freed = true
	p.free = append(p.free, b) // never grows: each buffer is in it at most once
}

// Len returns the number of buffers, in and out.
func (p *Pool) Len() int { return len(p.all) }

// InUse returns how many buffers are out.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all) - len(p.free)
}
