package differ_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab/internal/differ"
)

// normal returns the normal form of a script's output, as lines.
func normal(t *testing.T, script, output string) string {
	t.Helper()
	n, err := differ.Normalise(differ.Script{Text: script}, differ.Result{Output: output})
	require.NoError(t, err)
	return strings.Join(n.Output, "\n")
}

// TestNormaliseOutput: lines as the tools of Debian 12 print them.
func TestNormaliseOutput(t *testing.T) {
	const chosen = "ip link set eth0 address 02:00:00:00:00:01"
	for name, c := range map[string]struct{ output, want string }{
		"ping": {
			"64 bytes from 10.1.1.3: icmp_seq=2 ttl=63 time=0.071 ms",
			"64 bytes from 10.1.1.3: icmp_seq=2 ttl=63 time=T",
		},
		"ping's end": {
			"3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 417ms\npipe 3",
			"3 packets transmitted, 0 received, +3 errors, 100% packet loss, time T\npipe 3",
		},
		"ping's statistics": {"rtt min/avg/max/mdev = 0.038/0.054/0.071/0.016 ms", "rtt min/avg/max/mdev = T"},
		"ping's statistics with more than one on the way": {
			"rtt min/avg/max/mdev = 1000.038/1000.054/1000.071/0.016 ms, pipe 2", "rtt min/avg/max/mdev = T, pipe 2",
		},
		"arping": {
			"42 bytes from 02:00:00:00:00:01 (10.1.2.2): index=0 time=3.927 usec",
			"42 bytes from 02:00:00:00:00:01 (10.1.2.2): index=0 time=T",
		},
		"traceroute": {" 2  10.1.2.2  0.045 ms  1.045 ms *", " 2  10.1.2.2  T ms  T ms *"},
		"tcpdump": {
			"12:57:01.123456 IP 10.1.1.2 > 10.1.1.3: ICMP echo request, id 4711, seq 1, length 64",
			"TIME IP 10.1.1.2 > 10.1.1.3: ICMP echo request, id N, seq 1, length 64",
		},
		"tcpdump -v": {
			"IP (tos 0x0, ttl 64, id 33245, offset 0, flags [DF], proto ICMP (1), length 84)",
			"IP (tos 0x0, ttl 64, id N, offset 0, flags [DF], proto ICMP (1), length 84)",
		},
		"an ephemeral port and the answer to it": {
			"IP 10.0.0.1.40001 > 10.0.0.2.53: UDP, length 3\nIP 10.0.0.2.53 > 10.0.0.1.40001: UDP, length 3",
			"IP 10.0.0.1.port-a > 10.0.0.2.53: UDP, length 3\nIP 10.0.0.2.53 > 10.0.0.1.port-a: UDP, length 3",
		},
		"a port as high, but a server's": {
			"IP 10.0.0.1.9 > 10.0.0.2.33434: UDP, length 3\nIP 10.0.0.2.33434 > 10.0.0.1.9: UDP, length 3",
			"IP 10.0.0.1.9 > 10.0.0.2.33434: UDP, length 3\nIP 10.0.0.2.33434 > 10.0.0.1.9: UDP, length 3",
		},
		"indexes of devices": {
			"12: eth0@if7: <UP> mtu 1500\n     peer_ifindex: 7", "I: eth0@ifI: <UP> mtu 1500\n     peer_ifindex: I",
		},
		"a port of a bridge": {
			"3: port2@port1: <UP> mtu 1500 master br0 state forwarding priority 32 cost 2",
			"I: port2@ifI: <UP> mtu 1500 master br0 state forwarding priority 32 cost 2",
		},
		"a veth of this namespace": {"3: port2@port1: <UP> mtu 1500", "I: port2@port1: <UP> mtu 1500"},
		"a route's cache":          {"    cache expires 597sec mtu 1450 ", "    cache expires T mtu 1450"},
		"an entry's use":           {"used 12/10/8 probes 1", "used T probes 1"},
		"brctl showmacs": {
			"  2\t02:00:00:00:00:01\tno\t\t  12.34", "  2\t02:00:00:00:00:01\tno\t\tT",
		},
		"random MAC addresses": {
			"3e:01:02:03:04:05 3E:01:02:03:04:06 3e:01:02:03:04:05", "mac-a mac-b mac-a",
		},
		"chosen MAC addresses": {
			"02:00:00:00:00:01 02:00:00:00:00:77 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01",
			"02:00:00:00:00:01 mac-a ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01",
		},
		"a bridge's id": {
			"br0 8000.3e0102030405 no\nbr1 8000.020000000001 no", "br0 8000.mac-a no\nbr1 8000.020000000001 no",
		},
		"what is nobody's free choice": {
			"net.ipv4.neigh.eth0.retrans_time_ms = 300\n1 packets, ttl 64", "net.ipv4.neigh.eth0.retrans_time_ms = 300\n1 packets, ttl 64",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, normal(t, chosen, c.output))
		})
	}
}

