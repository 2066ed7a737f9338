package tcpdump_test

// The words against tcpdump's own: recorded in testdata/*.txt by testdata/record.sh, and from the tcpdump of this machine.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/tcpdump"
	"github.com/culvert-net/culvert/internal/vectors"
)

// rule is a difference that stays: what tcpdump prints is rewritten to what we print, for the reason given. Rules apply in
// order, to all lines of a frame at once.
type rule struct {
	reason  string
	pattern *regexp.Regexp
	ours    string
}

var rules = []rule{
	{
		"what nobody reads is counted, not dumped",
		regexp.MustCompile(`\n\t0x.*`), "",
	},
	{
		"8472 is Linux's port for VXLAN; OTV's is the same",
		regexp.MustCompile(`OTV, flags \[I\] \((0x..)\), overlay \d+, instance (\d+)`), "VXLAN, flags [I] ($1), vni $2",
	},
	{
		"no protocols above TCP",
		regexp.MustCompile(`(length \d+): HTTP.*(\n\t.*)*`), "$1",
	},
	{
		"no protocols above UDP",
		regexp.MustCompile(`BOOTP/DHCP, Request, length 4 \[\|bootp\]`), "UDP, length 4",
	},
	{
		"no VXLAN-GPE",
		regexp.MustCompile(`VXLAN-GPE, .*\n.*`), "UDP, length 58",
	},
	{
		"no LLC",
		regexp.MustCompile(`(, 802\.3, length \d+:) (?:LLC,| \[\|llc\]).*(\n\t.*)*`), "$1 LLC",
	},
	{
		"no LLC; behind tags it is introduced as it is without",
		regexp.MustCompile(`802\.3LLC,.*(\n\t.*)*`), "802.3, length 38: LLC",
	},
	{
		"no IPv6 behind the fixed header",
		regexp.MustCompile(`(payload length: \d+\) [0-9a-f:]+)(?:\.\d+)? > ([0-9a-f:]+)(?:\.\d+)?: .*`), "$1 > $2",
	},
	{
		"no timestamp options",
		regexp.MustCompile(`timestamp TS\{.*\)`), "timestamp))",
	},
	{
		"no ICMP extensions",
		regexp.MustCompile(`\n\tICMP Multi-Part.*(\n\t  .*)*`), "",
	},
	{
		"no RARP, which has an EtherType of its own",
		regexp.MustCompile(`(ethertype Reverse ARP \(0x8035\), length \d+: ).*`), "$1",
	},
	{
		"names only of EtherTypes that a node meets",
		regexp.MustCompile(`ethertype NS `), "ethertype Unknown ",
	},
	{
		"0x9100 is not the protocol id of a tag that culvert reads",
		regexp.MustCompile(`ethertype 802\.1Q-9100 \(0x9100\), length 18: .*`), "ethertype Unknown (0x9100), length 18: ",
	},
	{
		"only what has ports is said to have one",
		regexp.MustCompile(`10\.0\.0\.2 protocol (\d+) port \d+ unreachable`), "10.0.0.2 protocol $1 unreachable",
	},
	{
		"the bytes behind a fragment's header are no port",
		regexp.MustCompile(`udp port 13108 unreachable`), "protocol 17 unreachable",
	},
	{
		"checksums are summed with the destination in the header; tcpdump takes the last one of a source route",
		regexp.MustCompile(`(options \([LS]SRR (?s:.*))\[bad udp cksum 0x77d3 -> 0x\w+!\]`), "$1[udp sum ok]",
	},
	{
		"an operation without a name ends the line",
		regexp.MustCompile(`Unknown \(5\) `), "Unknown (5)",
	},
}

