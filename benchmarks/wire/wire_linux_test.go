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
	"time"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
)

var (
	rounds = flag.Int("rounds", 5, "how often each subject is measured; medians are shown")
	only   = flag.String("subjects", "", "comma-separated beginnings of names of subjects; all if empty")
	works  = flag.String("works", "", "comma-separated beginnings of names of what is measured; all if empty")
)

// work is something that is measured.
type work struct {
	name, unit string
	withLinux  bool // Linux is at the other end
	measure    func(t *testing.T, s overlay.Subject) float64
}

// isIPIP reports whether a subject's tunnel is IPIP, not VXLAN.
func isIPIP(s overlay.Subject) bool {
	c, ok := s.(overlay.Culvert)
	return ok && c.IPIP
}

var all = []work{
	{"encapsulation", "kpps", false, func(t *testing.T, s overlay.Subject) float64 {
		n := overlay.New(t, overlay.Config{})
		s.Start(t, &n.A)
		length := len(wireFrames(t, &n.A, &n.B, isIPIP(s))[0])
		return rate(t, place{n.A.Pod, overlay.Eth0}, podFrames(t, &n.A, &n.B, isIPIP(s)), place{n.B.Node, n.B.Wire}, length)
	}},
	{"decapsulation", "kpps", false, func(t *testing.T, s overlay.Subject) float64 {
		n := overlay.New(t, overlay.Config{})
		s.Start(t, &n.A)
		length := len(podFrames(t, &n.B, &n.A, isIPIP(s))[0])
		return rate(t, place{n.B.Node, n.B.Wire}, wireFrames(t, &n.B, &n.A, isIPIP(s)), place{n.A.Pod, overlay.Eth0}, length)
	}},
	{"pod to pod", "kpps", false, func(t *testing.T, s overlay.Subject) float64 {
		n := overlay.Join(t, overlay.Config{}, s, s)
		frames := podFrames(t, &n.A, &n.B, isIPIP(s))
		return rate(t, place{n.A.Pod, overlay.Eth0}, frames, place{n.B.Pod, overlay.Eth0}, len(frames[0]))
	}},
	{"ping, idle", "µs", false, func(t *testing.T, s overlay.Subject) float64 { return ping(t, overlay.Join(t, overlay.Config{}, s, s)) }},
	{"ping, awake", "µs", false, func(t *testing.T, s overlay.Subject) float64 {
		if c, ok := s.(overlay.Culvert); ok {
			c.Run.Poll = time.Second // from one ping to the next
			s = c
		}
		return ping(t, overlay.Join(t, overlay.Config{}, s, s))
	}},
	{"TCP out, Linux beyond", "Gbit/s", true, func(t *testing.T, s overlay.Subject) float64 {
		return tcp(t, overlay.Join(t, overlay.Config{}, s, overlay.Linux{}), false)
	}},
	{"TCP in, Linux beyond", "Gbit/s", true, func(t *testing.T, s overlay.Subject) float64 {
		return tcp(t, overlay.Join(t, overlay.Config{}, s, overlay.Linux{}), true)
	}},
	{"TCP, pod to pod", "Gbit/s", false, func(t *testing.T, s overlay.Subject) float64 {
		return tcp(t, overlay.Join(t, overlay.Config{}, s, s), false)
	}},
}

// TestWire measures and prints; it fails where packets do not arrive.
func TestWire(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		results := map[[2]string][]float64{}
		for round := range *rounds {
			for _, w := range chosen(all, func(w work) string { return w.name }, *works) {
				for _, s := range chosen(subjects, overlay.Subject.Name, *only) {
					if w.withLinux && isIPIP(s) {
						continue // this kernel may not have it
					}
					t.Run(fmt.Sprintf("%d/%s/%s", round, w.name, s.Name()), func(t *testing.T) {
						got := w.measure(t, s)
						if got <= 0 {
							t.Error("nothing arrives")
						}
						t.Logf("%.1f %s", got, w.unit)
						key := [2]string{w.name, s.Name()}
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
		fmt.Fprintf(w, "\t%s", s.Name())
	}
	fmt.Fprintln(w)
	for _, x := range all {
		fmt.Fprintf(w, "%s, %s", x.name, x.unit)
		base := median(results[[2]string{x.name, subjects[0].Name()}])
		for _, s := range subjects {
			m := median(results[[2]string{x.name, s.Name()}])
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

// subjects are what is measured; ratios are to the first.
var subjects = func() []overlay.Subject {
	all := []overlay.Subject{overlay.Linux{}, overlay.OpenVSwitch{}}
	for _, c := range overlay.Culverts() {
		all = append(all, c)
	}
	return append(all, overlay.IPIP())
}()
