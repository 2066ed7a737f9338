package engine

// What is counted: packets in all, packets and bytes of a device as 'ip -s link' shows them, and events of the protocols as
// nstat does. A worker counts into memory of its own and adds what it counted to what everybody sees once a burst.

import (
	"errors"
	"fmt"
	"iter"

	"github.com/culvert-net/culvert/packet"
)

// LinkStats are the counters of a device (struct rtnl_link_stats64 of include/uapi/linux/if_link.h).
type LinkStats struct {
	RxPackets, RxBytes, TxPackets, TxBytes     uint64
	RxErrors, RxDropped, Multicast             uint64
	TxErrors, TxDropped, TxCarrier, Collisions uint64
}

func (s *LinkStats) add(o *LinkStats) {
	s.RxPackets += o.RxPackets
	s.RxBytes += o.RxBytes
	s.RxErrors += o.RxErrors
	s.RxDropped += o.RxDropped
	s.Multicast += o.Multicast
	s.TxPackets += o.TxPackets
	s.TxBytes += o.TxBytes
	s.TxErrors += o.TxErrors
	s.TxDropped += o.TxDropped
	s.TxCarrier += o.TxCarrier
	s.Collisions += o.Collisions
}

// Counter is an event that is counted, with the names of nstat.
type Counter uint8

// The counters (net/ipv4/proc.c).
const (
	IPInReceives Counter = iota
	IPInHdrErrors
	IPInAddrErrors
	IPInUnknownProtos
	IPInDiscards
	IPInDelivers
	IPInNoRoutes
	IPInTruncated
	IPForwDatagrams
	IPOutRequests
	IPOutDiscards
	IPOutNoRoutes
	IPReasmReqds
	IPReasmOKs
	IPReasmFails
	IPReasmTimeout
	IPFragOKs
	IPFragFails
	IPFragCreates
	IPReversePathFilter
	IPInCsumErrors
	ICMPInMsgs
	ICMPInErrors
	ICMPInCsumErrors
	ICMPInDestUnreachs
	ICMPInTimeExcds
	ICMPInParmProbs
	ICMPInRedirects
	ICMPInEchos
	ICMPInEchoReps
	ICMPOutMsgs
	ICMPOutErrors
	ICMPOutRateLimitGlobal
	ICMPOutRateLimitHost
	ICMPOutDestUnreachs
	ICMPOutTimeExcds
	ICMPOutParmProbs
	ICMPOutRedirects
	ICMPOutEchoReps
	UDPNoPorts
	UDPInErrors
	UDPInCsumErrors
	UDPIgnoredMulti
	TCPInErrs
	TCPInCsumErrors
	TCPOutRsts
	ARPInRequests
	ARPInReplies
	ARPOutRequests
	ARPOutReplies
	numCounters
)

var counterNames = [numCounters]string{
	IPInReceives: "IpInReceives", IPInHdrErrors: "IpInHdrErrors", IPInAddrErrors: "IpInAddrErrors",
	IPInUnknownProtos: "IpInUnknownProtos", IPInDiscards: "IpInDiscards", IPInDelivers: "IpInDelivers",
	IPInNoRoutes: "IpExtInNoRoutes", IPInTruncated: "IpExtInTruncatedPkts", IPForwDatagrams: "IpForwDatagrams",
	IPOutRequests: "IpOutRequests", IPOutDiscards: "IpOutDiscards", IPOutNoRoutes: "IpOutNoRoutes",
	IPReasmReqds: "IpReasmReqds", IPReasmOKs: "IpReasmOKs", IPReasmFails: "IpReasmFails", IPReasmTimeout: "IpReasmTimeout",
	IPFragOKs: "IpFragOKs", IPFragFails: "IpFragFails", IPFragCreates: "IpFragCreates",
	IPReversePathFilter: "TcpExtIPReversePathFilter", IPInCsumErrors: "IpExtInCsumErrors",
	ICMPInMsgs: "IcmpInMsgs", ICMPInErrors: "IcmpInErrors", ICMPInCsumErrors: "IcmpInCsumErrors",
	ICMPInDestUnreachs: "IcmpInDestUnreachs", ICMPInTimeExcds: "IcmpInTimeExcds", ICMPInParmProbs: "IcmpInParmProbs",
	ICMPInRedirects: "IcmpInRedirects", ICMPInEchos: "IcmpInEchos", ICMPInEchoReps: "IcmpInEchoReps",
	ICMPOutMsgs: "IcmpOutMsgs", ICMPOutErrors: "IcmpOutErrors", ICMPOutRateLimitGlobal: "IcmpOutRateLimitGlobal",
	ICMPOutRateLimitHost: "IcmpOutRateLimitHost", ICMPOutDestUnreachs: "IcmpOutDestUnreachs",
	ICMPOutTimeExcds: "IcmpOutTimeExcds", ICMPOutParmProbs: "IcmpOutParmProbs", ICMPOutRedirects: "IcmpOutRedirects",
	ICMPOutEchoReps: "IcmpOutEchoReps",
	UDPNoPorts:      "UdpNoPorts", UDPInErrors: "UdpInErrors", UDPInCsumErrors: "UdpInCsumErrors",
	UDPIgnoredMulti: "UdpIgnoredMulti", TCPInErrs: "TcpInErrs", TCPInCsumErrors: "TcpInCsumErrors", TCPOutRsts: "TcpOutRsts",
	ARPInRequests: "ArpInRequests", ARPInReplies: "ArpInReplies", ARPOutRequests: "ArpOutRequests", ARPOutReplies: "ArpOutReplies",
}

