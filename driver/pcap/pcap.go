// Package pcap is a driver whose packets come from a capture file and go to another: a node is fed what was recorded on a real
// network, as fast as it takes it or in the time that it took then, and what the node sends can be looked at with Wireshark.
//
// It reads pcap and pcapng, also compressed by gzip, also from a pipe while it is written, such as
//
//	tcpdump -w - -U | program
//
// and writes pcapng. Packets that the capture has only in part are of no use to a node: they are not delivered, but counted as
// RxErrors. At the end of the capture Receive returns io.EOF; sending goes on. Nothing is lost when packets are not fetched, or there
// are no buffers: the file waits.
package pcap

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/inbox"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

// LinkType says what packets start with.
type LinkType int

// The link types. Captures of others, such as Linux's 'any' device makes, are refused.
const (
	Auto     LinkType = iota // what the capture's first packet says; Ethernet if there is no capture
	Ethernet                 // frames
	Raw                      // IPv4 packets
)

// String returns the link type's name.
func (t LinkType) String() string {
	switch t {
	case Auto:
		return "auto"
	case Ethernet:
		return "Ethernet"
	case Raw:
		return "raw"
	}
	return fmt.Sprintf("LinkType(%d)", int(t))
}

// Config describes a driver. It needs a Reader or a Writer.
//
// New takes both over, unless it returns an error: Close closes those that are an [io.Closer].
type Config struct {
	// Reader is the capture to receive; nil if nothing is ever to come. It is read by a goroutine of its own.
	Reader io.Reader

	// Interface receives only what was captured on the interface with that name, or "#0" for the first in the file, "#1" for the
	// second. By default packets of all interfaces with the same link type are received.
	Interface string

	// LinkType says what packets start with. With Auto, New waits for the first packet of the capture.
	LinkType LinkType

	Speed float64 // 1 receives packets at the pace of their timestamps, 10 ten times as fast; 0 as fast as they are fetched
	Loops int     // how many times the capture is received; default 1, -1 for ever; others than 1 need a Reader that is an io.Seeker

	// Writer is where packets that are sent go, as pcapng, before Send returns; nil counts them only. Send waits for it however slow
	// it is, and Close for Send.
	Writer  io.Writer
	SnapLen int              // bytes kept of a packet that is sent; default all
	Now     func() time.Time // the timestamp of what one Send sends; default time.Now

	Name string       // for Link, and of the interface in the file that is written
	Pool *packet.Pool // to receive into, up to 128 packets ahead; default one of its own with packet's defaults
}

const (
	ahead       = 2 * driver.BatchSize // packets read ahead
	application = "culvert"
	maxName     = pcapfile.MaxNameBytes
)

// Driver is a pair of capture files, or one of them. It implements [driver.Driver].
type Driver struct {
	config Config
	raw    bool
	queue  queue
	faces  []driver.Queue
	source *source // nil if there is no Reader
	sink   sink
	stats  counters
	up     atomic.Bool
	once   sync.Once // Close
	err    error     // of Close
}

type counters struct {
	rxPackets, rxBytes, rxErrors          atomic.Uint64
	txPackets, txBytes, txDropped, txErrs atomic.Uint64
}

// New returns a driver for c. It reports every field of c that is out of range; or, with Auto, what is wrong with the capture up to
// its first packet, as an error of the reader or one that names the link type.
func New(c Config) (*Driver, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.defaults()
	if c.Pool == nil {
		var err error
		if c.Pool, err = packet.NewPool(packet.PoolConfig{}); err != nil {
			return nil, err
		}
	}
	d := &Driver{config: c, raw: c.LinkType == Raw}
	d.queue = queue{inbox.New(ahead), d}
	d.faces = []driver.Queue{&d.queue}
	d.up.Store(true)
	if c.Reader != nil {
		d.source = newSource(d)
		if c.LinkType == Auto {
			if err := d.source.peek(); err != nil {
				return nil, err
			}
			d.raw = d.source.raw
		}
	}
	if err := d.sink.open(d); err != nil {
		return nil, err
	}
	if d.source != nil {
		go d.source.run()
	}
	return d, nil
}

