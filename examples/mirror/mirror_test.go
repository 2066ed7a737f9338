package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// frame is an Ethernet frame with a UDP datagram to port 9.
func frame(t *testing.T, src, dst string, sport, dport uint16, payload []byte) []byte {
	t.Helper()
	f, err := ethernet.Fields{Dst: ethernet.MAC{2, 1}, Src: ethernet.MAC{2, 2}, EtherType: ethernet.TypeIPv4}.Append(nil)
	require.NoError(t, err)
	f, err = ipv4.Fields{
		TTL: 64, Protocol: ipv4.ProtocolUDP, Src: netip.MustParseAddr(src).As4(), Dst: netip.MustParseAddr(dst).As4(),
	}.Append(f, udp.HeaderLen+len(payload))
	require.NoError(t, err)
	f, err = udp.Fields{SrcPort: sport, DstPort: dport}.Append(f, len(payload))
	require.NoError(t, err)
	return append(f, payload...)
}

// mirrored is what a mirror sends about a frame: a UDP payload.
func mirrored(t *testing.T, vni uint32, inner []byte) []byte {
	t.Helper()
	p, err := vxlan.Fields{VNI: vni}.Append(nil)
	require.NoError(t, err)
	return append(p, inner...)
}

// capture writes frames to a file, and returns its name.
func capture(t *testing.T, frames ...[]byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "in.pcapng"))
	require.NoError(t, err)
	w, err := pcapfile.NewWriter(f, pcapfile.WriterConfig{})
	require.NoError(t, err)
	_, err = w.AddInterface(pcapfile.Interface{LinkType: pcapfile.LinkEthernet})
	require.NoError(t, err)
	for _, b := range frames {
		require.NoError(t, w.WritePacket(0, time.Unix(1, 0), b, 0))
	}
	require.NoError(t, errors.Join(w.Flush(), f.Close()))
	return f.Name()
}

func TestCapture(t *testing.T) {
	small, large := frame(t, "10.0.0.1", "10.0.0.2", 1000, 9, nil), frame(t, "10.0.0.3", "10.0.0.4", 1001, 9, make([]byte, 500))
	arp := append(append([]byte{}, small[:12]...), 8, 6)
	outer := func(dport uint16, payload []byte) []byte {
		return frame(t, "192.0.2.1", "192.0.2.2", 4000, dport, payload)
	}
	trailer := append(outer(4789, mirrored(t, 7, small)), 1, 2, 3, 4)
	in := capture(t, outer(4789, mirrored(t, 7, small)), outer(4789, mirrored(t, 8, large)), trailer,
		outer(4789, mirrored(t, 7, arp)), outer(53, []byte("no mirror")))
	out := filepath.Join(t.TempDir(), "out.pcapng")
	var stdout, stderr bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-r", in, "-w", out}, &stdout, &stderr))
	assert.Equal(t, `4 packets, 640 bytes, 2 flows, 1 packets not IPv4, 1 packets not mirrored (192.0.2.1:4000 > 192.0.2.2:53 proto 17 is not VXLAN to port 4789)
  1 packets, 542 bytes  vni 8  UDP 10.0.0.3:1001 > 10.0.0.4:9
  2 packets, 84 bytes  vni 7  UDP 10.0.0.1:1000 > 10.0.0.2:9
`, stdout.String())
	assert.Empty(t, stderr.String())

	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it was only read
	r, err := pcapfile.NewReader(f)
	require.NoError(t, err)
	for _, want := range [][]byte{small, large, small, arp} {
		p, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, want, p.Data)
	}
}

// screen is standard output that tests may look at.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestSocket(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.LocalAddr().String()
	require.NoError(t, free.Close())

	ctx, cancel := context.WithCancel(t.Context())
	var out screen
	ended := make(chan error)
	go func() { ended <- run(ctx, []string{"-listen", addr, "-every", "10ms"}, &out, &out) }()
	c, err := net.Dial("udp4", addr)
	require.NoError(t, err)
	defer c.Close() //nolint:errcheck // a socket of the test's own
	p := mirrored(t, 5, frame(t, "10.0.0.1", "10.0.0.2", 1000, 9, nil))
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		_, _ = c.Write(p) // refused before it listens
		assert.Contains(t, out.String(), "vni 5  UDP 10.0.0.1:1000 > 10.0.0.2:9")
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	assert.NoError(t, <-ended)
}

func TestFlowsAreBounded(t *testing.T) {
	c, err := newCollector(4789, false)
	require.NoError(t, err)
	for i := range uint32(maxFlows + 5) {
		c.count(talker{vni: i, Key: flow.Key{Protocol: 6}}, 100)
	}
	assert.Len(t, c.flows, maxFlows)
	assert.Equal(t, traffic{5, 500}, c.more)
	var out bytes.Buffer
	c.report(&out, 1, time.Second)
	assert.Contains(t, out.String(), "65536 flows, 5 packets of further flows")
	assert.Empty(t, c.flows)
}

func TestNoAllocations(t *testing.T) {
	c, err := newCollector(4789, false)
	require.NoError(t, err)
	p := frame(t, "192.0.2.1", "192.0.2.2", 4000, 4789, mirrored(t, 7, frame(t, "10.0.0.1", "10.0.0.2", 1000, 9, nil)))
	b := packet.New(2048)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_ = b.SetBytes(p)
		c.take(b)
	}))
}

func TestWrongUse(t *testing.T) {
	for args, want := range map[[2]string]string{
		{"x", "-n=1"}:                  `unexpected "x"`,
		{"-every=0s", "-n=1"}:          "-every",
		{"-n=-1", "-n=-1"}:             "-n",
		{"-listen=here", "-n=1"}:       "not an ip:port",
		{"-r=/does/not/exist", "-n=1"}: "no such file",
		{"-r=/dev/null", "-n=1"}:       "/dev/null: ",
	} {
		var out bytes.Buffer
		assert.ErrorContains(t, run(t.Context(), args[:], &out, &out), want, fmt.Sprint(args))
	}
	var out bytes.Buffer
	assert.ErrorIs(t, run(t.Context(), []string{"-h"}, &out, &out), flag.ErrHelp)
	assert.Contains(t, out.String(), "go run ./examples/mirror")
}
