// The walk over captures from the test suites of other projects (tcpdump, Suricata, Zeek, PcapPlusPlus, Arkime, Snabb,
// gopacket), malformed ones included. They are not part of this repository: CULVERT_CAPTURES names the folder that holds
// them, each file called <project>__<name in that project>. What is said below about each frame was compared with what
// tcpdump and tshark say about it.
package dissect_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/vectors"
)

// captured is one frame of a capture.
type captured struct {
	number int
	link   vectors.Link
	frame  []byte // in memory that ends with it
}

// captures returns the frames of each file; it skips the test if there are none, unless they are required.
func captures(t *testing.T) map[string][]captured {
	t.Helper()
	dir := os.Getenv("CULVERT_CAPTURES")
	if dir == "" {
		const missing = "CULVERT_CAPTURES is not set: want the folder with the captures of other projects"
		if os.Getenv("CULVERT_REQUIRE_CAPTURES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var files []string
	for _, pattern := range []string{"*.pcap", "*.pcapng"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.NotEmpty(t, files, "no .pcap or .pcapng file in CULVERT_CAPTURES=%s", dir)
	frames := make(map[string][]captured, len(files))
	for _, name := range files {
		frames[filepath.Base(name)] = readCapture(t, name)
	}
	return frames
}

func readCapture(t *testing.T, name string) []captured {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = file.Close() }() // only read from
	r, err := pcapfile.NewReader(file)
	require.NoError(t, err, name)
	var frames []captured
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		require.NoError(t, err, name)
		c := captured{number: p.Number, link: vectors.LinkEthernet, frame: exact(p.Data)}
		switch p.LinkType {
		case pcapfile.LinkEthernet:
		case pcapfile.LinkRaw, pcapfile.LinkIPv4:
			c.link = vectors.LinkIPv4
		case pcapfile.LinkLinuxSLL: // a pseudo-header of 16 bytes, the EtherType last
			require.Equal(t, ethernet.TypeIPv4, binary.BigEndian.Uint16(c.frame[14:]), "%s: frame %d", name, c.number)
			c.link, c.frame = vectors.LinkIPv4, exact(c.frame[16:])
		default:
			t.Fatalf("%s: frame %d: link type %v", name, c.number, p.LinkType)
		}
		frames = append(frames, c)
	}
}

// The errors that occur more than once.
const (
	noLength   = "ipv4: total length is 0, as left by segmentation offload (ipv4 header at byte 14)"
	shortIPv4  = "ipv4: packet shorter than its header (ipv4 header at byte 14)"
	truncated  = "ipv4: total length beyond the end of the packet (ipv4 header at byte 14)"
	version    = "ipv4: version is not 4 (ipv4 header at byte 14)"
	shortUDP   = "udp: datagram shorter than its header (udp header at byte 34)"
	arpForeign = "arp: hardware type is not Ethernet with 6-byte addresses (arp header at byte %d)"
)

// verdict is the error of one frame, and what a walk that reads on finds in it: nothing if it gives the same error.
type verdict struct {
	frame   int
	err     string
	readsOn string
}

// verdicts are all errors of all files. A file that is not here has none.
var verdicts = map[string][]verdict{
	// Frame 4 is GRE, 5 to 8 are IPv6.
	"sv__decode-too-small-test.pcap": {
		{1, "tcp: segment shorter than its header (tcp header at byte 34)", ""}, {2, shortUDP, ""}, {3, shortUDP, ""},
	},
	"sv__ipv4-truncated-truncated.pcap":               {{1, truncated, "ethernet ipv4 udp"}},
	"tcpdump__LINKTYPE_IPV4_invalid.pcap":             {{1, "ipv4: version is not 4 (ipv4 header at byte 0)", ""}},
	"tcpdump__arp-too-long-tha.pcap":                  {{1, fmt.Sprintf(arpForeign, 18), ""}}, // 14-byte addresses
	"tcpdump__bad-ipv4-version-pgm-heapoverflow.pcap": {{1, version, ""}},
	"tcpdump__bigtcp-ipv4-vxlan-ipv4.pcap":            {{1, noLength, "ethernet ipv4 udp vxlan | ethernet ipv4 tcp"}},
	"tcpdump__gre-heapoverflow-1.pcap":                {{2, version, ""}},
	"tcpdump__gre-heapoverflow-2.pcap":                {{2, truncated, "ethernet ipv4"}},
	"tcpdump__heapoverflow-in_checksum.pcap":          {{1, truncated, "ethernet ipv4"}}, // PIM
	"tcpdump__heapoverflow-ip_demux_print.pcap":       {{2, truncated, "ethernet ipv4"}}, // AH
	"tcpdump__icmp-cksum-oobr-1.pcap":                 {{1, "ipv4: total length beyond the end of the packet (ipv4 header at byte 0)", "ipv4 icmp"}},
	"tcpdump__ip_printroute_asan.pcap":                {{1, shortIPv4, ""}},
	"tcpdump__ip_ts_opts_asan.pcap":                   {{1, truncated, "ethernet ipv4"}}, // ends behind the options
	"tcpdump__ipv4_invalid_hdr_length.pcap":           {{1, "ipv4: header length below 20 bytes (ipv4 header at byte 14)", ""}},
	"tcpdump__ipv4_invalid_length.pcap":               {{1, shortIPv4, ""}},
	"tcpdump__ipv4_invalid_total_length.pcap":         {{1, truncated, "ethernet ipv4 udp"}}, // by one byte
	"tcpdump__ipv4_invalid_total_length_2.pcap":       {{1, "ipv4: total length below the header length (ipv4 header at byte 14)", ""}},
	"tcpdump__ipv4_tcp_http_xml_tso.pcap":             {{1, noLength, "ethernet ipv4 tcp"}},
	"tcpdump__tcp_header_heapoverflow.pcap":           {{1, truncated, "ethernet ipv4"}}, // 12 bytes of TCP
	"tcpdump__udp-length-heapoverflow.pcap":           {{1, truncated, "ethernet ipv4"}}, // 4 bytes of UDP
	"zeek__geneve-vxlan-dns-truncated.pcap":           {{1, truncated, "ethernet ipv4 udp"}, {2, truncated, "ethernet ipv4 udp"}},
	"zeek__icmp-header-trunc.pcap":                    {{1, truncated, "ethernet ipv4"}, {2, truncated, "ethernet ipv4"}},
	"zeek__ip4-trunc.pcap":                            {{1, shortIPv4, ""}},
	"zeek__ipv4-internally-truncated-header.pcap":     {{1, shortIPv4, ""}},
	"zeek__ipv4-truncated-broken-header.pcap":         {{1, shortIPv4, ""}},
}

// counts are for files with too many frames to list: how many give which error.
var counts = map[string]map[string]int{
	// 2282 frames of a fuzzer. tshark shows 143 with another hardware type or address length, and one as ATM ARP.
	"tcpdump__arp-oobr.pcap": {
		fmt.Sprintf(arpForeign, 14): 144,
		"arp: protocol type is not IPv4 with 4-byte addresses (arp header at byte 14)": 115,
	},
}

// checksums are the wrong checksums in frames that are all right otherwise: those that tshark finds too, but for IPv6 and
// what it reassembles.
var checksums = map[string][]string{
	"sv__vxlan-non-zero-reserved-fields-input.pcap": {
		"frame 2: level 1: tcp: wrong checksum", "frame 5: level 1: tcp: wrong checksum",
		"frame 6: level 1: tcp: wrong checksum", "frame 7: level 1: tcp: wrong checksum",
	},
	// Captured at the sender, which leaves checksums to its network card.
	"tcpdump__gso-ipv4-vxlan-ipv4.pcap": {"frame 1: level 0: udp: wrong checksum", "frame 1: level 1: tcp: wrong checksum"},
	"tcpdump__gso-ipv4-vxlan-ipv6.pcap": {"frame 1: level 0: udp: wrong checksum"},
	"zeek__ip4-bad-chksum.pcap":         {"frame 1: level 0: ipv4: wrong header checksum"},
	"zeek__ip4-icmp-bad-chksum.pcap":    {"frame 1: level 0: icmp: wrong checksum"},
	"zeek__ip4-udp-bad-chksum.pcap":     {"frame 1: level 0: udp: wrong checksum"},
	"zeek__vxlan-encapsulated-igmp-v2.pcap": {
		"frame 1: level 0: udp: wrong checksum", "frame 2: level 0: udp: wrong checksum", "frame 3: level 0: udp: wrong checksum",
	},
	"zeek__vxlan-inner-tcp-bad-checksum.pcap": {"frame 1: level 1: tcp: wrong checksum"},
}

func TestCaptures(t *testing.T) {
	files := captures(t)
	for name, frames := range files {
		t.Run(name, func(t *testing.T) {
			got := walkCapture(t, frames)
			if want, ok := counts[name]; ok {
				count := map[string]int{}
				for _, v := range got {
					count[v.err]++
				}
				assert.Equal(t, want, count)
				return
			}
			assert.Equal(t, verdicts[name], got)
		})
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(verdicts)), slices.Collect(maps.Keys(counts)), slices.Collect(maps.Keys(checksums))) {
		assert.Contains(t, files, name, "not in the folder: what is said about it was not checked")
	}
}

