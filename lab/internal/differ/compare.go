package differ

// The comparison of two results in normal form, and its report.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of a report.
const (
	maxReported  = 8 // differences of one section; the rest is counted
	contextLines = 3 // equal lines shown before a difference
)

// Sides names what is compared.
type Sides struct {
	Want, Got string // "kernel" and "lab", say
}

// Compare returns a report of the differences between two results, section by section with the lines that come before: ""
// if there are none. For packets that differ it names the fields.
func Compare(names Sides, want, got Normal) string {
	r := reporter{names: names}
	if want.Exit != got.Exit {
		fmt.Fprintf(&r.b, "exit code: %s %d, %s %d\n", names.Want, want.Exit, names.Got, got.Exit)
	}
	r.section("output", want.Output, got.Output)
	all := maps.Clone(want.Captures)
	if all == nil {
		all = make(map[string][]string)
	}
	maps.Copy(all, got.Captures)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, inWant := want.Captures[name]
		b, inGot := got.Captures[name]
		switch {
		case !inWant:
			fmt.Fprintf(&r.b, "%s: written by the %s only\n", name, names.Got)
		case !inGot:
			fmt.Fprintf(&r.b, "%s: written by the %s only\n", name, names.Want)
		default:
			r.section(name, a, b)
		}
	}
	return r.b.String()
}

type reporter struct {
	names Sides
	b     strings.Builder
}

// section reports the differences of two lists of lines.
func (r *reporter) section(title string, want, got []string) {
	if slices.Equal(want, got) {
		return
	}
	fmt.Fprintf(&r.b, "%s: %d lines from the %s, %d from the %s\n", title, len(want), r.names.Want, len(got), r.names.Got)
	reported, i, j := 0, 0, 0
	for _, block := range blocks(want, got) {
		equal := want[i:block.want]
		i, j = block.want+block.wantLen, block.got+block.gotLen
		if block.wantLen+block.gotLen == 0 {
			continue
		}
		if reported++; reported > maxReported {
			continue
		}
		for k, line := range equal {
			if k >= len(equal)-contextLines {
				r.line(" ", "", line)
			}
		}
		r.block(want[block.want:i], got[block.got:j])
	}
	if reported > maxReported {
		fmt.Fprintf(&r.b, "  … and %d more differences\n", reported-maxReported)
	}
}

// block reports lines that differ. Where they pair up, the fields that differ are named.
func (r *reporter) block(want, got []string) {
	pairs := 0
	if len(want) == len(got) {
		pairs = len(want)
	}
	for k := range pairs {
		r.line("-", r.names.Want, want[k])
		r.line("+", r.names.Got, got[k])
		if fields := Fields(want[k], got[k]); fields != "" {
			r.line("!", "differs", fields)
		}
	}
	for _, line := range want[pairs:] {
		r.line("-", r.names.Want, line)
	}
	for _, line := range got[pairs:] {
		r.line("+", r.names.Got, line)
	}
}

func (r *reporter) line(mark, who, line string) {
	fmt.Fprintf(&r.b, "  %s %-7s %s\n", mark, who, line)
}

// Fields names the fields in which the lines of two packets differ, as "ip.ttl 63 64, icmp.sum right wrong": "" if their
// headers are not even the same.
func Fields(want, got string) string {
	a, b := strings.Fields(want), strings.Fields(got)
	if len(a) != len(b) {
		return ""
	}
	var differ []string
	layer := ""
	for i := range a {
		name, x, isField := strings.Cut(a[i], "=")
		otherName, y, _ := strings.Cut(b[i], "=")
		switch {
		case name != otherName:
			return ""
		case !isField:
			layer = name
		case x != y:
			differ = append(differ, fmt.Sprintf("%s.%s %s %s", layer, name, x, y))
		}
	}
	return strings.Join(differ, ", ")
}

// block is a run of lines that differ, and where it begins.
type block struct {
	want, wantLen int
	got, gotLen   int
}

// blocks returns the runs of lines that differ between two lists, found as the gaps of a longest common subsequence.
func blocks(want, got []string) []block {
	length := common(want, got)
	var all []block
	for i, j := 0, 0; i < len(want) || j < len(got); {
		start := block{want: i, got: j}
		for i < len(want) || j < len(got) {
			switch {
			case i < len(want) && j < len(got) && want[i] == got[j]:
			case j == len(got) || i < len(want) && length[i+1][j] >= length[i][j+1]:
				i++
				continue
			default:
				j++
				continue
			}
			break
		}
		start.wantLen, start.gotLen = i-start.want, j-start.got
		all = append(all, start)
		for i < len(want) && j < len(got) && want[i] == got[j] {
			i, j = i+1, j+1
		}
	}
	return all
}

// common returns the length of the longest common subsequence of want[i:] and got[j:] for every i and j.
func common(want, got []string) [][]int {
	length := make([][]int, len(want)+1)
	for i := range length {
		length[i] = make([]int, len(got)+1)
	}
	for i, line := range slices.Backward(want) {
		for j, other := range slices.Backward(got) {
			if line == other {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	return length
}
