// Package driver is the contract between an engine's ports and the ways that packets take in and out of a program: packet
// sockets, TUN and TAP devices, UDP and raw sockets, capture files, or memory.
//
//	            ┌───────────── Driver ─────────────┐
//	wire ──────▶│ Queue 0: Receive ────▶ a batch of │──▶ Engine.Process
//	            │          Send    ◀──── buffers    │◀── Output
//	            │ Queue 1: …                        │
//	            │ Link, Changed, Stats, Close       │
//	            └───────────────────────────────────┘
//
// The packages below this one each are one way; package drivertest has the tests that they all pass, package runner binds
// drivers to an engine and runs it. A program that only wants packets, such as a collector of mirrored traffic, uses a driver
// by itself:
//
//	for batch := make([]*packet.Buffer, driver.BatchSize); ; {
//		n, err := d.Queues()[0].Receive(batch, driver.Forever)
//		if err != nil {
//			return err // net.ErrClosed after Close, io.EOF at the end of a capture file
//		}
//		for _, b := range batch[:n] {
//			…
//			b.Free()
//		}
//	}
package driver

import (
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// BatchSize is a good length for a batch: as many packets as an engine resolves together.
const BatchSize = 64

// Forever is for Receive and Wait to wait as long as it takes.
const Forever time.Duration = -1

// Driver is a way that packets take in and out of a program. Its methods may be called at any time by any goroutine.
//
// What a driver cannot do on this machine is said by the function that makes it: an error that names the capability, the kernel
// version or the device that is missing, and is [errors.ErrUnsupported] if no privilege would help.
type Driver interface {
	// Queues returns the driver's queues, at least one, the same ones at each call. Packets of one flow come by one queue, in
	// their order.
	Queues() []Queue

	// Link returns what the device is now.
	Link() Link

	// Changed returns a channel that has an element when Link has changed since the last one was taken; nil if that never
	// happens. It has one reader.
	Changed() <-chan struct{}

	// Stats returns the counters of all queues.
	Stats() Stats

	// Close ends the driver and gives back all that it holds. Calls under way, and later ones, return net.ErrClosed; a second
	// Close does nothing. Buffers that were received stay the caller's.
	Close() error
}

// Queue is where packets come and go. One goroutine at a time receives; where it does not wait, another one may be in Wait. Send may be
// called by several at once.
type Queue interface {
	// Receive waits for packets, at most as long as wait says: 0 is not at all, [Forever] until there are some. It fills batch
	// from the front and returns how many there are, 0 without an error if the time is over, or [Queue.Interrupt] was called.
	// What was in batch is overwritten; an empty one takes nothing and returns at once. The buffers are the caller's, who frees
	// them or hands them on; they come from the driver's pool, with the headroom that it was told to leave. Packets that come while
	// the pool is empty may wait in the device or be lost, and are counted then; it is for those behind them as if nothing had
	// happened.
	//
	// Packets are Ethernet frames, or IPv4 packets if Link says Raw. What the device knows about them is in the buffers'
	// metadata: VLAN tags that it stripped, checksums not computed yet, superframes that are to be cut.
	//
	// Two errors are for good: net.ErrClosed after Close, and io.EOF if no packet will ever come again, as at the end of a capture
	// file. Others are about the moment, such as a device that is down, and wrap what the system said: to call again is right then,
	// and waits as long as it is told to while nothing has changed.
	Receive(batch []*packet.Buffer, wait time.Duration) (int, error)

	// Wait waits until a Receive with no wait may have packets or an error to return, at most as long as d says, which is as for
	// Receive. It takes nothing, and returns nil, whatever ended it; now and then for no reason. Beside it another goroutine may call
	// Receive with no wait, and may take what Wait would have returned for: whoever does so calls it until there is nothing more, as
	// Wait needs to notice only what comes, not what is left. Errors are as those of Receive, net.ErrClosed after Close.
	Wait(d time.Duration) error

	// Interrupt makes the Receive or Wait that waits, or else the next one that would, return at once if there are no packets. It is for
	// any goroutine; several before one of those are as one. A Receive with no wait leaves it to the next.
	Interrupt()

	// Send sends packets in their order. All buffers are the driver's from then on, and the batch's entries nil afterwards,
	// whatever becomes of them; those that are nil are skipped. A packet without metadata needs no headroom. Metadata that Link's
	// Offloads do not name is an error of the packet.
	//
	// Packets that cannot be sent, since the device is full, down, or refuses them, are dropped and counted; those behind them
	// are tried all the same. The error is that of the first: one of this package, such as [ErrTooLong], or the system's;
	// net.ErrClosed after Close. Send does not wait for a slow device longer than a few milliseconds.
	Send(batch []*packet.Buffer) error
}

// Link is what a driver's device is.
type Link struct {
	Name string       // of the device on this machine, "" if there is none
	Raw  bool         // packets have no Ethernet header
	MAC  ethernet.MAC // zero if the driver has none of its own
	MTU  int          // bytes of the IP packet that it sends and receives; 0 if there is no limit but the buffers
	Up   bool         // packets can pass: the device is up and has a carrier

	// Offloads are the metadata that Send takes; what they do not name must be in the packet's bytes.
	Offloads packet.Offloads
}

// Stats are a driver's counters, since it was made. Bytes are those of the packets as they are handed over. A packet that Receive
// returned is one RxPacket, one that Send was given is one TxPacket, TxDropped or TxError, a superframe like any other.
type Stats struct {
	RxPackets, RxBytes uint64
	RxDropped          uint64 // lost since nobody fetched them in time, or there was no buffer
	RxErrors           uint64 // unusable, such as cut off, or longer than a buffer

	TxPackets, TxBytes uint64
	TxDropped          uint64 // not sent since the device was full or down
	TxErrors           uint64 // not sent since the device refused them, such as too long
}
