package udp

// The driver: its sockets, and what the contract asks for but for receiving and sending.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/vxlan"
)

// Driver is a VTEP on UDP sockets; see [New].
type Driver struct {
	config Config
	base   *ipsocket.Base
	queues []driver.Queue
	own    []*queue // the same ones

	gso     atomic.Bool   // datagrams may be merged
	longest atomic.Uint32 // payload bytes of one that may be
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
	d := &Driver{config: c}
	d.gso.Store(!c.NoGSO)
	d.base, err = ipsocket.Open(ipsocket.Config{
		Driver: "udp", Local: c.Local, Device: c.Device, Pool: c.Pool, Superframes: c.Superframes, Large: DefaultSuperframes,
		InnerMTU: c.InnerMTU, Overhead: vxlan.Overhead, Fit: d.fit, Rebind: d.rebind,
	})
	if err != nil {
		return nil, err
	}
	for range c.Queues {
		if err := d.addQueue(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	d.base.Ready()
	return d, nil
}

// addQueue opens the sockets of a queue. What is open if there is an error is for Close.
func (d *Driver) addQueue() error {
	q := &queue{d: d}
	if err := q.rx.open(d); err != nil {
		return err
	}
	d.own, d.queues = append(d.own, q), append(d.queues, q)
	return q.tx.open(d, q)
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
	if err := d.base.BindToDevice(fd); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	err := unix.Bind(fd, &unix.SockaddrInet4{Addr: d.base.Local, Port: int(port)})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("udp: Config.Port %d of %v is in use, by a VXLAN device of the kernel's or by another program: %w",
			port, netip.AddrFrom4(d.base.Local), os.NewSyscallError("bind", err))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("udp: Config.Local %v is no address of this machine: %w", d.config.Local, os.NewSyscallError("bind", err))
	case err != nil:
		return fmt.Errorf("udp: %w", os.NewSyscallError("bind", err))
	}
	return nil
}

// rebind binds the sockets to a device that has come back. Where the kernel does not allow it only new sockets would help.
func (d *Driver) rebind() {
	for _, q := range d.own {
		_ = q.rx.Conn.Control(d.base.BindToDevice)
		for i := range q.tx.sources {
			_ = q.tx.sources[i].conn.Control(d.base.BindToDevice)
		}
	}
}

// fit sets how long datagrams may be that are merged, as the kernel does not fragment them. The MTU is the device's, in bytes; 0 if there
// is no one device.
func (d *Driver) fit(mtu int) {
	if mtu == 0 {
		mtu = ipsocket.MaxPacket
	}
	d.longest.Store(uint32(max(mtu-headers, 0)))
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.queues }

// Link implements [driver.Driver]. Name and MTU are those of the device that has Config.Local, or is Config.Device.
func (d *Driver) Link() driver.Link { return d.base.Link(packet.OffloadChecksum | packet.OffloadUDP4) }

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return d.base.Changed() }

// Stats implements [driver.Driver]. RxDropped includes what the sockets had no room for.
func (d *Driver) Stats() driver.Stats {
	var s driver.Stats
	for _, q := range d.own {
		q.rx.AddTo(&s)
		q.tx.Counts.AddSent(&s)
	}
	return s
}

// GSO reports whether datagrams are merged when they are sent: not if Config.NoGSO is set, or the kernel cannot.
func (d *Driver) GSO() bool { return d.gso.Load() }

// GRO reports whether the kernel merges received datagrams.
func (d *Driver) GRO() bool { return len(d.own) > 0 && d.own[0].rx.gro }

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	return d.base.Close(func() (err error) {
		for _, q := range d.own {
			err = errors.Join(err, q.tx.close(), q.rx.close()) // in this order, as sending may find something to receive
		}
		return err
	})
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() { q.rx.Interrupt() }