// frames are vectors of which tcpdump reads more, or less, than culvert; last is our last line of them.
var frames = map[string]struct{ reason, last string }{
	"vxlan/source-port-only": {
		"VXLAN is what goes to its port, not what comes from it",
		"    192.0.2.1.4789 > 192.0.2.2.40000: [udp sum ok] UDP, length 58",
	},
	"vxlan/i-flag/clear": {
		"without the I flag there is no VXLAN (RFC 7348 section 5)",
		"    192.0.2.1.51234 > 192.0.2.2.4789: [udp sum ok] UDP, length 50 " +
			"[vxlan: I flag is not set, so there is no VNI (vxlan header at byte 42)]",
	},
	"vxlan/i-flag/all-but-i": {
		"as above",
		"    192.0.2.1.51234 > 192.0.2.2.4789: [udp sum ok] UDP, length 50 " +
			"[vxlan: I flag is not set, so there is no VNI (vxlan header at byte 42)]",
	},
	"vxlan/nested/inner-i-flag-clear": {
		"as above",
		"    10.244.1.2.51234 > 10.244.2.3.4789: [udp sum ok] UDP, length 58 " +
			"[vxlan: I flag is not set, so there is no VNI (vxlan header at byte 92)]",
	},
	"vxlan/outer/udp-length-short": {
		"the UDP length cuts the inner frame, which tcpdump does not expect",
		"66:12:34:56:78:0a > 66:12:34:56:78:0b, ethertype Unknown (0x88b5), length 23: 9 bytes not read",
	},
	"vxlan/outer/fragment-first": {
		"no tunnel is read in a fragment",
		"    192.0.2.1.51234 > 192.0.2.2.4789: UDP, length 110",
	},
	"ipip/outer/fragment-first": {
		"as above",
		"    192.0.2.1 > 192.0.2.2:  ip-proto-4 40",
	},
	"ipip/raw-link/fragment-first": {
		"as above",
		"    192.0.2.1 > 192.0.2.2:  ip-proto-4 40",
	},
}

// same brings what tcpdump and we print of a frame into a form that must be equal.
func same(theirs, ours string, used []int) (string, string) {
	for i, r := range rules {
		if r.pattern.MatchString(theirs) {
			theirs = r.pattern.ReplaceAllString(theirs, r.ours)
			used[i]++
		}
	}
	return theirs, notRead.ReplaceAllString(ours, "$1")
}

// notRead is what we say instead of dumping, in place of nothing.
var notRead = regexp.MustCompile(`(: |, )\d+ bytes not read`)

// number is how `tcpdump -#` starts a frame.
var number = regexp.MustCompile(`^ *(\d+)  (.*)$`)

// split divides tcpdump's output by frame number.
func split(t *testing.T, output []byte) map[int]string {
	t.Helper()
	texts, current := map[int]string{}, 0
	for line := range strings.SplitSeq(strings.TrimSuffix(string(output), "\n"), "\n") {
		if m := number.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			current, line = n, m[2]
		}
		texts[current] += line + "\n"
	}
	return texts
}

// printed is one packet as we print it.
type printed struct {
	number int
	text   string
}

// print walks and prints a capture.
func printAll(t *testing.T, capture []byte, opt tcpdump.Options) []printed {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(capture))
	require.NoError(t, err)
	w, err := dissect.New(dissect.Config{Partial: true})
	require.NoError(t, err)
	var s dissect.Stack
	var all []printed
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		walk := w.Ethernet
		if p.LinkType != pcapfile.LinkEthernet {
			walk = w.IPv4
		}
		err = walk(&s, p.Data)
		if len(p.Data) < p.WireLen { // the capture's fault
			err = nil
		}
		all = append(all, printed{p.Number, string(tcpdump.AppendFrame(nil, &s, err, p.WireLen, opt))})
	}
}

func TestRecordedWords(t *testing.T) {
	files, err := filepath.Glob("testdata/*.pcap")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			capture, err := os.ReadFile(file)
			require.NoError(t, err)
			recorded, err := os.ReadFile(strings.TrimSuffix(file, ".pcap") + ".txt")
			require.NoError(t, err)
			theirs := split(t, recorded)
			used := make([]int, len(rules))
			ours := printAll(t, capture, tcpdump.Options{})
			require.Len(t, ours, len(theirs))
			for _, p := range ours {
				want, got := same(theirs[p.number], p.text, used)
				assert.Equal(t, want, got, "frame %d", p.number)
			}
		})
	}
}

// requireTcpdump skips, or fails where tools are required, without a tcpdump whose words are those of the package.
func requireTcpdump(t *testing.T) {
	t.Helper()
	version, err := exec.Command("tcpdump", "--version").CombinedOutput()
	if err == nil && bytes.HasPrefix(version, []byte("tcpdump version 4.99.")) {
		return
	}
	if os.Getenv("CULVERT_REQUIRE_TOOLS") == "1" {
		require.FailNow(t, "tcpdump 4.99 is required", "%v: %s", err, version)
	}
	t.Skipf("no tcpdump 4.99: %v", err)
}

// live runs tcpdump.
func live(t *testing.T, file string, flags ...string) map[int]string {
	t.Helper()
	out, err := exec.Command("tcpdump", append([]string{"-#", "-n", "-t", "-r", file}, flags...)...).Output()
	require.NoError(t, err)
	return split(t, out)
}

