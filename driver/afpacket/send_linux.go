package afpacket

// Sending: sendmmsg, with a virtio-net header in front of each frame.

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/internal/sockets"
	"github.com/culvert-net/culvert/internal/vnethdr"
	"github.com/culvert-net/culvert/packet"
)

// Why packets were not sent, or none is received. What the system said is wrapped.
var (
	errDown    = fmt.Errorf("afpacket: %w: %w", driver.ErrDown, unix.ENETDOWN)
	errFull    = fmt.Errorf("afpacket: %w: %w", driver.ErrFull, unix.ENOBUFS)
	errTooLong = fmt.Errorf("afpacket: %w: %w", driver.ErrTooLong, unix.EMSGSIZE)
	errGone    = fmt.Errorf("afpacket: the device is gone: %w", unix.ENODEV)
	errRefused = fmt.Errorf("afpacket: frame, or what its metadata say, refused by the kernel: %w", unix.EINVAL)
	errTag     = errors.New("afpacket: no room for the frame's VLAN tag")
)

// patience is how long one Send waits for a device that is full, in all.
const patience = 3 * time.Millisecond

// output is what Send works with.
type output struct {
	mu      sync.Mutex
	fd      int // -1 if it is not open
	batch   *sockets.Batch
	vnet    [driver.BatchSize * vnethdr.Len]byte // a header for each message
	buffers [driver.BatchSize]*packet.Buffer     // what is in each message
	lengths [driver.BatchSize]int                // as they were handed over
}

func (o *output) open() error {
	var err error
	o.batch = sockets.NewGather(driver.BatchSize, 2, false, 0)
	o.fd, err = openTX()
	return err
}

func (o *output) bind(index int) error { return bind(o.fd, index, nothing) }

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = unix.Close(o.fd)
}

// Send implements [driver.Queue].
func (q *queue) Send(batch []*packet.Buffer) error {
	q.out.mu.Lock()
	defer q.out.mu.Unlock()
	defer packet.FreeBatch(batch)
	if q.d.closed.Load() {
		return net.ErrClosed
	}
	s := sending{q: q, patience: patience}
	for len(batch) > 0 {
		var n int
		n, batch = s.gather(batch)
		s.send(n)
	}
	return s.first
}

// sending is one call of Send.
type sending struct {
	q        *queue
	patience time.Duration // that is left
	first    error
}

// gather makes messages of the packets at the front of batch, and returns how many there are, and what is left.
func (s *sending) gather(batch []*packet.Buffer) (n int, rest []*packet.Buffer) {
	o := &s.q.out
	offloads := packet.Offloads(s.q.d.offloads.Load())
	for i, b := range batch {
		if n == len(o.buffers) {
			return n, batch[i:]
		}
		if b == nil {
			continue
		}
		if err := o.put(n, b, offloads); err != nil {
			s.refuse(err)
			continue
		}
		n++
	}
	return n, nil
}

// put makes message i of a packet, which it changes.
func (o *output) put(i int, b *packet.Buffer, offloads packet.Offloads) error {
	o.buffers[i], o.lengths[i] = b, b.Len()
	if b.HasVLAN() && offloads.Has(packet.OffloadVLAN) && b.InsertVLAN() != nil {
		return errTag
	}
	header := o.vnet[i*vnethdr.Len:][:vnethdr.Len]
	switch err := (vnethdr.Format{}).Put(header, b, offloads); {
	case errors.Is(err, vnethdr.ErrOffload):
		return driver.ErrMetadata
	case err != nil:
		return err
	}
	if p, err := b.Prepend(vnethdr.Len); err == nil {
		copy(p, header)
		o.batch.Set(i, p)
		return nil
	}
	o.batch.Set(i, header)
	o.batch.Append(i, b.Bytes())
	return nil
}

// send sends the first n messages.
func (s *sending) send(n int) {
	o := &s.q.out
	for i := 0; i < n; {
		sent, errno := o.batch.Send(uintptr(o.fd), i, n)
		s.count(i, i+sent)
		i += sent
		switch errno {
		case 0:
		case unix.EAGAIN: // what waits in the socket is as much as it may be
			if !s.wait() {
				s.drop(n-i, errFull)
				return
			}
		case unix.ENOBUFS, unix.ENOMEM: // the device's queue is full, and has dropped the packet
			s.drop(1, errFull)
			i++
		case unix.ENETDOWN:
			s.drop(n-i, errDown)
			return
		case unix.ENXIO, unix.ENODEV:
			s.drop(n-i, errGone)
			return
		case unix.EMSGSIZE:
			s.refuse(errTooLong)
			i++
		default:
			s.q.d.distrust(o.buffers[i])
			s.refuse(errRefused)
			i++
		}
	}
}

// count counts the messages from i up to end as sent.
func (s *sending) count(i, end int) {
	o := &s.q.out
	bytes := 0
	for j := i; j < end; j++ {
		bytes += o.lengths[j]
		if o.buffers[j].IsSuperframe() {
			s.q.d.proven.Or(uint32(offloadOf(o.buffers[j])))
		}
	}
	s.q.sent.Pass(end-i, bytes)
}

// drop counts packets that the device had no room for, or that there was no device for.
func (s *sending) drop(n int, err error) {
	s.q.sent.Dropped.Add(uint64(n))
	s.fail(err)
}

// refuse counts a packet that cannot be sent.
func (s *sending) refuse(err error) {
	s.q.sent.Errors.Add(1)
	s.fail(err)
}

func (s *sending) fail(err error) {
	if s.first == nil {
		s.first = err
	}
}

// wait waits until there is room in the socket, and reports whether it is worth trying again.
func (s *sending) wait() bool {
	if s.patience <= 0 {
		return false
	}
	start := time.Now()
	fds := [1]unix.PollFd{{Fd: int32(s.q.out.fd), Events: unix.POLLOUT}}
	err := poll(fds[:], s.patience)
	s.patience -= time.Since(start)
	return err == nil
}

// kernelOffloads returns what the kernel can do. Whatever the device cannot, the kernel does in software.
func kernelOffloads() packet.Offloads {
	all := packet.OffloadVLAN | packet.OffloadChecksum | packet.OffloadTCP4 | packet.OffloadTCP6
	if kernelAtLeast(6, 2) { // include/linux/virtio_net.h: VIRTIO_NET_HDR_GSO_UDP_L4
		all |= packet.OffloadUDP4
	}
	return all
}

// kernelAtLeast reports whether the kernel is not older than a version.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	var a, b int
	if unix.Uname(&u) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// offloadOf returns what sends a superframe.
func offloadOf(b *packet.Buffer) packet.Offloads {
	switch t, _ := b.GSO(); t {
	case packet.GSOTCP4:
		return packet.OffloadTCP4
	case packet.GSOTCP6:
		return packet.OffloadTCP6
	case packet.GSOUDP4:
		return packet.OffloadUDP4
	}
	return packet.OffloadsNone
}

// distrust is told of a packet that the kernel refused. If that was a superframe, of a kind that it has never taken, it has got none of
// those to come.
func (d *Driver) distrust(b *packet.Buffer) {
	kind := uint32(offloadOf(b))
	if kind == 0 || d.proven.Load()&kind != 0 || d.offloads.Load()&kind == 0 {
		return
	}
	d.offloads.And(^kind)
	d.tell()
}
