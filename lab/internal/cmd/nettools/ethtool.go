package nettools

import (
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/proc"
)

// Exit statuses of ethtool, which are its ioctls' numbers.
const (
	noSuchDevice = 96
	noStatistics = 94
	noNetlink    = 92
)

// ethtool prints statistics of a veth pair (-S), and accepts settings of offloads, which there are none of (-K).
func ethtool(p *proc.Proc, args []string) int {
	if len(args) < 2 {
		return p.Fail(1, "ethtool: bad command line argument(s)\nFor more information run ethtool -h")
	}
	l, ok := p.Node.E.Link(args[1])
	switch args[0] {
	case "-S", "--statistics":
		if !ok {
			return p.Fail(noSuchDevice, "Cannot get stats strings information: No such device")
		}
		return statistics(p, l)
	case "-K", "--features", "--offload":
		if !ok {
			return p.Fail(noNetlink, "netlink error: no device matches name (offset 24)\nnetlink error: No such device")
		}
		return 0
	}
	return p.Fail(1, "ethtool: bad command line argument(s)\nFor more information run ethtool -h")
}

// vethStatistics are those of a veth end with one queue, beside peer_ifindex (drivers/net/veth.c); none of them counts without XDP.
const vethStatistics = `rx_queue_0_xdp_packets rx_queue_0_xdp_bytes rx_queue_0_drops rx_queue_0_xdp_redirect rx_queue_0_xdp_drops
	rx_queue_0_xdp_tx rx_queue_0_xdp_tx_errors tx_queue_0_xdp_xmit tx_queue_0_xdp_xmit_errors`

func statistics(p *proc.Proc, l engine.LinkInfo) int {
	d := p.Node.Device(l.Name)
	if d == nil || d.Kind != "veth" {
		return p.Fail(noStatistics, "no stats available")
	}
	var peer uint32
	if d.Peer != nil {
		peer = d.Peer.Node.E.Index(d.Peer.Name)
	}
	p.Printf("NIC statistics:\n     peer_ifindex: %d\n", peer)
	for name := range strings.FieldsSeq(vethStatistics) {
		p.Printf("     %s: 0\n", name)
	}
	return 0
}
