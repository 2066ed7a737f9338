// Package memory is a wire in memory with a driver at each end: for tests, for nodes in one program, and as the plainest driver to
// read.
//
// What one end sends the other receives, metadata included, in order of each flow. A packet is copied into a buffer of the
// receiver's pool; or, with [Config].Share, handed over as it is, which costs nothing but leaves the sender's pool short of what the
// receiver holds. Flows are spread over the receiver's queues by a hash that keeps fragments together. A queue holds Config.Depth
// packets; what comes while it is full is lost, and counted by the receiver as RxDropped, as on any wire.
//
// The link of an end is up while both ends are set up and not closed. All of this runs on any platform.
package memory

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/inbox"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/packet"
)

// Defaults and limits of a Config.
const (
	DefaultDepth = 512  // packets
	DefaultMTU   = 1500 // bytes

	maxQueues = 256
	maxDepth  = 1 << 20
	minMTU    = 68 // bytes, RFC 791: what every module must forward
	maxMTU    = 65535
)

// Config describes a wire. The zero value is Ethernet with an MTU of 1500 bytes, one queue and a pool for each end.
type Config struct {
	A, B  End
	Raw   bool // packets have no Ethernet header
	MTU   int  // bytes of the IP packet; default DefaultMTU, -1 for no limit but the buffers
	Depth int  // packets that a queue holds; default DefaultDepth

	// Share hands buffers over instead of copying them, if they have at least the headroom of the receiver's pool, and otherwise
	// copies them. They go back to the sender's pool when the receiver frees them.
	Share bool

	Hasher flow.Hasher // spreads flows over queues; the zero Hasher works
}

// End describes the driver at one end of a wire.
type End struct {
	Name     string       // for Link
	MAC      ethernet.MAC // for Link
	Queues   int          // that receive; default 1
	Pool     *packet.Pool // of buffers to receive into; default one of its own with packet's defaults
	Offloads packet.Offloads
}

// NewPair returns the drivers at both ends of a new wire, with the link up. It reports every field of c that is out of range.
func NewPair(c Config) (a, b *Driver, err error) {
	c.defaults()
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	if a, err = newDriver(&c, c.A); err != nil {
		return nil, nil, err
	}
	if b, err = newDriver(&c, c.B); err != nil {
		return nil, nil, err
	}
	w := &wire{ends: [2]*Driver{a, b}}
	a.wire, a.far = w, b
	b.wire, b.far = w, a
	return a, b, nil
}

func (c *Config) defaults() {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.Depth == 0 {
		c.Depth = DefaultDepth
	}
	for _, e := range []*End{&c.A, &c.B} {
		if e.Queues == 0 {
			e.Queues = 1
		}
	}
}

// check reports every field that is out of range.
func (c *Config) check() error {
	errs := []error{checkMTU("Config.MTU", c.MTU)}
	if c.Depth < 1 || c.Depth > maxDepth {
		errs = append(errs, fmt.Errorf("memory: Config.Depth is %d: want 1 to %d packets", c.Depth, maxDepth))
	}
	for name, e := range map[string]*End{"A": &c.A, "B": &c.B} {
		if e.Queues < 1 || e.Queues > maxQueues {
			errs = append(errs, fmt.Errorf("memory: Config.%s.Queues is %d: want 1 to %d", name, e.Queues, maxQueues))
		}
		if c.Raw && e.MAC != (ethernet.MAC{}) {
			errs = append(errs, fmt.Errorf("memory: Config.%s.MAC is %v, but Config.Raw says that there is no Ethernet: want none", name, e.MAC))
		}
		if c.Raw && e.Offloads.Has(packet.OffloadVLAN) {
			errs = append(errs, fmt.Errorf("memory: Config.%s.Offloads are %v, but Config.Raw says that there is no Ethernet: want no vlan",
				name, e.Offloads))
		}
		if e.Offloads&^packet.OffloadVLAN != 0 && !e.Offloads.Has(packet.OffloadChecksum) {
			errs = append(errs, fmt.Errorf("memory: Config.%s.Offloads are %v: want checksum, too, which superframes need", name, e.Offloads))
		}
	}
	return errors.Join(errs...)
}

