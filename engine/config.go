package engine

// How an engine is made, and the types that its callbacks see.

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/tunnel"
)

// Never is the deadline of an engine with nothing to do.
const Never time.Duration = math.MaxInt64

// Limits of a Config.
const (
	DefaultMaxDevices = 1 << 14 // as many as there are ports, tunnels, bridges and pairs in all
	LimitMaxDevices   = 1<<16 - 1

	DefaultMaxAdjacencies = 1 << 16
	DefaultMaxEncap       = 4 // a tunnel in a tunnel in a tunnel, and one more
	LimitMaxEncap         = 8
)

// Output takes the frames that leave by a port: Ethernet frames, or IPv4 packets if the port is raw. The buffers are the taker's
// from then on, the slice is the worker's. It is called once for each port and burst, by the goroutine that called the worker.
type Output func(port uint32, batch []*packet.Buffer)

// Config is how an engine is to be; the zero Config is good for a node that drops what it is not told where to send.
type Config struct {
	// Pool is where buffers of packets that the engine makes come from: copies of what is flooded, ARP, ICMP, fragments. nil: one
	// of its own with DefaultBuffers buffers. Packets that wait may take three quarters of it, by default.
	Pool *packet.Pool

	// LargePool is where superframes come from that the engine makes: of segments put together, see [Port].Coalesce, and of tunnelled
	// ones for a port that takes OffloadUDP4 but not OffloadTunnelTCP4. Its buffers should have gso.LargeSize bytes behind their
	// headroom. nil: one with DefaultLargeBuffers buffers, made with the first port that may need it. So may ports whose MTU is greater
	// than what Pool's buffers hold.
	LargePool *packet.Pool

	// Profile chooses whom to follow where Linux and the RFCs differ.
	Profile tunnel.Profile

	// Seed decides everything that is random: MAC addresses that were not given, flow hashes, IP identifications, reachable
	// times of neighbours. Equal calls and equal seeds have equal results, as tests want them; nodes that share a network need
	// different ones, or their bridges and VXLAN devices would have the same MAC addresses. 0 is a random one.
	Seed uint64

	// TimeOfDay is how long after midnight UT the time was 0 that calls are given, for those who ask for timestamps (RFC 791); 24 h
	// for midnight itself. 0: not known; timestamps then say so, and count from that time.
	TimeOfDay time.Duration

	// Output takes what the engine's own worker sends; see [Engine.NewWorker] for others. nil: all is dropped as [DropNoOutput].
	Output Output

	// Local is given the packets for the node itself that the engine has no use for: all but ICMP echo requests, ICMP errors for
	// its tunnels, and tunnelled packets. See [Delivery]. nil: nobody listens, and senders are told so.
	Local func(*Worker, Delivery) bool

	// OnMiss is told of neighbours and MAC addresses that the embedding agent is to supply, see [Miss].
	OnMiss func(Miss)

	// OnFDB is told of each change of the forwarding database of a bridge or VXLAN device, by whoever makes it and before he goes
	// on; see [fdb.Config]. It must not call the engine.
	OnFDB func(device uint32, c fdb.Change)

	Routes     route.Config    // OnChange is called after the engine's own
	Neighbours arp.TableConfig // OnChange likewise; Seed follows from the engine's if it is 0; MaxWaiting 0: 512, but an eighth of the pool

	MaxDevices int // 0: DefaultMaxDevices

	// MaxAdjacencies is for how many remote ends of tunnels, and for how many gateways of routes, what packets need is kept ready; 0:
	// DefaultMaxAdjacencies. An end takes about half a KiB. Beyond that packets go a slower way, on which nothing is allocated either:
	// for the ends that least of them go to, which others make room for, and for the gateways that came last.
	MaxAdjacencies int

	MaxEncap   int // tunnels inside each other on a packet's way out; 0: DefaultMaxEncap
	MaxMissing int // packets waiting in all for a MAC address that the agent was asked for; 0: 256, but an eighth of the pool at most; -1: none
}

