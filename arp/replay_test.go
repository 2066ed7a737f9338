// What was recorded from the Linux kernel, played to the neighbour table and to the responder: the same must come out, on any
// machine. The recordings are made and checked by driver_kernel_linux_test.go.
package arp_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
)

func TestKernelTranscripts(t *testing.T) { runTranscripts(t, "testdata/kernel/*.txt") }

// recordedMAC is that of the port in the recordings.
var recordedMAC = ethernet.MAC{0x02, 0, 0, 0, 0, 0x01}

// TestKernelResponder: a case is made of the lines
//
//	port ADDR/LEN…                   the port's addresses
//	behind ADDR/LEN                  the node's address on another port
//	route PREFIX on|back|TYPE        leads to that other port, back to the port, or nowhere
//	set NAME=VALUE…  proxy add ADDR  as on Linux
//	in …                             as in the neighbours' transcripts
//	burst N SENDER MAC for TARGET    as many requests at once, for TARGET and the addresses after it
//	-> reply ADDR MAC to ADDR MAC    the answer
//	<= SECONDS replies N             so many answers come until then, and time goes on to it
func TestKernelResponder(t *testing.T) {
	files, err := filepath.Glob("testdata/kernel/responder/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, c := range parseTranscript(t, file, string(text)) {
			t.Run(filepath.Base(file)+"/"+c.name, func(t *testing.T) {
				r := &responderReplay{t: t, stricter: strings.HasPrefix(c.name, "stricter"), settings: map[string]string{}}
				for _, l := range c.lines {
					r.line = l
					r.play()
				}
				require.Empty(t, r.answers, "more answers than in the recording")
				require.NotZero(t, r.received)
			})
		}
	}
}

// responderReplay plays a case.
type responderReplay struct {
	t        *testing.T
	line     transcriptLine
	stricter bool // the kernel answers, and we must not

	config   arp.ResponderConfig
	settings map[string]string
	behind   netip.Prefix
	routes   map[netip.Prefix]arp.Way

	responder *arp.Responder
	received  int
	answers   []string // not told by the recording yet
}

// make makes the responder when all is configured.
func (r *responderReplay) make() {
	if r.responder != nil {
		return
	}
	c := &r.config
	c.MAC, c.Route = recordedMAC, r.way
	c.Ignore, _ = strconv.Atoi(r.settings["arp_ignore"])
	c.ProxyAll = r.settings["proxy_arp"] == "1"
	if r.settings["ip_forward"] != "1" {
		c.ProxyAll, c.ProxyFor = false, nil
	}
	c.ProxyDelay, _ = time.ParseDuration(r.settings["proxy_delay"])
	if n, err := strconv.Atoi(r.settings["proxy_qlen"]); err == nil {
		c.ProxyQueue = n + 1 // pneigh_enqueue() drops when there are more than proxy_qlen
	}
	var err error
	r.responder, err = arp.NewResponder(*c)
	require.NoError(r.t, err)
}

// way is the node's routing: the longest prefix of those configured.
func (r *responderReplay) way(target, _ uint32) arp.Way {
	if behind := r.behind.Addr(); behind.IsValid() && netipOf(target) == behind {
		return arp.WayLocal
	}
	best, way := -1, arp.WayNone
	for p, w := range r.routes {
		if p.Contains(netipOf(target)) && p.Bits() > best {
			best, way = p.Bits(), w
		}
	}
	return way
}

// addRoute adds a route; a connected one with its broadcast address, which nobody may ask for.
func (r *responderReplay) addRoute(p netip.Prefix, way arp.Way, connected bool) {
	if r.routes == nil {
		r.routes = map[netip.Prefix]arp.Way{}
	}
	r.routes[p.Masked()] = way
	if connected && p.Bits() < 31 {
		last := uintOf(p.Masked().Addr()) | 1<<(32-p.Bits()) - 1
		r.routes[netip.PrefixFrom(netipOf(last), 32)] = arp.WayNone
	}
}

