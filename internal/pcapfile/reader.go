// Package pcapfile reads pcap and pcapng capture files as a stream and writes pcapng.
//
// The reader takes any [io.Reader], pipes included: it never seeks, never waits for more bytes than the packet at hand
// needs, allocates nothing per packet and holds at most one packet, the interface list and two fixed buffers, whatever
// the file claims. It is the package's own because gopacket's pcapng reader panics on a crafted if_tsresol option and
// allocates whatever a captured length field asks for (4 GiB for an 84-byte file).
//
// Neither Reader nor Writer is safe for concurrent use.
//
// Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng and the LINKTYPE_ registry of tcpdump.org.
package pcapfile

// This file: the exported types of both directions, the recognition of the format, and the classic pcap format.

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Limits on what a file may ask for. A file beyond one is refused with [ErrPacketTooLarge] or [ErrLimit].
const (
	MaxPacketBytes = 1 << 20  // captured bytes of one packet; four times tcpdump's MAXIMUM_SNAPLEN of 262144
	MaxBlockBytes  = 16 << 20 // one pcapng block, skipped ones too; libpcap's limit, so that a bad length is found early
	MaxInterfaces  = 16384    // interfaces of one file, all sections together
	MaxNameBytes   = 256      // kept of an interface's name or description; the Reader cuts longer ones
)

// Errors of this package. They arrive wrapped with the packet number and the byte offset, the field and its value.
var (
	ErrFormat         = errors.New("not a valid capture file")
	ErrVersion        = errors.New("unsupported version of the capture format")
	ErrPacketTooLarge = errors.New("packet larger than 1 MiB")
	ErrLimit          = errors.New("limit exceeded")
	ErrInterface      = errors.New("interface not described")
	ErrTime           = errors.New("time not between 1970 and 2554")
)

// LinkType says what a packet's first header is: a LINKTYPE_ value of https://www.tcpdump.org/linktypes.html.
type LinkType uint16

// The link types with a name here. Others are read and written all the same.
const (
	LinkNull      LinkType = 0
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // IPv4 or IPv6, by the version nibble
	LinkLoop      LinkType = 108
	LinkLinuxSLL  LinkType = 113
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276
)

// String returns the name tcpdump prints, such as EN10MB for Ethernet.
func (t LinkType) String() string {
	switch t {
	case LinkNull:
		return "NULL"
	case LinkEthernet:
		return "EN10MB"
	case LinkRaw:
		return "RAW"
	case LinkLoop:
		return "LOOP"
	case LinkLinuxSLL:
		return "LINUX_SLL"
	case LinkIPv4:
		return "IPV4"
	case LinkIPv6:
		return "IPV6"
	case LinkLinuxSLL2:
		return "LINUX_SLL2"
	}
	return fmt.Sprintf("LINKTYPE %d", uint16(t))
}

// Interface describes where packets were captured.
type Interface struct {
	Name        string // "" when the file gives none, as in classic pcap
	Description string
	LinkType    LinkType
	SnapLen     uint32 // most bytes captured of a packet; 0 is no limit
}

// Packet is one captured packet.
type Packet struct {
	Number    int       // position in the file, from 1
	Time      time.Time // UTC; zero if the file gives none, or one after the year 9999
	Data      []byte    // captured bytes; valid until the next call of Next
	WireLen   int       // bytes on the wire; more than len(Data) when the capture cut the packet, never less
	LinkType  LinkType
	Interface int // index into Reader.Interfaces, counted over all sections of the file
}

// Reader delivers the packets of one capture in file order.
type Reader struct {
	src   *bufio.Reader
	order binary.ByteOrder

	pcapng       bool
	recordHeader int   // pcap: bytes before each packet's data
	tick         int64 // pcap: nanoseconds in one unit of a timestamp's fraction

	ifaces  []iface
	section int // pcapng: index of the current section's first interface

	head   [24]byte // file, record or block header
	buf    []byte   // packet data or block body
	offset int64    // bytes consumed
	start  int64    // offset of the record or block being read
	number int      // packets delivered
	err    error    // what ended the stream; repeated by every later Next
}

type iface struct {
	Interface
	clock
}

const (
	bufferBytes     = 64 << 10
	magicBytes      = 4
	gzipMagic       = "\x1f\x8b" // RFC 1952 section 2.3.1
	pcapFileHeader  = 24
	pcapVersion     = 2<<16 | 4 // major, minor
	pcapRecord      = 16
	pcapRecordExtra = 8 // ifindex, protocol and packet type of the modified format; not used

	magicMicros   = 0xa1b2c3d4
	magicNanos    = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Kuznetzov's patched libpcap of early Red Hat systems
)

// NewReader recognises the format from the first bytes of src: pcap with microseconds, nanoseconds or the modified packet
// header, pcapng, in either byte order, and gzip of any of them. It buffers, so it reads ahead of the packets delivered.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{src: bufio.NewReaderSize(src, bufferBytes)}
	magic, err := r.src.Peek(magicBytes)
	if bytes.HasPrefix(magic, []byte(gzipMagic)) {
		plain, gzErr := gzip.NewReader(r.src)
		if gzErr != nil {
			return nil, fmt.Errorf("pcapfile: gzip header: %w", gzErr)
		}
		r.src = bufio.NewReaderSize(plain, bufferBytes)
		magic, err = r.src.Peek(magicBytes)
	}
	switch {
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%d bytes, too few for a magic number: %w", len(magic), io.ErrUnexpectedEOF)
	case err == nil:
		err = r.open(magic)
	}
	if err != nil {
		return nil, fmt.Errorf("pcapfile: file header: %w", err)
	}
	return r, nil
}

