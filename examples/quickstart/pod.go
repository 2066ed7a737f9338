package main

// Pods: hosts with one interface, of which one pings the other.

import (
	"errors"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/packet"
)

// pod is a pod's eth0.
type pod struct {
	name string
	mac  ethernet.MAC
	addr netip.Prefix
}

// setUp is what a CNI plugin does inside a pod.
func (p *pod) setUp(e *engine.Engine, gateway netip.Addr, mtu int) error {
	return errors.Join(
		// ip link set eth0 address d6:10:b7:91:f0:ac mtu 1450 up
		added(e.AddPort(engine.Port{Link: engine.Link{Name: "eth0", MAC: p.mac, MTU: mtu, Up: true}})),
		// ip addr add 10.244.1.12/24 dev eth0
		e.AddAddr("eth0", engine.Addr{Prefix: p.addr}),
		// ip route add default via 10.244.1.1
		e.AddRoute(engine.Route{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gateway}),
	)
}

// The echo request of testdata/flannel_vxlan_echo_request.pcap.
const (
	echoID, echoSeq = 3143, 1102
	echoIPID        = 8965
)

// echoBody returns what the request carries: ping fills its 56 bytes with the time, here of the capture.
func echoBody() []byte { return append([]byte{0x0d, 0x1e, 0x55, 0xcf}, make([]byte, 52)...) }

// sendEcho is `ping -c 1 dst`, its first half: the second is in the hands of whoever is given the packets for the host.
func sendEcho(e *engine.Engine, dst netip.Addr, now time.Duration) error {
	message := icmp.Echo(echoID, echoSeq).Append(nil, echoBody())
	return e.Send(packet.Of(message), engine.Send{Dst: dst, Protocol: icmp.Protocol, DF: true, ID: echoIPID}, now)
}

// reply is the answer to an echo request.
type reply struct {
	from netip.Addr
	size int // of the ICMP message, in bytes
	seq  uint16
	ttl  uint8
}

// replyOf returns the answer in a packet for the host, if it is one.
func replyOf(d engine.Delivery) (r reply, ok bool) {
	if d.Header.Protocol() != icmp.Protocol {
		return r, false
	}
	h, _, err := icmp.Parse(d.Payload)
	if err != nil || h.Type() != icmp.TypeEchoReply || h.ID() != echoID {
		return r, false
	}
	return reply{netip.AddrFrom4(d.Header.Src()), len(d.Payload), h.Seq(), d.Header.TTL()}, true
}
