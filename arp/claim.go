package arp

// Claiming an address (RFC 5227): ask whether anybody has it, tell everybody, and notice when somebody else uses it.
//
//	Start ──▶ probing ── nobody answers ──▶ announcing ── the last one is sent ──▶ held
//	             │                           ▲  │                                   │
//	          conflict             Announce ─┘  └──── conflict not to be defended ──┤
//	             ▼                                                                  ▼
//	           taken                                                              lost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// The constants of RFC 5227 section 1.1.
const (
	ProbeWait         = time.Second      // PROBE_WAIT: the first probe waits up to that, at random
	ProbeNum          = 3                // PROBE_NUM: probes
	ProbeMin          = time.Second      // PROBE_MIN: between two probes at least
	ProbeMax          = 2 * time.Second  // PROBE_MAX: between two probes at most
	AnnounceWait      = 2 * time.Second  // ANNOUNCE_WAIT: from the last probe to the first announcement
	AnnounceNum       = 2                // ANNOUNCE_NUM: announcements
	AnnounceInterval  = 2 * time.Second  // ANNOUNCE_INTERVAL: between two announcements
	MaxConflicts      = 10               // MAX_CONFLICTS: from as many on, attempts are rate-limited
	RateLimitInterval = 60 * time.Second // RATE_LIMIT_INTERVAL: then between the starts of two attempts
	DefendInterval    = 10 * time.Second // DEFEND_INTERVAL: between two announcements in defence
)

const maxAnnouncements = 1 << 16 // a number that nobody misses

// Defence is what a host does when another one uses the address that it holds (RFC 5227 section 2.4).
type Defence uint8

// The defences.
const (
	DefendOnce   Defence = iota // (b) announce the address; give it up at a second conflict within DefendInterval
	DefendNever                 // (a) give it up at once
	DefendAlways                // (c) announce it, once in DefendInterval, and never give it up: for routers and servers
	numDefences
)

// ClaimState says how far a [Claim] has come.
type ClaimState uint8

// The states.
const (
	ClaimIdle       ClaimState = iota // nothing was started, or it was released
	ClaimProbing                      // the address is not to be used yet
	ClaimAnnouncing                   // it may be used; announcements are still to come
	ClaimHeld                         // it may be used
	ClaimTaken                        // another host has it, or wants it too: it must not be used
	ClaimLost                         // it was in use and another host uses it as well: its use must end
	numClaimStates
)

var claimStateNames = [numClaimStates]string{"idle", "probing", "announcing", "held", "taken", "lost"}

// String returns a word for s.
func (s ClaimState) String() string {
	if s < numClaimStates {
		return claimStateNames[s]
	}
	return fmt.Sprintf("ClaimState(%d)", uint8(s))
}

// ClaimConfig is the configuration of a [Claim].
type ClaimConfig struct {
	MAC     ethernet.MAC   // of the interface that the address is for
	OwnMACs []ethernet.MAC // of the host's other interfaces on the same link: what they send is no conflict

	Defence Defence

	// Announcements is how many there are, 0: AnnounceNum; Interval is the time between two, 0: AnnounceInterval. As many
	// replies go out beside them, after each request, if Replies is set: for neighbours that only heed those.
	Announcements int
	Interval      time.Duration
	Replies       bool

	// Seed decides the random delays, together with MAC: hosts that differ in one of the two do not probe in step.
	Seed uint64
}

// Claim is the claim of an interface to an address, one at a time. Nothing happens by itself: [Claim.Advance] gives the packets
// to send, when [Claim.Deadline] says, and [Claim.Receive] must see all ARP packets that the interface receives. Every packet
// given is for everybody: send it by [Fields.AppendFrame] to [ethernet.Broadcast].
//
// Times are those since any moment of the caller's choice, by a clock that does not go backwards. A Claim is not safe for
// concurrent use; it allocates nothing once made.
type Claim struct {
	config ClaimConfig
	random *rand.Rand

	ip    [4]byte
	state ClaimState

	next time.Duration // when the next packet or change is due, unless idle, held, taken or lost
	left int           // packets to send in this state: probes, or announcements

	attempted   bool // an attempt was made, at the time
	attemptedAt time.Duration
	defended    bool // the address was defended, at the time
	defendedAt  time.Duration
	conflicts   int
	by          ethernet.MAC
}

