package pcapfile

// This file: the pcapng writer: one section in little-endian order, interface descriptions with nanosecond timestamps,
// enhanced packet blocks.

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// WriterConfig describes the capture as a whole. The zero value is fine.
type WriterConfig struct {
	Application string // program that writes the file
	Comment     string // free text about the capture
}

// Writer writes one pcapng file. Output is buffered: call Flush at the end, or sooner for a reader at a pipe's other end.
type Writer struct {
	out    *bufio.Writer
	ifaces []Interface
	head   []byte // scratch for blocks, and for what precedes a packet's data
	tail   []byte // scratch for what follows it
	err    error  // first failed write; ends the file
}

const (
	resolNanos       = "\x09" // if_tsresol: 10^-9 s
	maxOptionBytes   = math.MaxUint16
	packetBlockFixed = 28                                             // from the block type up to the data
	maxTimeSeconds   = math.MaxUint64/uint64(time.Second) - uint64(1) // whole seconds that fit an unsigned nanosecond count
)

// NewWriter starts a pcapng file on out, which stays the caller's to close. It returns [ErrLimit] for a text of over
// 65535 bytes.
func NewWriter(out io.Writer, config WriterConfig) (*Writer, error) {
	w := &Writer{out: bufio.NewWriterSize(out, bufferBytes)}
	if n := max(len(config.Application), len(config.Comment)); n > maxOptionBytes {
		return nil, fmt.Errorf("pcapfile: Application or Comment of %d bytes, at most %d: %w", n, maxOptionBytes, ErrLimit)
	}
	le := binary.LittleEndian
	b := beginBlock(nil, blockSection)
	b = le.AppendUint32(b, byteOrderMagic)
	b = le.AppendUint16(b, 1) // version 1.0
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, math.MaxUint64) // section length not given
	b = appendOption(b, optComment, config.Comment)
	b = appendOption(b, optApplication, config.Application)
	b = le.AppendUint32(b, optEnd)
	w.put(endBlock(b))
	return w, w.err
}

// AddInterface describes an interface and returns its number for WritePacket; the first is 0. It returns [ErrLimit] for
// too many interfaces or a text longer than [MaxNameBytes], or the error of the underlying writer.
func (w *Writer) AddInterface(i Interface) (int, error) {
	if len(w.ifaces) == MaxInterfaces {
		return 0, fmt.Errorf("pcapfile: more than %d interfaces: %w", MaxInterfaces, ErrLimit)
	}
	if n := max(len(i.Name), len(i.Description)); n > MaxNameBytes {
		return 0, fmt.Errorf("pcapfile: Name or Description of %d bytes, at most %d: %w", n, MaxNameBytes, ErrLimit)
	}
	b := beginBlock(w.head[:0], blockInterface)
	b = binary.LittleEndian.AppendUint32(b, uint32(i.LinkType)) // upper half reserved
	b = binary.LittleEndian.AppendUint32(b, i.SnapLen)
	b = appendOption(b, optIfName, i.Name)
	b = appendOption(b, optIfDescr, i.Description)
	b = appendOption(b, optTSResol, resolNanos)
	b = binary.LittleEndian.AppendUint32(b, optEnd)
	w.head = endBlock(b)
	w.put(w.head)
	if w.err != nil {
		return 0, w.err
	}
	w.ifaces = append(w.ifaces, i)
	return len(w.ifaces) - 1, nil
}

// WritePacket writes a packet captured at t on an interface of AddInterface. The zero Time is written as the Unix epoch.
// wireLen is the packet's length on the wire, 0 for len(data). It keeps no reference to data and does not allocate.
//
// It returns [ErrInterface], [ErrPacketTooLarge], [ErrTime] or, for a wireLen below len(data) or data longer than the
// interface's SnapLen, [ErrLimit], all without effect on the file; or the error of the underlying writer, for good.
func (w *Writer) WritePacket(iface int, t time.Time, data []byte, wireLen int) error {
	return w.WritePacketComment(iface, t, data, wireLen, "")
}

// WritePacketComment is WritePacket with a remark that Wireshark shows beside the packet; "" is none. It also returns
// [ErrLimit] for a comment of over 65535 bytes.
func (w *Writer) WritePacketComment(iface int, t time.Time, data []byte, wireLen int, comment string) error {
	if wireLen == 0 {
		wireLen = len(data)
	}
	if err := w.check(iface, data, wireLen, comment); err != nil {
		return err
	}
	ts, err := timestamp(t)
	if err != nil {
		return err
	}

	le := binary.LittleEndian
	tail := append(w.tail[:0], "\x00\x00\x00"[:padding(len(data))]...)
	if comment != "" {
		tail = appendOption(tail, optComment, comment)
		tail = le.AppendUint32(tail, optEnd)
	}
	length := uint32(packetBlockFixed + len(data) + len(tail) + 4)
	w.tail = le.AppendUint32(tail, length)

	b := le.AppendUint32(w.head[:0], blockEnhancedPacket)
	b = le.AppendUint32(b, length)
	b = le.AppendUint32(b, uint32(iface))
	b = le.AppendUint32(b, uint32(ts>>32))
	b = le.AppendUint32(b, uint32(ts))
	b = le.AppendUint32(b, uint32(len(data)))
	w.head = le.AppendUint32(b, uint32(wireLen))

	w.put(w.head)
	w.put(data)
	w.put(w.tail)
	return w.err
}

// Flush hands everything written so far to the underlying writer and returns the first error it ever gave.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

func (w *Writer) check(iface int, data []byte, wireLen int, comment string) error {
	switch {
	case iface < 0 || iface >= len(w.ifaces):
		return fmt.Errorf("pcapfile: interface %d of %d: %w", iface, len(w.ifaces), ErrInterface)
	case len(data) > MaxPacketBytes:
		return fmt.Errorf("pcapfile: data of %d bytes: %w", len(data), ErrPacketTooLarge)
	case wireLen < len(data) || wireLen > math.MaxInt32:
		return fmt.Errorf("pcapfile: wireLen %d, data of %d bytes: %w", wireLen, len(data), ErrLimit)
	case len(comment) > maxOptionBytes:
		return fmt.Errorf("pcapfile: comment of %d bytes, at most %d: %w", len(comment), maxOptionBytes, ErrLimit)
	}
	if snap := w.ifaces[iface].SnapLen; snap != 0 && uint64(len(data)) > uint64(snap) {
		return fmt.Errorf("pcapfile: data of %d bytes, SnapLen of interface %d is %d: %w", len(data), iface, snap, ErrLimit)
	}
	return nil
}

// timestamp returns t in nanoseconds since 1970. Unlike Time.UnixNano it uses all 64 bits.
func timestamp(t time.Time) (uint64, error) {
	if t.IsZero() {
		return 0, nil
	}
	seconds := t.Unix()
	if seconds < 0 || uint64(seconds) > maxTimeSeconds {
		return 0, fmt.Errorf("pcapfile: time %s: %w", t, ErrTime)
	}
	return uint64(seconds)*uint64(time.Second) + uint64(t.Nanosecond()), nil
}

func (w *Writer) put(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

// beginBlock appends a block's type and room for its length, which endBlock fills in.
func beginBlock(b []byte, kind uint32) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(kind))
}

// endBlock ends the block that b consists of.
func endBlock(b []byte) []byte {
	length := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], length)
	return binary.LittleEndian.AppendUint32(b, length)
}

// appendOption appends an option with its padding, nothing for an empty value.
func appendOption(b []byte, code uint16, value string) []byte {
	if value == "" {
		return b
	}
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, "\x00\x00\x00"[:padding(len(value))]...)
}
