package pcapfile_test

// The package against other implementations of the formats: gopacket's pcapgo in both directions, tshark and tcpdump as
// readers of our files, and gopacket again over a directory of captures from real tools.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

const (
	requireToolsEnv = "CULVERT_REQUIRE_TOOLS" // 1: a missing tool fails the test instead of skipping it
	capturesEnv     = "CULVERT_CAPTURES"      // directory of .pcap and .pcapng files
)

func peerPackets() []pcapfile.Packet {
	var packets []pcapfile.Packet
	for i := range 20 {
		packets = append(packets, pcapfile.Packet{
			Number: i + 1, Time: time.Unix(1_700_000_000+int64(i), int64(i)*1_000_001).UTC(),
			Data: bytes.Repeat([]byte{byte(i)}, 14+i), WireLen: 14 + i*2, LinkType: pcapfile.LinkEthernet,
		})
	}
	return packets
}

func info(p pcapfile.Packet) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.WireLen, InterfaceIndex: p.Interface}
}

func TestReadsGopacketPcap(t *testing.T) {
	for name, c := range map[string]struct {
		create func(io.Writer) *pcapgo.Writer
		tick   time.Duration
	}{
		"microseconds": {pcapgo.NewWriter, time.Microsecond},
		"nanoseconds":  {pcapgo.NewWriterNanos, time.Nanosecond},
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			w := c.create(&file)
			require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
			want := peerPackets()
			for i, p := range want {
				require.NoError(t, w.WritePacket(info(p), p.Data))
				want[i].Time = p.Time.Truncate(c.tick)
			}
			got, err := readAll(open(t, file.Bytes()))
			require.ErrorIs(t, err, io.EOF)
			assert.Equal(t, want, got)
		})
	}
}

func TestReadsGopacketPcapng(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{
		Name: "eth0", Description: "uplink", Comment: "remark", Filter: "arp", OS: "linux", LinkType: layers.LinkTypeEthernet,
		SnapLength: 9000,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "peer", Comment: "odd"}})
	require.NoError(t, err)
	second, err := w.AddInterface(pcapgo.NgInterface{Name: "tun0", LinkType: layers.LinkTypeRaw})
	require.NoError(t, err)
	want := peerPackets()
	for i := range want {
		if i%3 == 0 {
			want[i].Interface, want[i].LinkType = second, pcapfile.LinkType(layers.LinkTypeRaw)
		}
		require.NoError(t, w.WritePacket(info(want[i]), want[i].Data))
	}
	require.NoError(t, w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{PacketsReceived: 20}))
	require.NoError(t, w.Flush())

	r := open(t, file.Bytes())
	got, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, want, got)
	assert.Equal(t, []pcapfile.Interface{
		{Name: "eth0", Description: "uplink", LinkType: pcapfile.LinkEthernet, SnapLen: 9000},
		{Name: "tun0", LinkType: pcapfile.LinkType(layers.LinkTypeRaw)},
	}, r.Interfaces())
}

