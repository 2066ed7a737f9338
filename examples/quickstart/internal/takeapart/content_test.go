package takeapart

// What the command finds in frames: tunnels rebuilt or not and why, checksums, link types, tables, JSON, the -w file.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/vectors"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
)

// readJSON runs the command with -json and returns its frames and its summary.
func readJSON(t *testing.T, capture []byte, args ...string) ([]jsonFrame, jsonSummary) {
	t.Helper()
	r := quickstart(t, capture, append([]string{"-json", "-r", "-"}, args...)...)
	decoder := json.NewDecoder(strings.NewReader(r.stdout))
	var frames []jsonFrame
	var last jsonSummary
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return frames, last
		}
		require.NoError(t, err)
		var summary struct {
			Summary *jsonSummary `json:"summary"`
		}
		require.NoError(t, json.Unmarshal(raw, &summary))
		if summary.Summary != nil {
			last = *summary.Summary
			continue
		}
		var f jsonFrame
		require.NoError(t, json.Unmarshal(raw, &f))
		frames = append(frames, f)
	}
}

// notRebuilt says why vectors with tunnels are not rebuilt, all others are.
var notRebuilt = map[string]string{
	"vxlan/udp-checksum-wrong":      "udp: wrong checksum",
	"vxlan/outer/options":           "outer IPv4 options",
	"vxlan/outer/options-full":      "outer IPv4 options",
	"vxlan/outer/ecn-ce":            "congestion mark",
	"vxlan/outer/trailing-bytes":    "padding behind the outer packet",
	"vxlan/outer/udp-length-short":  "bytes behind the UDP datagram",
	"ipip/inner/empty-padded":       "padding behind the outer packet",
	"ipip/inner/trailing-bytes":     "bytes behind the inner packet",
	"ipip/inner/ttl-0":              "inner time to live is 0",
	"ipip/outer/options":            "outer IPv4 options",
	"ipip/raw-link/options":         "outer IPv4 options",
	"ipip/outer/ecn-ce":             "congestion experienced on the way",
	"ipip/outer/checksum-wrong":     "ipv4: wrong header checksum",
	"ipip/around-vxlan/around-ipip": "outer IPv4 options",
}

// Every vector with a tunnel is rebuilt, or it is said why not. An IPIP tunnel of Linux whose DF flag is clear inherits the
// inner time to live; scapy's did not.
func TestVectorsAreRebuilt(t *testing.T) {
	for link, linkType := range map[vectors.Link]pcapfile.LinkType{
		vectors.LinkEthernet: pcapfile.LinkEthernet, vectors.LinkIPv4: pcapfile.LinkIPv4,
	} {
		var vs []vectors.Vector
		var raw [][]byte
		for _, v := range vectors.Load(t) {
			if v.Link == link {
				vs, raw = append(vs, v), append(raw, v.Frame)
			}
		}
		frames, summary := readJSON(t, pcapOf(linkType, raw...))
		require.Len(t, frames, len(vs))
		tunneled := 0
		for i, v := range vs {
			tunnels := tunnelsOf(v)
			require.Len(t, frames[i].Tunnels, len(tunnels), v.Name)
			if len(tunnels) == 0 {
				assert.Nil(t, frames[i].Rebuilt, v.Name)
				continue
			}
			tunneled++
			why := ""
			for k, tun := range frames[i].Tunnels {
				assert.Equal(t, tunnels[k], tun.Kind, v.Name)
				assert.Equal(t, tun.Reason == "", tun.Rebuilt, v.Name)
				if !tun.Rebuilt && tun.Reason != "outer time to live" {
					why = tun.Reason + ": " + tun.Detail
				}
			}
			switch want := notRebuilt[v.Name]; {
			case reservedBits(v):
				assert.Contains(t, why, "reserved bits are set", v.Name)
			case want != "":
				assert.Contains(t, why, want, v.Name)
			default:
				assert.Empty(t, why, v.Name)
			}
		}
		assert.Equal(t, tunneled, summary.Tunneled)
		assert.Equal(t, len(vs), summary.Frames)
	}
}