func (c *Config) defaults() {
	if c.Loops == 0 {
		c.Loops = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// check reports every field that is out of range.
func (c *Config) check() error {
	var errs []error
	if c.Reader == nil && c.Writer == nil {
		errs = append(errs, errors.New("pcap: Config.Reader and Config.Writer are both nil: want at least one"))
	}
	if c.Reader == nil && c.Interface != "" {
		errs = append(errs, fmt.Errorf("pcap: Config.Interface is %q, but Config.Reader is nil: want it empty", c.Interface))
	}
	if c.LinkType < Auto || c.LinkType > Raw {
		errs = append(errs, fmt.Errorf("pcap: Config.LinkType is %v: want Auto, Ethernet or Raw", c.LinkType))
	}
	if !(c.Speed >= 0) || c.Speed > maxSpeed {
		errs = append(errs, fmt.Errorf("pcap: Config.Speed is %v: want 0 for as fast as possible, or a factor up to %g", c.Speed, maxSpeed))
	}
	if c.Loops < -1 {
		errs = append(errs, fmt.Errorf("pcap: Config.Loops is %d: want a number, 0 for 1, or -1 for ever", c.Loops))
	}
	if _, ok := c.Reader.(io.Seeker); !ok && c.Reader != nil && c.Loops != 0 && c.Loops != 1 {
		errs = append(errs, fmt.Errorf("pcap: Config.Loops is %d, but Config.Reader is not an io.Seeker: want 1, or a file", c.Loops))
	}
	if c.SnapLen < 0 || c.SnapLen > pcapfile.MaxPacketBytes {
		errs = append(errs, fmt.Errorf("pcap: Config.SnapLen is %d: want 1 to %d bytes, or 0 for all", c.SnapLen, pcapfile.MaxPacketBytes))
	}
	if len(c.Name) > maxName {
		errs = append(errs, fmt.Errorf("pcap: Config.Name has %d bytes: want at most %d", len(c.Name), maxName))
	}
	return errors.Join(errs...)
}

const maxSpeed = 1e9 // a second in a nanosecond

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return d.faces }

// Link implements [driver.Driver].
func (d *Driver) Link() driver.Link {
	l := driver.Link{Name: d.config.Name, Raw: d.raw, Up: d.up.Load(), Offloads: packet.OffloadVLAN | packet.OffloadChecksum}
	if d.raw {
		l.Offloads = packet.OffloadChecksum
	}
	return l
}

// Changed implements [driver.Driver]: it is nil.
func (d *Driver) Changed() <-chan struct{} { return nil }

// Stats implements [driver.Driver].
func (d *Driver) Stats() driver.Stats {
	c := &d.stats
	return driver.Stats{
		RxPackets: c.rxPackets.Load(), RxBytes: c.rxBytes.Load(), RxErrors: c.rxErrors.Load(),
		TxPackets: c.txPackets.Load(), TxBytes: c.txBytes.Load(), TxDropped: c.txDropped.Load(), TxErrors: c.txErrs.Load(),
	}
}

// Close implements [driver.Driver]. Its error is that of closing Reader and Writer. A Reader that is no [io.Closer] and whose Read
// never returns keeps a goroutine.
func (d *Driver) Close() error {
	first := false
	d.once.Do(func() {
		first = true
		d.up.Store(false)
		d.queue.Close()
		if d.source != nil {
			d.err = d.source.close()
		}
		d.err = errors.Join(d.err, d.sink.close())
	})
	if first {
		return d.err
	}
	return nil
}

type queue struct {
	*inbox.Queue
	driver *Driver
}

// Receive implements [driver.Queue]. An error of the capture, such as bytes that make no sense, comes once, after the packets before;
// then io.EOF.
func (q *queue) Receive(batch []*packet.Buffer, wait time.Duration) (int, error) {
	n, err := q.Queue.Receive(batch, wait)
	if n > 0 {
		bytes := 0
		for _, b := range batch[:n] {
			bytes += b.Len()
		}
		q.driver.stats.rxPackets.Add(uint64(n))
		q.driver.stats.rxBytes.Add(uint64(bytes))
	}
	return n, err
}

// Send implements [driver.Queue]. Its error for the first packet not sent may also be that of Writer.
func (q *queue) Send(batch []*packet.Buffer) error { return q.driver.sink.send(batch) }
