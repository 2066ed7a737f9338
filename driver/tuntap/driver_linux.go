package tuntap

// The driver: the device's queues, its state, and what becomes of it while the driver is in use. It may be renamed, set down, moved
// to another network namespace, as container runtimes do, or deleted and made again.

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/sockets"
)

// Driver is a TUN or TAP device. It implements [driver.Driver].
type Driver struct {
	config Config
	multi  bool // the device has several queues, or could have

	queues  []driver.Queue
	changed chan struct{}
	done    chan struct{}
	closed  atomic.Bool
	end     sync.WaitGroup

	mu       sync.Mutex
	link     driver.Link
	features features
	busy     bool // the device is there again, but cannot be opened yet
	watch    *sockets.Watch
	netns    *netns        // where the device is, or was last
	ports    chan struct{} // closed when queues have got other ports
}

// New opens the device, which is made if there is none, in the network namespace of the calling thread. It needs CAP_NET_ADMIN,
// unless the device was made for the user before, and c asks for no attributes of it.
func New(c Config) (*Driver, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		config: c, multi: c.Queues > 1, changed: make(chan struct{}, 1), done: make(chan struct{}), ports: make(chan struct{}),
	}
	for range c.Queues {
		d.queues = append(d.queues, &queue{d: d, wake: make(chan struct{}, 1)})
	}
	if err := d.open(); err != nil {
		return nil, err
	}
	d.end.Go(d.follow)
	return d, nil
}

// open opens the device and begins to watch it.
func (d *Driver) open() error {
	ports, err := d.openPorts(d.config.Name)
	if err != nil {
		return err
	}
	if err := setUp(d.link.Name, d.config); err != nil {
		return errors.Join(err, closePorts(ports))
	}
	if d.watch, err = (*netns)(nil).watch(d.link.Name); err != nil {
		return errors.Join(fmt.Errorf("tuntap: watching device %s: %w", d.link.Name, err), closePorts(ports))
	}
	d.netns = currentNetns()
	d.usePorts(ports)
	d.look()
	return nil
}

