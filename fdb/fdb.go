// Package fdb is the forwarding database of a bridge or VTEP: which port, or which remote VTEP, a station is behind.
//
//	key: domain (16 bits) + MAC ──▶ a port │ a remote VTEP │ a list of them      dynamic: learned, refreshed, moved, aged
//	     domain + 00:00:00:00:00:00 ──▶ where broadcast and unknown goes        static, local, sticky: configured
//
// A domain is what keeps stations with the same address apart: a VLAN, or an index that the caller gives to a VNI (whose 24
// bits do not fit beside a MAC address in one word).
//
// # Concurrency
//
// All methods of a [Table] may be called by any goroutine at any time. [Table.Lookup], [Table.LookupAll], [Table.Get],
// [Table.Remotes], and [Table.Learn] of a station that has not moved, take no lock, wait for nobody and allocate nothing, whatever
// writers do beside them; what they return was true at some moment of the call, each place of LookupAll at a moment of its
// own, and is never half of one state and half of another. Everything that
// changes entries takes turns by a lock inside. [Table.Expire], [Table.Flush] and [Table.Remove] give it back after each slice of
// work, so that nobody waits for a whole table.
//
// # Time
//
// The table has no clock. Where a time is asked for, it is the time since any moment that the caller chose, by a clock that
// does not go backwards; a packet loop reads its clock once a batch. Heard stamps are kept in steps of 1/8 s and written when
// they are more than a second old, so an entry lives for [Config.Ageing] from when it was last heard, less a second at most.
//
// # Limits
//
// Learned entries never displace configured ones: they do not take their key, and a configured entry that finds the table
// full takes the place of a learned one.
package fdb

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/ethernet"
)

// Faults of a change to the table, wrapped with what it was about.
var (
	ErrExists   = errors.New("entry exists")
	ErrNotFound = errors.New("no such entry")
	ErrFull     = errors.New("table is full of configured entries")
	ErrKey      = errors.New("not an address that may have such an entry")
	ErrDest     = errors.New("not a valid destination")
	ErrFlags    = errors.New("flags contradict each other")
)

// Key names a station: the domain in the upper 16 bits, its MAC address in the lower 48. The keys with an all-zero
// address stand for 'everybody else' of their domain.
type Key uint64

const (
	macBits  = 48
	macMask  = 1<<macBits - 1
	groupBit = 1 << 40 // the I/G bit of the first byte
)

// KeyOf returns the key of a MAC address in a domain.
func KeyOf(domain uint16, mac ethernet.MAC) Key {
	return Key(domain)<<macBits |
		Key(mac[0])<<40 | Key(mac[1])<<32 | Key(mac[2])<<24 | Key(mac[3])<<16 | Key(mac[4])<<8 | Key(mac[5])
}

// Domain returns the domain.
func (k Key) Domain() uint16 { return uint16(k >> macBits) }

