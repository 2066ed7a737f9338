package differ

// The normal form of a result, and its text, which golden files hold:
//
//	exit 0
//	output
//	  PING 10.1.1.3 (10.1.1.3) 56(84) bytes of data.
//	  64 bytes from 10.1.1.3: icmp_seq=1 ttl=64 time=T ms
//	capture veth0.pcap
//	  eth src=… dst=… len=42 / arp op=1 …

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Normal is a result in which what may differ between two runs on the same kernel is masked. Blanks at the ends of lines are
// gone too, nothing else.
type Normal struct {
	Exit     int
	Output   []string            // lines
	Captures map[string][]string // a line a packet, by file name
}

// Normalise brings the result of a script into normal form. It returns an error if a capture cannot be read.
func Normalise(s Script, r Result) (Normal, error) {
	macs := newMasker(s.Text)
	n := Normal{Exit: r.Exit, Output: lines(maskText(r.Output, macs)), Captures: make(map[string][]string, len(r.Captures))}
	for _, name := range slices.Sorted(maps.Keys(r.Captures)) {
		packets, err := packets(r.Captures[name], macs)
		if err != nil {
			return n, fmt.Errorf("capture %s: %w", name, err)
		}
		n.Captures[name] = packets
	}
	return n, nil
}

// lines splits text at its line ends, of which the last makes no line, and takes blanks from the lines' ends.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range all {
		all[i] = strings.TrimRight(line, " \t")
	}
	return all
}

// Words that begin the sections of the text, and what begins their lines.
const (
	wordExit    = "exit "
	wordOutput  = "output"
	wordCapture = "capture "
	indent      = "  "
)

// String returns the text of n.
func (n Normal) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%d\n%s\n", wordExit, n.Exit, wordOutput)
	section(&b, n.Output)
	for _, name := range slices.Sorted(maps.Keys(n.Captures)) {
		fmt.Fprintf(&b, "%s%s\n", wordCapture, name)
		section(&b, n.Captures[name])
	}
	return b.String()
}

func section(b *strings.Builder, lines []string) {
	for _, line := range lines {
		b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
	}
}

// Parse reads what [Normal.String] wrote.
func Parse(text string) (Normal, error) {
	n := Normal{Captures: make(map[string][]string)}
	into := func(string) {} // where the lines of the section go
	for i, line := range lines(text) {
		switch {
		case strings.HasPrefix(line, indent) || line == "":
			into(strings.TrimPrefix(line, indent))
		case strings.HasPrefix(line, wordExit):
			if _, err := fmt.Sscanf(line, wordExit+"%d", &n.Exit); err != nil {
				return n, fmt.Errorf("line %d: %q: %w", i+1, line, err)
			}
		case line == wordOutput:
			into = func(l string) { n.Output = append(n.Output, l) }
		case strings.HasPrefix(line, wordCapture):
			name := strings.TrimPrefix(line, wordCapture)
			n.Captures[name] = nil
			into = func(l string) { n.Captures[name] = append(n.Captures[name], l) }
		default:
			return n, fmt.Errorf("line %d: %q begins no section", i+1, line)
		}
	}
	return n, nil
}
