// The same fragments played to the Linux kernel: what it delivers, and what it counts.
//
//	namespace node (the kernel)                        namespace wire (the test)
//
//	raw sockets ── eth0 10.0.0.1/24, 10.0.0.9 ──veth── wire: a packet socket, as whoever the fragments say
//
// A fragment's fate shows in the counters; what it delivers must be ours byte for byte, header included.
package ipfrag_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
)

// kernel is a node that reassembles.
type kernel struct {
	node *netnstest.Namespace
	wire *netnstest.Socket
	raw  map[uint8]int // sockets by protocol
	buf  []byte
}

const (
	nodeMAC = "02:00:00:00:00:01"
	wireMAC = "02:00:00:00:00:ff"
	marker  = 0xffff // the id of a packet that comes after all others
)

func newKernel(t *testing.T) *kernel {
	t.Helper()
	k := &kernel{node: netnstest.New(t), raw: make(map[uint8]int), buf: make([]byte, 1<<16)}
	wire := netnstest.New(t)
	netnstest.Veth(t,
		netnstest.End{Namespace: k.node, Device: "eth0", MAC: nodeMAC},
		netnstest.End{Namespace: wire, Device: "wire", MAC: wireMAC})
	k.node.IP(t, "address add 10.0.0.1/24 dev eth0")
	k.node.IP(t, "address add 10.0.0.9/24 dev eth0")
	k.wire = wire.Socket(t, "wire")
	for _, protocol := range []uint8{experiment, experiment2} {
		require.NoError(t, k.node.Do(func() (err error) {
			k.raw[protocol], err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
			return errors.Join(err, unix.SetsockoptTimeval(k.raw[protocol], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
		}))
		t.Cleanup(func() { _ = unix.Close(k.raw[protocol]) })
	}
	return k
}

func (k *kernel) sysctl(t *testing.T, key, value string) {
	t.Helper()
	require.NoError(t, k.node.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+key, []byte(value), 0) }))
}

// play sends packets and returns what the kernel delivers of each protocol, in its order.
func (k *kernel) play(t *testing.T, packets ...[]byte) [][]byte {
	t.Helper()
	var frames [][]byte
	for protocol := range k.raw {
		p, err := ipv4.Fields{ID: marker, TTL: defaultTTL, Protocol: protocol, Src: source, Dst: target}.Append(nil, 0)
		require.NoError(t, err)
		packets = append(packets, p)
	}
	for _, p := range packets {
		f, err := ethernet.Fields{
			Dst: ethernet.MustParseMAC(nodeMAC), Src: ethernet.MustParseMAC(wireMAC), EtherType: ethernet.TypeIPv4,
		}.Append(nil)
		require.NoError(t, err)
		frames = append(frames, append(f, p...))
	}
	k.wire.Send(t, frames...)
	var got [][]byte
	for _, protocol := range []uint8{experiment, experiment2} {
		got = append(got, k.receive(t, protocol)...)
	}
	return got
}

// receive returns what a socket received before the marker.
func (k *kernel) receive(t *testing.T, protocol uint8) (got [][]byte) {
	t.Helper()
	for {
		n, err := unix.Read(k.raw[protocol], k.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err, "the marker did not arrive")
		p := bytes.Clone(k.buf[:n])
		h, _, err := ipv4.Parse(p)
		require.NoError(t, err)
		if h.ID() == marker {
			return got
		}
		got = append(got, p)
	}
}

// counters returns the counters of the node that [ipfrag.Stats] has too.
func (k *kernel) counters(t *testing.T) ipfrag.Stats {
	t.Helper()
	values := make(map[string]uint64)
	require.NoError(t, k.node.Do(func() error {
		for _, file := range []string{"snmp", "netstat"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			readCounters(string(text), values)
		}
		return nil
	}))
	for _, name := range []string{"Ip:ReasmReqds", "IpExt:ReasmOverlaps"} {
		require.Contains(t, values, name)
	}
	return ipfrag.Stats{
		ReasmReqds: values["Ip:ReasmReqds"], ReasmOKs: values["Ip:ReasmOKs"], ReasmFails: values["Ip:ReasmFails"],
		ReasmTimeout: values["Ip:ReasmTimeout"], ReasmOverlaps: values["IpExt:ReasmOverlaps"],
	}
}

// readCounters reads pairs of lines: names and values behind a common first word.
func readCounters(text string, into map[string]uint64) {
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < min(len(names), len(values)); j++ {
			var v uint64
			if _, err := fmt.Sscan(values[j], &v); err == nil { // some are signed
				into[names[0]+names[j]] = v
			}
		}
	}
}

func since(before, after ipfrag.Stats) ipfrag.Stats {
	return ipfrag.Stats{
		ReasmReqds: after.ReasmReqds - before.ReasmReqds, ReasmOKs: after.ReasmOKs - before.ReasmOKs,
		ReasmFails: after.ReasmFails - before.ReasmFails, ReasmTimeout: after.ReasmTimeout - before.ReasmTimeout,
		ReasmOverlaps: after.ReasmOverlaps - before.ReasmOverlaps,
	}
}

