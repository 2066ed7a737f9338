//go:build wire

package wire_test

// The kernel as a subject: a bridge and a VXLAN device.

import (
	"fmt"
	"testing"
)

type kernel struct{}

func (kernel) name() string { return "Linux" }

func (kernel) start(tb testing.TB, e *end) {
	e.cablePod(tb)
	e.addressNode(tb)
	n := e.node
	n.IP(tb, fmt.Sprintf("link add vxlan1 mtu %d type vxlan id %d local %s remote %s dstport %d dev %s",
		podMTU, vni, e.nodeAddr, e.otherNode, udpPort, e.wire))
	n.IP(tb, "link add bridge1 type bridge")
	for _, port := range []string{"vxlan1", podDev} {
		n.IP(tb, "link set "+port+" master bridge1")
		n.Up(tb, port)
	}
	n.Up(tb, "bridge1")
	n.Bridge(tb, fmt.Sprintf("fdb replace %s dev %s master static", e.podMAC, podDev))
	n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 master static", e.podFar))
	n.Bridge(tb, fmt.Sprintf("fdb replace %s dev vxlan1 dst %s", e.podFar, e.otherNode))
}