// open reads what a file begins with: the header of a pcap, the section header block of a pcapng.
func (r *Reader) open(magic []byte) error {
	if binary.BigEndian.Uint32(magic) == blockSection {
		r.pcapng = true
		_, body, err := r.readBlock()
		if err != nil {
			return err
		}
		return r.sectionHeader(body)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		r.order, r.recordHeader, r.tick = order, pcapRecord, int64(time.Microsecond)
		switch order.Uint32(magic) {
		case magicNanos:
			r.tick = 1
			return r.pcapHeader()
		case magicModified:
			r.recordHeader += pcapRecordExtra
			return r.pcapHeader()
		case magicMicros:
			return r.pcapHeader()
		}
	}
	return fmt.Errorf("first bytes %x, want pcap (a1b2c3d4, a1b23c4d or a1b2cd34 in either byte order),"+
		" pcapng (%08x) or gzip (%x): %w", magic, blockSection, gzipMagic, ErrFormat)
}

// pcapHeader reads the file header, draft-ietf-opsawg-pcap section 4.
func (r *Reader) pcapHeader() error {
	h := r.head[:pcapFileHeader]
	if err := r.read(h); err != nil {
		return err
	}
	major, minor := r.order.Uint16(h[4:]), r.order.Uint16(h[6:])
	if uint32(major)<<16|uint32(minor) != pcapVersion {
		return fmt.Errorf("pcap version %d.%d, want 2.4: %w", major, minor, ErrVersion)
	}
	link := LinkType(r.order.Uint32(h[20:])) // the upper half holds the length of a frame check sequence
	r.ifaces = []iface{{Interface: Interface{LinkType: link, SnapLen: r.order.Uint32(h[16:])}}}
	return nil
}

// Next returns the next packet. It returns [io.EOF] only where the file ends between packets; a file cut off elsewhere
// gives an error wrapping [io.ErrUnexpectedEOF], a broken one an error of this package, both after every packet before.
// After an error every call returns that error again.
func (r *Reader) Next() (Packet, error) {
	if r.err != nil {
		return Packet{}, r.err
	}
	var p Packet
	if r.pcapng {
		p, r.err = r.nextBlock()
	} else {
		p, r.err = r.nextRecord()
	}
	if r.err != nil {
		if !errors.Is(r.err, io.EOF) {
			r.err = fmt.Errorf("pcapfile: packet %d at byte %d: %w", r.number+1, r.start, r.err)
		}
		return Packet{}, r.err
	}
	r.number++
	p.Number = r.number
	return p, nil
}

// Interfaces returns the interfaces described so far: all for pcap, those before the last packet read for pcapng.
func (r *Reader) Interfaces() []Interface {
	list := make([]Interface, len(r.ifaces))
	for i := range r.ifaces {
		list[i] = r.ifaces[i].Interface
	}
	return list
}

// Offset returns the bytes consumed by the packets delivered so far, after decompression.
func (r *Reader) Offset() int64 { return r.offset }

// nextRecord reads a packet record, draft-ietf-opsawg-pcap section 5. A packet longer than the file's snaplen is taken:
// several capture tools write them.
func (r *Reader) nextRecord() (Packet, error) {
	r.start = r.offset
	h := r.head[:r.recordHeader]
	if err := r.read(h); err != nil {
		return Packet{}, err
	}
	seconds, fraction := r.order.Uint32(h), r.order.Uint32(h[4:])
	captured, wire := r.order.Uint32(h[8:]), r.order.Uint32(h[12:])
	if captured > MaxPacketBytes {
		return Packet{}, fmt.Errorf("captured length %d: %w", captured, ErrPacketTooLarge)
	}
	data, err := r.fill(int(captured))
	if err != nil {
		return Packet{}, err
	}
	return Packet{
		Time:     time.Unix(int64(seconds), int64(fraction)*r.tick).UTC(),
		Data:     data,
		WireLen:  wireLen(wire, data),
		LinkType: r.ifaces[0].LinkType,
	}, nil
}

// read fills b. The end of the input is io.EOF at the start of a record or block and io.ErrUnexpectedEOF inside one.
func (r *Reader) read(b []byte) error {
	n, err := io.ReadFull(r.src, b)
	return r.consumed(n, err)
}

func (r *Reader) skip(n int) error {
	n, err := r.src.Discard(n)
	return r.consumed(n, err)
}

func (r *Reader) consumed(n int, err error) error {
	r.offset += int64(n)
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case r.offset == r.start:
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// fill reads n bytes into the reader's buffer.
func (r *Reader) fill(n int) ([]byte, error) {
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	return r.buf, r.read(r.buf)
}

// wireLen makes the length field of a packet usable: some tools write one below the captured length, and an int may
// have 32 bits.
func wireLen(field uint32, data []byte) int {
	return max(int(min(field, math.MaxInt32)), len(data))
}
