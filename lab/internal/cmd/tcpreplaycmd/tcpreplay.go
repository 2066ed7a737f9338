// Package tcpreplaycmd is tcpreplay 4.4: it sends what is in a capture file, at the times that the file says or at a rate.
package tcpreplaycmd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/internal/getopt"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"tcpreplay": run} }

// Options; others of tcpreplay are refused, but for those of its speed and output that change nothing here.
const short = "i:x:p:M:tol:L:qKT:v"

var long = map[string]string{
	"intf1": "i:", "multiplier": "x:", "pps": "p:", "mbps": "M:", "topspeed": "t", "loop": "l:", "limit": "L:", "quiet": "q",
	"preload-pcap": "K", "timer": "T:",
}

// replay is one call of the command.
type replay struct {
	p          *proc.Proc
	device     string
	files      []string
	multiplier float64
	pps, mbps  float64 // 0: as in the file
	top        bool
	loops      int // 0: no end
	limit      int // 0: none

	start       time.Duration // of the first packet
	sent, bytes int
	failed      int

	flows          map[flow]bool
	inFlow, noFlow int // packets
}

// flow is what tells flows from each other, for the summary.
type flow struct {
	protocol uint8
	src, dst [4]byte
	ports    [4]byte // of ICMP: type and code
}

func run(p *proc.Proc, args []string) int {
	r := &replay{p: p, multiplier: 1, loops: 1, flows: map[flow]bool{}}
	if status, ok := r.options(args); !ok {
		return status
	}
	if r.device == "" {
		return p.Fail(1, "tcpreplay error:  The intf1 option is required")
	}
	switch l, ok := p.Node.E.Link(r.device); {
	case !ok:
		return p.Fail(255, "\nFatal Error in tcpreplay.c:main() line 79:\n Unable to parse args: "+
			"From tcpreplay_api.c:tcpreplay_post_args() line 336:\nInvalid interface name/alias: %s\n", r.device)
	case !l.Up:
		return p.Fail(255, "\nFatal Error in sendpacket.c:sendpacket_open() line 554:\n failed to open device %s: error opening %s: Network is down\n",
			r.device, r.device)
	}
	r.start = p.Now()
	if err := r.all(); err != nil {
		var unreadable *fileError
		if errors.As(err, &unreadable) {
			return p.Fail(255, "\nFatal Error in tcpreplay.c:main() line 122:\n Unable to retrieve information from file %v\n", unreadable)
		}
		if sig, caught := p.Catch(err); !caught || sig != proc.SIGINT {
			return p.Killed(err)
		}
		p.Printf(" User interrupt...\nsendpacket_abort\n")
	}
	r.summary()
	return 0
}

// options reads the command line; false: the command has ended with that status.
func (r *replay) options(args []string) (status int, ok bool) {
	found, operands, err := getopt.Parse(args, short, long)
	if err != nil {
		return r.p.Fail(1, "tcpreplay: %v", err), false
	}
	for _, f := range found {
		var err error
		switch f.Name {
		case "i":
			r.device = f.Value
		case "t":
			r.top = true
		case "x":
			r.multiplier, err = strconv.ParseFloat(f.Value, 64)
		case "p":
			r.pps, err = strconv.ParseFloat(f.Value, 64)
		case "M":
			r.mbps, err = strconv.ParseFloat(f.Value, 64)
		case "l":
			r.loops, err = strconv.Atoi(f.Value)
		case "L":
			r.limit, err = strconv.Atoi(f.Value)
		case "v", "o":
			return r.p.Fail(1, "tcpreplay: option -%s is not supported in the lab", f.Name), false
		}
		if err != nil || r.multiplier <= 0 || r.pps < 0 || r.mbps < 0 || r.loops < 0 || r.limit < 0 {
			return r.p.Fail(1, "tcpreplay error:  %s is not a recognizable number.", f.Value), false
		}
	}
	if len(operands) == 0 {
		return r.p.Fail(1, "tcpreplay: Command line arguments required"), false
	}
	r.files = operands
	return 0, true
}

// errLimit says that -L packets have been sent.
var errLimit = errors.New("tcpreplay: limit reached")

// fileError says that a file cannot be read.
type fileError struct {
	name string
	err  error
}

func (e *fileError) Error() string { return e.name + ": " + words.Strerror(e.err) }

