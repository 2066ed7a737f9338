package tcpdump_test

// What tcpdump has no part in: errors, margins, memory, and input of every kind.

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/tcpdump"
	"github.com/culvert-net/culvert/internal/vectors"
)

// walker returns a walker with the default configuration.
func walker(t testing.TB) *dissect.Walker {
	t.Helper()
	w, err := dissect.New(dissect.Config{})
	require.NoError(t, err)
	return w
}

// vector returns the frame of that name.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	for _, v := range vectors.Load(t) {
		if v.Name == name {
			return v.Frame
		}
	}
	require.FailNow(t, "no vector is called "+name)
	return nil
}

func TestErrorsAreShownWhereReadingStopped(t *testing.T) {
	const (
		frame = "02:00:00:00:00:0a > 02:00:00:00:00:0b, ethertype IPv4 (0x0800), length "
		outer = "(tos 0x0, ttl 64, id 4660, offset 0, flags [none], proto UDP (17), length "
	)
	tunnel := vector(t, "vxlan/port-4789")
	set := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	for name, c := range map[string]struct {
		breakIt func([]byte) []byte
		want    string
	}{
		"nothing at all": {
			func([]byte) []byte { return nil },
			"[ethernet: frame shorter than its header (ethernet header at byte 0)]\n",
		},
		"outer version 6": {
			set(14, 0x65),
			frame + "100: [ipv4: version is not 4 (ipv4 header at byte 14)]\n",
		},
		"outer total length beyond the end": {
			set(16, 0xff),
			frame + "100: [ipv4: total length beyond the end of the packet (ipv4 header at byte 14)]\n",
		},
		"UDP length below 8": {
			func(b []byte) []byte { binary.BigEndian.PutUint16(b[38:], 7); return b },
			frame + "100: " + outer + "86)\n    192.0.2.1.51234 > 192.0.2.2.4789: [udp: length below the header length (udp header at byte 34)]\n",
		},
		"inner header length below 20": {
			set(64, 0x44),
			frame + "100: " + outer + "86)\n" +
				"    192.0.2.1.51234 > 192.0.2.2.4789: [bad udp cksum 0x83b5 -> 0x84b5!] VXLAN, flags [I] (0x08), vni 1\n" +
				"66:12:34:56:78:0a > 66:12:34:56:78:0b, ethertype IPv4 (0x0800), length 50: " +
				"[ipv4: header length below 20 bytes (ipv4 header at byte 64)]\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			frame := c.breakIt(bytes.Clone(tunnel))
			var s dissect.Stack
			err := walker(t).Ethernet(&s, frame)
			require.Error(t, err)
			assert.Equal(t, c.want, string(tcpdump.AppendFrame(nil, &s, err, len(frame), tcpdump.Options{})))
		})
	}
}

func TestMargins(t *testing.T) {
	frame := vector(t, "ipip/around-vxlan")
	var s dissect.Stack
	require.NoError(t, walker(t).Ethernet(&s, frame))
	got := tcpdump.AppendFrame([]byte("before\n"), &s, nil, len(frame), tcpdump.Options{Prefix: "# ", Indent: "| "})
	var margins []string
	for line := range strings.Lines(string(got)) {
		margins = append(margins, line[:min(len(line), 7)])
	}
	assert.Equal(t, []string{"before\n", "# 02:00", "#     1", "# |    ", "# | | 6", "# | |  "}, margins)
}

// A printer that keeps anything of the packet before would show it here: every vector is printed after the longest one.
func TestNothingIsKept(t *testing.T) {
	w, long := walker(t), vector(t, "vxlan/nested/three-deep")
	var fresh, used dissect.Stack
	for _, v := range vectors.Load(t) {
		if v.Link != vectors.LinkEthernet {
			continue
		}
		err := w.Ethernet(&fresh, v.Frame)
		want := tcpdump.AppendFrame(nil, &fresh, err, len(v.Frame), tcpdump.Options{})
		require.NoError(t, w.Ethernet(&used, long))
		b := tcpdump.AppendFrame(nil, &used, nil, len(long), tcpdump.Options{})
		err = w.Ethernet(&used, v.Frame)
		b = tcpdump.AppendFrame(b[:0], &used, err, len(v.Frame), tcpdump.Options{})
		require.Equal(t, string(want), string(b), v.Name)
	}
}

func TestAppendFrameAllocatesNothing(t *testing.T) {
	w := walker(t)
	b := make([]byte, 0, 1<<16)
	for _, v := range vectors.Load(t) {
		if v.Link != vectors.LinkEthernet {
			continue
		}
		var s dissect.Stack
		err := w.Ethernet(&s, v.Frame)
		allocs := testing.AllocsPerRun(10, func() {
			b = tcpdump.AppendFrame(b[:0], &s, nil, len(v.Frame), tcpdump.Options{Prefix: "> ", Indent: "  "})
		})
		require.Zero(t, allocs, "%s (%v)", v.Name, err)
	}
}

// FuzzAppendFrame prints whatever can be walked, and holds the shape of the text: whole lines, each with its prefix, without
// control characters but a quote's tab.
func FuzzAppendFrame(f *testing.F) {
	for _, v := range vectors.Load(f) {
		f.Add([]byte(v.Frame), v.Link == vectors.LinkIPv4, false, false)
	}
	w, err := dissect.New(dissect.Config{Partial: true})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, frame []byte, raw, terse, noLink bool) {
		var s dissect.Stack
		walk := w.Ethernet
		if raw {
			walk = w.IPv4
		}
		err := walk(&s, frame)
		opt := tcpdump.Options{Terse: terse, NoLink: noLink, Prefix: "> ", Indent: ". "}
		for _, e := range []error{err, nil} {
			text := string(tcpdump.AppendFrame(nil, &s, e, len(frame), opt))
			require.True(t, strings.HasSuffix(text, "\n"))
			for line := range strings.Lines(text) {
				require.True(t, strings.HasPrefix(line, "> "), "%q", line)
				require.Equal(t, -1, strings.IndexFunc(line, func(r rune) bool {
					return r != '\t' && r != '\n' && (r < ' ' || r > '~')
				}), "%q", line)
			}
		}
	})
}

func ExampleAppendFrame() {
	// A ping from pod to pod as the first node's network card saw it: testdata/flannel_vxlan_echo_request.pcap.
	frame, err := hex.DecodeString("00505693633b005056936a3a0800" + // Ethernet
		"45000086758600004011e3f4ac106465ac106466" + "9e90211800720000" + // IPv4, UDP
		"0800000000000100" + // VXLAN
		"b672ae367b6cfe90c41869a70800" + // Ethernet
		"45000054230540003f01ffa20af4010c0af4020e" + "0800847d0c47044e" + // IPv4, ICMP
		"0d1e55cf" + strings.Repeat("00", 52))
	if err != nil {
		log.Fatal(err)
	}
	w, err := dissect.New(dissect.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var s dissect.Stack
	err = w.Ethernet(&s, frame)
	fmt.Print(string(tcpdump.AppendFrame(nil, &s, err, len(frame), tcpdump.Options{Terse: true, NoLink: true})))
	// Output:
	// IP 172.16.100.101.40592 > 172.16.100.102.8472: VXLAN, flags [I] (0x08), vni 1
	// IP 10.244.1.12 > 10.244.2.14: ICMP echo request, id 3143, seq 1102, length 64
}
