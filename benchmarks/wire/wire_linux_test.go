//go:build wire

package wire_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/culvert-net/culvert/internal/netnstest"
)

var (
	rounds = flag.Int("rounds", 5, "how often each subject is measured; medians are shown")
	only   = flag.String("subjects", "", "comma-separated beginnings of names of subjects; all if empty")
	works  = flag.String("works", "", "comma-separated beginnings of names of what is measured; all if empty")
)

// subject joins a node's pod to the other node's pod.
type subject interface {
	name() string
	start(tb testing.TB, e *end)
}

// work is something that is measured.
type work struct {
	name, unit string
	measure    func(t *testing.T, s subject) float64
}

var all = []work{
	{"encapsulation", "kpps", func(t *testing.T, s subject) float64 {
		n := newSite(t)
		s.start(t, &n.a)
		got, _ := rate(t, place{n.a.pod, eth0}, podFrames(t, &n.a, &n.b), place{n.b.node, n.b.wire})
		return got
	}},
	{"decapsulation", "kpps", func(t *testing.T, s subject) float64 {
		n := newSite(t)
		s.start(t, &n.a)
		got, _ := rate(t, place{n.b.node, n.b.wire}, wireFrames(t, &n.b, &n.a), place{n.a.pod, eth0})
		return got
	}},
	{"pod to pod", "kpps", func(t *testing.T, s subject) float64 {
		n := both(t, s)
		got, _ := rate(t, place{n.a.pod, eth0}, podFrames(t, &n.a, &n.b), place{n.b.pod, eth0})
		return got
	}},
	{"ping, idle", "µs", func(t *testing.T, s subject) float64 { return ping(t, both(t, s)) }},
	{"TCP out, Linux beyond", "Gbit/s", func(t *testing.T, s subject) float64 { return tcp(t, beside(t, s, kernel{}), false) }},
	{"TCP in, Linux beyond", "Gbit/s", func(t *testing.T, s subject) float64 { return tcp(t, beside(t, s, kernel{}), true) }},
	{"TCP, pod to pod", "Gbit/s", func(t *testing.T, s subject) float64 { return tcp(t, both(t, s), false) }},
}

// both is a site with a subject on both nodes, beside one with two.
func both(t *testing.T, s subject) *site { return beside(t, s, s) }

func beside(t *testing.T, a, b subject) *site {
	n := newSite(t)
	a.start(t, &n.a)
	b.start(t, &n.b)
	return n
}

// TestWire measures and prints; it fails where packets do not arrive.
func TestWire(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		results := map[[2]string][]float64{}
		for round := range *rounds {
			for _, w := range chosen(all, func(w work) string { return w.name }, *works) {
				for _, s := range chosen(subjects, subject.name, *only) {
					t.Run(fmt.Sprintf("%d/%s/%s", round, w.name, s.name()), func(t *testing.T) {
						got := w.measure(t, s)
						if got <= 0 {
							t.Error("nothing arrives")
						}
						t.Logf("%.1f %s", got, w.unit)
						key := [2]string{w.name, s.name()}
						results[key] = append(results[key], got)
					})
				}
			}
		}
		table(results)
	})
}

// chosen returns those whose name begins with one of a list, all if that is empty.
func chosen[T any](from []T, name func(T) string, list string) (out []T) {
	for _, x := range from {
		if list == "" || slices.ContainsFunc(strings.Split(list, ","), func(p string) bool { return strings.HasPrefix(name(x), p) }) {
			out = append(out, x)
		}
	}
	return out
}

// table prints medians, and in parentheses their ratio to the first subject's.
func table(results map[[2]string][]float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer w.Flush() //nolint:errcheck // standard output
	for _, s := range subjects {
		fmt.Fprintf(w, "\t%s", s.name())
	}
	fmt.Fprintln(w)
	for _, x := range all {
		fmt.Fprintf(w, "%s, %s", x.name, x.unit)
		base := median(results[[2]string{x.name, subjects[0].name()}])
		for _, s := range subjects {
			m := median(results[[2]string{x.name, s.name()}])
			switch {
			case m == 0:
				fmt.Fprint(w, "\t-")
			case base == 0:
				fmt.Fprintf(w, "\t%.1f", m)
			default:
				fmt.Fprintf(w, "\t%.1f (%.2f)", m, m/base)
			}
		}
		fmt.Fprintln(w)
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.SortFunc(v, cmp.Compare[float64])
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

var subjects = []subject{kernel{}, openVSwitch{}}
