package engine_test

// Real captures of two Flannel clusters, made again by two engines: see testdata/scenario/README.md.
//
//	             10.21.0.0                                          10.21.3.1/24
//	client ─── flannel.1 centos100 ens33 ──────────── ens33 centos101 cni0 ─── vethnginx ── nginx
//	(the node itself)    192.168.0.100             192.168.0.101                          10.21.3.2:80

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/testnet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/tcp"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// readCapture returns the frames of a capture in testdata/scenario.
func readCapture(t *testing.T, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "scenario", name))
	require.NoError(t, err)
	defer func() { assert.NoError(t, f.Close()) }()
	r, err := pcapfile.NewReader(f)
	require.NoError(t, err)
	var frames [][]byte
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		require.NoError(t, err)
		frames = append(frames, append([]byte(nil), p.Data...))
	}
}

// neutral returns a tunnelled frame without what every kernel chooses for itself: the outer identification, with the header
// checksum that covers it, and the UDP source port. Both must be there: not zero, and the port within Linux's range.
func neutral(t *testing.T, frame []byte) []byte {
	t.Helper()
	b := append([]byte(nil), frame...)
	_, packet, err := ethernet.Parse(b)
	require.NoError(t, err)
	h, datagram, err := ipv4.Parse(packet)
	require.NoError(t, err)
	u, _, err := udp.Parse(datagram)
	require.NoError(t, err)
	assert.True(t, h.ChecksumOK())
	assert.NotZero(t, h.ID())
	assert.GreaterOrEqual(t, u.SrcPort(), uint16(32768))
	assert.Less(t, u.SrcPort(), uint16(60999))
	h.SetID(0)
	u.SetSrcPort(0)
	return b
}

// innerFrame returns a copy of what a tunnelled frame carries.
func innerFrame(t *testing.T, frame []byte) []byte {
	t.Helper()
	_, packet, err := ethernet.Parse(frame)
	require.NoError(t, err)
	_, datagram, err := ipv4.Parse(packet)
	require.NoError(t, err)
	_, payload, err := udp.Parse(datagram)
	require.NoError(t, err)
	_, inner, err := vxlan.Parse(payload)
	require.NoError(t, err)
	return append([]byte(nil), inner...)
}

// asSent returns the frame that a pod sent to its bridge, of which its node has made this one: TTL one higher, other MAC addresses.
func asSent(t *testing.T, frame []byte, pod, bridge string) []byte {
	t.Helper()
	b := append([]byte(nil), frame...)
	e, packet, err := ethernet.Parse(b)
	require.NoError(t, err)
	h, _, err := ipv4.Parse(packet)
	require.NoError(t, err)
	e.SetSrc(mac(pod))
	e.SetDst(mac(bridge))
	h.SetTTL(h.TTL() + 1)
	return b
}

// onlyTunnelled returns the bytes of frames that are not ARP.
func onlyTunnelled(frames []testnet.Frame) [][]byte {
	var out [][]byte
	for _, f := range frames {
		if len(f.Bytes) > 42 {
			out = append(out, f.Bytes)
		}
	}
	return out
}

func TestGoldenEchoRequest(t *testing.T) {
	golden := readCapture(t, "flannel_vxlan_echo_request.pcap")
	require.Len(t, golden, 1)
	require.Len(t, golden[0], 148)
	n := newFlannelNet(t, 1, engine.Config{}, "/32", nil)
	n.peers()
	n.vethA.InjectTo(n.node1, asSent(t, innerFrame(t, golden[0]), "d6:10:b7:91:f0:ac", "0a:58:0a:f4:01:01"))
	n.Settle()
	frames := onlyTunnelled(n.nic.Take())
	require.Len(t, frames, 2, "the request, and podB's reply")
	assert.Equal(t, neutral(t, golden[0]), neutral(t, frames[0]))
	for _, f := range n.vethB.Take() {
		if len(f.Bytes) == 98 && f.From == "node2/vethB" {
			_, packet, err := ethernet.Parse(f.Bytes)
			require.NoError(t, err)
			h, _, err := ipv4.Parse(packet)
			require.NoError(t, err)
			assert.EqualValues(t, 62, h.TTL())
			assert.EqualValues(t, 8965, h.ID(), "the pod's own")
			return
		}
	}
	t.Error("the request did not reach podB")
}

