package arp

// What the table learns from ARP packets that come in.

import (
	"encoding/binary"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// heard is an ARP packet that says where somebody is.
type heard struct {
	key          uint64
	mac          uint64
	asksUs       bool // a request for an address of ours
	reply        bool
	toHost       bool
	announcement bool // the sender's own address to everybody: arp_is_garp()
}

// Input takes a received ARP packet, of which the table learns what Linux does (arp_process):
//
//   - a request for an address of ours makes an entry for its sender, or corrects the one there is;
//   - any other request, and any reply, only updates an entry, and with AcceptUnsolicited may make one;
//   - only a reply sent to us alone confirms an entry, all else is believed and checked when used;
//   - another MAC address than before is not believed within LockTime of the last change, but for announcements, and requests for
//     an address of ours;
//   - configured entries stay as they are.
//
// Packets that claim an address of the caller's own, and requests for such an address that it chooses not to answer, are not for
// the table.
func (t *Table) Input(device uint32, p Packet, how Reception, now time.Duration, actions []Action) []Action {
	h, ok := t.hear(device, p, how)
	if !ok || t.changesNothing(h) {
		return actions
	}
	t.mu.Lock()
	defer t.unlock()
	t.advance(now)
	return t.learn(h, actions)
}

// hear reads a packet and reports whether its sender is to be believed at all.
func (t *Table) hear(device uint32, p Packet, how Reception) (h heard, ok bool) {
	op := p.Op()
	if op != Request && op != Reply {
		t.badOp.Add(1)
		return h, false
	}
	sender, target := binary.BigEndian.Uint32(p.p[14:]), binary.BigEndian.Uint32(p.p[24:])
	if device == 0 || !isHost(sender) || target>>28 == 0xe || target>>24 == 127 {
		t.badAddress.Add(1)
		return h, false
	}
	mac := binary.BigEndian.Uint64(p.p[6:]) & macMask
	if mac == 0 || mac&groupBit != 0 {
		t.badMAC.Add(1)
		return h, false
	}
	return heard{
		key: keyOf(device, sender), mac: mac,
		asksUs: op == Request && how&ForUs != 0,
		reply:  op == Reply,
		toHost: how&ToHost != 0,
		announcement: sender == target &&
			(op == Request || binary.BigEndian.Uint64(p.p[16:])&macMask == mac),
	}, true
}

// groupBit is the I/G bit of a MAC address's first byte.
const groupBit = 1 << (8 * (ethernet.MACLen - 1))

// unasked reports whether h could make an entry where unsolicited packets do.
func (h heard) unasked() bool { return h.announcement || h.reply }

// confirms reports whether h tells that its sender hears us.
func (h heard) confirms() bool { return h.reply && h.toHost }

// changesNothing deals with packets that cannot change anything, without the lock: a flood of them disturbs nobody.
func (t *Table) changesNothing(h heard) bool {
	n := Neighbour(t.words.Load(h.key))
	switch {
	case uint64(n) == 0:
		if h.asksUs || t.accepting.Load() && h.unasked() {
			return false
		}
		t.unsolicited.Add(1)
		return true
	case n.State().in(configured):
		if n.MACBits() != h.mac {
			t.pinned.Add(1)
		}
		return true
	}
	return n.IsValid() && n.MACBits() == h.mac && !h.confirms()
}

// learn is the last part of arp_process().
func (t *Table) learn(h heard, actions []Action) []Action {
	r := t.records[h.key]
	p := t.params(deviceOf(h.key))
	if r == nil {
		if !h.asksUs && (!p.AcceptUnsolicited || !h.unasked()) {
			t.unsolicited.Add(1)
			return actions
		}
		if !t.makeRoom() {
			return actions
		}
		r = t.create(h.key)
		t.stats.Learned++
	}
	if h.asksUs {
		return t.update(r, h.mac, StateStale, authority{override: true}, actions)
	}
	to := StateStale
	if h.confirms() {
		to = StateReachable
	}
	return t.update(r, h.mac, to, authority{override: t.now > r.updated+p.LockTime || h.announcement}, actions)
}
