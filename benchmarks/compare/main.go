// Compare runs the benchmarks several times over and prints a table of medians: culvert's, each peer's, and how many times
// faster culvert is, which on a noisy machine is the figure to read.
//
//	go run ./benchmarks/compare -bench 'Encap|Decap' -count 6
//
// The last element of a benchmark's name says who did the work; what comes before it, the work.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

const ours = "culvert"

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "compare:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	bench := fs.String("bench", ".", "which benchmarks, as for go test")
	count := fs.Int("count", 6, "how often to run them all; culvert and its peers take turns")
	benchtime := fs.String("benchtime", "0.3s", "how long each runs, as for go test")
	pkg := fs.String("pkg", "./benchmarks", "package with the benchmarks")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *count < 1 || fs.NArg() > 0 {
		return fmt.Errorf("want -count of 1 or more and no arguments: got -count %d and %q", *count, fs.Args())
	}
	t := newTable()
	for i := range *count {
		fmt.Fprintf(stderr, "run %d of %d\n", i+1, *count)
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", *bench, "-benchtime", *benchtime, *pkg)
		cmd.Stderr = stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go test: %w\n%s", err, out)
		}
		t.add(string(out))
	}
	return t.print(stdout)
}

// table holds the figures of all runs.
type table struct {
	works   []string                       // in the order of the benchmarks
	figures map[string]map[string]*figures // work → who → figures
}

// figures are what was measured of one benchmark, a value a run.
type figures struct {
	ns     []float64
	allocs int // the worst
}

func newTable() *table { return &table{figures: map[string]map[string]*figures{}} }

// line matches a result line; the suffix -N is GOMAXPROCS.
var line = regexp.MustCompile(`^Benchmark(\S+)/([^/\s]+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(?:.*\s(\d+) allocs/op)?`)

// add reads the output of one run.
func (t *table) add(out string) {
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		m := line.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		work, who := m[1], m[2]
		ns, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			continue // cannot be: the pattern matches numbers only
		}
		if t.figures[work] == nil {
			t.figures[work] = map[string]*figures{}
			t.works = append(t.works, work)
		}
		f := t.figures[work][who]
		if f == nil {
			f = &figures{}
			t.figures[work][who] = f
		}
		f.ns = append(f.ns, ns)
		if n, err := strconv.Atoi(m[4]); err == nil {
			f.allocs = max(f.allocs, n)
		}
	}
}

// print writes the table: a row for each work, ours first, then each peer with its ratio to ours.
func (t *table) print(w io.Writer) error {
	if len(t.works) == 0 {
		return errors.New("no benchmark matched: see -bench")
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "work\tculvert ns\tallocs\tpeer\tns\tallocs\tculvert is faster by")
	for _, work := range t.works {
		us := t.figures[work][ours]
		if us == nil {
			us = &figures{}
		}
		row := fmt.Sprintf("%s\t%.1f\t%d", work, median(us.ns), us.allocs)
		peers := 0
		for _, who := range slices.Sorted(maps.Keys(t.figures[work])) {
			if who == ours {
				continue
			}
			p := t.figures[work][who]
			fmt.Fprintf(tw, "%s\t%s\t%.1f\t%d\t%.1f×\n", row, who, median(p.ns), p.allocs, ratio(p.ns, us.ns))
			peers++
		}
		if peers == 0 {
			fmt.Fprintf(tw, "%s\t\t\t\t\n", row)
		}
	}
	return tw.Flush()
}

// ratio is the median of the ratios run by run, so that a machine that slows down in between does not count.
func ratio(theirs, ours []float64) float64 {
	var r []float64
	for i := range min(len(theirs), len(ours)) {
		r = append(r, theirs[i]/ours[i])
	}
	return median(r)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