// walkCapture walks all frames in both ways, checks what must hold for any bytes, and returns the errors.
func walkCapture(t *testing.T, frames []captured) []verdict {
	t.Helper()
	strict, partial := newWalker(t, dissect.Config{}), newWalker(t, dissect.Config{Partial: true})
	var s dissect.Stack // one for all: nothing of a frame may be left for the next
	var verdicts []verdict
	for _, f := range frames {
		err := walkCaptured(t, strict, &s, f)
		if err == nil {
			continue
		}
		v := verdict{frame: f.number, err: err.Error()}
		if again := walkCaptured(t, partial, &s, f); again == nil {
			assert.True(t, s.Outer().Cut, "frame %d", f.number)
			v.readsOn = read(&s)
		} else {
			assert.EqualError(t, again, v.err, "frame %d", f.number)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func walkCaptured(t *testing.T, w *dissect.Walker, s *dissect.Stack, f captured) error {
	t.Helper()
	var err error
	assert.Zero(t, testing.AllocsPerRun(1, func() { err = walk(w, s, f.link, f.frame) }), "frame %d", f.number)
	inspect(t, f.frame, s)
	inspectError(t, f.frame, s, err)
	return err
}

func TestCaptureChecksums(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	for name, frames := range captures(t) {
		var got []string
		var s dissect.Stack
		for _, f := range frames {
			if walk(w, &s, f.link, f.frame) != nil {
				continue
			}
			for i := range s.Levels() {
				if err := s.Levels()[i].WrongChecksum(); err != nil {
					got = append(got, fmt.Sprintf("frame %d: level %d: %v", f.number, i, err))
				}
			}
		}
		assert.Equal(t, checksums[name], got, name)
	}
}
