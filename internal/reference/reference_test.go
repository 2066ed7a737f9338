package reference_test

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/reference"
)

// An echo request between pods of a Flannel cluster, captured on the underlay of the first node: what the reference has to make
// of the pod's frame. internal/tcpdump/testdata/README.md says where it is from.
const captured = "00505693633b005056936a3a0800" + "45000086758600004011e3f4ac106465ac106466" + "9e90211800720000" + "0800000000000100" +
	innerFrame

const innerFrame = "b672ae367b6c" + "fe90c41869a7" + "0800" + "45000054230540003f01ffa20af4010c0af4020e" + echo

// The pod's own frame: to cni0, before the node has routed it.
const podFrame = "0a580af40101" + "d610b791f0ac" + "0800" + "45000054230540004001fea20af4010c0af4020e" + echo

const echo = "0800847d0c47044e0d1e55cf000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
	"00000000"

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// flannelNode is the first node of the cluster that the frame is from.
func flannelNode() *reference.Node {
	n := reference.New()
	nic := n.Add(reference.Device{
		Name: "ens192", Kind: reference.Port, MAC: ethernet.MustParseMAC("00:50:56:93:6a:3a"), MTU: 1500, Up: true, Forwarding: true,
	})
	cni := n.Add(reference.Device{
		Name: "cni0", Kind: reference.Bridge, MAC: ethernet.MustParseMAC("0a:58:0a:f4:01:01"), MTU: 1450, Up: true, Forwarding: true,
	})
	for _, name := range []string{"pod1", "pod2", "pod3"} {
		n.Add(reference.Device{Name: name, Kind: reference.Port, MTU: 1450, Up: true, Master: cni})
	}
	far, remote := ethernet.MustParseMAC("b6:72:ae:36:7b:6c"), netip.MustParseAddr("172.16.100.102")
	flannel := n.Add(reference.Device{
		Name: "flannel.1", Kind: reference.VXLAN, MAC: ethernet.MustParseMAC("fe:90:c4:18:69:a7"), MTU: 1450, Up: true, Forwarding: true,
		Tunnel:   reference.Tunnel{VNI: 1, Port: 8472, TTL: 64, AnyPeer: true, Local: netip.MustParseAddr("172.16.100.101")},
		Stations: map[ethernet.MAC]*reference.Station{far: {VTEPs: []netip.Addr{remote}, Static: true}},
	})
	n.AddAddress(nic, netip.MustParsePrefix("172.16.100.101/24"))
	n.AddAddress(cni, netip.MustParsePrefix("10.244.1.1/24"))
	n.AddAddress(flannel, netip.MustParsePrefix("10.244.1.0/32"))
	gateway := netip.MustParseAddr("10.244.2.0")
	n.Routes = append(n.Routes, reference.Route{
		Prefix: netip.MustParsePrefix("10.244.2.0/24"), Type: reference.Unicast, Via: gateway, Device: flannel,
	})
	n.SetNeighbour(flannel, gateway, far)
	n.SetNeighbour(nic, remote, ethernet.MustParseMAC("00:50:56:93:63:3b"))
	return n
}

func TestFlannelPodToWire(t *testing.T) {
	n := flannelNode()
	want := reference.Result{Out: []reference.Output{{Port: "ens192", Bytes: unhex(t, captured)}}}
	got := n.Receive("pod1", unhex(t, podFrame), 0)
	c := reference.Comparer{Node: n}
	// The other way round: the capture is what came out, and the reference says which of its values are free.
	require.Empty(t, c.Differs(got, reference.Got{Out: want.Out}))
}

// A neighbour that never answers is asked three times, a second apart; then the sender is told (3/1), from the node's address on
// its side.
func TestNeighbourThatDoesNotAnswer(t *testing.T) {
	n := flannelNode()
	n.DeleteNeighbour(n.Device("ens192"), netip.MustParseAddr("172.16.100.102"))
	got := n.Receive("pod1", unhex(t, podFrame), 0)
	require.Equal(t, 1, got.Held)
	requireARP(t, got.Out)
	for range 2 {
		at, any := n.Next()
		require.True(t, any)
		requireARP(t, n.Tick(at).Out)
	}
	at, _ := n.Next()
	require.Equal(t, 3*time.Second, at)
	got = n.Tick(at)
	require.Equal(t, []reference.Drop{{"Neighbour"}}, got.Drops)
	require.Zero(t, got.Held)
}

func requireARP(t *testing.T, out []reference.Output) {
	t.Helper()
	require.Len(t, out, 1)
	want := "ffffffffffff" + "005056936a3a" + "0806" + "0001080006040001" + "005056936a3a" + "ac106465" + "000000000000" + "ac106466"
	require.Equal(t, want, hex.EncodeToString(out[0].Bytes))
}

func TestBridgeFloodsThenKnows(t *testing.T) {
	n := flannelNode()
	frame := unhex(t, podFrame)
	copy(frame, []byte{0x0a, 0, 0, 0, 0, 9})
	require.Len(t, n.Receive("pod1", frame, 0).Out, 2, "unknown: to the other two pods")
	back := unhex(t, podFrame)
	copy(back, frame[6:12])
	copy(back[6:], frame[:6])
	require.Equal(t, []reference.Output{{Port: "pod1", Bytes: back}}, n.Receive("pod2", back, 0).Out)
	require.Equal(t, []reference.Drop{{"SamePort"}}, n.Receive("pod2", frame, 0).Drops)
}

func TestTimeExceeded(t *testing.T) {
	n := flannelNode()
	n.SetNeighbour(n.Device("cni0"), netip.MustParseAddr("10.244.1.12"), ethernet.MustParseMAC("d6:10:b7:91:f0:ac"))
	frame := unhex(t, podFrame)
	frame[22], frame[24], frame[25] = 1, 0x3d, 0xa3 // the checksum follows: 0xfea2 + 63<<8, with the carry
	for range 6 {
		got := n.Receive("pod1", frame, 0)
		require.Equal(t, []reference.Drop{{"TTL"}}, got.Drops)
		require.Len(t, got.Out, 1)
		require.Equal(t, []byte{10, 244, 1, 1}, got.Out[0].Bytes[26:30], "from the address of the device that the answer leaves by")
	}
	require.Empty(t, n.Receive("pod1", frame, 0).Out, "a bucket of six")
	require.Len(t, n.Receive("pod1", frame, time.Second).Out, 1, "then one a second")
}
