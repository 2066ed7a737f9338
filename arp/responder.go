package arp

// Answering requests: for a port's own addresses, and by proxy for those behind it, as Linux does it (arp_process in
// net/ipv4/arp.c, pneigh_enqueue in net/core/neighbour.c). One port, no tables: who routes tells by a function.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// Way is where packets for an address go, as a [Responder] asks its caller.
type Way uint8

// The ways.
const (
	WayNone  Way = iota // nowhere: no route, or one to a blackhole, unreachable or prohibited; or the sender may not ask
	WayLocal            // to the node itself: it has the address on another port
	WayBack             // out of the port where the request came in
	WayOn               // out of another port
)

// The levels of [ResponderConfig.Ignore]: which requests for the node's own addresses go unanswered (arp_ignore).
const (
	IgnoreNone   = 0 // none
	IgnoreOthers = 1 // those for addresses of other ports
	IgnoreSubnet = 2 // these, and those of a sender outside of the address's subnet
	IgnoreAll    = 8 // all
)

// Limits of the answers that wait.
const (
	// DefaultProxyQueue is how many answers may wait: Linux has proxy_qlen 64 and lets in one more.
	DefaultProxyQueue = 65

	maxProxyQueue = 4096 // they are searched one by one
	maxProxyDelay = time.Hour
)

// ResponderConfig is the configuration of a [Responder]. All it needs is MAC, and one of Addrs, ProxyFor and Route.
type ResponderConfig struct {
	MAC ethernet.MAC // of the port: the answer to everything

	Addrs  []netip.Prefix // addresses of the port, each with the length of its subnet
	Ignore int            // IgnoreNone and so on

	// Route tells the way to target, whom sender asks for, for targets that are not in Addrs; and with sender 0 the way
	// to who asks, as nobody else may have one of the node's addresses. The addresses are numbers of 32 bits, most significant
	// byte first. It is called on the packet path. If nil, all of ProxyFor is behind other ports.
	Route func(target, sender uint32) Way

	ProxyAll bool           // answer for all whose way is WayOn (proxy_arp); needs Route
	ProxyFor []netip.Prefix // answer for these, if their way is WayOn ('ip neigh add proxy')

	// ProxyDelay, if not 0, makes answers by proxy to broadcast requests wait for a random time below it, so that
	// the owner is heard first (proxy_delay; 0.8 s by default on Linux, and 0 in clusters). ProxyQueue is how many may
	// wait, 0: DefaultProxyQueue; those that come then are dropped.
	ProxyDelay time.Duration
	ProxyQueue int

	Seed uint64 // decides the delays, together with MAC
}

// Verdict is what a [Responder] made of a frame.
type Verdict uint8

// The verdicts. All but the first two mean silence, and say why.
const (
	Answered Verdict = iota // there is an answer to send
	Delayed                 // the answer waits for [Responder.Due]

	SilentNotARP       // not an ARP packet: another EtherType, or no whole Ethernet header
	SilentTagged       // of a VLAN, which is another port
	SilentNotToUs      // its destination is another station
	SilentOwn          // the port sent it itself
	SilentMalformed    // [Parse] refused it
	SilentNotRequest   // a reply, or an operation of RARP
	SilentSenderMAC    // the sender's MAC address is zero or that of a group
	SilentSenderIP     // the sender's address cannot be a host's
	SilentTargetIP     // the address asked for cannot be a host's
	SilentConflict     // the sender claims an address of the port, or of the node
	SilentProbe        // a probe for an address that is not the node's own
	SilentIgnored      // for an own address, but Ignore forbids the answer
	SilentAnnouncement // the sender asks for its own address
	SilentNoWay        // WayNone: there is no way to the address
	SilentSamePort     // WayBack: whoever has the address hears the request too
	SilentNoProxy      // somebody else's address, and not one to answer for
	SilentQueueFull    // too many answers wait
	numVerdicts
)

var verdictNames = [numVerdicts]string{
	"answered", "answer delayed",
	"not ARP", "tagged", "not to us", "our own", "malformed", "not a request", "bad sender MAC", "bad sender address",
	"bad target address", "claims our address", "probe for another's address", "arp_ignore", "asks for its own address",
	"no way to the address", "address is on the same port", "no proxy for the address", "too many answers wait",
}

