package draw

// The picture's text: SVG 1.1, without scripts, fonts or anything else from outside.

import (
	"fmt"
	"html"
	"io"
)

const style = `<style>
text { font: 12px monospace; fill: #1b1f24 }
.node { fill: #f6f8fa; stroke: #57606a }
.title { font-weight: bold; font-size: 14px }
.bridge { fill: #ddf4ff }
.tunnel { fill: #fff1e5 }
.down { fill: #8c959f }
.wire { fill: none; stroke: #57606a; stroke-width: 1.5 }
.dashed { fill: none; stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 6 4 }
.traced { stroke: #1a7f37; stroke-width: 4 }
</style>
`

func (p *picture) write(w io.Writer, width, height int) {
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height)
	fmt.Fprint(w, style)
	fmt.Fprintf(w, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height)
	for _, b := range p.boxes {
		b.write(w)
	}
	for _, l := range p.lines {
		l.write(w)
	}
	fmt.Fprint(w, "</svg>\n")
}

func (b *box) write(w io.Writer) {
	fmt.Fprintf(w, "<rect class=\"node\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", b.x, b.y, b.width, b.height)
	fmt.Fprintf(w, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", b.x+padding, b.y+titleHeight-8, html.EscapeString(b.node.Name))
	for i := range b.rows {
		r := &b.rows[i]
		if r.kind != "" {
			fmt.Fprintf(w, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\"/>\n",
				r.kind, b.x+r.left()-4, r.top+1, b.width-r.left()-padding/2, rowHeight-2)
		}
		class := ""
		if r.down {
			class = ` class="down"`
		}
		fmt.Fprintf(w, "<text%s x=\"%d\" y=\"%d\">%s</text>\n", class, b.x+r.left(), r.top+rowHeight-5, html.EscapeString(r.text))
	}
}

// far is how far a line goes straight on from a box before it bends.
const far = 60

// write draws a line from the side of one box to the side of the other that faces it. Boxes in one column are joined along its side:
// wires on the left, tunnels on the right.
func (l *line) write(w io.Writer) {
	y1, y2 := l.from.rows[l.a].top+rowHeight/2, l.to.rows[l.b].top+rowHeight/2
	x1, d1 := l.side(l.from, l.to)
	x2, d2 := l.side(l.to, l.from)
	class := "wire"
	if l.tunnel {
		class = "dashed"
	}
	if l.traced {
		class += " traced"
	}
	fmt.Fprintf(w, "<path class=\"%s\" d=\"M%d %d C%d %d %d %d %d %d\"/>\n", class, x1, y1, x1+d1, y1, x2+d2, y2, x2, y2)
}

// side returns where the line to another box leaves this one, and which way it goes.
func (l *line) side(b, other *box) (x, bend int) {
	switch {
	case other.x >= b.x+b.width:
		return b.x + b.width, far
	case other.x+other.width <= b.x:
		return b.x, -far
	case l.tunnel:
		return b.x + b.width, far + far/2
	}
	return b.x, -far
}
