package rawip

// The driver: its sockets, and what the contract asks for but for receiving and sending.

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/gso"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/packet"
)

// Driver is a way by raw sockets; see [New].
type Driver struct {
	config      Config
	pool        *packet.Pool
	superframes *packet.Pool
	local       [4]byte // zero for any
	watch       *sockets.Watch
	queues      []driver.Queue
	own         []*queue
	ready       atomic.Bool // all sockets are open
	closed      atomic.Bool
	done        sync.Once
	inner       atomic.Uint32 // MTU of peers' tunnels
}

var _ driver.Driver = (*Driver)(nil)

// queue is one socket.
type queue struct {
	d    *Driver
	conn *sockets.Conn
	rx   receiver
	tx   sender
}

var _ driver.Queue = (*queue)(nil)

// New opens the sockets. The error says so if the process has not got CAP_NET_RAW in its network namespace.
func New(c Config) (*Driver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{config: c}
	if c.Local.IsValid() {
		d.local = c.Local.As4()
	}
	name := c.Device
	if name == "" && c.Local.IsLoopback() {
		name = "lo" // it has one address of those that it answers for
	}
	if d.watch, err = sockets.NewWatch(name, c.Local, d.deviceChanged); err != nil {
		return nil, fmt.Errorf("rawip: the network device cannot be watched: %w", err)
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
		return fmt.Errorf("rawip: Config.Device: there is no network device %q", d.config.Device)
	}
	if err := d.makePools(device.MTU); err != nil {
		return err
	}
	d.fit(device)
	for i := range d.config.Queues {
		q := &queue{d: d}
		fd, err := d.socket(i)
		if err != nil {
			return err
		}
		q.rx.init(q)
		q.tx.init(q)
		if q.conn, err = sockets.New(fd, "rawip", q.rx.read, q.tx.write); err != nil {
			return fmt.Errorf("rawip: %w", err)
		}
		d.own, d.queues = append(d.own, q), append(d.queues, q)
	}
	d.ready.Store(true)
	return nil
}

func (d *Driver) makePools(mtu int) (err error) {
	if d.pool = d.config.Pool; d.pool == nil {
		size := (packet.DefaultHeadroom + mtu + 63) &^ 63 // whole cache lines
		if d.pool, err = packet.NewPool(packet.PoolConfig{Size: max(packet.DefaultSize, size)}); err != nil {
			return err
		}
	}
	if d.superframes = d.config.Superframes; d.superframes == nil {
		size := packet.DefaultHeadroom + gso.LargeSize
		d.superframes, err = packet.NewPool(packet.PoolConfig{Buffers: DefaultSuperframes, Size: size})
	}
	return err
}

// socket returns the socket of a queue.
func (d *Driver) socket(queue int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(d.config.Protocol))
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("rawip: raw sockets need CAP_NET_RAW: run as root, in a user namespace of one's own, or after "+
			"'setcap cap_net_raw+ep PROGRAM': %w", os.NewSyscallError("socket", err))
	case err != nil:
		return -1, fmt.Errorf("rawip: %w", os.NewSyscallError("socket", err))
	}
	if err := d.setUp(fd, queue); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("rawip: %w", err)
	}
	return fd, nil
}

func (d *Driver) setUp(fd, queue int) error {
	options := append(sockets.ReceiveBuffer(d.config.ReceiveBuffer), sockets.SendBuffer(d.config.SendBuffer)...)
	if err := sockets.SetOptions(fd, append(options,
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_HDRINCL, Value: 1, Text: "IP_HDRINCL"},
		sockets.Option{Level: unix.IPPROTO_IP, Name: unix.IP_RECVERR, Value: 1, Text: "IP_RECVERR"},
		sockets.Option{Level: unix.SOL_SOCKET, Name: unix.SO_BROADCAST, Value: 1, Text: "SO_BROADCAST"})); err != nil {
		return err
	}
	if d.config.Device != "" {
		if err := unix.BindToDevice(fd, d.config.Device); err != nil {
			return fmt.Errorf("Config.Device %q: %w", d.config.Device, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err))
		}
	}
	if d.local != [4]byte{} {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: d.local}); err != nil {
			return fmt.Errorf("Config.Local %v, which must be an address of this machine: %w", d.config.Local, os.NewSyscallError("bind", err))
		}
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", attach(fd, d.config.filter(queue)))
}

// deviceChanged takes it that the network device is another one, or has another MTU.
func (d *Driver) deviceChanged(old, device sockets.Device) {
	d.fit(device)
	if d.config.Device == "" || device.Index == 0 || device.Index == old.Index || !d.ready.Load() {
		return
	}
	for _, q := range d.own { // the sockets are bound to a device that is gone
		_ = q.conn.Control(func(fd int) error { return unix.BindToDevice(fd, d.config.Device) })
	}
}

// fit sets what depends on the device's MTU.
func (d *Driver) fit(device sockets.Device) {
	const usual = 1500 // of Ethernet, if there is no one device
	inner := d.config.InnerMTU
	switch {
	case inner != 0:
	case device.MTU != 0:
		inner = device.MTU - ipip.OverheadIP
	default:
		inner = usual - ipip.OverheadIP
	}
	d.inner.Store(uint32(max(inner, 0)))
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.queues }

// Link implements [driver.Driver]. Name and MTU are those of the device that has Config.Local, or is Config.Device.
func (d *Driver) Link() driver.Link {
	l := driver.Link{Raw: true, Up: true}
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

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	var err error
	d.done.Do(func() {
		d.closed.Store(true)
		err = d.watch.Close()
		for _, q := range d.own {
			err = errors.Join(err, q.close())
		}
	})
	return err
}

// close ends what waits, and gives back the buffers.
func (q *queue) close() error {
	q.rx.overflow.Count(q.conn)
	err := q.conn.Close()
	q.tx.mu.Lock() // of a Send under way
	defer q.tx.mu.Unlock()
	q.rx.mu.Lock()
	defer q.rx.mu.Unlock()
	q.rx.ring.Free()
	packet.FreeBatch(q.rx.ready)
	q.rx.ready = q.rx.ready[:0]
	return err
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() { q.conn.Interrupt() }
