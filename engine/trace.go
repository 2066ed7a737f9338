package engine

// Why a packet went where it went: the steps of traced packets, as data and as text.

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/tcpdump"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/route"
)

// Stage is what happened to a packet in a step.
type Stage uint8

// The stages.
const (
	StageReceive    Stage = iota + 1 // Device received Packet
	StageLearn                       // Device learned that MAC is behind port Via, or VTEP Addr; Text says what became of it
	StageBridge                      // Device, a bridge, looked MAC up: Text is the entry, Via the port
	StageFlood                       // Device, a bridge, sends to all ports that take it
	StageARP                         // Device decided about an ARP packet: Text
	StageRoute                       // Addr matched Prefix: next hop Via's Gateway
	StageNeighbour                   // Addr on Device is MAC: Text is the state
	StageHold                        // waits for Addr or MAC on Device
	StageFDB                         // Device, a VXLAN, looked MAC up: Text is the entry
	StageEncap                       // Device put the packet into a tunnel to Addr, which leaves by Via
	StageDecap                       // Device took the packet out of a tunnel from Addr
	StageFragment                    // cut into fragments of MTU
	StageSegment                     // a superframe for Device was cut into segments
	StageReassemble                  // put together again: Packet
	StageLocal                       // for the node itself
	StageEcho                        // answered
	StageDeliver                     // taken by Config.Local
	StageICMP                        // an ICMP error of Type and Code went to Addr, or did not: Text
	StageReset                       // a TCP reset went to Addr
	StagePMTU                        // the path to Addr takes MTU
	StageTransmit                    // Device sent Packet
	StageDrop                        // dropped for Reason
	numStages
)

var stageNames = [numStages]string{
	StageReceive: "receive", StageLearn: "learn", StageBridge: "bridge", StageFlood: "flood", StageARP: "arp",
	StageRoute: "route", StageNeighbour: "neighbour", StageHold: "hold", StageFDB: "fdb", StageEncap: "encap",
	StageDecap: "decap", StageFragment: "fragment", StageSegment: "segment", StageReassemble: "reassemble", StageLocal: "local", StageEcho: "echo",
	StageDeliver: "deliver", StageICMP: "icmp", StageReset: "reset", StagePMTU: "pmtu", StageTransmit: "transmit", StageDrop: "drop",
}

// String returns the stage as a word.
func (s Stage) String() string {
	if s < numStages {
		return stageNames[s]
	}
	return fmt.Sprintf("stage%d", uint8(s))
}

// Step is one thing that happened to a packet. Which fields are set depends on the stage.
type Step struct {
	Stage      Stage
	Device     string
	Via        string // another device: the port of a bridge, the device that a route leads by
	Addr       netip.Addr
	Gateway    netip.Addr
	Prefix     netip.Prefix
	MAC        ethernet.MAC
	MTU        int
	Type, Code uint8 // of ICMP
	Reason     Reason
	Text       string
	Raw        bool   // Packet has no Ethernet header
	Packet     []byte // a copy
}

// String returns the step in words, one line.
func (s Step) String() string {
	return fmt.Sprintf("%-10s %s", s.Stage, s.words())
}

