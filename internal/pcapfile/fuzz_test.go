package pcapfile_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

// FuzzReader reads any bytes: no panic, bounded memory, sound packets, and the same ones when the bytes come singly.
func FuzzReader(f *testing.F) {
	for _, c := range malformed() {
		if len(c.file) < 1<<12 {
			f.Add(c.file)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		atOnce := drain(t, bytes.NewReader(file))
		require.Equal(t, atOnce, drain(t, iotest.OneByteReader(bytes.NewReader(file))))

		// The buffers, the longest packet, gzip's tables, and the interface list with its growth.
		bound := uint64(4<<20 + 1<<10*len(atOnce.ifaces))
		require.LessOrEqual(t, bytesAllocated(func() { readThrough(file) }), bound)
	})
}

type outcome struct {
	packets, bytes int
	offset         int64
	ifaces         []pcapfile.Interface
	err            string
}

func drain(t *testing.T, src io.Reader) outcome {
	t.Helper()
	r, err := pcapfile.NewReader(src)
	if err != nil {
		require.NotErrorIs(t, err, io.EOF)
		return outcome{err: err.Error()}
	}
	var o outcome
	for {
		p, err := r.Next()
		if err != nil {
			_, again := r.Next()
			require.Equal(t, err, again)
			if !errors.Is(err, io.EOF) {
				o.err = err.Error()
			}
			o.offset, o.ifaces = r.Offset(), r.Interfaces()
			require.LessOrEqual(t, len(o.ifaces), pcapfile.MaxInterfaces)
			return o
		}
		o.packets++
		o.bytes += len(p.Data)
		require.Equal(t, o.packets, p.Number)
		require.LessOrEqual(t, len(p.Data), pcapfile.MaxPacketBytes)
		require.GreaterOrEqual(t, p.WireLen, len(p.Data))
		require.GreaterOrEqual(t, p.Interface, 0)
		if p.Interface >= len(o.ifaces) {
			o.ifaces = r.Interfaces()
		}
		require.Less(t, p.Interface, len(o.ifaces))
		require.Equal(t, o.ifaces[p.Interface].LinkType, p.LinkType)
	}
}

// FuzzRoundTrip writes two packets on two interfaces and expects the reader to give them back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("data"), uint64(1), uint16(0), uint16(1), uint32(0), "eth0", "uplink", "a comment")
	f.Add([]byte{}, ^uint64(0), uint16(65535), uint16(65535), ^uint32(0), "", "", "")
	f.Add(make([]byte, 1501), uint64(1e18), uint16(1), uint16(276), uint32(0), "\x00", "\xff\xfe", "\n")
	f.Fuzz(func(t *testing.T, data []byte, nanos uint64, cut, link uint16, snapLen uint32, name, description, comment string) {
		data = data[:min(len(data), pcapfile.MaxPacketBytes)]
		name = name[:min(len(name), pcapfile.MaxNameBytes)]
		description = description[:min(len(description), pcapfile.MaxNameBytes)]
		comment = comment[:min(len(comment), 65535)]
		if snapLen != 0 {
			snapLen = max(snapLen, uint32(len(data)))
		}
		ifaces := []pcapfile.Interface{
			{LinkType: pcapfile.LinkType(link), SnapLen: snapLen, Name: name, Description: description},
			{LinkType: pcapfile.LinkEthernet, Name: description},
		}
		when := time.Unix(int64(nanos/1e9), int64(nanos%1e9)).UTC()
		if when.Unix() > 18446744072 { // the last second whose every nanosecond fits
			when = time.Unix(18446744072, 999999999).UTC()
		}
		packets := []pcapfile.Packet{
			{Number: 1, Time: when, Data: append([]byte{}, data...), WireLen: len(data) + int(cut), LinkType: ifaces[0].LinkType},
			{Number: 2, Time: time.Unix(0, 0).UTC(), Data: []byte{1}, WireLen: 1, LinkType: pcapfile.LinkEthernet, Interface: 1},
		}
		checkRoundTrip(t, ifaces, packets, comment)
	})
}
