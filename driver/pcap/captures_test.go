package pcap_test

// Captures from the test suites of other projects, which CULVERT_CAPTURES names the folder of: what goes in comes out again.

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

func TestCaptures(t *testing.T) {
	dir := os.Getenv("CULVERT_CAPTURES")
	if dir == "" {
		const missing = "CULVERT_CAPTURES is not set: want the folder with the captures of other projects"
		if os.Getenv("CULVERT_REQUIRE_CAPTURES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no capture in CULVERT_CAPTURES=%s", dir)
	taken := 0
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			file, err := os.ReadFile(name)
			require.NoError(t, err)
			if copied := roundTrip(t, file); copied != nil {
				taken++
				assert.Equal(t, wholePackets(t, file), wholePackets(t, copied))
			}
		})
	}
	assert.Greater(t, taken, len(files)/2, "captures of a link type that is taken")
}

// roundTrip receives a capture and sends it to another one; nil if its link type is not one to be received.
func roundTrip(t *testing.T, file []byte) []byte {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 200, Size: 1 << 17})
	require.NoError(t, err)
	in, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file), Pool: pool})
	if err != nil {
		require.ErrorContains(t, err, "link type")
		return nil
	}
	var copied bytes.Buffer
	link := pcap.Ethernet
	if in.Link().Raw {
		link = pcap.Raw
	}
	out, err := pcap.New(pcap.Config{Writer: &copied, LinkType: link})
	require.NoError(t, err)
	batch := make([]*packet.Buffer, driver.BatchSize)
	for err == nil {
		var n int
		if n, err = in.Queues()[0].Receive(batch, driver.Forever); n > 0 {
			require.NoError(t, out.Queues()[0].Send(batch[:n]))
		}
	}
	require.Equal(t, io.EOF, err)
	assert.Equal(t, out.Stats().TxPackets, in.Stats().RxPackets)
	require.NoError(t, errors.Join(in.Close(), out.Close()))
	assert.Zero(t, pool.InUse())
	return copied.Bytes()
}

// wholePackets returns the packets of a capture that are of use.
func wholePackets(t *testing.T, file []byte) [][]byte {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	var all [][]byte
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		ethernet := p.LinkType == pcapfile.LinkEthernet && len(p.Data) >= 14
		raw := p.LinkType != pcapfile.LinkEthernet && len(p.Data) > 0 && p.Data[0]>>4 == 4
		if len(p.Data) == p.WireLen && (ethernet || raw) {
			all = append(all, bytes.Clone(p.Data))
		}
	}
}