// NewClaim returns a claim that is idle. It reports every fault of the configuration.
func NewClaim(c ClaimConfig) (*Claim, error) {
	var errs []error
	if !c.MAC.IsStation() {
		errs = append(errs, fmt.Errorf("arp: ClaimConfig.MAC %v is not the address of one interface", c.MAC))
	}
	if c.Defence >= numDefences {
		errs = append(errs, fmt.Errorf("arp: ClaimConfig.Defence %d: want DefendOnce, DefendNever or DefendAlways", c.Defence))
	}
	if c.Announcements < 0 || c.Announcements > maxAnnouncements {
		errs = append(errs, fmt.Errorf("arp: ClaimConfig.Announcements %d: want up to %d, or 0 for %d",
			c.Announcements, maxAnnouncements, AnnounceNum))
	}
	if c.Interval < 0 {
		errs = append(errs, fmt.Errorf("arp: ClaimConfig.Interval %v: want a time, or 0 for %v", c.Interval, AnnounceInterval))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.Announcements == 0 {
		c.Announcements = AnnounceNum
	}
	if c.Interval == 0 {
		c.Interval = AnnounceInterval
	}
	c.OwnMACs = slices.Clone(c.OwnMACs)
	mac := binary.BigEndian.Uint64(append([]byte{0, 0}, c.MAC[:]...))
	return &Claim{config: c, random: rand.New(rand.NewPCG(c.Seed, mac))}, nil
}

// Start begins to probe for ip, whatever the claim was about before; after a conflict, the caller starts again with the same
// or with another address. From MaxConflicts conflicts on, it begins no sooner than RateLimitInterval after the last time. It
// returns an error, and changes nothing, if no single host can have ip.
func (c *Claim) Start(now time.Duration, ip netip.Addr) error {
	if err := c.set(ip); err != nil {
		return err
	}
	if c.attempted && c.conflicts >= MaxConflicts {
		if c.attemptedAt < now { // else the last attempt has not begun, and its turn is used
			now = max(now, c.attemptedAt+RateLimitInterval)
		} else {
			now = c.attemptedAt
		}
	}
	c.attempted, c.attemptedAt = true, now
	c.state, c.left = ClaimProbing, ProbeNum
	c.next = now + c.between(0, ProbeWait)
	return nil
}

// Announce takes ip without asking, and announces it: after a failover, or for an address that nobody else can have. It
// returns an error, and changes nothing, if no single host can have ip.
func (c *Claim) Announce(now time.Duration, ip netip.Addr) error {
	if err := c.set(ip); err != nil {
		return err
	}
	c.announce(now)
	return nil
}

// Release ends the claim. The conflicts are remembered.
func (c *Claim) Release() { c.state = ClaimIdle }

// set makes ip the address that the claim is about.
func (c *Claim) set(ip netip.Addr) error {
	if !ip.Is4() {
		return fmt.Errorf("arp: claim to %v: %w", ip, ErrAddress)
	}
	b := ip.As4()
	if !isHost(binary.BigEndian.Uint32(b[:])) {
		return fmt.Errorf("arp: claim to %v: %w", ip, ErrAddress)
	}
	c.ip, c.by, c.defended = b, ethernet.MAC{}, false
	return nil
}

func (c *Claim) announce(now time.Duration) {
	c.state, c.next, c.left = ClaimAnnouncing, now, c.config.Announcements
	if c.config.Replies {
		c.left *= 2
	}
}

// State returns how far the claim has come.
func (c *Claim) State() ClaimState { return c.state }

// Usable reports whether the address may be used: from the moment on when it is announced.
func (c *Claim) Usable() bool { return c.state == ClaimAnnouncing || c.state == ClaimHeld }

// Addr returns the address that the claim is about; the zero Addr if it never was about one.
func (c *Claim) Addr() netip.Addr {
	if c.ip == [4]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom4(c.ip)
}

// Conflicts returns how many conflicts there were since the claim was made, for all addresses.
func (c *Claim) Conflicts() int { return c.conflicts }

// ConflictWith returns who else used the address, or wanted it: the zero address if nobody did since it was started.
func (c *Claim) ConflictWith() ethernet.MAC { return c.by }

// Deadline returns when [Claim.Advance] has something to do, and whether it ever will.
func (c *Claim) Deadline() (time.Duration, bool) {
	return c.next, c.state == ClaimProbing || c.state == ClaimAnnouncing
}

// Advance does what is due, and returns the packet to be sent now, if there is one. Who calls it late gets one packet a call,
// and the usual time passes before the next one.
func (c *Claim) Advance(now time.Duration) (packet Fields, send bool) {
	if _, waits := c.Deadline(); !waits || now < c.next {
		return Fields{}, false
	}
	if c.state == ClaimProbing {
		if c.left > 0 {
			return c.probe(now), true
		}
		c.announce(now)
	}
	return c.announcement(now), true
}

// probe returns the next probe (RFC 5227 section 2.1.1).
func (c *Claim) probe(now time.Duration) Fields {
	if c.left--; c.left > 0 {
		c.next = now + c.between(ProbeMin, ProbeMax)
	} else {
		c.next = now + AnnounceWait
	}
	return Probe(c.config.MAC, c.ip)
}

// announcement returns the next announcement (RFC 5227 section 2.3): a request, or the reply that follows it at once.
func (c *Claim) announcement(now time.Duration) Fields {
	c.left--
	reply := c.config.Replies && c.left%2 == 0
	if !c.config.Replies || reply {
		c.next = now + c.config.Interval
	}
	if c.left == 0 {
		c.state = ClaimHeld
	}
	if reply {
		return GratuitousReply(c.config.MAC, c.ip)
	}
	return Announcement(c.config.MAC, c.ip)
}

// GratuitousReply returns the announcement that ip is at mac in the form of a reply. Its target is the sender too: Linux takes
// no other for an announcement (arp_is_garp in net/ipv4/arp.c).
func GratuitousReply(mac ethernet.MAC, ip [4]byte) Fields {
	return Fields{Op: Reply, SenderMAC: mac, SenderIP: ip, TargetMAC: mac, TargetIP: ip}
}

// Receive looks at a packet that the interface received: does another host use the address, or probe for it at the same time?
// It returns the packet to be sent in defence, if there is one. [Claim.State] tells what became of the claim: after ClaimTaken
// and ClaimLost it does nothing until it is started again.
func (c *Claim) Receive(now time.Duration, p Packet) (defence Fields, send bool) {
	if !c.isConflict(p) {
		return Fields{}, false
	}
	c.conflicts++
	c.by = p.SenderMAC()
	if c.state == ClaimProbing {
		c.state = ClaimTaken
		return Fields{}, false
	}
	return c.defend(now)
}

// isConflict reports whether p tells that another host uses the address (RFC 5227 section 2.4), or, as long as it is being
// probed for, that another one probes for it too (section 2.1.1).
func (c *Claim) isConflict(p Packet) bool {
	if _, probing := c.Deadline(); !probing && c.state != ClaimHeld {
		return false
	}
	if op := p.Op(); op != Request && op != Reply {
		return false
	}
	uses := p.SenderIP() == c.ip
	wants := c.state == ClaimProbing && p.IsProbe() && p.TargetIP() == c.ip
	if !uses && !wants {
		return false
	}
	mac := p.SenderMAC() // what comes back from a hub or a bridge's loop is no other host's
	return mac != c.config.MAC && !slices.Contains(c.config.OwnMACs, mac)
}

// defend is the answer to a conflict about an address in use (RFC 5227 section 2.4).
func (c *Claim) defend(now time.Duration) (Fields, bool) {
	recent := c.defended && now-c.defendedAt < DefendInterval
	switch {
	case c.config.Defence == DefendNever, c.config.Defence == DefendOnce && recent:
		c.state = ClaimLost
		return Fields{}, false
	case recent:
		return Fields{}, false
	}
	c.defended, c.defendedAt = true, now
	return Announcement(c.config.MAC, c.ip), true
}

// between returns a random time, evenly distributed.
func (c *Claim) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.random.Int64N(int64(to-from)+1))
}