func (r *responderReplay) play() {
	words := r.line.words
	switch words[0] {
	case "port":
		for _, w := range words[1:] {
			p := netip.MustParsePrefix(w)
			r.config.Addrs = append(r.config.Addrs, p)
			r.addRoute(p, arp.WayBack, true)
		}
	case "behind":
		r.behind = netip.MustParsePrefix(words[1])
		r.addRoute(r.behind, arp.WayOn, true)
	case "route":
		r.addRoute(netip.MustParsePrefix(words[1]), map[string]arp.Way{"on": arp.WayOn, "back": arp.WayBack}[words[2]], false)
	case "set":
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			r.settings[name] = value
		}
	case "proxy":
		r.config.ProxyFor = append(r.config.ProxyFor, netip.PrefixFrom(netip.MustParseAddr(words[2]), 32))
	case "in":
		r.receive(words[1:])
	case "burst":
		n, err := strconv.Atoi(words[1])
		require.NoError(r.t, err, r.line.where)
		target := netip.MustParseAddr(words[5])
		for range n {
			r.receive([]string{"request", words[2], words[3], "for", target.String(), "broadcast"})
			target = target.Next()
		}
	case "->":
		r.expect(strings.Join(words[1:], " "))
	case "<=":
		r.expectReplies(words[1:])
	default:
		r.t.Fatalf("%s: what is %q?", r.line.where, words[0])
	}
}

// receive gives the responder a frame.
func (r *responderReplay) receive(words []string) {
	r.make()
	require.Empty(r.t, r.answers, "%s: before this line there were more answers than in the recording", r.line.where)
	f := arp.Fields{
		Op:       map[string]arp.Op{"request": arp.Request, "reply": arp.Reply}[words[0]],
		SenderIP: netip.MustParseAddr(words[1]).As4(), SenderMAC: ethernet.MustParseMAC(words[2]),
		TargetIP: netip.MustParseAddr(words[4]).As4(),
	}
	dst := ethernet.Broadcast
	if words[5] == "unicast" {
		dst = recordedMAC
	}
	if len(words) > 7 {
		f.TargetMAC = ethernet.MustParseMAC(words[7])
	}
	r.received++
	answer, v := r.responder.Respond(nil, f.AppendFrame(nil, dst), r.line.time)
	if v == arp.Answered {
		r.note(answer)
	}
}

// note describes an answer as the recording does.
func (r *responderReplay) note(answer []byte) {
	h, payload, err := ethernet.Parse(answer)
	require.NoError(r.t, err)
	p, err := arp.Parse(payload)
	require.NoError(r.t, err)
	require.Equal(r.t, arp.Reply, p.Op())
	require.Equal(r.t, recordedMAC, h.Src())
	require.Equal(r.t, h.Dst(), p.TargetMAC())
	r.answers = append(r.answers, fmt.Sprintf("reply %v %v to %v %v",
		netip.AddrFrom4(p.SenderIP()), p.SenderMAC(), netip.AddrFrom4(p.TargetIP()), h.Dst()))
}

func (r *responderReplay) expect(want string) {
	if r.stricter {
		require.Empty(r.t, r.answers, r.line.where)
		return
	}
	require.NotEmpty(r.t, r.answers, "%s: no answer", r.line.where)
	require.Equal(r.t, want, r.answers[0], r.line.where)
	r.answers = r.answers[1:]
}

func (r *responderReplay) expectReplies(words []string) {
	limit, ok := parseSeconds(words[0])
	require.True(r.t, ok, r.line.where)
	for {
		at, waits := r.responder.Deadline()
		if !waits || at > limit {
			break
		}
		answer, due := r.responder.Due(nil, at)
		require.True(r.t, due, r.line.where)
		r.note(answer)
	}
	require.Equal(r.t, words[2], strconv.Itoa(len(r.answers)), r.line.where)
	r.answers = nil
}
