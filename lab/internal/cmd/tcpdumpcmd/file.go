package tcpdumpcmd

// Capture files: reading, and writing as tcpdump -w does, which is pcap and not pcapng.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/lab/internal/pcapfilter"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// file is a capture file that is read.
type file struct {
	f     io.ReadCloser
	r     *pcapfile.Reader
	first packet
	err   error // that of reading first
	begun bool
	link  linkType
}

// brokenFile says that a file ends too early, or is no capture from some point on.
type brokenFile struct{ err error }

func (e *brokenFile) Error() string {
	if errors.Is(e.err, io.ErrUnexpectedEOF) {
		return "truncated dump file"
	}
	return e.err.Error()
}

// openFile opens a capture file.
func openFile(p *proc.Proc, name string) (*file, error) {
	f, err := p.Open(name)
	if err != nil {
		return nil, fmt.Errorf("tcpdump: %s: %s", name, words.Strerror(err))
	}
	r, err := pcapfile.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tcpdump: %w", &brokenFile{err}), f.Close())
	}
	s := &file{f: f, r: r, link: linkEthernet}
	s.first, s.err = s.read() // for pcapng tells of its interfaces no sooner
	if all := r.Interfaces(); len(all) > 0 {
		s.link = linkType(all[0].LinkType)
	}
	switch s.link {
	case linkEthernet, linkRaw, linkIPv4, linkCooked:
		return s, nil
	}
	return nil, errors.Join(fmt.Errorf("tcpdump: %s: link type %s is not supported in the lab", name, s.link), f.Close())
}

// snapLen returns what the file says about how much of packets there is.
func (s *file) snapLen() int {
	if all := s.r.Interfaces(); len(all) > 0 && all[0].SnapLen > 0 {
		return int(all[0].SnapLen)
	}
	return maxSnapLen
}

// read reads a packet, whose bytes are the reader's.
func (s *file) read() (packet, error) {
	k, err := s.r.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = &brokenFile{err}
		}
		return packet{}, err
	}
	return packet{at: k.Time, bytes: k.Data, wireLen: k.WireLen}, nil
}

func (s *file) linkType() linkType { return s.link }

func (s *file) config() pcapfilter.Config {
	return pcapfilter.Config{Link: s.link.forFilter(), File: true}
}

func (s *file) next() (packet, error) {
	if !s.begun {
		s.begun = true
		return s.first, s.err
	}
	return s.read()
}

func (s *file) close() error { return s.f.Close() }

// writer writes a pcap file.
type writer struct{ w io.WriteCloser }

// Magic number and version of pcap files with microseconds (draft-ietf-opsawg-pcap).
const pcapMagic, pcapMajor, pcapMinor = 0xa1b2c3d4, 2, 4

func newWriter(p *proc.Proc, name string, snapLen int, link linkType) (*writer, error) {
	f, err := create(p, name)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, pcapMagic)
	b = le.AppendUint16(b, pcapMajor)
	b = le.AppendUint16(b, pcapMinor)
	b = append(b, make([]byte, 8)...) // time zone and accuracy, always 0
	b = le.AppendUint32(b, uint32(snapLen))
	b = le.AppendUint32(b, uint32(link))
	_, err = f.Write(b)
	return &writer{w: f}, err
}

// packet writes a packet at once, as with -U.
func (w *writer) packet(k packet) error {
	le := binary.LittleEndian
	b := le.AppendUint32(make([]byte, 0, 16+len(k.bytes)), uint32(k.at.Unix()))
	b = le.AppendUint32(b, uint32(k.at.Nanosecond()/1000))
	b = le.AppendUint32(b, uint32(len(k.bytes)))
	b = le.AppendUint32(b, uint32(k.wireLen))
	_, err := w.w.Write(append(b, k.bytes...))
	return err
}

func (w *writer) close() error { return w.w.Close() }
