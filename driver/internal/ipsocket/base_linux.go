package ipsocket

// What all queues of a driver have in common: pools, and the network device.

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
)

// Config says what a driver's own Config does, checked by a [Check], and what the base is to call.
type Config struct {
	Driver      string     // its name, which errors begin with
	Local       netip.Addr // invalid: any
	Device      string     // "": any
	Pool        *packet.Pool
	Superframes *packet.Pool
	Large       int // buffers of the pool for superframes, if there is none
	InnerMTU    int // bytes; 0: what Overhead leaves of the device's MTU
	Overhead    int // bytes that the headers of a tunnel take

	// Fit is called with the device's MTU in bytes, 0 if there is no one device: by Open, and by a goroutine of the base's when it has
	// changed. It may be nil.
	Fit func(mtu int)

	// Rebind is called when Device has been away: what was bound to it needs BindToDevice again. Not before Ready.
	Rebind func()
}

// Base is the part of a driver that is not about packets.
type Base struct {
	Pool        *packet.Pool
	Superframes *packet.Pool
	Local       [4]byte // zero for any

	config Config
	watch  *sockets.Watch
	inner  atomic.Uint32
	ready  atomic.Bool
	closed atomic.Bool
	done   sync.Once
}

// Open watches the network device, and makes the pools that are missing.
func Open(c Config) (*Base, error) {
	b := &Base{config: c, Pool: c.Pool, Superframes: c.Superframes}
	if c.Local.IsValid() {
		b.Local = c.Local.As4()
	}
	name := c.Device
	if name == "" && c.Local.IsLoopback() {
		name = "lo" // it has one address of those that it answers for
	}
	var err error
	if b.watch, err = sockets.NewWatch(name, c.Local, b.deviceChanged); err != nil {
		return nil, fmt.Errorf("%s: the network device cannot be watched: %w", c.Driver, err)
	}
	if err := b.start(b.watch.Device()); err != nil {
		return nil, errors.Join(err, b.watch.Close())
	}
	return b, nil
}

func (b *Base) start(device sockets.Device) error {
	if b.config.Device != "" && device.Index == 0 {
		return fmt.Errorf("%s: Config.Device: there is no network device %q", b.config.Driver, b.config.Device)
	}
	b.fit(device.MTU)
	return b.makePools(device.MTU)
}

func (b *Base) makePools(mtu int) (err error) {
	const line = 64 // bytes of the processor's cache
	if b.Pool == nil {
		size := (packet.DefaultHeadroom + mtu + line - 1) &^ (line - 1)
		if b.Pool, err = packet.NewPool(packet.PoolConfig{Size: max(packet.DefaultSize, size)}); err != nil {
			return err
		}
	}
	if b.Superframes == nil {
		size := packet.DefaultHeadroom + gso.LargeSize
		b.Superframes, err = packet.NewPool(packet.PoolConfig{Buffers: b.config.Large, Size: size})
	}
	return err
}

// Ready says that Rebind may be called, as all sockets are open.
func (b *Base) Ready() { b.ready.Store(true) }

// deviceChanged takes it that the network device is another one, or has another MTU.
func (b *Base) deviceChanged(old, device sockets.Device) {
	b.fit(device.MTU)
	if b.config.Device != "" && device.Index != 0 && device.Index != old.Index && b.ready.Load() {
		b.config.Rebind()
	}
}

// fit sets what depends on the device's MTU.
func (b *Base) fit(mtu int) {
	if b.config.Fit != nil {
		b.config.Fit(mtu)
	}
	const usual = 1500 // of Ethernet, if there is no one device
	inner := b.config.InnerMTU
	if mtu == 0 {
		mtu = usual
	}
	if inner == 0 {
		inner = max(mtu-b.config.Overhead, 0)
	}
	b.inner.Store(uint32(inner))
}

// MTU is the device's, in bytes; 0 if there is no one device.
func (b *Base) MTU() int { return b.watch.Device().MTU }

// InnerMTU is that of tunnels of peers on the same machine, in bytes.
func (b *Base) InnerMTU() int { return int(b.inner.Load()) }

// BindToDevice binds a socket to Config.Device, if there is one. A socket that is bound already, as to a device that has gone, needs
// CAP_NET_RAW for it (sock_bindtoindex).
func (b *Base) BindToDevice(fd int) error {
	if b.config.Device == "" {
		return nil
	}
	if err := unix.BindToDevice(fd, b.config.Device); err != nil {
		return fmt.Errorf("Config.Device %q: %w", b.config.Device, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err))
	}
	return nil
}

// Link is as driver.Driver has it. Name and MTU are those of the device that has Config.Local, or is Config.Device.
func (b *Base) Link(offloads packet.Offloads) driver.Link {
	l := driver.Link{Raw: true, Up: true, Offloads: offloads}
	if b.config.Device != "" || b.Local != [4]byte{} {
		device := b.watch.Device()
		l.Name, l.MTU, l.Up = device.Name, min(device.MTU, MaxPacket), device.Up
	}
	return l
}

// Changed is as driver.Driver has it.
func (b *Base) Changed() <-chan struct{} { return b.watch.Changed() }

// Closed reports whether Close was called.
func (b *Base) Closed() bool { return b.closed.Load() }

// Close ends the watch, and has the queues closed; the first call does both, and others wait for it.
func (b *Base) Close(queues func() error) error {
	var err error
	b.done.Do(func() {
		b.closed.Store(true)
		err = errors.Join(b.watch.Close(), queues())
	})
	return err
}
