package pcap

// The receiving side: a goroutine that reads the capture, keeps its pace and fills the inbox.

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

const ipVersion = 4

type source struct {
	driver *Driver
	config *Config
	done   chan struct{} // closed by close

	file   *pcapfile.Reader
	first  *pcapfile.Packet // what peek read
	raw    bool
	typed  bool // raw is known
	seen   bool // there was a packet of the interface that is wanted
	useful bool // there was something to deliver, and will be the next time through the capture
	loops  int  // that are over
	pace   pace
	timer  *time.Timer

	one    [1]*packet.Buffer
	buffer sync.Mutex // held while a buffer is out of the pool and not in the inbox
}

func newSource(d *Driver) *source {
	s := &source{driver: d, config: &d.config, done: make(chan struct{}), timer: time.NewTimer(time.Hour)}
	s.timer.Stop()
	s.pace.speed = d.config.Speed
	if t := d.config.LinkType; t != Auto {
		s.raw, s.typed = t == Raw, true
	}
	return s
}

// peek reads up to the first packet, for its link type.
func (s *source) peek() error {
	p, err := s.next()
	switch {
	case err == nil:
		s.first = &p
	case !errors.Is(err, io.EOF):
		return err
	case !s.typed: // no packet: what an interface says is as good
		return s.typeOfInterfaces()
	}
	return nil
}

func (s *source) typeOfInterfaces() error {
	for i, face := range s.file.Interfaces() {
		if s.wanted(i) {
			return s.setType(face.LinkType)
		}
	}
	return nil
}

// run reads until the end, or until close.
func (s *source) run() {
	for {
		p, err := s.take()
		if err == nil {
			err = s.deliver(p)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			s.driver.queue.End(nil, io.EOF)
			return
		default:
			s.driver.queue.End(err, io.EOF)
			return
		}
	}
}

// take returns the next packet that is to be delivered.
func (s *source) take() (pcapfile.Packet, error) {
	if p := s.first; p != nil {
		s.first = nil
		return *p, nil
	}
	return s.next()
}

// next reads the next packet of the interface that is wanted, from the start again if the loops are not over.
func (s *source) next() (pcapfile.Packet, error) {
	for {
		p, err := s.read()
		if err != nil {
			return p, err
		}
		if !s.wanted(p.Interface) {
			continue
		}
		if !s.seen {
			err = s.setType(p.LinkType)
			s.seen = true
		}
		return p, err
	}
}

// read reads the next packet of the file, whatever it is.
func (s *source) read() (pcapfile.Packet, error) {
	for {
		if s.file == nil {
			var err error
			if s.file, err = pcapfile.NewReader(s.config.Reader); err != nil {
				return pcapfile.Packet{}, fmt.Errorf("pcap: %w", err)
			}
		}
		p, err := s.file.Next()
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, io.EOF) {
			return p, fmt.Errorf("pcap: %w", err)
		}
		if err := s.rewind(); err != nil {
			return p, err
		}
	}
}

// rewind goes back to the start of the capture, or returns io.EOF if that was all, or there was nothing to repeat.
func (s *source) rewind() error {
	if s.config.Interface != "" && !s.seen {
		return fmt.Errorf("pcap: Config.Interface is %q, which no packet of the capture is from: it has %s", s.config.Interface, s.names())
	}
	s.loops++
	if !s.useful || s.config.Loops > 0 && s.loops >= s.config.Loops {
		return io.EOF
	}
	if _, err := s.config.Reader.(io.Seeker).Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("pcap: cannot read the capture again: %w", err)
	}
	s.file = nil
	s.pace.again()
	return nil
}

// wanted reports whether packets of an interface are to be received.
func (s *source) wanted(i int) bool {
	want := s.config.Interface
	if want == "" {
		return true
	}
	if faces := s.file.Interfaces(); i < len(faces) && faces[i].Name == want {
		return true
	}
	number, isNumber := strings.CutPrefix(want, "#")
	return isNumber && number == strconv.Itoa(i)
}

