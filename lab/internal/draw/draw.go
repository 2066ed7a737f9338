// Package draw draws a network as a picture: nodes with their devices and addresses, the ports of bridges beneath them, wires between
// veth ends, tunnels as dashed lines to where they lead, and the way of traced packets in a colour of its own.
//
// The same network gives the same picture, byte for byte.
package draw

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// Sizes in pixels.
const (
	rowHeight   = 18
	titleHeight = 26
	charWidth   = 7 // of the monospaced font
	padding     = 10
	indent      = 14 // of a bridge's ports
	gapX, gapY  = 130, 34
	margin      = 30
	maxHeight   = 1600 // of a column of nodes, which is broken where it would be higher
)

// row is a line in a node's box: a device.
type row struct {
	dev    string
	text   string
	kind   string
	port   bool // of a bridge
	down   bool
	top    int // of the line, from the top of the picture
	device *network.Device
}

// box is a node.
type box struct {
	node          *network.Node
	rows          []row
	level         int
	x, y          int
	width, height int
}

// line joins two devices.
type line struct {
	from, to *box
	a, b     int // rows
	tunnel   bool
	traced   bool
}

// picture is what is to be drawn.
type picture struct {
	boxes []*box
	at    map[*network.Node]*box
	lines []line
}

// SVG writes a picture of the network.
func SVG(w io.Writer, net *network.Network) error {
	p := &picture{at: map[*network.Node]*box{}}
	for _, n := range net.Nodes() {
		if b := newBox(n); len(b.rows) > 0 || n != net.Default() {
			p.boxes = append(p.boxes, b)
			p.at[n] = b
		}
	}
	p.wires()
	p.tunnels()
	width, height := p.place()
	out := bufio.NewWriter(w)
	p.write(out, width, height)
	return out.Flush()
}

// newBox returns a node's box, with its devices but lo: those of a bridge below it.
func newBox(n *network.Node) *box {
	b := &box{node: n}
	links := slices.DeleteFunc(n.E.Links(), func(l engine.LinkInfo) bool { return l.Kind == engine.KindLoopback && len(n.E.Addrs(l.Name)) < 2 })
	for _, l := range links {
		if l.Master != "" {
			continue
		}
		b.add(n, l)
		for _, port := range links {
			if l.Kind == engine.KindBridge && port.Master == l.Name {
				b.add(n, port)
			}
		}
	}
	b.width = len(n.Name)*(charWidth+2) + 2*padding
	for i := range b.rows {
		b.width = max(b.width, len([]rune(b.rows[i].text))*charWidth+b.rows[i].left()+padding)
	}
	b.height = titleHeight + len(b.rows)*rowHeight + padding
	return b
}

// left is where a row's text begins, from the left of the box.
func (r *row) left() int {
	if r.port {
		return padding + indent
	}
	return padding
}

func (b *box) add(n *network.Node, l engine.LinkInfo) {
	words := []string{l.Name}
	r := row{dev: l.Name, port: l.Master != "", down: !l.Up, device: n.Device(l.Name)}
	switch {
	case l.Kind == engine.KindBridge:
		r.kind = "bridge"
	case l.VXLAN != nil:
		r.kind = "tunnel"
		words = append(words, fmt.Sprintf("VXLAN %d", l.VXLAN.VNI))
	case l.IPIP != nil:
		r.kind = "tunnel"
		words = append(words, "IPIP")
	}
	for _, a := range n.E.Addrs(l.Name) {
		if a.Peer.IsValid() {
			words = append(words, a.Prefix.Addr().String()+" peer "+a.Peer.Addr().String())
		} else if !a.Prefix.Addr().IsLoopback() {
			words = append(words, a.Prefix.String())
		}
	}
	if r.down {
		words = append(words, "(down)")
	}
	r.text = strings.Join(words, "  ")
	b.rows = append(b.rows, r)
}

// index returns the row of a device.
func (b *box) index(dev string) int {
	return slices.IndexFunc(b.rows, func(r row) bool { return r.dev == dev })
}

// wires finds the veth pairs.
func (p *picture) wires() {
	for _, b := range p.boxes {
		for i, r := range b.rows {
			if r.device == nil || r.device.Peer == nil {
				continue
			}
			to := p.at[r.device.Peer.Node]
			j := to.index(r.device.Peer.Name)
			if slices.Index(p.boxes, b) > slices.Index(p.boxes, to) || b == to && i > j {
				continue // drawn from the other end
			}
			p.lines = append(p.lines, line{from: b, to: to, a: i, b: j, traced: r.device.Traced+r.device.Peer.Traced > 0})
		}
	}
}

// place gives every box its place, and returns the size of the picture: nodes in columns by their distance from the best connected
// one, in each column by where their neighbours are.
func (p *picture) place() (width, height int) {
	near := p.neighbours()
	levels := p.levels(near)
	x := margin + far // lines along the side of the first column
	for n, level := range levels {
		if n > 0 {
			p.arrange(level, near)
		}
		var bottom int
		x, bottom = placeLevel(level, x)
		height = max(height, bottom)
	}
	for _, b := range p.boxes {
		for i := range b.rows {
			b.rows[i].top = b.y + titleHeight + i*rowHeight
		}
	}
	return max(x-gapX, margin) + margin + far, max(height, margin) + margin
}

// neighbours returns which boxes a wire joins each to.
func (p *picture) neighbours() map[*box][]*box {
	near := map[*box][]*box{}
	for _, l := range p.lines {
		if !l.tunnel && l.from != l.to {
			near[l.from] = append(near[l.from], l.to)
			near[l.to] = append(near[l.to], l.from)
		}
	}
	return near
}

// levels returns the boxes by distance from the middle; what is not joined to it has a middle of its own.
func (p *picture) levels(near map[*box][]*box) [][]*box {
	middles := slices.Clone(p.boxes)
	slices.SortStableFunc(middles, func(a, b *box) int { return cmp.Compare(len(near[b]), len(near[a])) })
	var levels [][]*box
	seen := map[*box]bool{}
	for _, middle := range middles {
		if seen[middle] {
			continue
		}
		seen[middle] = true
		queue := []*box{middle}
		for len(queue) > 0 {
			b := queue[0]
			queue = queue[1:]
			if len(levels) <= b.level {
				levels = append(levels, nil)
			}
			levels[b.level] = append(levels[b.level], b)
			for _, next := range near[b] {
				if !seen[next] {
					seen[next] = true
					next.level = b.level + 1
					queue = append(queue, next)
				}
			}
		}
	}
	return levels
}

// arrange sorts a level by the middle of its neighbours to the left, which are placed already.
func (p *picture) arrange(level []*box, near map[*box][]*box) {
	want := map[*box]int{}
	for _, b := range level {
		sum, n := 0, 0
		for _, left := range near[b] {
			if left.level < b.level {
				sum, n = sum+left.y+left.height/2, n+1
			}
		}
		want[b] = sum / max(n, 1)
	}
	slices.SortStableFunc(level, func(a, b *box) int { return cmp.Compare(want[a], want[b]) })
}

// placeLevel puts boxes one below the other from x on, in several columns if they are too many. It returns where they end.
func placeLevel(level []*box, x int) (right, bottom int) {
	y, widest := margin, 0
	for _, b := range level {
		if y > margin && y+b.height > maxHeight {
			x, y, widest = x+widest+gapX, margin, 0
		}
		b.x, b.y = x, y
		y += b.height
		bottom = max(bottom, y)
		y += gapY
		widest = max(widest, b.width)
	}
	return x + widest + gapX, bottom
}
