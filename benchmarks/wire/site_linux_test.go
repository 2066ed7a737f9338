//go:build wire

package wire_test

// The network that a subject is put into, the frames that cross it, and its devices' counters.

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	vni     = 1
	udpPort = 8472
	podMTU  = 1450
	podDev  = "pod"  // the pod's cable, in the node's namespace
	eth0    = "eth0" // the same in the pod's
)

// end is a pod and its node.
type end struct {
	node, pod        *netnstest.Namespace
	wire             string // the node's device
	nodeAddr         netip.Addr
	podAddr          netip.Addr
	nodeMAC, podMAC  ethernet.MAC
	otherNode        netip.Addr
	otherMAC, podFar ethernet.MAC // of the other node, and of the other pod
	far              *end
}

// site is the whole network.
type site struct{ a, b end }

func nodeMAC(i byte) ethernet.MAC { return ethernet.MAC{2, 0, 0, 0, 0x31, i} }
func podMAC(i byte) ethernet.MAC  { return ethernet.MAC{2, 0, 0, 0, 0x44, i} }

func newEnd(tb testing.TB, i byte) end {
	other := 3 - i
	return end{
		node: netnstest.New(tb), pod: netnstest.New(tb), wire: fmt.Sprintf("wire%d", i),
		nodeAddr: netip.AddrFrom4([4]byte{172, 31, 0, i}), podAddr: netip.AddrFrom4([4]byte{10, 244, 0, i}),
		nodeMAC: nodeMAC(i), podMAC: podMAC(i),
		otherNode: netip.AddrFrom4([4]byte{172, 31, 0, other}), otherMAC: nodeMAC(other), podFar: podMAC(other),
	}
}

// newSite lays the cable between the nodes. Pods have no devices yet: a subject may bring its own.
func newSite(tb testing.TB) *site {
	s := &site{newEnd(tb, 1), newEnd(tb, 2)}
	s.a.far, s.b.far = &s.b, &s.a
	netnstest.Veth(tb,
		netnstest.End{Namespace: s.a.node, Device: s.a.wire, MAC: s.a.nodeMAC.String()},
		netnstest.End{Namespace: s.b.node, Device: s.b.wire, MAC: s.b.nodeMAC.String()})
	return s
}

// cablePod joins the pod to its node by a veth pair.
func (e *end) cablePod(tb testing.TB) {
	netnstest.Veth(tb,
		netnstest.End{Namespace: e.pod, Device: eth0, MAC: e.podMAC.String()},
		netnstest.End{Namespace: e.node, Device: podDev, MAC: ethernet.MAC{2, 0, 0, 0, 0x55, e.podMAC[5]}.String()})
	e.addressPod(tb)
}

// addressPod gives the pod's eth0 its MTU and addresses, those of the other pod's neighbour too.
func (e *end) addressPod(tb testing.TB) {
	e.pod.IP(tb, fmt.Sprintf("link set %s mtu %d", eth0, podMTU))
	e.pod.IP(tb, fmt.Sprintf("address add %s/16 dev %s", e.podAddr, eth0))
	far := netip.AddrFrom4([4]byte{10, 244, 0, e.podFar[5]})
	e.pod.IP(tb, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", far, e.podFar, eth0))
}

// addressNode gives the node's cable its address in the kernel, for subjects that use the kernel's sockets.
func (e *end) addressNode(tb testing.TB) {
	e.node.IP(tb, fmt.Sprintf("address add %s/24 dev %s", e.nodeAddr, e.wire))
	e.node.IP(tb, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", e.otherNode, e.otherMAC, e.wire))
}

// received returns how many packets a device of a namespace has received.
func received(ns *netnstest.Namespace, device string) (uint64, error) {
	var n uint64
	err := ns.Do(func() error {
		f, err := os.Open("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was only read
		for lines := bufio.NewScanner(f); lines.Scan(); {
			name, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
			if fields := strings.Fields(rest); ok && name == device {
				n, err = strconv.ParseUint(fields[1], 10, 64)
				return err
			}
		}
		return fmt.Errorf("no device %s", device)
	})
	return n, err
}

// flows is how many flows the packets of a load belong to.
const flows = 64

// podFrames are 64-byte frames (their frame check sequence included) between pods, one of each flow. They are for an address that
// the pod has not got, so that no socket's work is measured.
func podFrames(tb testing.TB, from, to *end) (frames [][]byte) {
	const size = 60
	for n := range flows {
		f := udpFrame(tb, from.podMAC, to.podMAC, from.podAddr, netip.AddrFrom4([4]byte{10, 244, 9, 9}), uint16(10_000+n), 9,
			make([]byte, size-42))
		frames = append(frames, f)
	}
	return frames
}

// wireFrames are podFrames in VXLAN, as the other node sends them.
func wireFrames(tb testing.TB, from, to *end) (frames [][]byte) {
	for n, inner := range podFrames(tb, from, to) {
		b, err := vxlan.Fields{VNI: vni}.Append(nil)
		require.NoError(tb, err)
		f := udpFrame(tb, from.nodeMAC, to.nodeMAC, from.nodeAddr, to.nodeAddr, uint16(40_000+n), udpPort, append(b, inner...))
		frames = append(frames, f)
	}
	return frames
}

func udpFrame(tb testing.TB, srcMAC, dstMAC ethernet.MAC, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	const header = 8
	f, err := ethernet.Fields{Dst: dstMAC, Src: srcMAC, EtherType: uint16(ethernet.TypeIPv4)}.Append(nil)
	require.NoError(tb, err)
	f, err = ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolUDP, Src: src.As4(), Dst: dst.As4()}.Append(f, header+len(payload))
	require.NoError(tb, err)
	f, err = udp.Fields{SrcPort: sport, DstPort: dport}.Append(f, len(payload))
	require.NoError(tb, err)
	return append(f, payload...)
}
