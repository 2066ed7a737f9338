package pcapfile_test

// The writer against bytes laid out by hand, its refusals, and the round trip through the reader.

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

func TestWriterByHand(t *testing.T) {
	var out bytes.Buffer
	w, err := pcapfile.NewWriter(&out, pcapfile.WriterConfig{Application: "culvert", Comment: "lab"})
	require.NoError(t, err)
	n, err := w.AddInterface(pcapfile.Interface{Name: "eth0", Description: "up", LinkType: pcapfile.LinkEthernet, SnapLen: 262144})
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = w.AddInterface(pcapfile.Interface{LinkType: pcapfile.LinkRaw})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, w.WritePacket(0, time.Unix(0, 0x0d18c026_e35bcd15), []byte{1, 2, 3, 4, 5}, 64))
	require.NoError(t, w.WritePacketComment(1, time.Time{}, []byte{0x45}, 0, "why"))
	require.NoError(t, w.Flush())

	assert.Equal(t, unhex(`
		0a0d0d0a 34000000 4d3c2b1a 0100 0000 ffffffffffffffff       section header, 1.0, length not given
		0100 0300 6c616200  0400 0700 63756c76657274 00             opt_comment "lab", shb_userappl "culvert"
		0000 0000 34000000                                          opt_endofopt, length
		01000000 30000000 0100 0000 00000400                        interface: Ethernet, reserved, snaplen 262144
		0200 0400 65746830  0300 0200 7570 0000                     if_name "eth0", if_description "up"
		0900 0100 09 000000  0000 0000 30000000                     if_tsresol 10^-9
		01000000 20000000 6500 0000 00000000                        interface: raw IP
		0900 0100 09 000000  0000 0000 20000000
		06000000 28000000 00000000 26c0180d 15cd5be3                enhanced packet: interface 0, time
		05000000 40000000 0102030405 000000 28000000                5 of 64 bytes
		06000000 30000000 01000000 00000000 00000000                interface 1, time 0
		01000000 01000000 45 000000                                 1 of 1 byte
		0100 0300 77687900  0000 0000 30000000                      opt_comment "why"`), out.Bytes())
}

func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	_, err := pcapfile.NewWriter(io.Discard, pcapfile.WriterConfig{Application: long})
	require.ErrorIs(t, err, pcapfile.ErrLimit)
	_, err = pcapfile.NewWriter(io.Discard, pcapfile.WriterConfig{Comment: long})
	require.ErrorIs(t, err, pcapfile.ErrLimit)

	var out bytes.Buffer
	w, err := pcapfile.NewWriter(&out, pcapfile.WriterConfig{})
	require.NoError(t, err)
	_, err = w.AddInterface(pcapfile.Interface{LinkType: pcapfile.LinkEthernet, SnapLen: 3})
	require.NoError(t, err)
	_, err = w.AddInterface(pcapfile.Interface{})
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	before := out.Len()

	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		err  error
		want error
		text string
	}{
		"interface -1":              {w.WritePacket(-1, now, nil, 0), pcapfile.ErrInterface, "interface -1 of 2"},
		"interface not added":       {w.WritePacket(2, now, nil, 0), pcapfile.ErrInterface, "interface 2 of 2"},
		"data over 1 MiB":           {w.WritePacket(1, now, make([]byte, 1<<20+1), 0), pcapfile.ErrPacketTooLarge, "1048577"},
		"data over the snap length": {w.WritePacket(0, now, make([]byte, 4), 0), pcapfile.ErrLimit, "data of 4 bytes, SnapLen of interface 0 is 3"},
		"wireLen below the data":    {w.WritePacket(1, now, make([]byte, 4), 3), pcapfile.ErrLimit, "wireLen 3, data of 4"},
		"wireLen negative":          {w.WritePacket(1, now, nil, -1), pcapfile.ErrLimit, "wireLen -1"},
		"time before 1970":          {w.WritePacket(1, time.Unix(-1, 0), nil, 0), pcapfile.ErrTime, "1969"},
		"time after 2554":           {w.WritePacket(1, time.Unix(18446744073, 0), nil, 0), pcapfile.ErrTime, "2554"},
		"comment over 65535 bytes":  {w.WritePacketComment(1, now, nil, 0, long), pcapfile.ErrLimit, "comment of 65536 bytes"},
		"interface name over 256":   {second(w.AddInterface(pcapfile.Interface{Name: long[:257]})), pcapfile.ErrLimit, "257"},
		"interface text over 256":   {second(w.AddInterface(pcapfile.Interface{Description: long[:257]})), pcapfile.ErrLimit, "257"},
	} {
		require.ErrorIs(t, c.err, c.want, name)
		require.ErrorContains(t, c.err, c.text, name)
	}
	require.NoError(t, w.Flush())
	assert.Equal(t, before, out.Len(), "a refused packet leaves nothing in the file")

	for range pcapfile.MaxInterfaces - 2 {
		_, err = w.AddInterface(pcapfile.Interface{})
		require.NoError(t, err)
	}
	_, err = w.AddInterface(pcapfile.Interface{})
	require.ErrorIs(t, err, pcapfile.ErrLimit)
}