// String returns the counter's name.
func (c Counter) String() string {
	if c < numCounters {
		return counterNames[c]
	}
	return fmt.Sprintf("Counter%d", uint8(c))
}

// Counters are the protocol counters.
type Counters [numCounters]uint64

// All returns names and values.
func (c *Counters) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i, v := range c {
			if !yield(Counter(i).String(), v) {
				return
			}
		}
	}
}

// Stats say what became of all packets. At rest, In + Made = Out + Delivered + Absorbed + dropped + Held.
type Stats struct {
	In        uint64 // given to Process or Send
	Made      uint64 // made here: copies, fragments, segments of superframes, ARP, ICMP
	Out       uint64 // given to Output
	Delivered uint64 // taken by Config.Local
	Absorbed  uint64 // ended here with their purpose served: ARP, ICMP errors, fragments and segments that became part of a whole
	Held      uint64 // waiting now: for neighbours, FDB entries, other fragments, or to be sent by the next Tick
	Drops     [numReasons]uint64
}

// Dropped returns how many packets were dropped in all.
func (s Stats) Dropped() (n uint64) {
	for _, d := range s.Drops {
		n += d
	}
	return n
}

// Check returns an error if packets were lost or counted twice. It means something only when no worker is at work.
func (s Stats) Check() error {
	in, out := s.In+s.Made, s.Out+s.Delivered+s.Absorbed+s.Dropped()+s.Held
	if in == out {
		return nil
	}
	return fmt.Errorf("engine: %d packets in and %d made are not %d out, %d delivered, %d absorbed, %d dropped and %d held: %w",
		s.In, s.Made, s.Out, s.Delivered, s.Absorbed, s.Dropped(), s.Held, errLost)
}

var errLost = errors.New("packets lost or counted twice")

// tally is what a worker counts.
type tally struct {
	Stats
	Counters
}

// publish adds what the worker has counted in this burst to what others see.
func (w *Worker) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.dev); n > len(w.seen) {
		w.seen = append(w.seen, make([]shownStats, n-len(w.seen))...)
	}
	for _, i := range w.touched {
		n, s := &w.dev[i], &w.seen[i]
		if n.more {
			s.add(&n.LinkStats)
			n.LinkStats = LinkStats{}
		} else {
			s.RxPackets += n.RxPackets
			s.RxBytes += n.RxBytes
			s.TxPackets += n.TxPackets
			s.TxBytes += n.TxBytes
			n.RxPackets, n.RxBytes, n.TxPackets, n.TxBytes = 0, 0, 0, 0
		}
		n.touched, n.more = false, false
	}
	w.touched = w.touched[:0]
	w.shown = w.total
}

// devWork is what a worker has of a device: what is to be sent, and what it counted in a burst. Packets on the short way touch the
// first cache line of it only, and so does publish.
type devWork struct {
	queue   []*packet.Buffer // to be given to Output
	touched bool
	more    bool // perhaps more was counted than packets and bytes
	LinkStats
	_ uint64 // to 128 bytes
}

// shownStats are what others see of a device's counters; its first cache line has packets and bytes.
type shownStats struct {
	LinkStats
	_ [5]uint64 // to 128 bytes
}

// work returns the worker's part of a device, for who counts but packets and bytes.
func (w *Worker) work(d *device) *devWork {
	n := &w.dev[d.index]
	if !n.touched {
		n.touched = true
		w.touched = append(w.touched, d.index)
	}
	return n
}

// count returns the counters of a device for this burst.
func (w *Worker) count(d *device) *LinkStats {
	n := w.work(d)
	n.more = true
	return &n.LinkStats
}

// each calls f for every worker, with its published counters locked.
func (e *Engine) each(f func(*Worker)) {
	for _, w := range *e.workers.Load() {
		w.mu.Lock()
		f(w)
		w.mu.Unlock()
	}
}

// Stats returns what became of all packets.
func (e *Engine) Stats() Stats {
	var s Stats
	e.each(func(w *Worker) {
		t := &w.shown
		s.In += t.In
		s.Made += t.Made
		s.Out += t.Out
		s.Delivered += t.Delivered
		s.Absorbed += t.Absorbed
		for r, n := range t.Drops {
			s.Drops[r] += n
		}
	})
	s.Held = uint64(e.held())
	return s
}

// Counters returns the protocol counters.
func (e *Engine) Counters() Counters {
	var c Counters
	e.each(func(w *Worker) {
		for i, n := range w.shown.Counters {
			c[i] += n
		}
	})
	r := e.reasm.Stats()
	c[IPReasmReqds], c[IPReasmOKs], c[IPReasmFails], c[IPReasmTimeout] = r.ReasmReqds, r.ReasmOKs, r.ReasmFails, r.ReasmTimeout
	return c
}

// DeviceStats returns the counters of a device.
func (e *Engine) DeviceStats(name string) (LinkStats, error) {
	d, err := e.named("link stats", name)
	if err != nil {
		return LinkStats{}, err
	}
	var s LinkStats
	e.each(func(w *Worker) {
		if int(d.index) < len(w.seen) {
			s.add(&w.seen[d.index].LinkStats)
		}
	})
	return s, nil
}
