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
func (Linux) Start(tb testing.TB, e *End) {
	e.CablePod(tb)
	e.AddressNode(tb)
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
	n.IP(tb, "link add bridge1 type bridge")
	for _, port := range []string{"vxlan1", PodPort} {
		n.IP(tb, "link set "+port+" master bridge1")
		n.Up(tb, port)
	}
	n.Up(tb, "bridge1")
	if !e.Learning {
		n.Bridge(tb, fmt.Sprintf("fdb append 00:00:00:00:00:00 dev vxlan1 dst %s", e.Far.NodeAddr)) // for ARP
		n.Bridge(tb, fmt.Sprintf("fdb replace %s dev %s master static", e.PodMAC, PodPort))
		n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 master static", e.Far.PodMAC))
		n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 dst %s", e.Far.PodMAC, e.Far.NodeAddr))
	}
}
