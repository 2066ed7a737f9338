package overlay

// The kernel as a subject: a bridge and a VXLAN device.

import (
	"fmt"
	"testing"
)

// Linux is the kernel's bridge and VXLAN device.
type Linux struct{}

// Name is Subject's.
func (Linux) Name() string { return "Linux" }

// Start is Subject's.
func (l Linux) Start(tb testing.TB, e *End) {
	e.CablePod(tb)
	e.AddressNode(tb)
	n := e.Node
	n.IP(tb, "link add bridge1 type bridge")
	l.Enslave(tb, e, PodPort)
	n.Up(tb, "bridge1")
	l.Tunnel(tb, e)
}

// Tunnel makes the VXLAN device, which may be gone, as it is when its wire was.
func (l Linux) Tunnel(tb testing.TB, e *End) {
	n := e.Node
	learning, checksum := "nolearning", "noudpcsum"
	if e.Learning {
		learning = fmt.Sprintf("learning remote %s", e.Far.NodeAddr)
	}
	if e.UDPChecksum {
		checksum = "udpcsum"
	}
	n.IP(tb, fmt.Sprintf("link add vxlan1 mtu %d type vxlan id %d local %s dstport %d dev %s %s %s",
		PodMTU, VNI, e.NodeAddr, e.Port, e.Wire, learning, checksum))
	l.Enslave(tb, e, "vxlan1")
	if !e.Learning {
		n.Bridge(tb, fmt.Sprintf("fdb append 00:00:00:00:00:00 dev vxlan1 dst %s", e.Far.NodeAddr)) // for ARP
		n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 master static", e.Far.PodMAC))
		n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 dst %s", e.Far.PodMAC, e.Far.NodeAddr))
	}
}

// Enslave makes a device a port of the bridge, and sets it up. That of the pod is told whose it is, unless it is to learn.
func (Linux) Enslave(tb testing.TB, e *End, device string) {
	e.Node.IP(tb, "link set "+device+" master bridge1")
	e.Node.Up(tb, device)
	if device == PodPort && !e.Learning {
		e.Node.Bridge(tb, fmt.Sprintf("fdb replace %s dev %s master static", e.PodMAC, PodPort))
	}
}