// tunnelsOf returns the kinds of the tunnels in a vector.
func tunnelsOf(v vectors.Vector) []string {
	var kinds []string
	for i, l := range v.Layers {
		switch l := l.(type) {
		case vectors.VXLAN:
			kinds = append(kinds, "VXLAN")
		case vectors.IPv4:
			if l.Protocol == ipv4.ProtocolIPIP && i+1 < len(v.Layers) && !l.Fragment() {
				kinds = append(kinds, "IPIP")
			}
		}
	}
	return kinds
}

// reservedBits reports whether a VXLAN header of v has bits that Linux drops packets for.
func reservedBits(v vectors.Vector) bool {
	for _, l := range vectors.Of[vectors.VXLAN](v) {
		word := binary.BigEndian.Uint64(v.Bytes(l))
		const usual, policy, g = 1<<59 | 0xffffff<<8, 1<<63 | 1<<54 | 1<<51 | 0xffff<<32, 1 << 63
		if word&g != 0 {
			word &^= policy
		}
		if word&^usual != 0 {
			return true
		}
	}
	return false
}

// session is a frame of the HTTP session with 78 bytes of TCP payload: #5 of the demo.
func session5(t *testing.T) []byte {
	t.Helper()
	return framesOf(t, golden(t, "flannel_vxlan_http.pcap"))[3].Data
}

const (
	outerIP  = ethernet.HeaderLen
	outerUDP = outerIP + ipv4.HeaderLen
	innerEth = outerUDP + 16
	innerIP  = innerEth + ethernet.HeaderLen
	innerTCP = innerIP + ipv4.HeaderLen
)

// setOuterChecksum computes the outer UDP checksum of frame.
func setOuterChecksum(t *testing.T, frame []byte) {
	t.Helper()
	ip, datagram, err := ipv4.Parse(frame[outerIP:])
	require.NoError(t, err)
	u, payload, err := udp.Parse(datagram)
	require.NoError(t, err)
	u.FixChecksum(ip.Src(), ip.Dst(), payload)
}

// setPartial replaces the inner TCP checksum by the sum of the pseudo-header.
func setPartial(t *testing.T, frame []byte) {
	t.Helper()
	ip, segment, err := ipv4.Parse(frame[innerIP:])
	require.NoError(t, err)
	binary.BigEndian.PutUint16(segment[16:], checksum.PseudoHeader(ip.Src(), ip.Dst(), tcp.Protocol, uint16(len(segment))))
}

func TestChecksums(t *testing.T) {
	for name, c := range map[string]struct {
		change func(frame []byte)
		sums   []string // layer and whether it is partial
		reason string   // why it is not rebuilt
	}{
		"no outer one, as captured": {func([]byte) {}, nil, ""},
		"an outer one": {func(b []byte) {
			setOuterChecksum(t, b)
		}, nil, ""},
		"inner left to an offload": {func(b []byte) {
			setPartial(t, b)
		}, []string{"tcp partial"}, ""},
		"inner left to an offload, outer from the headers alone": {func(b []byte) {
			setOuterChecksum(t, b)
			setPartial(t, b)
		}, []string{"tcp partial"}, ""},
		"both left to an offload": {func(b []byte) {
			setPartial(t, b)
			u, _, err := udp.Parse(b[outerUDP:])
			require.NoError(t, err)
			u.SetPartialChecksum([4]byte(b[outerIP+12:]), [4]byte(b[outerIP+16:]))
		}, []string{"udp partial", "tcp partial"}, ""},
		"inner one wrong": {func(b []byte) {
			b[innerTCP+16] ^= 1
		}, []string{"tcp wrong"}, ""},
		"inner one wrong under an outer one": {func(b []byte) {
			b[innerTCP+16] ^= 1
			setOuterChecksum(t, b)
		}, []string{"tcp wrong"}, ""},
		"outer one wrong": {func(b []byte) {
			setOuterChecksum(t, b)
			b[outerUDP+6] ^= 1
		}, []string{"udp wrong"}, "udp: wrong checksum"},
		"outer one wrong, inner left to an offload": {func(b []byte) {
			setOuterChecksum(t, b)
			setPartial(t, b)
			b[outerUDP+6] ^= 1
		}, []string{"udp wrong", "tcp partial"}, "bytes differ"},
		"outer IPv4 wrong": {func(b []byte) {
			b[outerIP+10] ^= 1
		}, []string{"ipv4 wrong"}, "ipv4: wrong header checksum"},
		"inner IPv4 wrong": {func(b []byte) {
			b[innerIP+10] ^= 1
		}, []string{"ipv4 wrong"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			frame := session5(t)
			c.change(frame)
			capture := pcapOf(pcapfile.LinkEthernet, frame)
			frames, _ := readJSON(t, capture)
			require.Len(t, frames, 1)
			var sums []string
			wrong := false
			for _, s := range frames[0].Checksums {
				state := "wrong"
				if s.Partial {
					state = "partial"
				}
				wrong = wrong || !s.Partial
				sums = append(sums, s.Layer+" "+state)
			}
			assert.Equal(t, c.sums, sums)
			require.Len(t, frames[0].Tunnels, 1)
			tun := frames[0].Tunnels[0]
			assert.Equal(t, c.reason == "", tun.Rebuilt, "%s: %s", tun.Reason, tun.Detail)
			assert.Contains(t, tun.Reason+": "+tun.Detail, c.reason)

			strict := quickstart(t, capture, "-strict", "-r", "-")
			if !wrong {
				assert.Zero(t, strict.code)
				return
			}
			assert.Equal(t, cli.Fault, strict.code)
			assert.Contains(t, strict.stdout, "! rejected: wrong checksum (-strict)")
			assert.True(t, strings.HasSuffix(strict.lastLine(), ", 1 rejected"), strict.lastLine())
			assert.NotContains(t, strict.stdout, "TUNNEL", "a rejected frame is in no flow")
		})
	}
}

