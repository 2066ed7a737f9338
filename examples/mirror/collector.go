package main

// The collector: takes mirrored packets out of their tunnels, and sums them up by flow.

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/flow"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// maxFlows bounds the memory of an interval; flows beyond it are counted together.
const maxFlows = 1 << 16

// talker is a flow of a mirror session: clouds give each session a VNI of its own.
type talker struct {
	vni uint32
	flow.Key
}

// traffic is how much there was of something.
type traffic struct{ packets, bytes uint64 }

func (t *traffic) add(bytes int) {
	t.packets++
	t.bytes += uint64(bytes)
}

// collector sums up one interval after another.
type collector struct {
	walker *dissect.Walker
	stack  dissect.Stack
	port   uint16
	raw    bool // packets come without Ethernet header

	flows                  map[talker]traffic
	sum, more, other, junk traffic // all that was mirrored; flows too many; not IPv4; not VXLAN at all
	err                    error   // why the last one is junk
}

func newCollector(port uint16, raw bool) (*collector, error) {
	w, err := dissect.New(dissect.Config{VXLANPorts: []uint16{port}, Partial: true}) // mirrors may cut long packets
	return &collector{walker: w, port: port, raw: raw, flows: map[talker]traffic{}}, err
}

// take counts a packet, and cuts it to what was mirrored. It reports whether there was anything.
func (c *collector) take(b *packet.Buffer) bool {
	walk := c.walker.Ethernet
	if c.raw {
		walk = c.walker.IPv4
	}
	err := walk(&c.stack, b.Bytes())
	outer := c.stack.Outer()
	if !outer.VXLAN.IsValid() {
		c.junk.add(b.Len())
		if c.err = err; err == nil {
			c.err = fmt.Errorf("%v is not VXLAN to port %d", outer.Flow(), c.port)
		}
		return false
	}
	start := outer.IPv4.Len() + udp.HeaderLen + vxlan.HeaderLen
	if !c.raw {
		start += outer.Ethernet.Len()
	}
	if b.Strip(start, start+len(outer.Payload)) != nil {
		return false
	}
	c.count(talker{outer.VXLAN.VNI(), c.stack.Levels()[1].Flow()}, b.Len())
	return true
}

func (c *collector) count(t talker, bytes int) {
	c.sum.add(bytes)
	if (t.Key == flow.Key{}) {
		c.other.add(bytes)
		return
	}
	f, ok := c.flows[t]
	if !ok && len(c.flows) == maxFlows {
		c.more.add(bytes)
		return
	}
	f.add(bytes)
	c.flows[t] = f
}

// report prints the interval and the n flows with the most bytes, and starts the next one. For a capture, took is 0: there are no
// rates then.
func (c *collector) report(out io.Writer, n int, took time.Duration) {
	fmt.Fprintf(out, "%s, %d flows", c.sum.over(took), len(c.flows))
	for _, x := range []struct {
		traffic
		what string
	}{{c.more, "of further flows"}, {c.other, "not IPv4"}, {c.junk, "not mirrored"}} {
		if x.packets > 0 {
			fmt.Fprintf(out, ", %d packets %s", x.packets, x.what)
		}
	}
	if c.err != nil {
		fmt.Fprintf(out, " (%v)", c.err)
	}
	fmt.Fprintln(out)
	for _, t := range c.top(n) {
		fmt.Fprintf(out, "  %s  vni %d  %s\n", c.flows[t].over(took), t.vni, name(t.Key))
	}
	clear(c.flows)
	c.sum, c.more, c.other, c.junk, c.err = traffic{}, traffic{}, traffic{}, traffic{}, nil
}

// over is traffic as text: rates, or what there was in all if took is 0.
func (t traffic) over(took time.Duration) string {
	if took == 0 {
		return fmt.Sprintf("%d packets, %d bytes", t.packets, t.bytes)
	}
	s := took.Seconds()
	return fmt.Sprintf("%.0f packets/s, %.3f Mbit/s", float64(t.packets)/s, float64(t.bytes)*8/1e6/s)
}

// top returns the n flows with the most bytes.
func (c *collector) top(n int) []talker {
	all := make([]talker, 0, len(c.flows))
	for t := range c.flows {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b talker) int {
		return cmp.Or(cmp.Compare(c.flows[b].bytes, c.flows[a].bytes), cmp.Compare(a.vni, b.vni), cmp.Compare(a.String(), b.String()))
	})
	return all[:min(n, len(all))]
}

// name is a flow as people write it.
func name(k flow.Key) string {
	protocol, ok := map[uint8]string{1: "ICMP", 6: "TCP", 17: "UDP"}[k.Protocol]
	if !ok {
		protocol = fmt.Sprintf("protocol %d", k.Protocol)
	}
	if k.SrcPort == 0 && k.DstPort == 0 {
		return fmt.Sprintf("%s %s > %s", protocol, netip.AddrFrom4(k.Src), netip.AddrFrom4(k.Dst))
	}
	return fmt.Sprintf("%s %s > %s", protocol,
		netip.AddrPortFrom(netip.AddrFrom4(k.Src), k.SrcPort), netip.AddrPortFrom(netip.AddrFrom4(k.Dst), k.DstPort))
}