func second(_ int, err error) error { return err }

type failingWriter struct {
	left int
	err  error
}

func (f *failingWriter) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, f.err
	}
	return len(b), nil
}

func TestWriteErrorStays(t *testing.T) {
	full := errors.New("disk full")
	w, err := pcapfile.NewWriter(&failingWriter{left: 1 << 16, err: full}, pcapfile.WriterConfig{})
	require.NoError(t, err)
	n, err := w.AddInterface(pcapfile.Interface{})
	require.NoError(t, err)
	for err == nil {
		err = w.WritePacket(n, time.Time{}, make([]byte, 1500), 0)
	}
	require.ErrorIs(t, err, full)
	require.ErrorIs(t, w.WritePacket(n, time.Time{}, nil, 0), full)
	_, err = w.AddInterface(pcapfile.Interface{})
	require.ErrorIs(t, err, full)
	require.ErrorIs(t, w.Flush(), full)
}

func TestWritePacketDoesNotAllocate(t *testing.T) {
	w, err := pcapfile.NewWriter(io.Discard, pcapfile.WriterConfig{})
	require.NoError(t, err)
	n, err := w.AddInterface(pcapfile.Interface{})
	require.NoError(t, err)
	data, when := make([]byte, 1399), time.Unix(1, 1)
	write := func() {
		if err := w.WritePacketComment(n, when, data, 1500, "a comment"); err != nil {
			t.Error(err)
		}
		if err := w.WritePacket(n, when, data, 0); err != nil {
			t.Error(err)
		}
	}
	write()
	assert.Zero(t, testing.AllocsPerRun(1000, write))
}

// What the writer wrote the reader gives back identically.
func TestRoundTrip(t *testing.T) {
	const seed = 7
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, seed))
	ifaces := []pcapfile.Interface{
		{Name: "eth0", Description: "to the spine", LinkType: pcapfile.LinkEthernet, SnapLen: pcapfile.MaxPacketBytes},
		{LinkType: pcapfile.LinkRaw, SnapLen: math.MaxUint32},
		{Name: strings.Repeat("n", pcapfile.MaxNameBytes), LinkType: math.MaxUint16},
	}
	var packets []pcapfile.Packet
	for i := range 500 {
		n := rng.IntN(200)
		if i%100 == 99 {
			n = pcapfile.MaxPacketBytes - rng.IntN(5)
		}
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		at := rng.IntN(len(ifaces))
		packets = append(packets, pcapfile.Packet{
			Number: i + 1, Time: time.Unix(rng.Int64N(18446744073), rng.Int64N(1e9)).UTC(), Data: data,
			WireLen: max(1, n) + rng.IntN(3), LinkType: ifaces[at].LinkType, Interface: at,
		})
	}
	checkRoundTrip(t, ifaces, packets, "a comment that is passed over")
}

func checkRoundTrip(t *testing.T, ifaces []pcapfile.Interface, packets []pcapfile.Packet, comment string) {
	t.Helper()
	var out bytes.Buffer
	w, err := pcapfile.NewWriter(&out, pcapfile.WriterConfig{Comment: comment})
	require.NoError(t, err)
	for _, i := range ifaces {
		_, err = w.AddInterface(i)
		require.NoError(t, err)
	}
	for _, p := range packets {
		require.NoError(t, w.WritePacketComment(p.Interface, p.Time, p.Data, p.WireLen, comment))
	}
	require.NoError(t, w.Flush())

	r := open(t, out.Bytes())
	got, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, got, len(packets))
	for i := range packets {
		require.Equal(t, packets[i], got[i])
	}
	require.Equal(t, ifaces, r.Interfaces())
}

func BenchmarkWritePacket(b *testing.B) {
	w, err := pcapfile.NewWriter(io.Discard, pcapfile.WriterConfig{})
	require.NoError(b, err)
	n, err := w.AddInterface(pcapfile.Interface{})
	require.NoError(b, err)
	data, when := make([]byte, 1400), time.Unix(1, 1)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.WritePacket(n, when, data, 0); err != nil {
			b.Fatal(err)
		}
	}
}