// Delivery is a packet for the node itself.
type Delivery struct {
	Device  uint32         // that it came in by
	Header  ipv4.Header    // a view of Buffer's bytes, validated, its checksum right
	Payload []byte         // behind the header
	Buffer  *packet.Buffer // starts with the IPv4 header; the callback's if it returns true. Never a superframe, but maybe with a partial checksum
}

// MissKind is what an agent is asked for.
type MissKind uint8

// The kinds of misses.
const (
	MissNeighbour MissKind = iota + 1 // the MAC address of Addr on Device: answer by Engine.ReplaceNeigh (L3 miss)
	MissFDB                           // the VTEP that MAC is behind, of VXLAN Device: answer by Engine.AddFDB (L2 miss)
)

// Miss is a question to the embedding agent. It is asked after the burst that missed, by the goroutine that called the worker;
// the answer may be given at once or later. The packets that missed wait meanwhile, as long as limits and timers allow.
type Miss struct {
	Kind   MissKind
	Device string
	Index  uint32
	Addr   netip.Addr   // of MissNeighbour
	MAC    ethernet.MAC // of MissFDB
}

// Faults of a control call, wrapped with the object and the field that they are about.
var (
	ErrExists    = errors.New("exists already")
	ErrNotFound  = errors.New("does not exist")
	ErrFull      = errors.New("no room for more")
	ErrInvalid   = errors.New("not valid")
	ErrBusy      = errors.New("in use")
	ErrLoop      = errors.New("would lead back into itself")
	ErrDown      = errors.New("device is down")
	ErrNotBridge = errors.New("not a port of a bridge")
	ErrGateway   = errors.New("not a next hop on a link of the device")
	ErrScope     = errors.New("scope differs from that of the subnet")
)

// Faults of a packet that the node itself sends; see [Worker.Send]. In parentheses, what strerror(3) says on Linux.
var (
	ErrBlackhole   = errors.New("engine: blackhole route (Invalid argument)")
	ErrUnreachable = errors.New("engine: unreachable route (No route to host)")
	ErrProhibited  = errors.New("engine: prohibit route (Permission denied)")
	ErrNoRoute     = errors.New("engine: no route (Network is unreachable)")
	ErrMessageSize = errors.New("engine: packet exceeds the path MTU and DF is set (Message too long)")
	ErrNoRoom      = errors.New("engine: no room in front of the packet for its header (No buffer space available)")
	ErrSource      = errors.New("engine: source is no address of the node (Cannot assign requested address)")
	ErrBroadcast   = errors.New("engine: destination is a broadcast address and Broadcast is not set (Permission denied)")
)

// check fills in defaults and reports every field that is out of range.
func (c *Config) check() error {
	var errs []error
	for _, f := range []struct {
		name            string
		value           *int
		preset, at, max int
	}{
		{"MaxDevices", &c.MaxDevices, DefaultMaxDevices, 1, LimitMaxDevices},
		{"MaxAdjacencies", &c.MaxAdjacencies, DefaultMaxAdjacencies, 1, 1 << 24},
		{"MaxEncap", &c.MaxEncap, DefaultMaxEncap, 1, LimitMaxEncap},
		{"MaxMissing", &c.MaxMissing, 0, -1, 1 << 20}, // see share
	} {
		if *f.value == 0 {
			*f.value = f.preset
		}
		if *f.value < f.at || *f.value > f.max {
			errs = append(errs, fmt.Errorf("engine: Config.%s is %d: want 0 for the default, or %d to %d", f.name, *f.value, f.at, f.max))
		}
	}
	if c.Profile > tunnel.RFC {
		errs = append(errs, fmt.Errorf("engine: Config.Profile is %d: want tunnel.Linux or tunnel.RFC", c.Profile))
	}
	if c.TimeOfDay < 0 || c.TimeOfDay > day {
		errs = append(errs, fmt.Errorf("engine: Config.TimeOfDay is %v: want 0 for not known, or a time up to %v", c.TimeOfDay, day))
	}
	return errors.Join(errs...)
}