func checkMTU(field string, mtu int) error {
	if mtu != noMTU && (mtu < minMTU || mtu > maxMTU) {
		return fmt.Errorf("memory: %s is %d: want %d to %d bytes, or -1 for no limit", field, mtu, minMTU, maxMTU)
	}
	return nil
}

const noMTU = -1

// Driver is one end of a wire. It implements [driver.Driver].
type Driver struct {
	wire  *wire
	far   *Driver
	end   End
	raw   bool
	share bool
	room  int // headroom of the pool's buffers
	hash  flow.Hasher

	queues []*queue
	faces  []driver.Queue // the same, as the interface has them

	up      atomic.Bool // packets can pass
	mtu     atomic.Int64
	changed chan struct{}
	stats   counters

	set    bool // what SetUp said; wire.mu
	closed bool // wire.mu
}

// wire is what both ends have in common.
type wire struct {
	mu   sync.Mutex // for what decides whether the link is up
	ends [2]*Driver
}

type counters struct {
	rxPackets, rxBytes, rxDropped, rxErrors atomic.Uint64
	txPackets, txBytes, txDropped, txErrors atomic.Uint64
}

func newDriver(c *Config, e End) (*Driver, error) {
	if e.Pool == nil {
		var err error
		if e.Pool, err = packet.NewPool(packet.PoolConfig{}); err != nil {
			return nil, err
		}
	}
	d := &Driver{end: e, raw: c.Raw, share: c.Share, hash: c.Hasher, changed: make(chan struct{}, 1), set: true}
	d.room = e.Pool.Outside().Headroom()
	d.up.Store(true)
	d.mtu.Store(int64(c.MTU))
	for range e.Queues {
		q := &queue{inbox.New(c.Depth), d}
		d.queues = append(d.queues, q)
		d.faces = append(d.faces, q)
	}
	return d, nil
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.faces }

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return d.changed }

// Link implements [driver.Driver].
func (d *Driver) Link() driver.Link {
	return driver.Link{
		Name: d.end.Name, Raw: d.raw, MAC: d.end.MAC, MTU: int(max(d.mtu.Load(), 0)), Up: d.up.Load(), Offloads: d.end.Offloads,
	}
}

// Stats implements [driver.Driver].
func (d *Driver) Stats() driver.Stats {
	c := &d.stats
	return driver.Stats{
		RxPackets: c.rxPackets.Load(), RxBytes: c.rxBytes.Load(), RxDropped: c.rxDropped.Load(), RxErrors: c.rxErrors.Load(),
		TxPackets: c.txPackets.Load(), TxBytes: c.txBytes.Load(), TxDropped: c.txDropped.Load(), TxErrors: c.txErrors.Load(),
	}
}

// SetUp sets this end of the wire up or down. The link is up if both are. Packets that are in queues stay there.
func (d *Driver) SetUp(up bool) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	d.set = up
	d.wire.update()
}

// SetMTU sets the MTU of this end in bytes, -1 for none: what is longer is refused by Send, and lost with an RxError if the other end
// sends it.
func (d *Driver) SetMTU(mtu int) error {
	if err := checkMTU("MTU", mtu); err != nil {
		return err
	}
	if d.mtu.Swap(int64(mtu)) != int64(mtu) {
		d.tell()
	}
	return nil
}

// update works out whether the link is up. It is called with mu held.
func (w *wire) update() {
	up := true
	for _, d := range w.ends {
		up = up && d.set && !d.closed
	}
	for _, d := range w.ends {
		if d.up.Swap(up) != up {
			d.tell()
		}
	}
}

// tell puts an element into Changed, if there is none yet.
func (d *Driver) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Close implements [driver.Driver]. The other end's link goes down; what was sent to it can still be received there.
func (d *Driver) Close() error {
	d.wire.mu.Lock()
	d.closed = true
	d.wire.update()
	d.wire.mu.Unlock()
	for _, q := range d.queues {
		q.Close()
	}
	return nil
}
