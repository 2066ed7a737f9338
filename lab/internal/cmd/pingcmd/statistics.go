package pingcmd

// The end.

import (
	"fmt"
	"math"
	"strconv"
)

// statistics prints the summary and returns the exit status.
func (g *ping) statistics() int {
	g.p.Printf("\n--- %s ping statistics ---\n%d packets transmitted, %d received", g.o.host, g.sent, g.received)
	if g.repeats > 0 {
		g.p.Printf(", +%d duplicates", g.repeats)
	}
	if g.errors > 0 {
		g.p.Printf(", +%d errors", g.errors)
	}
	took := g.sentAt - g.began
	if g.sent > 0 {
		const significant = 6 // of printf's %g
		loss := float64(float32(float64(g.sent-g.received) * 100 / float64(g.sent)))
		g.p.Printf(", %s%% packet loss, time %dms", strconv.FormatFloat(loss, 'g', significant, 64), (took.Microseconds()+500)/1000)
	}
	g.p.Printf("\n")
	comma := ""
	if g.received > 0 && g.o.size >= timeSize {
		mean, deviation := g.mean()
		g.p.Printf("rtt min/avg/max/mdev = %s/%s/%s/%s ms", ms(g.shortest.Microseconds()), ms(mean), ms(g.longest.Microseconds()), ms(deviation))
		comma = ", "
	}
	if g.pipe > 1 {
		g.p.Printf("%spipe %d", comma, g.pipe)
		comma = ", "
	}
	if g.received > 0 && (g.o.interval == 0 || g.o.flood || g.o.adaptive) && g.sent > 1 {
		gap := took.Microseconds() / int64(g.sent-1)
		g.p.Printf("%sipg/ewma %s/%s ms", comma, ms(gap), ms(g.average/8))
	}
	g.p.Printf("\n")
	if g.received == 0 || g.o.deadline > 0 && g.received < g.o.count {
		return 1
	}
	return 0
}

// mean returns the mean of the times, and their standard deviation, in microseconds.
func (g *ping) mean() (mean, deviation int64) {
	n := int64(g.received + g.repeats)
	mean = g.sum.Microseconds() / n
	variance := g.squares/float64(n) - float64(mean)*float64(mean)
	return mean, int64(math.Sqrt(max(0, variance)))
}

// snapshot is the account that ^\ asks for.
func (g *ping) snapshot() {
	loss := 0
	if g.sent > 0 {
		loss = 100 * (g.sent - g.received) / g.sent
	}
	text := fmt.Sprintf("\r%d/%d packets, %d%% loss", g.received, g.sent, loss)
	if g.received > 0 && g.o.size >= timeSize {
		mean, _ := g.mean()
		text += fmt.Sprintf(", min/avg/ewma/max = %s/%s/%s/%s ms",
			ms(g.shortest.Microseconds()), ms(mean), ms(g.average/8), ms(g.longest.Microseconds()))
	}
	fmt.Fprintln(g.p.Stderr, text)
}