// compare plays fragments to the kernel and to a reassembler.
func (k *kernel) compare(t *testing.T, parts []part) bool {
	t.Helper()
	ours := newKit(t, ipfrag.Config{})
	defer ours.close()
	var packets [][]byte
	var what []string
	for _, p := range parts {
		packets = append(packets, p.packet())
		what = append(what, fmt.Sprintf("%d-%d %v tos=%d: %s", p.start, p.end, p.fields.Flags, p.fields.TOS, ours.send(p)))
	}
	before := k.counters(t)
	delivered := k.play(t, packets...)
	got, s := since(before, k.counters(t)), ours.r.Stats()
	want := ipfrag.Stats{
		ReasmReqds: s.ReasmReqds, ReasmOKs: s.ReasmOKs, ReasmFails: s.ReasmFails, ReasmTimeout: s.ReasmTimeout,
		ReasmOverlaps: s.ReasmOverlaps,
	}
	return assert.Equal(t, got, want, "the kernel's counters and ours\n%s", strings.Join(what, "\n")) &&
		assert.ElementsMatch(t, delivered, ours.wholes, "the kernel's datagrams and ours\n%s", strings.Join(what, "\n"))
}

func TestKernel(t *testing.T) { netnstest.Run(t, testKernel) }

func testKernel(t *testing.T) {
	k := newKernel(t)
	k.sysctl(t, "ipfrag_time", "300") // beyond the end of the test
	id := uint16(0)
	t.Run("rules", func(t *testing.T) {
		for _, c := range rules {
			if strings.HasPrefix(c.name, "ours: ") {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				id += 16 // what an earlier rule left there must not matter
				var parts []part
				for _, line := range c.lines {
					text, _, _ := strings.Cut(line, "->")
					p := parsePart(text)
					p.fields.ID += id
					parts = append(parts, p)
				}
				k.compare(t, parts)
			})
		}
	})
	t.Run("random", func(t *testing.T) {
		const seed, sequences = 8, 600
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		wholes := 0
		for range sequences {
			id++
			parts := randomParts(rng)
			for i := range parts {
				parts[i].fields.ID = id
			}
			before := k.counters(t)
			if !k.compare(t, parts) {
				return
			}
			wholes += int(since(before, k.counters(t)).ReasmOKs)
		}
		assert.Greater(t, wholes, sequences/10, "hardly anything became whole")
	})
	t.Run("timeout", func(t *testing.T) { timeout(t, k) })
}

// timeout has datagrams expire, one of which had its first fragment: only that is reported to its sender.
func timeout(t *testing.T, k *kernel) {
	k.sysctl(t, "ipfrag_time", "1")
	k.sysctl(t, "icmp_ratelimit", "0")
	ours := newKit(t, ipfrag.Config{})
	defer ours.close()
	var packets [][]byte
	for _, text := range []string{"8-16+ id=60001", "16-24 id=60001", "8-16+ id=60002", "0-8+ id=60002"} {
		p := parsePart(text)
		packets = append(packets, p.packet())
		assert.Empty(t, ours.send(p))
	}
	before := k.counters(t)
	require.Empty(t, k.play(t, packets...))

	want := packets[3]
	for { // beside it there is ARP and IPv6 on the wire
		frame := k.wire.Receive(t).Bytes
		eth, rest, err := ethernet.Parse(frame)
		require.NoError(t, err)
		if eth.EtherType() == ethernet.TypeARP {
			k.answer(t, frame)
			continue
		}
		h, message, err := ipv4.Parse(rest)
		if err != nil || h.Protocol() != ipv4.ProtocolICMP || message[0] != 11 {
			continue
		}
		assert.EqualValues(t, 1, message[1], "code: fragment reassembly time exceeded")
		assert.Equal(t, want, message[8:8+len(want)], "the quoted packet")
		break
	}
	got := since(before, k.counters(t))
	assert.EqualValues(t, 2, got.ReasmTimeout)
	assert.EqualValues(t, 2, got.ReasmFails)
	assert.Equal(t, "reassembly timed out 8-16, reassembly timed out 16-24, reassembly timed out 8-16, reassembly timed out, first fragment 0-8",
		ours.tick(ours.r.Next()))
	s := ours.r.Stats()
	assert.Equal(t, got.ReasmTimeout, s.ReasmTimeout)
	assert.Equal(t, got.ReasmFails, s.ReasmFails)
}

// answer answers an ARP request for the sender of the fragments.
func (k *kernel) answer(t *testing.T, request []byte) {
	t.Helper()
	reply := bytes.Clone(request)
	copy(reply[0:6], request[6:12])
	mac := ethernet.MustParseMAC(wireMAC)
	copy(reply[6:12], mac[:])
	reply[21] = 2                      // a reply
	copy(reply[22:28], mac[:])         // from the address asked for,
	copy(reply[28:32], request[38:42]) // which is the target's
	copy(reply[32:42], request[22:32]) // to who asked
	k.wire.Send(t, reply)
}
