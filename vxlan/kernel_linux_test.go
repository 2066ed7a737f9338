// The Linux kernel as the peer: its VXLAN device at one end of a veth pair, the test with packet sockets at the other.
//
//	namespace node (the kernel)                            namespace wire (the test)
//
//	flannel.1 b6:72:ae:36:7b:6c
//	    │     VNI 1, port 8472, nolearning
//	eth0 00:50:56:93:63:3b 172.16.100.102/24 ────veth──── wire 00:50:56:93:6a:3a, as 172.16.100.101
//
// What is sent on the wire and accepted comes out of flannel.1, byte for byte; what is sent into flannel.1 appears on the
// wire. Each time the kernel's result and ours must be the same, but for the differences that a case declares.
package vxlan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
)

// kernel is the kernel's end of the tunnel and the wire that leads to it.
type kernel struct {
	node, wire *netnstest.Namespace
	underlay   *netnstest.Socket // sends to the node, and receives what it sends
}

// newKernel makes both namespaces, with node B's address in the one, and without a device for the tunnel.
func newKernel(t *testing.T) kernel {
	t.Helper()
	k := kernel{node: netnstest.New(t), wire: netnstest.New(t)}
	netnstest.Veth(t,
		netnstest.End{Namespace: k.node, Device: "eth0", MAC: nodeBMAC.String()},
		netnstest.End{Namespace: k.wire, Device: "wire", MAC: nodeAMAC.String()})
	k.node.IP(t, fmt.Sprintf("address add %v/24 dev eth0", nodeB))
	k.node.IP(t, fmt.Sprintf("neighbour add %v lladdr %v dev eth0 nud permanent", nodeA, nodeAMAC))
	k.underlay = k.wire.Socket(t, "wire")
	return k
}

// device is a VXLAN device of the kernel and a socket on it, which sends into the tunnel and receives what comes out.
type device struct {
	*netnstest.Socket
	vni  uint32
	port uint16
}

// tunnel makes a VXLAN device as Flannel does, with the given words added.
func (k kernel) tunnel(t *testing.T, name string, vni uint32, port uint16, options string) device {
	t.Helper()
	k.node.IP(t, fmt.Sprintf("link add %s mtu 1450 address %v type vxlan id %d local %v dev eth0 dstport %d nolearning %s",
		name, vtepBMAC, vni, nodeB, port, options))
	k.node.Up(t, name)
	for _, mac := range []ethernet.MAC{vtepAMAC, {}} { // the peer, and where everything unknown goes
		k.node.Bridge(t, fmt.Sprintf("fdb append %v dev %s dst %v", mac, name, nodeA))
	}
	return device{k.node.Socket(t, name), vni, port}
}

// typeMarker is an EtherType that nobody reads (IEEE 802 local experimental 1), for frames that say: this was all.
const typeMarker uint16 = 0x88b5

// until receives frames up to a marker, which it does not return.
func until(t *testing.T, s *netnstest.Socket, marker string) []netnstest.Frame {
	t.Helper()
	var frames []netnstest.Frame
	for {
		f := s.Receive(t)
		if strings.HasSuffix(string(f.Bytes), marker) {
			return frames
		}
		frames = append(frames, f)
	}
}
