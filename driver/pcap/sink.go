package pcap

// The sending side: a pcapng file.

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

type sink struct {
	driver *Driver

	mu     sync.Mutex
	file   *pcapfile.Writer // nil if there is no Writer
	face   int
	closed bool
}

// open starts the file.
func (s *sink) open(d *Driver) error {
	s.driver = d
	if d.config.Writer == nil {
		return nil
	}
	file, err := pcapfile.NewWriter(d.config.Writer, pcapfile.WriterConfig{Application: application})
	if err != nil {
		return fmt.Errorf("pcap: %w", err)
	}
	face := pcapfile.Interface{Name: d.config.Name, LinkType: pcapfile.LinkEthernet, SnapLen: uint32(d.config.SnapLen)}
	if d.raw {
		face.LinkType = pcapfile.LinkRaw
	}
	if s.face, err = file.AddInterface(face); err == nil {
		err = file.Flush()
	}
	if err != nil {
		return fmt.Errorf("pcap: Config.Writer: %w", err)
	}
	s.file = file
	return nil
}

// send writes packets, and counts them when they are written.
func (s *sink) send(batch []*packet.Buffer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer packet.FreeBatch(batch)
	var first error
	packets, bytes, now := 0, 0, s.driver.config.Now()
	for _, b := range batch {
		if b == nil {
			continue
		}
		n := b.Len()
		if err := s.write(b, now); err != nil {
			s.refused(err, 1)
			if first == nil {
				first = err
			}
			continue
		}
		packets++
		bytes += n
	}
	if err := s.flush(); err != nil && packets > 0 {
		s.refused(err, packets)
		if first == nil {
			first = err
		}
		return first
	}
	s.driver.stats.txPackets.Add(uint64(packets))
	s.driver.stats.txBytes.Add(uint64(bytes))
	return first
}

func (s *sink) refused(err error, packets int) {
	if errors.Is(err, net.ErrClosed) {
		s.driver.stats.txDropped.Add(uint64(packets))
		return
	}
	s.driver.stats.txErrs.Add(uint64(packets))
}

// write writes one packet, with what its metadata say put into it.
func (s *sink) write(b *packet.Buffer, now time.Time) error {
	if s.closed {
		return net.ErrClosed
	}
	if err := s.complete(b); err != nil {
		return err
	}
	p := b.Bytes()
	if len(p) > pcapfile.MaxPacketBytes {
		return driver.ErrTooLong
	}
	if s.file == nil {
		return nil
	}
	kept := p
	if snap := s.driver.config.SnapLen; snap > 0 {
		kept = p[:min(snap, len(p))]
	}
	return s.file.WritePacket(s.face, now, kept, len(p))
}

func (s *sink) complete(b *packet.Buffer) error {
	switch {
	case b.IsSuperframe() || s.driver.raw && b.HasVLAN():
		return driver.ErrMetadata
	case b.Len() == 0 || !s.driver.raw && b.Len() < ethernet.HeaderLen:
		return driver.ErrShort
	}
	if err := b.CompleteChecksum(); err != nil {
		return err
	}
	return b.InsertVLAN()
}

func (s *sink) flush() error {
	if s.file == nil {
		return nil
	}
	return s.file.Flush()
}

func (s *sink) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	err := s.flush()
	if w := s.driver.config.Writer; w != nil {
		err = errors.Join(err, closeFile(w))
	}
	return err
}