func TestGoldenHTTP(t *testing.T) {
	golden := readCapture(t, "flannel_vxlan_http.pcap")
	require.Len(t, golden, 12)
	const nginxMAC, bridgeMAC = "02:00:0a:15:03:02", "0a:58:0a:15:03:01"

	net := testnet.New(t, 1)
	client, server := net.Router("centos100"), net.Router("centos101")
	for _, k := range []struct {
		node                       *testnet.Node
		nicMAC, nic, vtepMAC, vtep string
		farVTEP, farMAC, farNode   string
	}{
		{client, "00:0c:29:cc:91:94", "192.168.0.100", "b6:fb:97:dd:75:ca", "10.21.0.0", "10.21.3.0", "7e:18:fc:a3:be:58", "192.168.0.101"},
		{server, "00:0c:29:1a:c3:6b", "192.168.0.101", "7e:18:fc:a3:be:58", "10.21.3.0", "10.21.0.0", "b6:fb:97:dd:75:ca", "192.168.0.100"},
	} {
		k.node.Add(engine.Port{Link: testnet.Link("ens33", k.nicMAC)}, k.nic+"/24")
		k.node.Add(engine.VXLAN{Link: testnet.Link("flannel.1", k.vtepMAC), VNI: 1, Local: ip(k.nic), Device: "ens33", NoLearning: true}, k.vtep+"/32")
		flannelPeer(k.node, k.farMAC, k.farVTEP, k.farNode)
	}
	server.Add(engine.Bridge{Link: testnet.Link("cni0", bridgeMAC)}, "10.21.3.1/24")
	server.Add(engine.Port{Link: testnet.Link("vethnginx", "")})
	server.Do(
		server.E.SetMaster("vethnginx", "cni0"),
		server.E.AddNeigh(engine.Neigh{Addr: ip("10.21.3.2"), Dev: "cni0", MAC: mac(nginxMAC)}),
	)
	nic, veth := net.Wire(client, "ens33", server, "ens33"), net.Tap(server, "vethnginx")
	client.Listen(tcp.Protocol, 0)

	// Each side sends what it sent then: the client from its node's own stack, the server from its pod.
	for i, frame := range golden {
		inner := innerFrame(t, frame)
		h, _, err := ipv4.Parse(inner[ethernet.HeaderLen:])
		require.NoError(t, err)
		veth.Take()
		if h.Src() == ip("10.21.0.0").As4() {
			require.NoError(t, client.SendPacket(inner[ethernet.HeaderLen:]))
			net.Settle()
			got := veth.Take()
			require.Len(t, got, 1, "frame %d", i+1)
			h.SetTTL(h.TTL() - 1) // of inner, in place
			e, _, err := ethernet.Parse(inner)
			require.NoError(t, err)
			e.SetSrc(mac(bridgeMAC))
			e.SetDst(mac(nginxMAC))
			assert.Equal(t, inner, got[0].Bytes, "frame %d as the pod gets it", i+1)
			continue
		}
		veth.Inject(asSent(t, inner, nginxMAC, bridgeMAC))
		net.Settle()
		require.NotEmpty(t, client.Received, "frame %d", i+1)
		assert.Equal(t, inner[ethernet.HeaderLen:], client.Received[len(client.Received)-1].Bytes, "frame %d as the client gets it", i+1)
	}

	frames := onlyTunnelled(nic.Take())
	require.Len(t, frames, len(golden))
	ports := map[[4]byte]map[uint16]bool{}
	for i := range golden {
		assert.Equal(t, neutral(t, golden[i]), neutral(t, frames[i]), "frame %d", i+1)
		_, packet, err := ethernet.Parse(frames[i])
		require.NoError(t, err)
		h, datagram, err := ipv4.Parse(packet)
		require.NoError(t, err)
		u, _, err := udp.Parse(datagram)
		require.NoError(t, err)
		if ports[h.Src()] == nil {
			ports[h.Src()] = map[uint16]bool{}
		}
		ports[h.Src()][u.SrcPort()] = true
	}
	for node, p := range ports {
		assert.Len(t, p, 1, "one flow has one source port: %v", node)
	}
}