// names lists the interfaces of the capture, for an error.
func (s *source) names() string {
	var all []string
	for i, face := range s.file.Interfaces() {
		all = append(all, fmt.Sprintf("#%d %q", i, face.Name))
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (s *source) setType(t pcapfile.LinkType) error {
	raw, ok := isRaw(t)
	if !ok {
		return fmt.Errorf("pcap: the capture has link type %v: want Ethernet (EN10MB), RAW or IPV4; record it on one interface instead of 'any'", t)
	}
	if s.typed && raw != s.raw {
		return fmt.Errorf("pcap: the capture has link type %v, but Config.LinkType is %v: want it to be Auto", t, s.config.LinkType)
	}
	s.raw, s.typed = raw, true
	return nil
}

// isRaw reports whether packets of a link type are raw, and whether it is one that a driver can have.
func isRaw(t pcapfile.LinkType) (raw, ok bool) {
	switch t {
	case pcapfile.LinkEthernet:
		return false, true
	case pcapfile.LinkRaw, pcapfile.LinkIPv4:
		return true, true
	}
	return false, false
}

// deliver puts a packet into the inbox when it is its time. What is of no use is counted. The error is io.EOF after close.
func (s *source) deliver(p pcapfile.Packet) error {
	if !s.usable(p) {
		s.driver.stats.rxErrors.Add(1)
		return nil
	}
	s.useful = true
	if due := s.pace.due(p.Time); !due.IsZero() && !s.sleep(time.Until(due)) {
		return io.EOF
	}
	return s.put(p.Data)
}

// usable reports whether a packet is whole, and what Link says that packets are.
func (s *source) usable(p pcapfile.Packet) bool {
	raw, ok := isRaw(p.LinkType)
	switch {
	case !ok || raw != s.raw || len(p.Data) < p.WireLen:
		return false
	case raw:
		return len(p.Data) > 0 && p.Data[0]>>4 == ipVersion // LinkRaw has IPv6, too
	}
	return len(p.Data) >= ethernet.HeaderLen
}

// put copies a packet into the inbox, and waits for a buffer and for room there. The error is io.EOF after close.
func (s *source) put(data []byte) error {
	for {
		again, err := s.tryPut(data)
		if !again {
			return err
		}
		if !s.sleep(bufferPoll) {
			return io.EOF
		}
	}
}

const bufferPoll = time.Millisecond // how often an empty pool is asked again

func (s *source) tryPut(data []byte) (again bool, err error) {
	s.buffer.Lock()
	defer s.buffer.Unlock()
	select {
	case <-s.done:
		return false, io.EOF
	default:
	}
	b := s.config.Pool.Get()
	if b == nil {
		return true, nil
	}
	if b.SetBytes(data) != nil {
		s.driver.stats.rxErrors.Add(1)
		b.Free()
		return false, nil
	}
	s.one[0] = b
	if s.driver.queue.PutWait(s.one[:]) == 0 {
		b.Free()
		return false, io.EOF
	}
	return false, nil
}

// sleep waits, and reports false if the driver is closed meanwhile.
func (s *source) sleep(wait time.Duration) bool {
	if wait <= 0 {
		return true
	}
	s.timer.Reset(wait)
	select {
	case <-s.timer.C:
		return true
	case <-s.done:
		s.timer.Stop()
		return false
	}
}

// close ends run, at the latest when a Read returns, and takes care that it holds no buffer. The inbox is closed already.
func (s *source) close() error {
	close(s.done)
	s.buffer.Lock()
	defer s.buffer.Unlock()
	return closeFile(s.config.Reader)
}

// closeFile closes what can be closed.
func closeFile(f any) error {
	if c, ok := f.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// pace says when packets are due.
type pace struct {
	speed float64
	start time.Time     // when the first packet was due
	base  time.Time     // timestamp of the first packet of this time through the capture
	begun time.Duration // when this time through began, since start
	last  time.Duration // when the last packet was due, since start
}

// due returns when a packet is due, the zero time for at once. Timestamps that go back count as the one before.
func (p *pace) due(t time.Time) time.Time {
	if p.speed == 0 || t.IsZero() {
		return time.Time{}
	}
	if p.start.IsZero() {
		p.start = time.Now()
	}
	if p.base.IsZero() {
		p.base = t
	}
	after := min(float64(t.Sub(p.base))/p.speed, float64(farAway))
	p.last = max(p.last, p.begun+time.Duration(after))
	return p.start.Add(p.last)
}

const farAway = 100 * 365 * 24 * time.Hour // what a slow pace makes of wrong timestamps must not overflow

// again starts another time through the capture, its first packet at once with the last one of this.
func (p *pace) again() {
	p.base, p.begun = time.Time{}, min(p.last, farAway)
}
