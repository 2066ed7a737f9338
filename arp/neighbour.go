package arp

// What is known of a neighbour: the word that the packet path reads, the states, and the entry that the control side gives
// and takes.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// Faults of a change to the table, wrapped with what it was about.
var (
	ErrExists   = errors.New("neighbour exists")
	ErrNotFound = errors.New("no such neighbour")
	ErrFull     = errors.New("neighbour table is full")
	ErrDevice   = errors.New("device 0 stands for all devices, and has no neighbours")
	ErrAddress  = errors.New("not the IPv4 address of a single host")
	ErrMAC      = errors.New("no MAC address given, and none known")
	ErrState    = errors.New("not a state that an entry can be put into")
)

// State is what is known of a neighbour's reachability: the states of RFC 4861 section 7.3.2, as Linux has them for ARP too.
type State uint8

// The states. Those from StateReachable on have a MAC address and packets go to it.
const (
	StateNone       State = iota // there is no entry
	StateIncomplete              // being asked for; packets wait
	StateFailed                  // did not answer; the next packet asks again
	StateReachable               // known to be right not long ago
	StateStale                   // believed; the next packet starts a check
	StateDelay                   // in use and unconfirmed: checked soon if nobody confirms it
	StateProbe                   // being checked, by requests to its MAC address
	StateNoARP                   // configured, needs no ARP; may be removed with its device's carrier
	StatePermanent               // configured
	numStates
)

var stateNames = [numStates]string{
	"NONE", "INCOMPLETE", "FAILED", "REACHABLE", "STALE", "DELAY", "PROBE", "NOARP", "PERMANENT",
}

// String returns s as 'ip neigh' prints it.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return fmt.Sprintf("STATE(%d)", uint8(s))
}

// ParseState reads the name of a state in either case, as 'ip neigh … nud' takes it.
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if strings.EqualFold(n, name) {
			return State(s), nil
		}
	}
	return 0, fmt.Errorf("arp: state %q: %w: want one of %s", name, ErrState, strings.Join(stateNames[:], ", "))
}

// states is a set of them.
type states uint16

func setOf(all ...State) states {
	var set states
	for _, s := range all {
		set |= 1 << s
	}
	return set
}

// in reports whether s is one of set.
func (s State) in(set states) bool { return set>>s&1 != 0 }

// The classes of states: NUD_VALID, NUD_CONNECTED and NUD_IN_TIMER of include/net/neighbour.h.
const (
	configured states = 1<<StatePermanent | 1<<StateNoARP
	connected         = configured | 1<<StateReachable
	valid             = connected | 1<<StateStale | 1<<StateDelay | 1<<StateProbe
	timed      states = 1<<StateIncomplete | 1<<StateReachable | 1<<StateDelay | 1<<StateProbe
)

// Neighbour is what [Table.Lookup] finds: a MAC address and a state, in one machine word. The zero Neighbour is none.
type Neighbour uint64

// The word: MAC address, state, and whether packets may go without telling the table.
const (
	macMask    = 1<<48 - 1
	stateShift = 48
	readyBit   = 1 << 56
)

func wordOf(mac uint64, s State, ready bool) uint64 {
	w := mac | uint64(s)<<stateShift
	if ready {
		w |= readyBit
	}
	return w
}

// Ready reports whether a packet may be sent to [Neighbour.MAC] now, without [Table.Output].
func (n Neighbour) Ready() bool { return uint64(n)&readyBit != 0 }

// State returns the state, [StateNone] if the table has no such neighbour.
func (n Neighbour) State() State { return State(uint64(n) >> stateShift & 0xf) }

// IsValid reports whether the MAC address is known.
func (n Neighbour) IsValid() bool { return n.State().in(valid) }

// MAC returns the MAC address, the zero address if it is not known.
func (n Neighbour) MAC() ethernet.MAC { return macOf(uint64(n)) }

// MACBits returns the MAC address as a number of 48 bits, most significant byte first: what fits a register and is stored into
// a header at once.
func (n Neighbour) MACBits() uint64 { return uint64(n) & macMask }

// String returns n as "0a:58:0a:f4:01:07 REACHABLE".
func (n Neighbour) String() string {
	if !n.IsValid() {
		return n.State().String()
	}
	return n.MAC().String() + " " + n.State().String()
}

// shown returns n without what only the packet path cares for.
func (n Neighbour) shown() Neighbour { return n &^ readyBit }

func macOf(word uint64) ethernet.MAC {
	return ethernet.MAC{
		byte(word >> 40), byte(word >> 32), byte(word >> 24), byte(word >> 16), byte(word >> 8), byte(word),
	}
}

func bitsOf(m ethernet.MAC) uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

// Key names a neighbour: a device by the caller's index, not 0, and an address on it.
type Key struct {
	Device uint32
	Addr   netip.Addr // IPv4
}

// String returns k as "10.0.0.2 dev 3".
func (k Key) String() string { return fmt.Sprintf("%v dev %d", k.Addr, k.Device) }

// Entry is a neighbour as the control side sees it.
type Entry struct {
	MAC   ethernet.MAC
	State State

	Used      time.Duration // when a packet was last seen to go, less what Ready lets by: see Table.Lookup
	Confirmed time.Duration // when it was last known to be right; before the table's start if never
	Updated   time.Duration // when the state or the MAC address last changed
	Probes    int           // requests of the last resolution or check, as 'ip -s neigh' shows them
	Waiting   int           // packets
}

// A key is one word, device above address, for the map under the table.
func keyOf(device, addr uint32) uint64 { return uint64(device)<<32 | uint64(addr) }

func deviceOf(key uint64) uint32 { return uint32(key >> 32) }
func addrOf(key uint64) uint32   { return uint32(key) }

func publicKey(key uint64) Key { return Key{deviceOf(key), netipOf(addrOf(key))} }

func netipOf(addr uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], addr)
	return netip.AddrFrom4(b)
}

// word checks k and returns it as one word.
func (k Key) word() (uint64, error) {
	if k.Device == 0 {
		return 0, ErrDevice
	}
	if !k.Addr.Is4() {
		return 0, ErrAddress
	}
	b := k.Addr.As4()
	addr := binary.BigEndian.Uint32(b[:])
	if !isHost(addr) {
		return 0, ErrAddress
	}
	return keyOf(k.Device, addr), nil
}

// isHost reports whether a single host may have the address: not 0.0.0.0, 127.0.0.0/8, 224.0.0.0/4 or the limited broadcast
// address (RFC 1122 section 3.2.1.3).
func isHost(addr uint32) bool {
	return addr != 0 && addr>>24 != 127 && addr>>28 != 0xe && addr != 0xffffffff
}