// openPorts opens all queues of the device, and sets link, features and multi.
func (d *Driver) openPorts(name string) (ports []*port, err error) {
	defer func() {
		if err != nil {
			_ = closePorts(ports)
		}
	}()
	header := len(candidates(d.config.Kind, d.config.Without)) > 1
	for i, q := range d.queues {
		fd, actual, err := openQueue(d.config.Kind, name, d.multi, header)
		if err != nil && !d.multi && errors.Is(err, unix.EINVAL) {
			// The device may have been made with multi_queue, which must be said even by who wants one queue.
			if fd, actual, err = openQueue(d.config.Kind, name, true, header); err == nil {
				d.multi = true
			}
		}
		if err != nil {
			return ports, err
		}
		if i == 0 {
			name = actual
			if err := d.prepare(fd, name, header); err != nil {
				_ = unix.Close(fd)
				return ports, err
			}
		}
		p, err := newPort(q.(*queue), fd, name, d.features)
		if err != nil {
			return ports, fmt.Errorf("tuntap: device %s: %w", name, err)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// prepare sets up a device by its first queue.
func (d *Driver) prepare(fd int, name string, header bool) error {
	if err := checkFlags(fd, header); err != nil {
		return fmt.Errorf("tuntap: device %s: %w", name, err)
	}
	f, err := negotiate(fd, d.config.Kind, d.config.Without)
	if err != nil {
		return fmt.Errorf("tuntap: offloads of device %s: %w", name, err)
	}
	if d.config.Persist {
		if err := persist(fd); err != nil {
			return fmt.Errorf("tuntap: Persist: device %s: %w", name, err)
		}
	}
	d.features = f
	raw := d.config.Kind == TUN
	d.link.Name, d.link.Raw, d.link.Offloads = name, raw, f.offloads
	return nil
}

func closePorts(ports []*port) error {
	var faults []error
	for _, p := range ports {
		faults = append(faults, p.conn.Close())
	}
	return errors.Join(faults...)
}

// usePorts gives each queue its port, and closes those that they had. It needs mu, or nobody who knows the driver.
func (d *Driver) usePorts(ports []*port) {
	for _, p := range ports {
		if old := p.q.port.Swap(p); old != nil {
			_ = old.conn.Close()
		}
	}
	close(d.ports)
	d.ports = make(chan struct{})
}

// portsChanged returns a channel that is closed when queues have got other ports.
func (d *Driver) portsChanged() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ports
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return slices.Clone(d.queues) }

// Link implements [driver.Driver]. A TAP device's own address is that of the kernel's end, so MAC is zero.
func (d *Driver) Link() driver.Link {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link
}

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return d.changed }

// Stats implements [driver.Driver].
func (d *Driver) Stats() driver.Stats {
	var s driver.Stats
	for _, x := range d.queues {
		q := x.(*queue)
		q.received.AddReceived(&s)
		q.sent.AddSent(&s)
	}
	return s
}

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	close(d.done)
	d.end.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.netns.close()
	_ = d.queues[0].(*queue).port.Load().conn.Control(reset) // if the device is still there
	var faults []error
	if d.watch != nil {
		faults = append(faults, d.watch.Close())
	}
	for _, x := range d.queues {
		if err := x.(*queue).port.Load().conn.Close(); !errors.Is(err, net.ErrClosed) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// retryInterval is how often a device that is there again is tried, as whoever made it may still hold it: ip tuntap add does.
const retryInterval = 50 * time.Millisecond

// follow looks after the device until the driver is closed.
func (d *Driver) follow() {
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	for {
		d.mu.Lock()
		events, ticks := d.watch.Changed(), retry.C
		if !d.busy {
			ticks = nil
		}
		d.mu.Unlock()
		select {
		case <-d.done:
			return
		case <-events:
		case <-ticks:
		}
		d.mu.Lock()
		before := d.link
		d.look()
		if d.link != before {
			d.tell()
		}
		d.mu.Unlock()
	}
}

// tell says that link has changed.
func (d *Driver) tell() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// look finds out what has become of the device. It needs mu.
func (d *Driver) look() {
	name, err := d.currentName()
	dev := d.watch.Device()
	switch {
	case errors.Is(err, unix.EBADFD):
		d.link.Up = false
		d.busy = dev.Index != 0 && d.reopen() != nil
		if dev.Index == 0 || d.busy {
			return
		}
		dev = d.watch.Device()
	case err == nil && (name != d.link.Name || dev.Index == 0):
		d.chase(name)
		dev = d.watch.Device()
	}
	if dev.Index != 0 {
		d.link.MTU, d.link.Up = dev.MTU, dev.Up
	}
}

// currentName asks the first queue for the name of its device; EBADFD says that there is none any more.
func (d *Driver) currentName() (name string, err error) {
	p := d.queues[0].(*queue).port.Load()
	if e := p.conn.Control(func(fd int) error {
		name, err = nameOf(fd)
		return nil
	}); e != nil {
		return "", e
	}
	return name, err
}

// reopen opens a device that somebody has made in place of the one that is gone.
func (d *Driver) reopen() error {
	return d.netns.do(func() error {
		ports, err := d.openPorts(d.link.Name)
		if err != nil {
			return err
		}
		if err := setUp(d.link.Name, d.config); err != nil {
			return errors.Join(err, closePorts(ports))
		}
		d.usePorts(ports)
		return nil
	})
}

// chase watches the device under the name and in the network namespace that it has now. Where that is not allowed, the link stays
// as it was.
func (d *Driver) chase(name string) {
	p := d.queues[0].(*queue).port.Load()
	_ = p.conn.Control(func(fd int) error {
		ns, err := netnsOf(fd)
		if err != nil {
			return err
		}
		watch, err := ns.watch(name)
		if err != nil {
			ns.close()
			return err
		}
		_ = d.watch.Close()
		d.netns.close()
		d.watch, d.netns, d.link.Name = watch, ns, name
		return nil
	})
}