// String returns a few words for v.
func (v Verdict) String() string {
	if v < numVerdicts {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Responder answers the ARP requests that a port receives. It needs no [Table]: in front of a raw socket it is a whole
// proxy-ARP agent, see the example. Two of its rules are stricter than Linux: a sender's MAC address that no station can
// have gets no answer, and whoever asks for its own address never gets one by proxy.
//
// Times are those since any moment of the caller's choice, by a clock that does not go backwards. A Responder is not safe for
// concurrent use. It allocates nothing once made.
type Responder struct {
	config ResponderConfig
	own    []ownAddr
	proxy  []span
	random *rand.Rand

	queue []delayed // in the order of their arrival
	next  time.Duration

	verdicts [numVerdicts]uint64
}

// ownAddr is an address of the port, and the mask of its subnet.
type ownAddr struct{ addr, mask uint32 }

// span is a range of addresses, both ends included.
type span struct{ first, last uint32 }

// delayed is an answer that waits.
type delayed struct {
	at             time.Duration
	sender, target uint32
	mac            ethernet.MAC
}

// NewResponder returns a responder. It reports every fault of the configuration.
func NewResponder(c ResponderConfig) (*Responder, error) {
	r := &Responder{config: c}
	errs := c.validate()
	for i, p := range c.Addrs {
		a, err := prefixOf(p)
		if err != nil || !isHost(a.addr) {
			errs = append(errs, fmt.Errorf("arp: ResponderConfig.Addrs[%d] %v: %w; want one such as 10.0.0.1/24", i, p, ErrAddress))
			continue
		}
		r.own = append(r.own, a)
	}
	for i, p := range c.ProxyFor {
		a, err := prefixOf(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("arp: ResponderConfig.ProxyFor[%d] %v: want an IPv4 prefix", i, p))
			continue
		}
		r.proxy = append(r.proxy, span{a.addr & a.mask, a.addr | ^a.mask})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r.proxy = merge(r.proxy)
	if c.ProxyQueue == 0 {
		r.config.ProxyQueue = DefaultProxyQueue
	}
	if c.ProxyDelay > 0 {
		r.queue = make([]delayed, 0, r.config.ProxyQueue)
	}
	mac := binary.BigEndian.Uint64(append([]byte{0, 0}, c.MAC[:]...))
	r.random = rand.New(rand.NewPCG(c.Seed, mac))
	return r, nil
}

// validate returns the faults of single fields.
func (c *ResponderConfig) validate() (errs []error) {
	if !c.MAC.IsStation() {
		errs = append(errs, fmt.Errorf("arp: ResponderConfig.MAC %v is not the address of one interface", c.MAC))
	}
	switch c.Ignore {
	case IgnoreNone, IgnoreOthers, IgnoreSubnet, IgnoreAll:
	default:
		errs = append(errs, fmt.Errorf("arp: ResponderConfig.Ignore %d: want 0, 1, 2 or 8", c.Ignore))
	}
	if c.ProxyAll && c.Route == nil {
		errs = append(errs, errors.New("arp: ResponderConfig.ProxyAll needs Route, or else it would answer for everybody"))
	}
	if c.ProxyDelay < 0 || c.ProxyDelay > maxProxyDelay {
		errs = append(errs, fmt.Errorf("arp: ResponderConfig.ProxyDelay %v: want up to %v, or 0 for none", c.ProxyDelay, maxProxyDelay))
	}
	if c.ProxyQueue < 0 || c.ProxyQueue > maxProxyQueue {
		errs = append(errs, fmt.Errorf("arp: ResponderConfig.ProxyQueue %d: want up to %d, or 0 for %d",
			c.ProxyQueue, maxProxyQueue, DefaultProxyQueue))
	}
	return errs
}

// prefixOf returns the numbers of an IPv4 prefix.
func prefixOf(p netip.Prefix) (ownAddr, error) {
	if !p.IsValid() || !p.Addr().Is4() {
		return ownAddr{}, ErrAddress
	}
	b := p.Addr().As4()
	return ownAddr{binary.BigEndian.Uint32(b[:]), ^uint32(math.MaxUint32 >> p.Bits())}, nil
}

// merge sorts spans and joins those that overlap.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	merged := spans[:0]
	for _, s := range spans {
		if n := len(merged); n > 0 && s.first <= merged[n-1].last {
			merged[n-1].last = max(merged[n-1].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// Respond appends the answer to a received frame to b, if the verdict is [Answered]: an Ethernet frame of [FrameLen] bytes,
// without padding. frame is only read.
func (r *Responder) Respond(b, frame []byte, now time.Duration) ([]byte, Verdict) {
	p, toUs, v := r.open(frame)
	if v == Answered {
		v = r.verdict(p, toUs, now)
	}
	r.verdicts[v]++
	if v == Answered {
		b = ReplyTo(p, r.config.MAC).AppendFrame(b, p.SenderMAC())
	}
	return b, v
}

// Decide is [Responder.Respond] for who has taken the frame apart: p is in a frame that the port received, to its own address
// if toUs is set, else to a group. After [Answered], the answer is [ReplyTo] with the port's address.
func (r *Responder) Decide(p Packet, toUs bool, now time.Duration) Verdict {
	v := r.verdict(p, toUs, now)
	r.verdicts[v]++
	return v
}

// open returns the packet in a frame, and whether the frame is to this port alone; the verdict is Answered if there is one.
func (r *Responder) open(frame []byte) (p Packet, toUs bool, v Verdict) {
	h, payload, err := ethernet.Parse(frame)
	if err != nil || h.EtherType() != ethernet.TypeARP {
		return p, false, SilentNotARP
	}
	for i := range h.Tags() {
		if h.Tag(i).TCI.VLAN() != 0 { // VLAN 0 is a priority and no network
			return p, false, SilentTagged
		}
	}
	dst := h.Dst()
	toUs = dst == r.config.MAC
	switch {
	case !toUs && !dst.IsMulticast():
		return p, false, SilentNotToUs
	case h.Src() == r.config.MAC:
		return p, false, SilentOwn
	}
	if p, err = Parse(payload); err != nil {
		return p, false, SilentMalformed
	}
	return p, toUs, Answered
}

// verdict decides about a packet, and puts the answer into the queue if it is to be delayed.
func (r *Responder) verdict(p Packet, toUs bool, now time.Duration) Verdict {
	if p.Op() != Request {
		return SilentNotRequest
	}
	mac := p.SenderMAC()
	sender, target := binary.BigEndian.Uint32(p.p[14:]), binary.BigEndian.Uint32(p.p[24:])
	switch {
	case mac == r.config.MAC:
		return SilentOwn
	case !mac.IsStation():
		return SilentSenderMAC
	}
	v, byProxy := r.answer(sender, target)
	if v == Answered && byProxy && !toUs && r.config.ProxyDelay > 0 {
		return r.delay(delayed{sender: sender, target: target, mac: mac}, now)
	}
	return v
}

// answer decides whether a sender gets an answer for a target, and whether that would be by proxy.
func (r *Responder) answer(sender, target uint32) (v Verdict, byProxy bool) {
	switch {
	case !isHost(target):
		return SilentTargetIP, false
	case sender != 0 && !isHost(sender):
		return SilentSenderIP, false
	case sender != 0 && (r.find(sender) != nil || r.way(sender, 0) == WayLocal):
		return SilentConflict, false
	}
	if own := r.find(target); own != nil {
		if r.config.Ignore == IgnoreAll ||
			r.config.Ignore == IgnoreSubnet && sender != 0 && (sender^own.addr)&own.mask != 0 {
			return SilentIgnored, false
		}
		return Answered, false
	}
	way := r.way(target, sender)
	switch {
	case way == WayLocal && r.config.Ignore != IgnoreNone:
		return SilentIgnored, false
	case way == WayLocal:
		return Answered, false
	case sender == 0:
		return SilentProbe, false
	case sender == target:
		return SilentAnnouncement, false
	case way == WayBack:
		return SilentSamePort, false
	case way != WayOn:
		return SilentNoWay, false
	case !r.config.ProxyAll && !r.isProxyFor(target):
		return SilentNoProxy, false
	}
	return Answered, true
}

// way asks for the way to target.
func (r *Responder) way(target, sender uint32) Way {
	if r.config.Route == nil {
		return WayOn
	}
	return r.config.Route(target, sender)
}

// find returns the port's own address with the given value, or nil. Ports have few.
func (r *Responder) find(addr uint32) *ownAddr {
	for i := range r.own {
		if r.own[i].addr == addr {
			return &r.own[i]
		}
	}
	return nil
}

// isProxyFor reports whether addr is in ProxyFor.
func (r *Responder) isProxyFor(addr uint32) bool {
	lo, hi := 0, len(r.proxy) // the first span that ends at addr or later
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); r.proxy[mid].last < addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(r.proxy) && r.proxy[lo].first <= addr
}

// delay puts an answer into the queue.
func (r *Responder) delay(d delayed, now time.Duration) Verdict {
	if len(r.queue) >= r.config.ProxyQueue {
		return SilentQueueFull
	}
	d.at = now + time.Duration(r.random.Int64N(int64(r.config.ProxyDelay)))
	if len(r.queue) == 0 || d.at < r.next {
		r.next = d.at
	}
	r.queue = append(r.queue, d)
	return Delayed
}

// Deadline returns when [Responder.Due] has something to do, and whether any answer waits.
func (r *Responder) Deadline() (time.Duration, bool) { return r.next, len(r.queue) > 0 }

// Due appends the next delayed answer whose time has come to b, and reports whether there was one: call it until there is
// none. Whether to answer is decided anew then, as Linux does it, so that a route which has gone silences it.
func (r *Responder) Due(b []byte, now time.Duration) ([]byte, bool) {
	for len(r.queue) > 0 && r.next <= now {
		d := r.takeFirst()
		v, _ := r.answer(d.sender, d.target)
		r.verdicts[v]++
		if v == Answered {
			return r.reply(d).AppendFrame(b, d.mac), true
		}
	}
	return b, false
}

// takeFirst takes the answer that is due first out of the queue: of those due at the same time, the one that came first.
func (r *Responder) takeFirst() delayed {
	at := slices.IndexFunc(r.queue, func(d delayed) bool { return d.at == r.next })
	first := r.queue[at]
	r.queue = slices.Delete(r.queue, at, at+1)
	r.next = math.MaxInt64
	for i := range r.queue {
		r.next = min(r.next, r.queue[i].at)
	}
	return first
}

// reply is the answer that has waited.
func (r *Responder) reply(d delayed) Fields {
	f := Fields{Op: Reply, SenderMAC: r.config.MAC, TargetMAC: d.mac}
	binary.BigEndian.PutUint32(f.SenderIP[:], d.target)
	binary.BigEndian.PutUint32(f.TargetIP[:], d.sender)
	return f
}

// Purge drops the answers that wait, as when the port goes down.
func (r *Responder) Purge() { r.queue = r.queue[:0] }

// ResponderStats counts what a [Responder] did. A delayed answer is counted when it is put off, and as what becomes of it.
type ResponderStats struct {
	Answered, Delayed uint64
	Waiting           int // answers that are delayed now

	// What got no answer, by reason; see [Verdict].
	NotARP, Tagged, NotToUs, Own, Malformed, NotRequest, SenderMAC, SenderIP, TargetIP, Conflict, Probe, Ignored, Announcement,
	NoWay, SamePort, NoProxy, QueueFull uint64
}

// Stats returns the counters.
func (r *Responder) Stats() ResponderStats {
	v := &r.verdicts
	return ResponderStats{
		Answered: v[Answered], Delayed: v[Delayed], Waiting: len(r.queue),
		NotARP: v[SilentNotARP], Tagged: v[SilentTagged], NotToUs: v[SilentNotToUs], Own: v[SilentOwn],
		Malformed: v[SilentMalformed], NotRequest: v[SilentNotRequest], SenderMAC: v[SilentSenderMAC],
		SenderIP: v[SilentSenderIP], TargetIP: v[SilentTargetIP], Conflict: v[SilentConflict], Probe: v[SilentProbe],
		Ignored: v[SilentIgnored], Announcement: v[SilentAnnouncement], NoWay: v[SilentNoWay], SamePort: v[SilentSamePort],
		NoProxy: v[SilentNoProxy], QueueFull: v[SilentQueueFull],
	}
}