// MAC returns the station's address.
func (k Key) MAC() ethernet.MAC {
	return ethernet.MAC{byte(k >> 40), byte(k >> 32), byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
}

// isEverybody reports whether k stands for all stations without an entry.
func (k Key) isEverybody() bool { return k&macMask == 0 }

// isStation reports whether k has the address of one station.
func (k Key) isStation() bool { return k&macMask != 0 && k&groupBit == 0 }

// String returns k as "0a:58:0a:f4:01:07 domain 3", without the domain if that is 0.
func (k Key) String() string {
	if k.Domain() == 0 {
		return k.MAC().String()
	}
	return k.MAC().String() + " domain " + strconv.Itoa(int(k.Domain()))
}

// Remote is a remote VTEP.
type Remote struct {
	Addr netip.Addr // a node's underlay address, or a multicast group
	VNI  uint32     // 24 bits; 0: the one that belongs to the domain
	Port uint16     // UDP destination port; 0: the device's own
	Via  uint32     // index of the device to leave by; 0: as the underlay's routes say
}

const maxVNI = 1<<24 - 1

func (r Remote) validate() error {
	switch {
	case !r.Addr.IsValid():
		return fmt.Errorf("%w: Remote.Addr is missing", ErrDest)
	case r.Addr.IsUnspecified():
		return fmt.Errorf("%w: Remote.Addr %v is nobody's address", ErrDest, r.Addr)
	case r.Addr.Zone() != "" || r.Addr.Is4In6():
		return fmt.Errorf("%w: Remote.Addr %v must be plain IPv4 or IPv6, without zone", ErrDest, r.Addr)
	case r.VNI > maxVNI:
		return fmt.Errorf("%w: Remote.VNI %d has more than 24 bits", ErrDest, r.VNI)
	}
	return nil
}

// isPlain reports whether r is nothing but an IPv4 address.
func (r Remote) isPlain() bool { return r == Remote{Addr: r.Addr} && r.Addr.Is4() }

// String returns r as 'bridge fdb' prints it: "dst 192.0.2.2 port 4789 vni 7 via 3", without what is 0.
func (r Remote) String() string {
	var b strings.Builder
	b.WriteString("dst " + r.Addr.String())
	if r.Port != 0 {
		fmt.Fprintf(&b, " port %d", r.Port)
	}
	if r.VNI != 0 {
		fmt.Fprintf(&b, " vni %d", r.VNI)
	}
	if r.Via != 0 {
		fmt.Fprintf(&b, " via %d", r.Via)
	}
	return b.String()
}

// An entry is one word, so that it is never seen half-written:
//
//	bits  0–31  port, IPv4 address of a VTEP, or index of a list of remotes
//	bits 32–33  which of the three; 0 in no entry
//	bits 34–36  flags
//	bits 39–62  when it was last heard, in units of 1/8 s, modulo 2^24; see stamp
const (
	kindShift = 32
	kindMask  = 3 << kindShift
	kindPort  = 1 << kindShift
	kindVTEP  = 2 << kindShift
	kindList  = 3 << kindShift

	flagShift = 34
	flagMask  = uint64(Static|Local|Sticky) << flagShift

	indexMask = 1<<kindShift - 1
	whereMask = kindMask | indexMask
	localBit  = uint64(Local) << flagShift

	stampShift = 39
	stampMask  = (1<<24 - 1) << stampShift
)

// Flags say what learning and ageing may do with an entry. Without any it is dynamic, like a learned one.
type Flags uint8

// The flags, with the words of 'bridge fdb'.
const (
	Static Flags = 1 << iota // is not aged ('static'); follows the station if it turns up elsewhere, unless Sticky
	Local                    // the device's own address ('permanent', 'local'): never aged nor moved
	Sticky                   // stays where it is, even if the station turns up elsewhere
)

func (f Flags) validate() error {
	if f&Local != 0 && f&Sticky != 0 {
		return fmt.Errorf("%w: Sticky is for stations, Local for the device's own address", ErrFlags)
	}
	if f&^(Static|Local|Sticky) != 0 {
		return fmt.Errorf("%w: unknown flag %#x", ErrFlags, uint8(f))
	}
	return nil
}

// String returns the flags in the words of 'bridge fdb', "dynamic" for none.
func (f Flags) String() string {
	var words []string
	switch {
	case f&Local != 0:
		words = append(words, "permanent")
	case f&Static != 0:
		words = append(words, "static")
	default:
		words = append(words, "dynamic")
	}
	if f&Sticky != 0 {
		words = append(words, "sticky")
	}
	return strings.Join(words, " ")
}

// list is what an entry points to that has more to say than fits the word. It is immutable, belongs to one entry,
// and says which, so that a reader who comes by a stale index notices.
type list struct {
	key     Key
	remotes []Remote
}

// Dest is where a station is: behind a port, behind a remote VTEP, or, for group addresses and everybody else, behind several.
// The zero Dest is nowhere.
type Dest struct {
	where uint64 // bits of an entry, see kindShift
	list  *list
}

// ToPort returns the destination of a local port, an index of the caller's choosing.
func ToPort(port uint32) Dest { return Dest{where: kindPort | uint64(port)} }

// ToVTEP4 returns the destination of a remote VTEP by its IPv4 address, given as the number that its four bytes make in
// network byte order; VNI and UDP port are the device's own. This is what a VTEP learns, and costs nothing.
func ToVTEP4(addr uint32) Dest { return Dest{where: kindVTEP | uint64(addr)} }

// ToRemotes returns the destination of remote VTEPs. Only everybody else and group addresses may have more than one.
func ToRemotes(remotes ...Remote) Dest {
	if len(remotes) == 1 && remotes[0].isPlain() {
		return ToVTEP4(addrWord(remotes[0].Addr))
	}
	return Dest{where: kindList, list: &list{remotes: slices.Clone(remotes)}}
}

func addrWord(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func wordAddr(w uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)})
}

// IsValid reports whether d is anywhere.
func (d Dest) IsValid() bool { return d.where != 0 }

// Port returns the port, and whether d is one.
func (d Dest) Port() (uint32, bool) { return uint32(d.where), d.where&kindMask == kindPort }