func TestNormaliseKnowsHowChosenAddressesBegin(t *testing.T) {
	assert.Equal(t, "02:00:00:00:01:05 mac-a", normal(t, "wire h$i eth0 02:00:00:00:01:0$i", "02:00:00:00:01:05 02:00:00:00:02:05"))
}

// TestPackets: captures of Linux 6.18 by tcpdump 4.99.3, at a veth sender, so with partial checksums. The text beside each was
// held against tshark's reading.
func TestPackets(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.pcap")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(path, ".pcap") + ".txt")
			require.NoError(t, err)
			n, err := differ.Normalise(differ.Script{Text: "02:00:00:00:"}, differ.Result{Captures: map[string][]byte{"x.pcap": file}})
			require.NoError(t, err)
			assert.Equal(t, string(want), strings.Join(n.Captures["x.pcap"], "\n")+"\n")
		})
	}
}

// TestPacketsOfAnyBytes: whatever is captured has a text, and nothing panics.
func TestPacketsOfAnyBytes(t *testing.T) {
	file, err := os.ReadFile("testdata/vxlan.pcap")
	require.NoError(t, err)
	for cut := range file {
		_, _ = differ.Normalise(differ.Script{}, differ.Result{Captures: map[string][]byte{"x.pcap": file[:cut]}})
		broken := append([]byte(nil), file...)
		broken[cut] ^= 0xff
		_, _ = differ.Normalise(differ.Script{}, differ.Result{Captures: map[string][]byte{"x.pcap": broken}})
	}
}

func TestNormaliseReportsWhatIsNoCapture(t *testing.T) {
	_, err := differ.Normalise(differ.Script{}, differ.Result{Captures: map[string][]byte{"x.pcap": []byte("nonsense, and enough of it")}})
	assert.ErrorContains(t, err, "x.pcap")
}

func TestParseReadsWhatStringWrote(t *testing.T) {
	n := differ.Normal{
		Exit: 2, Output: []string{"exit 1", "", "  output", "capture x.pcap"},
		Captures: map[string][]string{"a.pcap": nil, "b.pcap": {"eth", "arp"}},
	}
	got, err := differ.Parse(n.String())
	require.NoError(t, err)
	assert.Equal(t, n, got)

	for _, text := range []string{"nonsense\n", "exit nonsense\n"} {
		_, err := differ.Parse(text)
		assert.Error(t, err, text)
	}
}

func TestCompare(t *testing.T) {
	sides := differ.Sides{Want: "kernel", Got: "lab"}
	one := differ.Normal{
		Output:   []string{"one", "two", "three", "four", "five"},
		Captures: map[string][]string{"a.pcap": {"eth len=42 / arp op=1", "eth len=98 / ip ttl=64 / icmp type=8 sum=right"}},
	}
	assert.Empty(t, differ.Compare(sides, one, one))

	other := differ.Normal{
		Exit: 1, Output: []string{"one", "three", "four", "4.5", "five"},
		Captures: map[string][]string{"a.pcap": {"eth len=42 / arp op=1", "eth len=98 / ip ttl=63 / icmp type=8 sum=wrong"}, "b.pcap": nil},
	}
	assert.Equal(t, `exit code: kernel 0, lab 1
output: 5 lines from the kernel, 5 from the lab
            one
  - kernel  two
            three
            four
  + lab     4.5
a.pcap: 2 lines from the kernel, 2 from the lab
            eth len=42 / arp op=1
  - kernel  eth len=98 / ip ttl=64 / icmp type=8 sum=right
  + lab     eth len=98 / ip ttl=63 / icmp type=8 sum=wrong
  ! differs ip.ttl 64 63, icmp.sum right wrong
b.pcap: written by the lab only
`, differ.Compare(sides, one, other))
}

func TestCompareTellsWhatIsMissing(t *testing.T) {
	want := differ.Normal{Output: []string{"1", "2", "3"}, Captures: map[string][]string{"a.pcap": {"eth"}}}
	report := differ.Compare(differ.Sides{Want: "kernel", Got: "lab"}, want, differ.Normal{})
	assert.Contains(t, report, "output: 3 lines from the kernel, 0 from the lab")
	assert.Contains(t, report, "a.pcap: written by the kernel only")
}

func TestFields(t *testing.T) {
	for name, c := range map[string]struct{ want, got, fields string }{
		"the same":         {"eth len=1", "eth len=1", ""},
		"one":              {"eth len=1 / ip ttl=3", "eth len=1 / ip ttl=4", "ip.ttl 3 4"},
		"other headers":    {"eth len=1 / ip ttl=3", "eth len=1 / arp op=4", ""},
		"one header more":  {"eth len=1 / ip ttl=3", "eth len=1", ""},
		"no packet at all": {"PING 10.0.0.1", "PING 10.0.0.2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.fields, differ.Fields(c.want, c.got))
		})
	}
}
