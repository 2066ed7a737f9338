package afpacket

// The driver as a whole: its making, the device that goes and comes back, its end.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/packet"
)

// Driver is a device's packet sockets. It implements [driver.Driver].
type Driver struct {
	conf   Config
	pool   *packet.Pool
	queues []*queue
	faces  []driver.Queue // the same
	watch  *sockets.Watch
	space  *namespace

	closed   atomic.Bool
	device   atomic.Pointer[sockets.Device] // that the sockets are bound to; its index is 0 if there is none
	offloads atomic.Uint32                  // packet.Offloads
	proven   atomic.Uint32                  // those that the kernel took once
	changed  chan struct{}

	mu     sync.Mutex // of what follows, and of what control calls do to the sockets
	filter []bpf.RawInstruction
	stolen *classifier
}

// New opens a device. It reports all faults of c at once. Errors of the system are wrapped: unix.EPERM without CAP_NET_RAW, which the
// text says how to get, unix.ENODEV if there is no such device.
//
// The driver belongs to the network namespace of the thread that calls New. If it has several queues, it can follow a device that comes
// back only if it may open new sockets there: with CAP_NET_RAW, and CAP_SYS_ADMIN if the process has gone elsewhere.
func New(c Config) (*Driver, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	c.Slots = slots(c.Slots)
	d := &Driver{conf: c, changed: make(chan struct{}, 1)}
	d.device.Store(&sockets.Device{Name: c.Device})
	d.offloads.Store(uint32(kernelOffloads() &^ c.NoOffloads))
	d.mu.Lock()
	err := d.open()
	d.mu.Unlock() // Close waits for the watch, which waits for it
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// slots returns the number of slots that was asked for as a power of two.
func slots(n int) int {
	if n == 0 {
		return defaultSlots
	}
	size := minSlots
	for size < n {
		size *= 2
	}
	return size
}

// open opens everything. What it opened before an error is for Close.
func (d *Driver) open() error {
	var err error
	if d.filter, err = d.conf.Filter.program(receive); err != nil {
		return err
	}
	if d.space, err = currentNamespace(); err != nil {
		return err
	}
	if d.watch, err = sockets.NewWatch(d.conf.Device, netip.Addr{}, d.deviceChanged); err != nil {
		return err
	}
	dev := d.watch.Device()
	if err := d.checkDevice(dev); err != nil {
		return err
	}
	if d.pool = d.conf.Pool; d.pool == nil {
		if d.pool, err = packet.NewPool(packet.PoolConfig{Buffers: packet.DefaultBuffers * d.conf.Queues, Size: superframe}); err != nil {
			return err
		}
	}
	for range d.conf.Queues {
		q, err := newQueue(d, dev.MTU)
		if err != nil {
			return err
		}
		d.queues, d.faces = append(d.queues, q), append(d.faces, q)
	}
	if err := d.setSteal(d.conf.Steal, dev.Index); err != nil { // first, since what the kernel would answer is worse than what is lost
		return err
	}
	return d.bind(dev)
}

// superframe is the size of a buffer for any frame: 64 KiB of IP packet, Ethernet and tunnel headers, and the headroom. It is an odd
// number of cache lines: at a multiple of a page, the headers of all buffers would want the same few lines of a processor's first cache.
const superframe = (1<<16/64 + 33) * 64

// checkDevice says what is wrong with a device.
func (d *Driver) checkDevice(dev sockets.Device) error {
	if dev.Index == 0 {
		return fmt.Errorf("afpacket: Config.Device %q: %w", d.conf.Device, unix.ENODEV)
	}
	if dev.Type != unix.ARPHRD_ETHER && dev.Type != unix.ARPHRD_LOOPBACK {
		return fmt.Errorf("afpacket: Config.Device %q is no Ethernet device (its ARPHRD type is %d): %w",
			d.conf.Device, dev.Type, errors.ErrUnsupported)
	}
	return nil
}

// bind binds all sockets to the device.
func (d *Driver) bind(dev sockets.Device) error {
	group := 0
	for _, q := range d.queues {
		if err := q.bind(dev.Index, d.conf.Promiscuous); err != nil {
			return d.lacking(err)
		}
		if len(d.queues) > 1 {
			var err error
			if group, err = q.join(group); err != nil {
				return d.lacking(err)
			}
		}
	}
	d.device.Store(&dev)
	return nil
}

// lacking adds the device's name to an error.
func (d *Driver) lacking(err error) error {
	return fmt.Errorf("afpacket: device %q: %w", d.conf.Device, err)
}

// deviceChanged is told by the watch what the device is now.
func (d *Driver) deviceChanged(_, now sockets.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() || len(d.queues) < d.conf.Queues {
		return
	}
	switch {
	case now.Index == d.device.Load().Index:
		d.device.Store(&now)
	case now.Index == 0 || d.checkDevice(now) != nil || d.rebind(now) != nil:
		// The sockets that are there are bound to nothing. If the device was gone again before they could be bound to it, there is news of
		// that to come.
		d.device.Store(&sockets.Device{Name: d.conf.Device})
	}
	d.tell()
}

// rebind follows the name to another device. A socket in a group cannot be bound again.
func (d *Driver) rebind(dev sockets.Device) error {
	if len(d.queues) > 1 {
		for _, q := range d.queues {
			if err := q.replace(dev.MTU); err != nil {
				return err
			}
		}
	}
	if d.stolen != nil {
		if err := d.stolen.install(dev.Index); err != nil {
			return err
		}
	}
	return d.bind(dev)
}

// tell makes Changed have an element.
func (d *Driver) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// SetFilter sets what frames to receive from now on; nil is all of them. Those that wait in the rings stay.
func (d *Driver) SetFilter(f *Filter) error {
	program, err := f.program(receive)
	if err != nil {
		return fmt.Errorf("afpacket: Filter: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return net.ErrClosed
	}
	d.filter = program
	for _, q := range d.queues {
		if err := q.attach(program); err != nil {
			return err
		}
	}
	return nil
}

// SetSteal sets what frames to keep from the kernel's own stack from now on; nil is none.
func (d *Driver) SetSteal(f *Filter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return net.ErrClosed
	}
	return d.setSteal(f, d.device.Load().Index)
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.faces }

// Link implements [driver.Driver].
func (d *Driver) Link() driver.Link {
	dev := d.device.Load()
	return driver.Link{
		Name: dev.Name, MAC: ethernet.MAC(dev.MAC), MTU: dev.MTU, Up: dev.Index != 0 && dev.Up,
		Offloads: packet.Offloads(d.offloads.Load()),
	}
}

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return d.changed }

// Stats implements [driver.Driver].
func (d *Driver) Stats() driver.Stats {
	var s driver.Stats
	for _, q := range d.queues {
		q.addStats(&s)
	}
	return s
}

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	var err error
	if d.watch != nil {
		err = d.watch.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		q.close()
	}
	if d.stolen != nil {
		err = errors.Join(err, d.stolen.close())
		d.stolen = nil
	}
	d.space.close()
	return err
}