// VTEP4 returns the IPv4 address of a remote VTEP as [ToVTEP4] takes it, and whether d is one with the device's own VNI
// and UDP port; [Dest.Remotes] has the others.
func (d Dest) VTEP4() (uint32, bool) { return uint32(d.where), d.where&kindMask == kindVTEP }

// Remotes returns the remote VTEPs; nil for a port. The caller must not change the slice's elements. It allocates for
// what [Dest.VTEP4] tells, and for nothing else.
func (d Dest) Remotes() []Remote { return slices.Clip(d.remotes()) }

// remotes is Remotes with the room that may be behind the end, which belongs to the entry.
func (d Dest) remotes() []Remote {
	switch d.where & kindMask {
	case kindVTEP:
		return []Remote{{Addr: wordAddr(uint32(d.where))}}
	case kindList:
		return d.list.remotes
	}
	return nil
}

// forKey returns d as entries of key have it: those of one station as a word if they can, all others as a list, which can be
// returned without allocating. Room behind a list's end stays with whoever has it.
func (d Dest) forKey(key Key) Dest {
	if d.where&kindMask == kindPort {
		return d
	}
	remotes := d.Remotes()
	if key.isStation() && len(remotes) == 1 && remotes[0].isPlain() {
		return ToVTEP4(addrWord(remotes[0].Addr))
	}
	return Dest{where: kindList, list: &list{remotes: remotes}}
}

// isWord reports whether d is a port or a VTEP that the word says all about.
func (d Dest) isWord() bool { return d.where>>kindShift-1 < kindList>>kindShift-1 }

// isOne reports whether d is one place.
func (d Dest) isOne() bool {
	if d.where&kindMask == kindList {
		return len(d.list.remotes) == 1
	}
	return d.IsValid() && d.where != kindVTEP // 0.0.0.0
}

// Equal reports whether d and e are the same place.
func (d Dest) Equal(e Dest) bool {
	if d.where&kindMask != kindList || e.where&kindMask != kindList {
		return d.where == e.where
	}
	return slices.Equal(d.list.remotes, e.list.remotes)
}

// hasRemote reports whether addr is among the remotes of d.
func (d Dest) hasRemote(addr netip.Addr) bool {
	switch d.where & kindMask {
	case kindVTEP:
		return addr.Is4() && addrWord(addr) == uint32(d.where)
	case kindList:
		for _, r := range d.list.remotes {
			if r.Addr == addr {
				return true
			}
		}
	}
	return false
}

// String returns d as "port 3" or in the words of [Remote.String].
func (d Dest) String() string {
	if port, ok := d.Port(); ok {
		return "port " + strconv.FormatUint(uint64(port), 10)
	}
	var words []string
	for _, r := range d.Remotes() {
		words = append(words, r.String())
	}
	return cmp.Or(strings.Join(words, ", "), "nowhere")
}

// Place is where a station is, as the packet path needs to know: one word. 0 says that there is no entry.
type Place uint64

// IsValid reports whether there is an entry.
func (p Place) IsValid() bool { return p != 0 }

// Port is [Dest.Port] of the destination.
func (p Place) Port() (uint32, bool) { return uint32(p), p&kindMask == kindPort }

// VTEP4 is [Dest.VTEP4] of the destination.
func (p Place) VTEP4() (uint32, bool) { return uint32(p), p&kindMask == kindVTEP }

// IsFrom reports whether p, of one station, is where from says, and was heard of so lately that [Table.Learn] would return [Known]
// and have nothing to write.
func (p Place) IsFrom(from Dest, now Stamp) bool {
	return uint64(p)&(whereMask|localBit) == from.where && unitsSince(uint64(p), uint64(now)) < freshUnits && from.isWord()
}

// IsList reports whether there is more to the destination than fits a word; [Table.Get] has it.
func (p Place) IsList() bool { return p&kindMask == kindList }

// Flags returns how the entry was configured; none if it was learned, or added to be like that.
func (p Place) Flags() Flags { return Flags(uint64(p) & flagMask >> flagShift) }

// IsLocal reports whether the address is the device's own.
func (p Place) IsLocal() bool { return uint64(p)&localBit != 0 }

// Entry is all that the table knows of a station. It is a small value and a snapshot.
type Entry struct {
	Place
	list *list // if IsList
}

// Dest returns where the station is.
func (e Entry) Dest() Dest {
	if e.list != nil {
		return Dest{where: kindList, list: e.list}
	}
	return Dest{where: uint64(e.Place) & whereMask}
}

// String returns e as "port 3 dynamic".
func (e Entry) String() string {
	if !e.IsValid() {
		return "no entry"
	}
	return e.Dest().String() + " " + e.Flags().String()
}
