package pcapfilter_test

// Filters against libpcap's: what tcpdump takes of two captures. testdata/filters.txt has the expressions; testdata/recorded.txt
// what tcpdump 4.99.3 with libpcap 1.10.3 made of each with internal/tcpdump's words.pcap, written by -update.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/lab/internal/pcapfilter"
)

var update = flag.Bool("update", false, "record what the machine's tcpdump makes of the filters")

const (
	recorded = "testdata/recorded.txt"
	words    = "../../../internal/tcpdump/testdata/words.pcap"
)

// refused are expressions that libpcap can compile and we refuse, with what we say.
var refused = map[string]string{
	"ip6 host fe80::1": "IPv6 address is not supported in the lab's filters",
	"mpls":             "'mpls' is not supported in the lab's filters",
	"geneve":           "'geneve' is not supported in the lab's filters",
	"pppoes":           "'pppoes' is not supported in the lab's filters",
}

// expressions returns the lines of testdata/filters.txt.
func expressions(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/filters.txt")
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// frames returns the packets of a capture.
func frames(t *testing.T, capture []byte) [][]byte {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(capture))
	require.NoError(t, err)
	var all [][]byte
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, bytes.Clone(p.Data))
	}
}

// ours returns the numbers of the packets that our filter takes, or its refusal.
func ours(expression string, link pcapfilter.Link, packets [][]byte) string {
	f, err := pcapfilter.Compile(expression, pcapfilter.Config{Link: link, File: true})
	if err != nil {
		return "error: " + err.Error()
	}
	var numbers []string
	for i, p := range packets {
		if f.Match(pcapfilter.Packet{Bytes: p}) {
			numbers = append(numbers, fmt.Sprint(i+1))
		}
	}
	return strings.Join(numbers, " ")
}

// capture makes a pcap file of packets, whose times are their numbers.
func capture(link pcapfile.LinkType, packets [][]byte) []byte {
	const magic, version, snapLen = 0xa1b2c3d4, 2 | 4<<16, 262144
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint32(b, version)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, snapLen)
	b = le.AppendUint32(b, uint32(link))
	for i, p := range packets {
		b = le.AppendUint32(b, uint32(i+1))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, uint32(len(p)))
		b = le.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// theirs returns what ours does, by tcpdump.
func theirs(t *testing.T, expression, file string) string {
	t.Helper()
	cmd := exec.Command("tcpdump", "-n", "-r", file, "-w", "-", expression)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "error: " + strings.TrimPrefix(lines[len(lines)-1], "tcpdump: ")
	}
	r, err := pcapfile.NewReader(bytes.NewReader(out))
	require.NoError(t, err)
	var numbers []string
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(numbers, " ")
		}
		require.NoError(t, err)
		numbers = append(numbers, fmt.Sprint(p.Time.Unix()))
	}
}

// same holds our result for an expression against libpcap's: the same packets, or both refuse it.
func same(t *testing.T, expression, want, got string) {
	t.Helper()
	switch {
	case refused[expression] != "":
		assert.Equal(t, "error: "+refused[expression], got, expression)
	case strings.HasSuffix(want, "expression rejects all packets") && got == "": // which we do not work out
	case strings.HasPrefix(want, "error: "):
		assert.True(t, strings.HasPrefix(got, "error: "), "%s: libpcap has %q, we take packets %s", expression, want, got)
	default:
		assert.Equal(t, want, got, expression)
	}
}

// asFile writes packets to a file that tcpdump can read.
func asFile(t *testing.T, link pcapfile.LinkType, packets [][]byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "packets.pcap")
	require.NoError(t, os.WriteFile(file, capture(link, packets), 0o600))
	return file
}

func TestRecordedMatches(t *testing.T) {
	b, err := os.ReadFile(words)
	require.NoError(t, err)
	packets := frames(t, b)
	if *update {
		requireTcpdump(t)
		file := asFile(t, pcapfile.LinkEthernet, packets)
		var text strings.Builder
		for _, e := range expressions(t) {
			fmt.Fprintf(&text, "%s\n\t%s\n", e, theirs(t, e, file))
		}
		require.NoError(t, os.WriteFile(recorded, []byte(text.String()), 0o600))
	}
	text, err := os.ReadFile(recorded)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 2*len(expressions(t)))
	for i, e := range expressions(t) {
		require.Equal(t, e, lines[2*i])
		same(t, e, lines[2*i+1][1:], ours(e, pcapfilter.Ethernet, packets))
	}
}

// requireTcpdump skips, or fails where tools are required, without a tcpdump.
func requireTcpdump(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("tcpdump", "--version").CombinedOutput(); err != nil {
		if os.Getenv("CULVERT_REQUIRE_TOOLS") == "1" {
			require.FailNow(t, "tcpdump is required", "%v: %s", err, out)
		}
		t.Skipf("no tcpdump: %v", err)
	}
}

func TestLiveMatches(t *testing.T) {
	requireTcpdump(t)
	for link, c := range map[vectors.Link]struct {
		file   pcapfile.LinkType
		filter pcapfilter.Link
	}{
		vectors.LinkEthernet: {pcapfile.LinkEthernet, pcapfilter.Ethernet},
		vectors.LinkIPv4:     {pcapfile.LinkRaw, pcapfilter.RawIP},
	} {
		var packets [][]byte
		for _, v := range vectors.Load(t) {
			if v.Link == link && len(v.Frame) > 0 {
				packets = append(packets, v.Frame)
			}
		}
		require.NotEmpty(t, packets)
		file := asFile(t, c.file, packets)
		for _, e := range expressions(t) {
			same(t, e, theirs(t, e, file), ours(e, c.filter, packets))
		}
	}
}

func TestDirection(t *testing.T) {
	for e, want := range map[string][2]bool{"inbound": {true, false}, "outbound": {false, true}, "not inbound": {false, true}} {
		f, err := pcapfilter.Compile(e, pcapfilter.Config{})
		require.NoError(t, err)
		assert.Equal(t, want, [2]bool{f.Match(pcapfilter.Packet{}), f.Match(pcapfilter.Packet{Out: true})}, e)
	}
}

// FuzzCompile holds that no expression and no packet make trouble.
func FuzzCompile(f *testing.F) {
	b, err := os.ReadFile("testdata/filters.txt")
	require.NoError(f, err)
	for e := range strings.SplitSeq(string(b), "\n") {
		f.Add(e, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0, 0x45}, uint8(0))
	}
	f.Fuzz(func(_ *testing.T, expression string, packet []byte, link uint8) {
		if filter, err := pcapfilter.Compile(expression, pcapfilter.Config{Link: pcapfilter.Link(link % 3)}); err == nil {
			filter.Match(pcapfilter.Packet{Bytes: packet})
		}
	})
}