func TestGopacketReadsOurs(t *testing.T) {
	ifaces := []pcapfile.Interface{
		{Name: "eth0", Description: "uplink", LinkType: pcapfile.LinkEthernet, SnapLen: 9000},
		{Name: "tun0", LinkType: pcapfile.LinkRaw},
	}
	want := peerPackets()
	for i := range want {
		want[i].Interface = i % 2
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(ours(t, ifaces, want)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	require.NoError(t, err)
	for _, p := range want {
		data, ci, err := r.ReadPacketData()
		require.NoError(t, err)
		assert.Equal(t, p.Data, data)
		ci.AncillaryData = nil
		assert.Equal(t, info(p), ci)
	}
	_, _, err = r.ReadPacketData()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, len(ifaces), r.NInterfaces())
	for i, want := range ifaces {
		got, err := r.Interface(i)
		require.NoError(t, err)
		assert.Equal(t, want, pcapfile.Interface{
			Name: got.Name, Description: got.Description, LinkType: pcapfile.LinkType(got.LinkType), SnapLen: got.SnapLength,
		})
	}
	assert.Equal(t, "culvert", r.SectionInfo().Application)
}

func TestTsharkReadsOurs(t *testing.T) {
	want := peerPackets()
	ifaces := []pcapfile.Interface{
		{Name: "eth0", LinkType: pcapfile.LinkEthernet},
		{Name: "tun0", LinkType: pcapfile.LinkRaw},
	}
	var lines []string
	for i := range want {
		p := &want[i]
		p.Interface = i % 2
		lines = append(lines, fmt.Sprintf("%d|%d.%09d|%d|%d|%s|packet %d",
			p.Number, p.Time.Unix(), p.Time.Nanosecond(), len(p.Data), p.WireLen, ifaces[p.Interface].Name, p.Number))
	}
	out := run(t, ours(t, ifaces, want), "tshark", "-n", "-T", "fields", "-E", "separator=|", "-e", "frame.number",
		"-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len", "-e", "frame.interface_name", "-e", "frame.comment")
	assert.Equal(t, lines, strings.Split(strings.TrimSpace(out), "\n"))
}

// tcpdump stands for every program on libpcap. It prints a packet's time and the length on the wire of an 802.3 frame.
func TestTcpdumpReadsOurs(t *testing.T) {
	want := peerPackets()
	out := run(t, ours(t, []pcapfile.Interface{{LinkType: pcapfile.LinkEthernet}}, want), "tcpdump", "-n", "-e", "-tt", "--nano")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	times := lines[:0]
	for _, line := range lines {
		if line != "" && line[0] >= '0' && line[0] <= '9' { // not the hex dump of a payload
			times = append(times, strings.Fields(line)[0])
		}
	}
	var wantTimes []string
	for _, p := range want {
		wantTimes = append(wantTimes, fmt.Sprintf("%d.%09d", p.Time.Unix(), p.Time.Nanosecond()))
	}
	assert.Equal(t, wantTimes, times)
}

// ours writes packets, each with its number as comment.
func ours(t *testing.T, ifaces []pcapfile.Interface, packets []pcapfile.Packet) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapfile.NewWriter(&file, pcapfile.WriterConfig{Application: "culvert"})
	require.NoError(t, err)
	for _, i := range ifaces {
		_, err := w.AddInterface(i)
		require.NoError(t, err)
	}
	for _, p := range packets {
		require.NoError(t, w.WritePacketComment(p.Interface, p.Time, p.Data, p.WireLen, fmt.Sprintf("packet %d", p.Number)))
	}
	require.NoError(t, w.Flush())
	return file.Bytes()
}

// run gives the file to a program as -r FILE and returns what it prints. A warning on the way does not count: both
// programs have one for being run as root.
func run(t *testing.T, file []byte, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv(requireToolsEnv) == "1" {
			t.Fatalf("%s=1: %v", requireToolsEnv, err)
		}
		t.Skipf("%s is not installed", program)
	}
	name := filepath.Join(t.TempDir(), "ours.pcapng")
	require.NoError(t, os.WriteFile(name, file, 0o600))
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-r", name}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return string(out)
}

func TestRealCaptures(t *testing.T) {
	dir := os.Getenv(capturesEnv)
	if dir == "" {
		if os.Getenv("CULVERT_REQUIRE_CAPTURES") == "1" {
			t.Fatalf("%s does not name a directory of captures, and they are required", capturesEnv)
		}
		t.Skipf("%s does not name a directory of captures", capturesEnv)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no captures in %s=%s", capturesEnv, dir)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			file, err := os.ReadFile(name)
			require.NoError(t, err)
			got, err := readAll(open(t, file))
			require.ErrorIs(t, err, io.EOF)

			want := gopacketReader(t, file)
			for i, p := range got {
				data, ci, err := want.ReadPacketData()
				require.NoError(t, err, "packet %d", i+1)
				require.Equal(t, p.Data, data, "packet %d", i+1)
				require.True(t, p.Time.Equal(ci.Timestamp), "packet %d: %s, gopacket %s", i+1, p.Time, ci.Timestamp)
				require.Equal(t, p.WireLen, ci.Length, "packet %d", i+1)
			}
			_, _, err = want.ReadPacketData()
			require.ErrorIs(t, err, io.EOF, "gopacket has more packets")
		})
	}
}

func gopacketReader(t *testing.T, file []byte) gopacket.PacketDataSource {
	t.Helper()
	ng, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err == nil {
		return ng
	}
	classic, classicErr := pcapgo.NewReader(bytes.NewReader(file))
	require.NoError(t, classicErr, "%v", errors.Join(err, classicErr))
	classic.SetSnaplen(pcapfile.MaxPacketBytes)
	return classic
}