func TestLinkTypes(t *testing.T) {
	frame := ping(t)
	packet := frame[ethernet.HeaderLen:]
	sll := append([]byte{0, 0, 0, 1, 0, 6, 0, 0x50, 0x56, 0x93, 0x6a, 0x3a, 0, 0, 8, 0}, packet...)
	sll2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0x50, 0x56, 0x93, 0x6a, 0x3a, 0, 0}, packet...)
	tagged := append(append(bytes.Clone(sll[:14]), 0x81, 0, 0, 7, 8, 0), packet...)
	arp := append(bytes.Clone(sll[:14]), 8, 6, 0, 1)
	for name, c := range map[string]struct {
		link  pcapfile.LinkType
		frame []byte
		want  string // in the text
		last  string
	}{
		"Ethernet":             {pcapfile.LinkEthernet, frame, "= Ethernet 14 + IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"raw IP":               {pcapfile.LinkRaw, packet, "= IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"raw IPv4":             {pcapfile.LinkIPv4, packet, "= IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"cooked":               {pcapfile.LinkLinuxSLL, sll, "= SLL 16 + IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"cooked, version 2":    {pcapfile.LinkLinuxSLL2, sll2, "= SLL2 20 + IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"cooked, with a tag":   {pcapfile.LinkLinuxSLL, tagged, "= SLL 20 + IPv4 20 +", "1 frame read, 1 rebuilt byte for byte"},
		"cooked ARP":           {pcapfile.LinkLinuxSLL, arp, "! not read: ARP without an Ethernet header", "1 frame read, none with a tunnel"},
		"cooked, cut short":    {pcapfile.LinkLinuxSLL2, sll2[:19], "! not read: SLL2 header cut short", "1 frame read, none with a tunnel"},
		"raw IPv6":             {pcapfile.LinkRaw, []byte{0x60, 0}, "! not read: IPv6", "1 frame read, none with a tunnel"},
		"raw and empty":        {pcapfile.LinkRaw, nil, "ipv4: packet shorter than its header", "1 frame read, none with a tunnel"},
		"BSD loopback":         {pcapfile.LinkNull, frame, "! not read: link type NULL (0) not supported", "1 frame read, none with a tunnel"},
		"a number nobody uses": {9999, frame, "! not read: link type LINKTYPE 9999 (9999) not supported", "1 frame read, none with a tunnel"},
	} {
		t.Run(name, func(t *testing.T) {
			r := quickstart(t, pcapOf(c.link, c.frame), "-r", "-")
			assert.Zero(t, r.code, r.stderr)
			assert.Contains(t, r.stdout, c.want)
			assert.Equal(t, c.last, r.lastLine())
		})
	}
}

// Bytes are counted from the end of the link header where a walk counts them, but from the start of the frame where a user does.
func TestErrorOffsetsCountTheLinkHeader(t *testing.T) {
	packet := ping(t)[ethernet.HeaderLen:]
	packet[0] = 0x55
	sll := append([]byte{14: 8, 15: 0}, packet...)
	frames, _ := readJSON(t, pcapOf(pcapfile.LinkLinuxSLL, sll))
	require.Len(t, frames, 1)
	assert.Equal(t, &jsonError{Level: 0, Layer: "ipv4", Offset: 16, Text: "ipv4: version is not 4"}, frames[0].Error)
}

func TestPorts(t *testing.T) {
	capture := golden(t, "flannel_vxlan_echo_request.pcap")
	r := quickstart(t, capture, "-q", "-r", "-", "-port", "4789")
	assert.Equal(t, "1 frame read, none with a tunnel", r.lastLine())
	r = quickstart(t, capture, "-q", "-r", "-", "-port", "4790, 8472")
	assert.Equal(t, "1 frame read, 1 rebuilt byte for byte", r.lastLine())
}

func TestSnapLength(t *testing.T) {
	frame := ping(t)
	for _, cut := range []int{0, 10, 14, 20, 34, 40, 42, 50, 60, 64, 80, 84, 90, 92, 100, 147} {
		capture := appendRecord(pcapOf(pcapfile.LinkEthernet), 1, frame[:cut], len(frame))
		r := quickstart(t, capture, "-r", "-")
		assert.Zero(t, r.code)
		assert.Contains(t, r.stdout, fmt.Sprintf("#1  1970-01-01 00:00:01.000000  %d of 148 bytes", cut))
		assert.Regexp(t, `cut short +by the capture's snap length +1 +#1`, r.stdout, "cut at %d", cut)
		assert.NotContains(t, r.stdout, "padding", "cut at %d", cut)
		assert.NotContains(t, r.stdout, "broken", "cut at %d: the frame is not to blame", cut)
		assert.NotContains(t, r.stdout, "1 rebuilt", "cut at %d", cut)
	}
}

func TestSizesAddUp(t *testing.T) {
	var frames [][]byte
	for _, v := range vectors.Load(t) {
		if v.Link == vectors.LinkEthernet {
			frames = append(frames, v.Frame)
		}
	}
	r := quickstart(t, pcapOf(pcapfile.LinkEthernet, frames...), "-r", "-")
	number := 0
	for line := range strings.Lines(r.stdout) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		sizes, parts, ok := strings.Cut(strings.TrimSpace(line), " bytes = ")
		require.True(t, ok, line)
		fields := strings.Fields(sizes)
		sum := 0
		for part := range strings.SplitSeq(strings.ReplaceAll(parts, " | ", " + "), " + ") {
			var n int
			words := strings.Fields(part)
			_, err := fmt.Sscan(words[len(words)-1], &n)
			require.NoError(t, err, line)
			sum += n
		}
		assert.Equal(t, fields[len(fields)-1], fmt.Sprint(sum), line)
		assert.Equal(t, len(frames[number]), sum, line)
		number++
	}
	assert.Equal(t, len(frames), number)
}

func TestInnerFramesAreWritten(t *testing.T) {
	out := filepath.Join(t.TempDir(), "inner.pcapng")
	r := quickstart(t, nil, "-q", "-w", out)
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, "13 frames read, 13 rebuilt byte for byte, 13 inner frames written", r.lastLine())
	var want []pcapfile.Packet
	for _, file := range []string{"flannel_vxlan_echo_request.pcap", "flannel_vxlan_http.pcap"} {
		want = append(want, framesOf(t, golden(t, file))...)
	}
	content, err := os.ReadFile(out)
	require.NoError(t, err)
	got := framesOf(t, content)
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i].Data[innerEth:], got[i].Data)
		assert.Equal(t, want[i].Time, got[i].Time)
		assert.Equal(t, len(got[i].Data), got[i].WireLen)
		assert.Equal(t, pcapfile.LinkEthernet, got[i].LinkType)
	}
	requireTool(t, "tcpdump")
	output, err := exec.Command("tcpdump", "-n", "-r", out).CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Equal(t, 14, bytes.Count(output, []byte("\n")), "a line a frame and one about the file:\n%s", output)
}