// all sends all files, as often as -l says.
func (r *replay) all() error {
	for i := 0; r.loops == 0 || i < r.loops; i++ {
		began := r.p.Now()
		for _, name := range r.files {
			err := r.file(name)
			if errors.Is(err, errLimit) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		if r.loops == 0 && r.p.Now() == began { // or time would stand still for ever
			if err := r.p.Sleep(time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *replay) file(name string) error {
	f, err := r.p.Open(name)
	if err != nil {
		return &fileError{name, err}
	}
	capture, err := pcapfile.NewReader(f)
	if err != nil {
		return errors.Join(&fileError{name, err}, f.Close())
	}
	began, first := r.p.Now(), time.Time{}
	for {
		k, err := capture.Next()
		if errors.Is(err, io.EOF) {
			return f.Close()
		}
		if err != nil {
			return errors.Join(&fileError{name, err}, f.Close())
		}
		if first.IsZero() {
			first = k.Time
		}
		if err := r.packet(k, began+time.Duration(float64(k.Time.Sub(first))/r.multiplier)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
}

// packet sends a packet when it is due: at a time by the file, or as -p, -M or -t say.
func (r *replay) packet(k pcapfile.Packet, at time.Duration) error {
	switch {
	case r.top:
		at = r.p.Now()
	case r.pps > 0:
		at = r.start + time.Duration(float64(r.sent)/r.pps*float64(time.Second))
	case r.mbps > 0:
		const bitsPerMegabit = 1e6
		at = r.start + time.Duration(float64(r.bytes)*8/(r.mbps*bitsPerMegabit)*float64(time.Second))
	}
	if wait := at - r.p.Now(); wait > 0 {
		if err := r.p.Sleep(wait); err != nil {
			return err
		}
	}
	if k.LinkType != pcapfile.LinkEthernet {
		return &fileError{"", fmt.Errorf("link type %s is not supported in the lab", k.LinkType)}
	}
	if err := r.p.Node.Transmit(r.device, slices.Clone(k.Data)); err != nil {
		r.failed++
		r.p.Errorf("Warning in send_packets.c:send_packets() line 489:\nUnable to send packet: Error with PF_PACKET send() [%d]: %s (errno = %d)",
			r.sent+r.failed, words.Errno(err), errno(err))
		return nil
	}
	r.p.Settle()
	r.sent++
	r.bytes += len(k.Data)
	r.count(k.Data)
	if r.sent == r.limit {
		return errLimit
	}
	return nil
}

// errno returns the number of an error of Transmit (asm-generic/errno.h).
func errno(err error) int {
	switch {
	case errors.Is(err, engine.ErrMessageSize):
		return 90
	case errors.Is(err, engine.ErrDown):
		return 100
	case errors.Is(err, network.ErrNoTransmit):
		return 95
	case errors.Is(err, network.ErrNoBuffers):
		return 105
	}
	return 22 // EINVAL
}

// count notes a frame's flow. As tcpreplay, it takes a later fragment's first bytes for the header that they are not.
func (r *replay) count(frame []byte) {
	_, packet, err := ethernet.Parse(frame)
	if err != nil {
		return
	}
	ip, payload, err := ipv4.Parse(packet)
	if err != nil {
		r.noFlow++
		return
	}
	f := flow{protocol: ip.Protocol(), src: ip.Src(), dst: ip.Dst()}
	switch f.protocol {
	case ipv4.ProtocolTCP, ipv4.ProtocolUDP:
		copy(f.ports[:], payload)
	case ipv4.ProtocolICMP:
		copy(f.ports[:2], payload)
	}
	r.flows[f] = true
	r.inFlow++
}

// summary prints what was sent, if anything was.
func (r *replay) summary() {
	if r.sent == 0 {
		return
	}
	took := (r.p.Now() - r.start).Seconds()
	text := fmt.Sprintf("%.6f", took)
	if took >= 1 {
		text = fmt.Sprintf("%.2f", took)
	}
	r.p.Printf("Actual: %d packets (%d bytes) sent in %s seconds\n", r.sent, r.bytes, text)
	var bps, mbps, pps, fps float64
	if took > 0 {
		bps, pps, fps = float64(r.bytes)/took, float64(r.sent)/took, float64(len(r.flows))/took
		mbps = bps * 8 / 1e6
	}
	precision := 2
	if mbps < 1 && took > 0 {
		precision = 3
	}
	r.p.Printf("Rated: %s Bps, %s Mbps, %s pps\n", down(bps, 1), down(mbps, precision), down(pps, 2))
	if len(r.flows) > 0 {
		r.p.Printf("Flows: %d flows, %s fps, %d unique flow packets, %d unique non-flow packets\n", len(r.flows), down(fps, 2), r.inFlow, r.noFlow)
	}
	r.p.Printf("Statistics for network device: %s\n\tSuccessful packets:        %d\n\tFailed packets:            %d\n"+
		"\tTruncated packets:         0\n\tRetried packets (ENOBUFS): 0\n\tRetried packets (EAGAIN):  0\n", r.device, r.sent, r.failed)
}

// down is a number with so many decimals, the rest cut off.
func down(f float64, decimals int) string {
	scale := 1.0
	for range decimals {
		scale *= 10
	}
	return strconv.FormatFloat(float64(int64(f*scale))/scale, 'f', decimals, 64)
}