// vectorFile writes the vectors of a link as a pcap file.
func vectorFile(t *testing.T, vs []vectors.Vector, link pcapfile.LinkType) string {
	t.Helper()
	const magic, version, snapLen = 0xa1b2c3d4, 2 | 4<<16, 262144
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint32(b, version)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, snapLen)
	b = le.AppendUint32(b, uint32(link))
	for _, v := range vs {
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint32(b, uint32(len(v.Frame)))
		b = le.AppendUint32(b, uint32(len(v.Frame)))
		b = append(b, v.Frame...)
	}
	file := filepath.Join(t.TempDir(), "vectors.pcap")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

// compare holds what we print of a capture against tcpdump, except the frames that skip takes care of.
func compare(t *testing.T, file string, opt tcpdump.Options, used []int, skip func(printed) bool, flags ...string) {
	t.Helper()
	capture, err := os.ReadFile(file)
	require.NoError(t, err)
	theirs := live(t, file, flags...)
	ours := printAll(t, capture, opt)
	require.Len(t, ours, len(theirs))
	for _, p := range ours {
		if skip(p) {
			continue
		}
		want, got := same(theirs[p.number], p.text, used)
		assert.Equal(t, want, got, "%s frame %d", file, p.number)
	}
}

func TestLiveWords(t *testing.T) {
	requireTcpdump(t)
	used, met := make([]int, len(rules)), map[string]bool{}
	for link, linkType := range map[vectors.Link]pcapfile.LinkType{
		vectors.LinkEthernet: pcapfile.LinkEthernet, vectors.LinkIPv4: pcapfile.LinkIPv4,
	} {
		var vs []vectors.Vector
		for _, v := range vectors.Load(t) {
			if v.Link == link {
				vs = append(vs, v)
			}
		}
		require.NotEmpty(t, vs)
		skip := func(p printed) bool {
			name := vs[p.number-1].Name
			f, ok := frames[name]
			if ok {
				lines := strings.Split(strings.TrimSuffix(p.text, "\n"), "\n")
				assert.Equal(t, f.last, lines[len(lines)-1], name)
				met[name] = true
			}
			return ok
		}
		compare(t, vectorFile(t, vs, linkType), tcpdump.Options{}, used, skip, "-S", "-e", "-vv")
	}
	for _, file := range []string{"testdata/words.pcap", "testdata/flannel_vxlan_http.pcap"} {
		compare(t, file, tcpdump.Options{}, used, none, "-S", "-e", "-vv")
	}
	for i, r := range rules {
		assert.NotZero(t, used[i], "no frame has the difference that %q excuses", r.reason)
	}
	for name := range frames {
		assert.True(t, met[name], "no vector is called %s", name)
	}
}

func none(printed) bool { return false }

func TestLiveWordsWithFewerFlags(t *testing.T) {
	requireTcpdump(t)
	for name, c := range map[string]struct {
		opt   tcpdump.Options
		flags []string
	}{
		"without -v":          {tcpdump.Options{Terse: true}, []string{"-S", "-e"}},
		"with one -v":         {tcpdump.Options{Brief: true}, []string{"-S", "-e", "-v"}},
		"without -e":          {tcpdump.Options{NoLink: true}, []string{"-S", "-vv"}},
		"without -v, -e":      {tcpdump.Options{Terse: true, NoLink: true}, []string{"-S"}},
		"without -v, -e, -S":  {tcpdump.Options{Terse: true, NoLink: true, TCP: &tcpdump.Sequences{}}, nil},
		"without -S":          {tcpdump.Options{TCP: &tcpdump.Sequences{}}, []string{"-e", "-vv"}},
		"with -q":             {tcpdump.Options{Terse: true, NoLink: true, Quick: true}, []string{"-q"}},
		"with -q and -e":      {tcpdump.Options{Terse: true, Quick: true}, []string{"-q", "-e"}},
		"with -q, -e and -vv": {tcpdump.Options{Quick: true}, []string{"-q", "-e", "-vv"}},
		"with all its words":  {tcpdump.Options{}, []string{"-S", "-e", "-vv"}},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, "testdata/words.pcap", c.opt, make([]int, len(rules)), none, c.flags...)
		})
	}
}

func TestOTV(t *testing.T) {
	requireTcpdump(t)
	const file = "testdata/words.pcap"
	capture, err := os.ReadFile(file)
	require.NoError(t, err)
	theirs, met := live(t, file, "-e", "-vv"), 0
	for _, p := range printAll(t, capture, tcpdump.Options{OTV: true}) {
		if want := theirs[p.number]; strings.Contains(want, "OTV") {
			assert.Equal(t, want, p.text)
			met++
		}
	}
	assert.NotZero(t, met)
}