func TestInnerFramesOfVectorsAreWritten(t *testing.T) {
	var raw [][]byte
	var want []vectors.Vector
	for _, v := range vectors.Load(t) {
		if v.Link == vectors.LinkEthernet && len(tunnelsOf(v)) > 0 {
			raw, want = append(raw, v.Frame), append(want, v)
		}
	}
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	r := quickstart(t, pcapOf(pcapfile.LinkEthernet, raw...), "-q", "-r", "-", "-w", file)
	require.Zero(t, r.code, r.stderr)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	got := framesOf(t, content)
	require.Len(t, got, len(want))
	for i, p := range got {
		v := want[i]
		tunnels := tunnelsOf(v)
		link := pcapfile.LinkEthernet
		if tunnels[len(tunnels)-1] == "IPIP" {
			link = pcapfile.LinkRaw
		}
		assert.Equal(t, link, p.LinkType, v.Name)
		assert.Equal(t, int64(i+1), p.Time.Unix(), v.Name)
		if v.Name == "vxlan/outer/ecn-ce" { // the outer header's mark moved inwards
			assert.Equal(t, byte(ipv4.CE), p.Data[ethernet.HeaderLen+1]&3)
			continue
		}
		assert.True(t, bytes.Contains(v.Frame, p.Data), v.Name)
	}

	requireTool(t, "tshark")
	for _, args := range [][]string{{"-r", file}, {"-r", file, "-Y", "_ws.malformed", "-T", "fields", "-e", "frame.number"}} {
		cmd := exec.Command("tshark", args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		output, err := cmd.Output()
		require.NoError(t, err, "%s", stderr.String())
		for line := range strings.Lines(stderr.String()) {
			assert.Contains(t, line, "Running as user", "tshark complains")
		}
		if len(args) == 2 {
			assert.Equal(t, len(want), bytes.Count(output, []byte("\n")))
		}
	}
}

func TestWriteToStandardOutput(t *testing.T) {
	r := quickstart(t, nil, "-w", "-", "-q")
	assert.Zero(t, r.code)
	assert.Len(t, framesOf(t, []byte(r.stdout)), 13)
	assert.Contains(t, r.stderr, "13 frames read", "the text goes to standard error")
}

func TestFlows(t *testing.T) {
	r := quickstart(t, nil, "-q", "-flows", "1")
	assert.Contains(t, r.stdout, "10.21.3.2:80 > 10.21.0.0:63026 tcp  5        1191\n")
	assert.Contains(t, r.stdout, "and 2 flows more (-flows 0 prints all): 8 packets, 646 bytes\n")
	assert.Equal(t, 3, strings.Count(quickstart(t, nil, "-q", "-flows", "0").stdout, "VXLAN"))
}

// Neither flows nor remarks grow without end, and what is not told apart is summed.
func TestTablesAreBounded(t *testing.T) {
	capture := pcapOf(pcapfile.LinkEthernet)
	frame := ping(t)
	const flows, odd = maxFlows + 10, maxNotes + 10
	for i := range flows {
		vni := frame[outerUDP+12:]
		vni[0], vni[1], vni[2] = byte(i>>16), byte(i>>8), byte(i)
		capture = appendRecord(capture, 1, frame, len(frame))
	}
	other := make([]byte, ethernet.HeaderLen)
	for i := range odd {
		binary.BigEndian.PutUint16(other[12:], uint16(0x8900+i))
		capture = appendRecord(capture, 1, other, len(other))
	}
	_, summary := readJSON(t, capture, "-q", "-flows", "1")
	assert.Equal(t, flows+odd, summary.Frames)
	assert.Equal(t, flows, summary.Rebuilt)
	assert.Len(t, summary.Flows, 1)
	assert.Equal(t, &jsonCount{maxFlows - 1, (maxFlows - 1) * 98}, summary.More)
	assert.Equal(t, &jsonCount{10, 980}, summary.Other)
	require.Len(t, summary.Remarks, maxNotes+1)
	last := summary.Remarks[maxNotes]
	assert.Equal(t, jsonNotes{noteSkipped, "other reasons", odd - maxNotes, flows + maxNotes + 1}, last)
}

// The field names are what programs rely on.
func TestJSONFieldNames(t *testing.T) {
	r := quickstart(t, nil, "-json")
	assert.Zero(t, r.code)
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	require.Len(t, lines, 14)
	assert.JSONEq(t, `{
		"frame": 1, "time": "2021-09-06T02:09:45.801867Z", "link_type": "EN10MB", "length": 148, "captured": 148,
		"levels": [
			{
				"ethernet": {"src": "00:50:56:93:6a:3a", "dst": "00:50:56:93:63:3b", "type": 2048},
				"ipv4": {"src": "172.16.100.101", "dst": "172.16.100.102", "tos": 0, "length": 134, "id": 30086, "df": false, "mf": false,
					"fragment_offset": 0, "ttl": 64, "protocol": 17, "checksum": 58356},
				"udp": {"src_port": 40592, "dst_port": 8472, "length": 114, "checksum": 0},
				"vxlan": {"vni": 1, "flags": 8},
				"payload_length": 98
			},
			{
				"ethernet": {"src": "fe:90:c4:18:69:a7", "dst": "b6:72:ae:36:7b:6c", "type": 2048},
				"ipv4": {"src": "10.244.1.12", "dst": "10.244.2.14", "tos": 0, "length": 84, "id": 8965, "df": true, "mf": false,
					"fragment_offset": 0, "ttl": 63, "protocol": 1, "checksum": 65442},
				"icmp": {"type": 8, "code": 0, "checksum": 33917, "rest": "0c47044e"},
				"payload_length": 56
			}
		],
		"tunnels": [{"level": 0, "kind": "VXLAN", "rebuilt": true, "dropped": false}],
		"rebuilt": true
	}`, lines[0])
	assert.JSONEq(t, `{"summary": {
		"frames": 13, "bytes": 2487, "tunneled": 13, "rebuilt": 13, "rejected": 0, "written": 0,
		"flows": [
			{"kind": "VXLAN", "vni": 1, "tunnel_src": "192.168.0.101", "tunnel_dst": "192.168.0.100", "ether_type": 2048,
				"src": "10.21.3.2", "dst": "10.21.0.0", "protocol": 6, "src_port": 80, "dst_port": 63026, "packets": 5, "bytes": 1191},
			{"kind": "VXLAN", "vni": 1, "tunnel_src": "192.168.0.100", "tunnel_dst": "192.168.0.101", "ether_type": 2048,
				"src": "10.21.0.0", "dst": "10.21.3.2", "protocol": 6, "src_port": 63026, "dst_port": 80, "packets": 7, "bytes": 548},
			{"kind": "VXLAN", "vni": 1, "tunnel_src": "172.16.100.101", "tunnel_dst": "172.16.100.102", "ether_type": 2048,
				"src": "10.244.1.12", "dst": "10.244.2.14", "protocol": 1, "packets": 1, "bytes": 98}
		],
		"remarks": []
	}}`, lines[13])
}

// What JSON says of the vectors' headers is what scapy read.
func TestJSONAgreesWithTheVectors(t *testing.T) {
	var vs []vectors.Vector
	var raw [][]byte
	for _, v := range vectors.Load(t) {
		if v.Link == vectors.LinkEthernet {
			vs, raw = append(vs, v), append(raw, v.Frame)
		}
	}
	frames, _ := readJSON(t, pcapOf(pcapfile.LinkEthernet, raw...))
	for i, v := range vs {
		var got []uint16 // identifications of all IPv4 headers
		vlans := 0
		for _, l := range frames[i].Levels {
			if l.IPv4 != nil {
				got = append(got, l.IPv4.ID)
			}
			if l.Ethernet != nil {
				vlans += len(l.Ethernet.VLAN)
			}
		}
		var want []uint16
		for _, h := range vectors.Of[vectors.IPv4](v) {
			want = append(want, h.ID)
		}
		tags := 0
		for _, h := range vectors.Of[vectors.Ethernet](v) {
			tags += len(h.Tags)
		}
		assert.Equal(t, want, got, v.Name)
		assert.Equal(t, tags, vlans, v.Name)
		assert.Equal(t, strings.Contains(v.Name, "i-flag"), frames[i].Error != nil, v.Name)
	}
}
