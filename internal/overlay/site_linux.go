package overlay

// The network that subjects are put into.

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/vxlan"
)

const (
	// VNI is the network that joins the pods.
	VNI = 1
	// PodMTU is the MTU of pods: that of a cable less VXLAN's headers.
	PodMTU = 1450
	// PodPort is the pod's cable in the node's namespace.
	PodPort = "pod"
	// Eth0 is the same in the pod's.
	Eth0 = "eth0"
)

// Config is what both nodes agree on. The zero Config is Flannel's.
type Config struct {
	Port        uint16 // of VXLAN; 0: 8472
	UDPChecksum bool   // of the outer UDP header
	Learning    bool   // VTEPs learn where pods are, and flood to each other; otherwise they are told
}

// Site is two nodes with a pod each.
type Site struct{ A, B End }

// End is a node and its pod.
type End struct {
	Config
	Node, Pod         *netnstest.Namespace
	Wire              string // the node's device
	NodeAddr, PodAddr netip.Addr
	NodeMAC, PodMAC   ethernet.MAC
	Far               *End
}

// Subject joins a node's pod to the other node's: what is tested.
type Subject interface {
	Name() string
	// Start makes the node work, until tb ends.
	Start(tb testing.TB, e *End)
}

// New lays the cable between two new nodes. Pods have no devices yet: a subject may bring its own.
func New(tb testing.TB, c Config) *Site {
	if c.Port == 0 {
		c.Port = vxlan.PortLinux
	}
	s := &Site{newEnd(tb, c, 1), newEnd(tb, c, 2)}
	s.A.Far, s.B.Far = &s.B, &s.A
	netnstest.Veth(tb,
		netnstest.End{Namespace: s.A.Node, Device: s.A.Wire, MAC: s.A.NodeMAC.String()},
		netnstest.End{Namespace: s.B.Node, Device: s.B.Wire, MAC: s.B.NodeMAC.String()})
	return s
}

// Join is New with a subject on each node.
func Join(tb testing.TB, c Config, a, b Subject) *Site {
	s := New(tb, c)
	a.Start(tb, &s.A)
	b.Start(tb, &s.B)
	return s
}

func newEnd(tb testing.TB, c Config, i byte) End {
	return End{
		Config: c, Node: netnstest.New(tb), Pod: netnstest.New(tb), Wire: fmt.Sprintf("wire%d", i),
		NodeAddr: netip.AddrFrom4([4]byte{172, 31, 0, i}), PodAddr: netip.AddrFrom4([4]byte{10, 244, 0, i}),
		NodeMAC: ethernet.MAC{2, 0, 0, 0, 0x31, i}, PodMAC: ethernet.MAC{2, 0, 0, 0, 0x44, i},
	}
}

// Nobody is an address that leads to the pod, who has not got it.
func (e *End) Nobody() netip.Addr { return netip.AddrFrom4([4]byte{10, 245, 0, e.PodMAC[5]}) }

// CablePod joins the pod to its node by a veth pair.
func (e *End) CablePod(tb testing.TB) {
	netnstest.Veth(tb,
		netnstest.End{Namespace: e.Pod, Device: Eth0, MAC: e.PodMAC.String()},
		netnstest.End{Namespace: e.Node, Device: PodPort, MAC: ethernet.MAC{2, 0, 0, 0, 0x55, e.PodMAC[5]}.String()})
	e.AddressPod(tb)
}

// AddressPod gives the pod's eth0 its MTU and address.
func (e *End) AddressPod(tb testing.TB) {
	e.Pod.IP(tb, fmt.Sprintf("link set %s mtu %d", Eth0, PodMTU))
	e.Pod.IP(tb, fmt.Sprintf("address add %s/16 dev %s", e.PodAddr, Eth0))
}

// AddressNode gives the node's cable its address in the kernel, for subjects that use the kernel's sockets.
func (e *End) AddressNode(tb testing.TB) {
	e.Node.IP(tb, fmt.Sprintf("address add %s/24 dev %s", e.NodeAddr, e.Wire))
	e.Node.IP(tb, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", e.Far.NodeAddr, e.Far.NodeMAC, e.Wire))
}
