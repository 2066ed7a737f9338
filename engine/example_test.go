package engine_test

import (
	"fmt"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// A Flannel node, in the lines of iproute2 that it stands for; and why a pod's packet goes where it goes.
func Example() {
	e, err := engine.New(engine.Config{Output: func(_ uint32, batch []*packet.Buffer) { packet.FreeBatch(batch) }})
	if err != nil {
		fmt.Println(err)
		return
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	added := func(_ uint32, err error) { must(err) }
	addr := netip.MustParseAddr
	// ip link add …; ip link set … up; ip addr add … dev …
	added(e.AddPort(engine.Port{Link: engine.Link{Name: "eth0", MAC: ethernet.MustParseMAC("02:00:00:00:00:01"), Up: true}}))
	added(e.AddPort(engine.Port{Link: engine.Link{Name: "pod0", MAC: ethernet.MustParseMAC("ee:ee:ee:ee:ee:ee"), Up: true}}))
	must(e.AddAddr("eth0", engine.Addr{Prefix: netip.MustParsePrefix("172.16.0.1/24")}))
	added(e.AddVXLAN(engine.VXLAN{
		Link: engine.Link{Name: "flannel.1", MAC: ethernet.MustParseMAC("02:00:00:00:01:01"), Up: true},
		VNI:  1, Local: addr("172.16.0.1"), Device: "eth0", NoLearning: true,
	}))
	e.SetForwarding(true) // sysctl net.ipv4.ip_forward=1

	// What flanneld programs for another node: a neighbour, an FDB entry and a route, in one piece.
	must(e.SetPeer(engine.Peer{
		Name: "node2", Node: addr("172.16.0.2"), Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")},
		Dev: "flannel.1", Gateway: addr("10.244.2.0"), MAC: ethernet.MustParseMAC("02:00:00:00:02:01"),
	}))
	must(e.AddNeigh(engine.Neigh{Addr: addr("172.16.0.2"), Dev: "eth0", MAC: ethernet.MustParseMAC("02:00:00:00:00:02")}))

	x, err := e.Explain("pod0", ping(ethernet.MustParseMAC("ee:ee:ee:ee:ee:ee"), "10.244.1.7", "10.244.2.9"), 0)
	must(err)
	for _, s := range x.Steps {
		if s.Stage != engine.StageReceive && s.Stage != engine.StageTransmit {
			fmt.Println(s)
		}
	}
	fmt.Println("out of", x.Outputs[0].Device, len(x.Outputs[0].Packet), "bytes")
	// Output:
	// route      10.244.2.9: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto static onlink
	// neighbour  10.244.2.0 dev flannel.1: 02:00:00:00:02:01 PERMANENT
	// fdb        flannel.1: 02:00:00:00:02:01: dst 172.16.0.2 self permanent
	// route      172.16.0.2: 172.16.0.0/24 dev eth0 proto kernel scope link src 172.16.0.1
	// encap      flannel.1: VXLAN vni 1 172.16.0.1 > 172.16.0.2, next hop 172.16.0.2 dev eth0, path MTU 1500
	// neighbour  172.16.0.2 dev eth0: 02:00:00:00:00:02 PERMANENT
	// out of eth0 148 bytes
}

// ping returns an echo request of 98 bytes to a MAC address.
func ping(dst ethernet.MAC, from, to string) []byte {
	frame, err := ethernet.Fields{Dst: dst, Src: ethernet.MAC{2, 0, 0, 0, 9, 9}, EtherType: ethernet.TypeIPv4}.Append(nil)
	if err != nil {
		panic(err)
	}
	message := icmp.Echo(1, 1).Append(nil, make([]byte, 56))
	frame, err = ipv4.Fields{
		TTL: 64, Protocol: icmp.Protocol, Src: netip.MustParseAddr(from).As4(), Dst: netip.MustParseAddr(to).As4(),
	}.Append(frame, len(message))
	if err != nil {
		panic(err)
	}
	return append(frame, message...)
}
