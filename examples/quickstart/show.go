package main

// What was seen of a ping, as text: captures in tcpdump's words, and the engines' own account of why.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/internal/tcpdump"
)

const intro = `Two clusters of two nodes each, in memory: every node and every pod is an engine, set up as Flannel sets up a Linux kernel.
Pod A pings pod B on the other node. This is what captures on the nodes' devices show, in tcpdump's words, and why.
`

const outro = `
-w hops.pcapng writes all this for Wireshark (where UDP port 8472 wants 'Decode As' VXLAN), -r your.pcap takes your own captures
apart, -h says more.
`

// viewer prints what was seen in one cluster.
type viewer struct {
	out    io.Writer
	walker *dissect.Walker
	stack  dissect.Stack
	width  int // of the column of names, in bytes
	shown  []hop
	asked  []string // addresses, by ARP
	turned bool     // what is on its way back has begun
	buf    []byte
}

// show prints what was seen in a cluster; the reply and the reasons only if there are any.
func show(out io.Writer, c *cluster) error {
	walker, err := dissect.New(dissect.Config{})
	if err != nil {
		return err
	}
	v := &viewer{out: out, walker: walker}
	a, b := c.plan[0], c.plan[1]
	fmt.Fprintf(out, "\n== %s: pod A, %v on %s, pings pod B, %v on %s\n", c.title, a.pod.addr.Addr(), a.name, b.pod.addr.Addr(), b.name)
	for i := range c.hops {
		v.width = max(v.width, len(c.hops[i].where)+len("  "))
	}
	for i := range c.hops {
		v.hop(&c.hops[i])
	}
	if c.reply == nil {
		return nil
	}
	fmt.Fprintf(out, "%d bytes from %v: icmp_seq=%d ttl=%d\n", c.reply.size, c.reply.from, c.reply.seq, c.reply.ttl)
	fmt.Fprintf(out, "(Before that, ARP asked who has %s: see -w.)\n", strings.Join(v.asked, ", "))
	return errors.Join(v.why(c, c.nodes[0], a.veth), v.why(c, c.nodes[1], b.nic))
}

// hop prints a capture. Of ARP it keeps who was asked for.
func (v *viewer) hop(h *hop) {
	err := h.walk(v.walker, &v.stack)
	if p := v.stack.Inner().ARP; p.IsValid() {
		target := netip.AddrFrom4(p.TargetIP()).String()
		if p.Op() == arp.Request && !slices.Contains(v.asked, target) {
			v.asked = append(v.asked, target)
		}
		return
	}
	defer func() { v.shown = append(v.shown, *h) }()
	if same := slices.IndexFunc(v.shown, func(o hop) bool { return bytes.Equal(o.data, h.data) }); same >= 0 {
		fmt.Fprintf(v.out, "%-*sthe same %d bytes as on %s\n", v.width, h.where, len(h.data), v.shown[same].where)
		return
	}
	if echo := v.stack.Inner().ICMP; echo.IsValid() && echo.Type() != icmp.TypeEcho && !v.turned {
		v.turned = true
		fmt.Fprintln(v.out)
	}
	v.buf = tcpdump.AppendFrame(v.buf[:0], &v.stack, err, len(h.data), tcpdump.Options{
		Prefix: strings.Repeat(" ", v.width), Indent: "  | ",
	})
	copy(v.buf, h.where)
	_, _ = v.out.Write(v.buf) // errors stick to the output
}

// why prints a node's own account of what it does with the request that came in by a device.
func (v *viewer) why(c *cluster, node *host, device string) error {
	i := slices.IndexFunc(v.shown, func(h hop) bool { return h.where == node.name+"/"+device })
	if i < 0 {
		return fmt.Errorf("nothing was seen on %s/%s", node.name, device)
	}
	e, err := node.Explain(device, v.shown[i].data, c.now)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.out, "\nWhy? %s explains what it does with the request on %s:\n", node.name, device)
	for line := range strings.Lines(e.String()) {
		fmt.Fprint(v.out, "    ", line)
	}
	return nil
}
