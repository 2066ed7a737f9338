package udp

// The driver: its sockets, and what the contract asks for but for receiving and sending.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// Driver is a VTEP on UDP sockets; see [New].
type Driver struct {
	config Config
	pool   *packet.Pool
	local  [4]byte // zero for any
	watch  *sockets.Watch
	queues []driver.Queue
	own    []*queue
	ready  atomic.Bool // all sockets are open
	closed atomic.Bool
	done   sync.Once

	superframes *packet.Pool

	gso     atomic.Bool   // datagrams may be merged
	longest atomic.Uint32 // payload bytes of one that may be
	inner   atomic.Uint32 // MTU of the tunnels of peers on the same machine
}

var _ driver.Driver = (*Driver)(nil)

// queue is one receiving socket and those that send what the same goroutine has made of what came in.
type queue struct {
	d  *Driver
	rx receiver
	tx sender
}

var _ driver.Queue = (*queue)(nil)

// New opens the sockets. It returns an error that says so if the port is in use, as by a VXLAN device of the kernel's, or the address
// is not the machine's.
func New(c Config) (*Driver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{config: c, pool: c.Pool}
	if c.Local.IsValid() {
		d.local = c.Local.As4()
	}
	name := c.Device
	if name == "" && c.Local.IsLoopback() {
		name = "lo" // it has one address of those that it answers for
	}
	if d.watch, err = sockets.NewWatch(name, c.Local, d.deviceChanged); err != nil {
		return nil, fmt.Errorf("udp: the network device cannot be watched: %w", err)
	}
	if err := d.open(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// open opens all sockets; what is open if there is an error is for Close.
func (d *Driver) open() error {
	device := d.watch.Device()
	if d.config.Device != "" && device.Index == 0 {
		return fmt.Errorf("udp: Config.Device: there is no network device %q", d.config.Device)
	}
	if d.pool == nil {
		var err error
		size := packet.DefaultHeadroom + device.MTU
		d.pool, err = packet.NewPool(packet.PoolConfig{Size: max(packet.DefaultSize, (size+63)&^63)}) // whole cache lines
		if err != nil {
			return err
		}
	}
	if d.superframes = d.config.Superframes; d.superframes == nil {
		var err error
		size := packet.DefaultHeadroom + gso.LargeSize
		if d.superframes, err = packet.NewPool(packet.PoolConfig{Buffers: DefaultSuperframes, Size: size}); err != nil {
			return err
		}
	}
	d.gso.Store(!d.config.NoGSO)
	d.fit(device)
	for range d.config.Queues {
		q := &queue{d: d}
		if err := q.rx.open(d); err != nil {
			return err
		}
		d.own, d.queues = append(d.own, q), append(d.queues, q)
		if err := q.tx.open(d, q); err != nil {
			return err
		}
	}
	d.ready.Store(true)
	return nil
}

// socket returns a UDP socket bound to a port, with the options that all of the driver's have.
func (d *Driver) socket(port uint16, options []sockets.Option) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("udp: %w", os.NewSyscallError("socket", err))
	}
	err = d.setUp(fd, port, options)
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *Driver) setUp(fd int, port uint16, options []sockets.Option) error {
	if err := sockets.SetOptions(fd, options); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	if d.config.Device != "" {
		if err := unix.BindToDevice(fd, d.config.Device); err != nil {
			return fmt.Errorf("udp: Config.Device %q: %w", d.config.Device, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err))
		}
	}
	err := unix.Bind(fd, &unix.SockaddrInet4{Addr: d.local, Port: int(port)})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("udp: Config.Port %d of %v is in use, by a VXLAN device of the kernel's or by another program: %w",
			port, netip.AddrFrom4(d.local), os.NewSyscallError("bind", err))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("udp: Config.Local %v is no address of this machine: %w", d.config.Local, os.NewSyscallError("bind", err))
	case err != nil:
		return fmt.Errorf("udp: %w", os.NewSyscallError("bind", err))
	}
	return nil
}

// deviceChanged takes it that the network device is another one, or has another MTU.
func (d *Driver) deviceChanged(old, device sockets.Device) {
	d.fit(device)
	if d.config.Device == "" || device.Index == 0 || device.Index == old.Index || !d.ready.Load() {
		return
	}
	for _, q := range d.own { // the sockets are bound to a device that is gone
		rebind(q.rx.conn, d.config.Device)
		for i := range q.tx.sources {
			rebind(q.tx.sources[i].conn, d.config.Device)
		}
	}
}

// fit sets what depends on the device's MTU: the kernel does not fragment merged datagrams, and peers do not make packets in the
// tunnel that would need fragments.
func (d *Driver) fit(device sockets.Device) {
	const usual = 1500 // of Ethernet, if there is no one device
	inner, longest := d.config.InnerMTU, maxPacket
	if inner == 0 {
		inner = usual - vxlan.Overhead
	}
	if device.MTU != 0 {
		longest = device.MTU
	}
	if device.MTU != 0 && d.config.InnerMTU == 0 {
		inner = device.MTU - vxlan.Overhead
	}
	d.inner.Store(uint32(max(inner, 0)))
	d.longest.Store(uint32(max(longest-headers, 0)))
}

// rebind binds a socket to a device that has come back. Without CAP_NET_RAW the kernel does not allow it (sock_bindtoindex), and
// only new sockets would help.
func rebind(c *sockets.Conn, device string) {
	_ = c.Control(func(fd int) error { return unix.BindToDevice(fd, device) })
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.queues }

// Link implements [driver.Driver]. Name and MTU are those of the device that has Config.Local, or is Config.Device.
func (d *Driver) Link() driver.Link {
	l := driver.Link{Raw: true, Up: true, Offloads: packet.OffloadChecksum | packet.OffloadUDP4}
	if d.config.Device != "" || d.local != [4]byte{} {
		device := d.watch.Device()
		l.Name, l.MTU, l.Up = device.Name, min(device.MTU, maxPacket), device.Up
	}
	return l
}

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return d.watch.Changed() }

// Stats implements [driver.Driver]. RxDropped includes what the sockets had no room for.
func (d *Driver) Stats() driver.Stats {
	var s driver.Stats
	for _, q := range d.own {
		q.rx.addTo(&s)
		q.tx.addTo(&s)
	}
	return s
}

// GSO reports whether datagrams are merged when they are sent: not if Config.NoGSO is set, or the kernel cannot.
func (d *Driver) GSO() bool { return d.gso.Load() }

// GRO reports whether the kernel merges received datagrams.
func (d *Driver) GRO() bool { return len(d.own) > 0 && d.own[0].rx.gro }

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	var err error
	d.done.Do(func() {
		d.closed.Store(true)
		err = d.watch.Close()
		for _, q := range d.own {
			err = errors.Join(err, q.tx.close(), q.rx.close()) // in this order, as sending may find something to receive
		}
	})
	return err
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() { q.rx.conn.Interrupt() }
