package tuntap

import (
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// NewOver returns a driver with one queue over any descriptor that keeps the boundaries of messages, in place of a device. It has a
// header of vnethdr.LenTunnel bytes, and offloads.
func NewOver(fd int, c Config, offloads packet.Offloads) (*Driver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{config: c, changed: make(chan struct{}, 1), done: make(chan struct{}), ports: make(chan struct{})}
	q := &queue{d: d, wake: make(chan struct{}, 1)}
	d.queues = []driver.Queue{q}
	p, err := newPort(q, fd, "test", features{offloads: offloads, headerLen: vnethdr.LenTunnel})
	q.port.Store(p)
	return d, err
}
