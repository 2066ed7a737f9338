package arpingcmd

// What is sent, and which frames are answers.

import (
	"encoding/binary"
	"net/netip"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/network"
)

// padding is behind each ARP packet, so that frames have the least length that some devices want.
const padding = 16

// Data of an echo request: the time, as struct timespec, and bytes that tell arping's from others; those are random there.
const timeSize = 16

var suffix = []byte("arpg")

// send sends a request.
func (a *arping) send(seq uint16) error {
	frame, err := a.arpFrame()
	if a.o.pingMAC {
		frame, err = a.echoFrame(seq)
	}
	if err == nil {
		err = a.p.Node.Transmit(a.o.device, frame)
	}
	a.lastSent = a.p.Now()
	if err == nil {
		a.sent++
	}
	return err
}

func (a *arping) arpFrame() ([]byte, error) {
	f := arp.Fields{Op: arp.Request, SenderMAC: a.srcMAC, SenderIP: a.srcIP.As4(), TargetIP: a.dstIP.As4()}
	if a.o.reply {
		f.Op, f.TargetMAC = arp.Reply, a.dstMAC
	}
	if a.o.unsolicited {
		f.TargetMAC = ethernet.Broadcast
	}
	b, err := ethernet.Fields{Dst: a.dstMAC, Src: a.srcMAC, EtherType: ethernet.TypeARP}.Append(nil)
	if err != nil {
		return nil, err
	}
	return append(f.Append(b), make([]byte, padding)...), nil
}

// echoFrame is a ping in a frame for a MAC address.
func (a *arping) echoFrame(seq uint16) ([]byte, error) {
	id := uint16(a.p.Sys.Sched.Current().PID)
	data := binary.LittleEndian.AppendUint64(nil, uint64(a.p.Now()))
	data = append(append(data, make([]byte, timeSize-len(data))...), suffix...)
	message := icmp.Echo(id, seq).Append(nil, data)
	b, err := ethernet.Fields{Dst: a.dstMAC, Src: a.srcMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
	if err != nil {
		return nil, err
	}
	const ttl = 64
	h := ipv4.Fields{ID: id, TTL: ttl, Protocol: icmp.Protocol, Src: a.srcIP.As4(), Dst: a.dstIP.As4()}
	if b, err = h.Append(b, len(message)); err != nil {
		return nil, err
	}
	return append(b, message...), nil
}

// see is the tap: it keeps answers.
func (a *arping) see(f network.Frame) {
	h, payload, err := ethernet.Parse(f.Bytes)
	if err != nil || f.Raw {
		return
	}
	r := received{at: f.At, length: len(f.Bytes), mac: h.Src()}
	answers := a.arpReply
	if a.o.pingMAC {
		answers = a.echoReply
	}
	if answers(h, payload, &r) {
		a.queue = append(a.queue, r)
		a.arrived.Notify()
	}
}

func (a *arping) arpReply(h ethernet.Header, payload []byte, r *received) bool {
	if h.EtherType() != ethernet.TypeARP {
		return false
	}
	p, err := arp.Parse(payload)
	if err != nil || p.Op() != arp.Reply || netip.AddrFrom4(p.SenderIP()) != a.dstIP {
		return false
	}
	r.ip = a.dstIP
	return (a.o.promisc || p.TargetMAC() == a.srcMAC) && (!a.o.sameIP || p.SenderMAC() == a.dstMAC)
}

func (a *arping) echoReply(h ethernet.Header, payload []byte, r *received) bool {
	if h.EtherType() != ethernet.TypeIPv4 || h.Dst() != a.srcMAC || h.Src() != a.dstMAC && a.dstMAC != ethernet.Broadcast {
		return false
	}
	ip, body, err := ipv4.Parse(payload)
	if err != nil || ip.Protocol() != icmp.Protocol {
		return false
	}
	m, data, err := icmp.Parse(body)
	if err != nil || m.Type() != icmp.TypeEchoReply || len(data) < timeSize+len(suffix) || string(data[timeSize:timeSize+len(suffix)]) != string(suffix) {
		return false
	}
	r.ip, r.seq = netip.AddrFrom4(ip.Src()), m.Seq()
	return !a.o.sameIP || r.ip == a.dstIP
}