func (s Step) words() string {
	switch s.Stage {
	case StageReceive, StageTransmit, StageReassemble:
		return fmt.Sprintf("%s: %s", s.Device, captureLine(s.Packet, s.Raw))
	case StageLearn:
		from := "port " + s.Via
		if s.Addr.IsValid() {
			from = "VTEP " + s.Addr.String()
		}
		return fmt.Sprintf("%s: %v is behind %s (%s)", s.Device, s.MAC, from, s.Text)
	case StageBridge, StageFDB:
		return fmt.Sprintf("%s: %v: %s", s.Device, s.MAC, s.Text)
	case StageFlood:
		return s.Device + ": to every port that takes it"
	case StageRoute:
		return fmt.Sprintf("%v: %s", s.Addr, s.Text)
	case StageNeighbour:
		return fmt.Sprintf("%v dev %s: %s", s.Addr, s.Device, s.Text)
	case StageHold:
		if s.Addr.IsValid() {
			return fmt.Sprintf("%s: until it is known who %v is", s.Device, s.Addr)
		}
		return fmt.Sprintf("%s: until it is known where %v is", s.Device, s.MAC)
	case StageEncap:
		return fmt.Sprintf("%s: %s, next hop %v dev %s, path MTU %d", s.Device, s.Text, s.Gateway, s.Via, s.MTU)
	case StageDecap:
		return fmt.Sprintf("%s: %s", s.Device, s.Text)
	case StageFragment:
		return fmt.Sprintf("to packets of at most %d bytes: %s", s.MTU, s.Text)
	case StageICMP:
		return s.icmpWords()
	case StagePMTU:
		return fmt.Sprintf("path to %v takes %d bytes", s.Addr, s.MTU)
	case StageDrop:
		if s.Device == "" {
			return fmt.Sprintf("%s: %v", s.Reason.Name(), s.Reason)
		}
		return fmt.Sprintf("%s: %s: %v", s.Device, s.Reason.Name(), s.Reason)
	}
	return strings.TrimSuffix(strings.TrimSpace(s.Device+": "+s.Text), ":")
}

func (s Step) icmpWords() string {
	words := fmt.Sprintf("type %d code %d to %v", s.Type, s.Code, s.Addr)
	if s.Type == icmp.TypeUnreachable && s.Code == icmp.CodeFragmentationNeeded {
		words += fmt.Sprintf(", mtu %d", s.MTU)
	}
	if s.Text != "" {
		words += ": " + s.Text
	}
	return words
}

// captureLine is what tcpdump would print of a packet, in one line.
func captureLine(p []byte, raw bool) string {
	walker, err := dissect.New(dissect.Config{Partial: true})
	if err != nil {
		return err.Error()
	}
	var s dissect.Stack
	if raw {
		err = walker.IPv4(&s, p)
	} else {
		err = walker.Ethernet(&s, p)
	}
	lines := string(tcpdump.AppendFrame(nil, &s, err, len(p), tcpdump.Options{Terse: true, NoLink: true}))
	line := fmt.Sprintf("%d bytes, ", len(p))
	if !raw && len(p) >= ethernet.HeaderLen {
		line += fmt.Sprintf("%v > %v, ", ethernet.MAC(p[6:12]), ethernet.MAC(p[0:6]))
	}
	return line + strings.Join(strings.FieldsFunc(lines, func(r rune) bool { return r == '\n' }), " | ")
}

// TraceConfig says which packets are traced, from when they are given to Process.
type TraceConfig struct {
	Device string                   // the port that they come in by; "": any
	Match  func(packet []byte) bool // on the frame, or the packet of a raw port; nil: all
	Count  int                      // how many; 0: 1

	// Done is told of each packet when its way has come to an end or to a place where it waits: nothing is added to it any more. It
	// is called by the goroutine of the worker that had the packet, and must not change the engine. nil: nobody is told.
	Done func(*TracedPacket)
}

// Trace collects the ways of packets.
type Trace struct {
	e      *Engine
	config TraceConfig
	device uint32

	mu      sync.Mutex
	packets []*TracedPacket
}

// maxTraced bounds the packets of a trace, and maxSteps the steps of one, so that a flood ends.
const (
	maxTraced = 10_000
	maxSteps  = 1000
)

// TracedPacket is the way of one packet, and of all that came of it at once: copies, answers, errors.
type TracedPacket struct {
	Time  time.Duration
	Steps []Step
}

