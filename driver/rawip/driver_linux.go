package rawip

// The driver: its sockets, and what the contract asks for but for receiving and sending.

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/ipsocket"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/ipip"
)

// Driver is a way by raw sockets; see [New].
type Driver struct {
	config Config
	base   *ipsocket.Base
	queues []driver.Queue
	own    []*queue // the same ones
}

var _ driver.Driver = (*Driver)(nil)

// queue is one socket, which the receiver owns.
type queue struct {
	d  *Driver
	rx receiver
	tx sender
}

var _ driver.Queue = (*queue)(nil)

// New opens the sockets. The error says so if the process has not got CAP_NET_RAW in its network namespace.
func New(c Config) (*Driver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{config: c}
	d.base, err = ipsocket.Open(ipsocket.Config{
		Driver: "rawip", Local: c.Local, Device: c.Device, Pool: c.Pool, Superframes: c.Superframes, Large: DefaultSuperframes,
		InnerMTU: c.InnerMTU, Overhead: ipip.OverheadIP, Rebind: d.rebind,
	})
	if err != nil {
		return nil, err
	}
	for i := range c.Queues {
		if err := d.addQueue(i); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	d.base.Ready()
	return d, nil
}

func (d *Driver) addQueue(i int) error {
	fd, err := d.socket(i)
	if err != nil {
		return err
	}
	q := &queue{d: d}
	q.tx.init(q)
	if err := q.rx.open(q, fd); err != nil {
		return err
	}
	d.own, d.queues = append(d.own, q), append(d.queues, q)
	return nil
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
	if err := d.base.BindToDevice(fd); err != nil {
		return err
	}
	if d.base.Local != [4]byte{} {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: d.base.Local}); err != nil {
			return fmt.Errorf("Config.Local %v, which must be an address of this machine: %w", d.config.Local, os.NewSyscallError("bind", err))
		}
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", attach(fd, d.config.filter(queue)))
}

// rebind binds the sockets to a device that has come back.
func (d *Driver) rebind() {
	for _, q := range d.own {
		_ = q.rx.Conn.Control(d.base.BindToDevice) // it may be gone again
	}
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.queues }

// Link implements [driver.Driver]. Name and MTU are those of the device that has Config.Local, or is Config.Device.
func (d *Driver) Link() driver.Link { return d.base.Link(0) }

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

// Close implements [driver.Driver].
func (d *Driver) Close() error {
	return d.base.Close(func() (err error) {
		for _, q := range d.own {
			err = errors.Join(err, q.rx.Close())
			q.tx.wait()
		}
		return err
	})
}

// Interrupt implements [driver.Queue].
func (q *queue) Interrupt() { q.rx.Interrupt() }