// String returns the steps, a line each.
func (p *TracedPacket) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Trace starts to trace packets that come in.
func (e *Engine) Trace(c TraceConfig) (*Trace, error) {
	t := &Trace{e: e, config: c}
	if c.Count == 0 {
		t.config.Count = 1
	}
	if c.Count < 0 || c.Count > maxTraced {
		return nil, fmt.Errorf("engine: TraceConfig.Count is %d: want 1 to %d, or 0 for 1: %w", c.Count, maxTraced, ErrInvalid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.Device != "" {
		d, err := e.find("trace", c.Device)
		if err != nil {
			return nil, err
		}
		t.device = d.index
	}
	s := e.edit()
	s.traces = append(slices.Clone(s.traces), t)
	e.publishState(s)
	return t, nil
}

// Stop ends the trace; what it has collected stays.
func (t *Trace) Stop() {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	s := t.e.edit()
	s.traces = slices.DeleteFunc(slices.Clone(s.traces), func(o *Trace) bool { return o == t })
	t.e.publishState(s)
}

// Packets returns the packets traced so far. The worker that has one in hand may still be adding to it.
func (t *Trace) Packets() []*TracedPacket {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.packets)
}

// All returns the steps of all packets so far.
func (t *Trace) All() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for _, p := range t.Packets() {
			for _, s := range p.Steps {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// startTrace returns where to note the steps of a packet, or nil if nobody wants them.
func (w *Worker) startTrace(d *device, b *packet.Buffer) *TracedPacket {
	for _, t := range w.st.traces {
		if t.device != 0 && t.device != d.index || t.config.Match != nil && !t.config.Match(b.Bytes()) {
			continue
		}
		t.mu.Lock()
		room := len(t.packets) < t.config.Count
		p := &TracedPacket{Time: w.now}
		if room {
			t.packets = append(t.packets, p)
		}
		t.mu.Unlock()
		if room {
			if t.config.Done != nil {
				w.traced = append(w.traced, traced{t, p})
			}
			return p
		}
	}
	return nil
}

// traced is a packet whose trace is complete when the burst has ended.
type traced struct {
	trace  *Trace
	packet *TracedPacket
}

// endTraces tells of the packets of the burst that were traced.
func (w *Worker) endTraces() {
	for _, t := range w.traced {
		t.trace.config.Done(t.packet)
	}
	w.traced = nil
}

// note adds a step to the trace of the packet in hand, which is traced.
func (w *Worker) note(s Step) {
	if len(w.trace.Steps) < maxSteps {
		w.trace.Steps = append(w.trace.Steps, s)
	}
}

// notePacket notes what a device has received or sent.
func (w *Worker) notePacket(stage Stage, d *device, b *packet.Buffer) {
	w.note(Step{Stage: stage, Device: d.label(), Raw: d == nil || d.raw, Packet: slices.Clone(b.Bytes())})
}

// noteBridge notes what a bridge knows of a station.
func (w *Worker) noteBridge(br *device, mac uint64, place fdb.Place) {
	s := Step{Stage: StageBridge, Device: br.name, MAC: MACOf(mac), Text: "no entry: unknown"}
	if port, ok := place.Port(); ok {
		s.Via = w.st.device(port).label()
		s.Text = fmt.Sprintf("dev %s %v", s.Via, flagsOrLearned(place.Flags()))
	}
	w.note(s)
}

func flagsOrLearned(f fdb.Flags) string {
	if f == 0 {
		return "dynamic"
	}
	return f.String()
}

// noteVXLAN notes where a VXLAN device's FDB sends a frame.
func (w *Worker) noteVXLAN(d *device, mac uint64, place fdb.Place) {
	s := Step{Stage: StageFDB, Device: d.name, MAC: MACOf(mac)}
	switch {
	case place.IsValid():
		words := "self permanent"
		if place.Flags()&fdb.Sticky == 0 {
			words = "self " + flagsOrLearned(place.Flags())
		}
		to := d.vxlan.table.Get(fdb.Key(mac)).Dest()
		if vtep, ok := place.VTEP4(); ok {
			to = fdb.ToVTEP4(vtep)
		}
		s.Text = fmt.Sprintf("%v %s", to, words)
	case len(d.vxlan.table.Remotes(0)) > 0:
		s.Text = fmt.Sprintf("no entry: to everybody else: %v", d.vxlan.table.Get(0).Dest())
	default:
		s.Text = "no entry, and none for everybody else"
	}
	w.note(s)
}

// noteRoute notes the routing decision about the packet in b; path is nil if there is none.
func (w *Worker) noteRoute(b *packet.Buffer, path *route.Path, hop route.Next) {
	if w.trace == nil {
		return
	}
	w.routeStep(binary.BigEndian.Uint32(b.Bytes()[16:]), path, hop)
}

func (w *Worker) routeStep(dst uint32, path *route.Path, hop route.Next) {
	s := Step{Stage: StageRoute, Addr: AddrOf(dst), Text: "no route"}
	if x, err := w.e.routes.Get(s.Addr, 0); err == nil {
		s.Prefix = x.Route.Prefix
		s.Text = x.Route.Format(w.deviceName)
	}
	if path != nil {
		s.Via, s.Gateway, s.MTU = w.deviceName(hop.Device), optional(hop.Gateway), int(path.MTU())
	}
	w.note(s)
}

// deviceName returns a device's name, for texts.
func (w *Worker) deviceName(index uint32) string {
	if d := w.st.device(index); d != nil {
		return d.name
	}
	return fmt.Sprintf("if%d", index)
}

// noteOut notes the way of a packet of the node's own.
func (w *Worker) noteOut(out *outgoing, path *route.Path, hop route.NextHop) {
	w.routeStep(out.dst, path, hop.Next())
}

func (w *Worker) noteNeighbour(d *device, addr uint32, n arp.Neighbour) {
	s := Step{Stage: StageNeighbour, Device: d.name, Addr: AddrOf(addr), MAC: n.MAC(), Text: n.String()}
	if n.State() == arp.StateNone {
		s.Text = "no entry"
	}
	w.note(s)
}

// noteOuter notes the outer headers of a packet that was put into a tunnel.
func (w *Worker) noteOuter(d *device, y *way, od *device, b *packet.Buffer) {
	p := b.Bytes()
	if y.whole {
		p = p[ethernet.HeaderLen:]
	}
	s := Step{Stage: StageEncap, Device: d.name, Addr: AddrOf(binary.BigEndian.Uint32(p[16:])), Gateway: AddrOf(y.next), Via: od.name, MTU: y.mtu}
	w.routeStep(number(s.Addr), nil, route.Next{})
	if y.whole { // else output shows it
		w.noteNeighbour(od, y.next, w.e.neighs.Lookup(od.index, y.next))
	}
	s.Text = fmt.Sprintf("IPIP %v > %v", AddrOf(y.src), s.Addr)
	if d.vxlan != nil {
		s.Text = fmt.Sprintf("VXLAN vni %d %v > %v", binary.BigEndian.Uint32(p[32:])>>8, AddrOf(y.src), s.Addr)
	}
	w.note(s)
}

// noteDecap notes what a tunnel was that d has taken a packet out of.
func (w *Worker) noteDecap(d *device, src, dst uint32) {
	s := Step{Stage: StageDecap, Device: d.name, Addr: AddrOf(src), Text: fmt.Sprintf("IPIP %v > %v", AddrOf(src), AddrOf(dst))}
	if d.vxlan != nil {
		s.Text = fmt.Sprintf("VXLAN vni %d %v > %v", d.vxlan.made.VNI, AddrOf(src), AddrOf(dst))
	}
	w.note(s)
}

// noteLocal notes that a packet is for the node, and by which route.
func (w *Worker) noteLocal(d *device, b *packet.Buffer) {
	dst := AddrOf(binary.BigEndian.Uint32(b.Bytes()[16:]))
	s := Step{Stage: StageLocal, Device: d.name, Addr: dst, Text: fmt.Sprintf("%v is the node's", dst)}
	if x, err := w.e.routes.Get(dst, 0); err == nil {
		s.Text = fmt.Sprintf("%v: %s", dst, x.Route.Format(w.deviceName))
	}
	w.note(s)
}
