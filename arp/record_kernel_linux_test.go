package arp_test

// The cases of transcripts as scripts for the kernel: reading, playing, comparing and writing them.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

const (
	// tolerance is how far off the kernel may be from the recording.
	tolerance = 120 * time.Millisecond
	// attempts is how often a case is played until it is as recorded: a busy machine disturbs the times.
	attempts = 5
	// apart is between the beginnings of two cases, so that not all of them want the processor at the same moments.
	apart = 7 * time.Millisecond
)

// TestKernelRecordings plays every recorded transcript to the kernel of this machine, which must do what the recorded one did.
func TestKernelRecordings(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		files := readKernelFiles(t)
		pending := allCases(files)
		for attempt := range attempts {
			playAll(t, pending)
			pending = slices.DeleteFunc(pending, func(c *kernelCase) bool { return c.verdict() == nil })
			for _, c := range pending {
				t.Logf("attempt %d: %s: %v (events came up to %v late)", attempt+1, c.name, c.verdict(), c.late)
			}
			if len(pending) == 0 {
				break
			}
		}
		for _, c := range pending {
			t.Errorf("%s: %v", c.name, c.verdict())
		}
		if recording() && !t.Failed() {
			for _, f := range files {
				require.NoError(t, os.WriteFile(f.name, []byte(f.text()), 0o644))
			}
		}
	})
}

// verdict returns what is wrong with how a case was played.
func (c *kernelCase) verdict() error {
	const still = 20 * time.Millisecond
	switch {
	case c.err != nil:
		return c.err
	case !recording():
		return c.differs()
	case c.late > still:
		return errors.New("the machine is too busy for a recording")
	}
	return nil
}

// recording reports whether transcripts are to be written.
func recording() bool { return os.Getenv("CULVERT_RECORD") == "1" }

// playAll plays cases, all at the same time.
func playAll(t *testing.T, cases []*kernelCase) {
	t.Helper()
	nodes := make([]*kernelNode, len(cases))
	for i, c := range cases {
		nodes[i] = newKernelNode(t, *c)
	}
	var wg sync.WaitGroup
	for i, c := range cases {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * apart)
			c.played, c.err = c.play(nodes[i])
		})
	}
	wg.Wait()
}

// kernelFile is a file of transcripts.
type kernelFile struct {
	name  string
	head  []string // the lines before the first case
	cases []*kernelCase
}

// kernelCase is a case: its lines, and those that playing it made.
type kernelCase struct {
	name          string
	lines, played []kernelLine
	late          time.Duration // how late events were played, at most
	err           error
}

// kernelLine is a line of a transcript.
type kernelLine struct {
	raw   string
	words []string // without time and comment; those of a comment that tells what the kernel did too
	at    time.Duration
	timed bool
}

// toldOnly marks what the kernel sends and the neighbour table does not: answers. Its replay skips comments.
const toldOnly = "# "

// isObserved reports whether the kernel made the line, so that playing makes it anew.
func (l kernelLine) isObserved() bool { return l.is("->") && l.words[1] != "drop" }

func (l kernelLine) is(words ...string) bool {
	return len(l.words) > 0 && slices.Contains(words, l.words[0])
}

// tellsReplies reports whether the line tells how many answers came until a time.
func (l kernelLine) tellsReplies() bool { return l.is("<=") && l.words[2] == "replies" }

// readKernelFiles reads all recordings.
func readKernelFiles(t *testing.T) (files []*kernelFile) {
	t.Helper()
	for _, pattern := range []string{"testdata/kernel/*.txt", "testdata/kernel/responder/*.txt"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, names, pattern)
		for _, name := range names {
			files = append(files, readKernelFile(t, name))
		}
	}
	return files
}

func readKernelFile(t *testing.T, name string) *kernelFile {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	f := &kernelFile{name: name}
	var now time.Duration
	for raw := range strings.Lines(string(text)) {
		raw = strings.TrimRight(raw, "\n")
		l := kernelLine{raw: raw}
		meant := raw
		if strings.HasPrefix(raw, toldOnly) && strings.Contains(raw, "-> ") {
			meant = strings.TrimPrefix(raw, toldOnly)
		}
		meant, _, _ = strings.Cut(meant, "#")
		l.words = strings.Fields(meant)
		if l.is("case") {
			f.cases = append(f.cases, &kernelCase{name: filepath.Base(name) + ": " + strings.Join(l.words[1:], " ")})
			l.words, now = nil, 0
		}
		if len(f.cases) == 0 {
			f.head = append(f.head, raw)
			continue
		}
		if len(l.words) > 0 {
			if seconds, err := strconv.ParseFloat(l.words[0], 64); err == nil {
				now = time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
				l.timed, l.words = true, l.words[1:]
			}
		}
		l.at = now
		c := f.cases[len(f.cases)-1]
		c.lines = append(c.lines, l)
	}
	require.NotEmpty(t, f.cases, name)
	return f
}

func allCases(files []*kernelFile) (all []*kernelCase) {
	for _, f := range files {
		all = append(all, f.cases...)
	}
	return all
}

// setup returns the lines before the first one with a time.
func (c *kernelCase) setup() (lines []kernelLine) {
	for _, l := range c.lines {
		if l.timed {
			break
		}
		if len(l.words) > 0 {
			lines = append(lines, l)
		}
	}
	return lines
}

// play plays a case and returns its lines, those of the kernel as it was now.
func (c *kernelCase) play(k *kernelNode) (played []kernelLine, err error) {
	script := slices.DeleteFunc(slices.Clone(c.lines), kernelLine.isObserved)
	k.start, c.late = time.Now(), 0
	sources := slices.ContainsFunc(script, func(l kernelLine) bool { return slices.Contains(l.words, "from") })
	note := func(all []observed) {
		for _, o := range all {
			if !sources { // the table knows those that it is told
				o.text, _, _ = strings.Cut(o.text, " from ")
			}
			played = append(played, kernelLine{words: strings.Fields(o.text), at: o.at})
		}
	}
	begun, failed := false, error(nil)
	for i, l := range script {
		if begun = begun || l.timed; !begun || len(l.words) == 0 {
			played = append(played, l)
			continue
		}
		if l.timed && !l.tellsReplies() {
			got, err := k.collect(l.at)
			if note(got); err != nil {
				return played, err
			}
		}
		switch {
		case l.is("=", "<="):
			l, err := k.look(l)
			if err != nil {
				return played, fmt.Errorf("%s: %w", l.raw, err)
			}
			played = append(played, l)
			continue
		case l.is("!"):
			if played = append(played, l); failed == nil {
				return played, fmt.Errorf("the event before %q did not fail", l.raw)
			}
			failed = nil
			continue
		}
		if failed != nil {
			return played, failed
		}
		if l.timed {
			c.late = max(c.late, time.Since(k.start)-l.at)
			k.events = append(k.events, l.at)
		}
		played = append(played, l)
		failed = k.event(l.words)
		if i+1 < len(script) && !script[i+1].timed && (script[i+1].is("in", "burst") || script[i+1].tellsReplies()) {
			continue // one burst, or delayed answers, which are counted together
		}
		now := time.Since(k.start)
		got, err := k.collect(min(now+settle, nextTime(script[i+1:], now+settle)))
		if note(got); err != nil {
			return played, err
		}
	}
	got, err := k.collect(time.Since(k.start) + settle)
	note(got)
	return played, errors.Join(failed, err)
}

// nextTime returns when the next line with a time is due, or otherwise.
func nextTime(script []kernelLine, otherwise time.Duration) time.Duration {
	for _, l := range script {
		if l.timed {
			return l.at
		}
	}
	return otherwise
}

// look plays a line that tells what holds, and returns it as it is now.
func (k *kernelNode) look(l kernelLine) (kernelLine, error) {
	if l.is("=") {
		e, err := k.lookup(l.words[1])
		comment := ""
		if at := strings.Index(l.raw, "#"); at >= 0 {
			comment = "   " + l.raw[at:]
		}
		text := k.describe(e, l.words[1], l.words)
		l.words = strings.Fields(text)
		if l.raw = text + comment; l.timed {
			l.raw = fmt.Sprintf("%.3f %s", l.at.Seconds(), l.raw)
		}
		return l, err
	}
	limit, err := strconv.ParseFloat(l.words[1], 64)
	if err != nil {
		return l, err
	}
	until := time.Duration(limit * float64(time.Second))
	if l.tellsReplies() {
		all, err := k.collect(until)
		l.words = append(slices.Clone(l.words[:3]), strconv.Itoa(len(all)))
		l.raw = strings.Join(l.words, " ")
		return l, err
	}
	return l, k.waitFor(l.words[2:], until)
}

// waitFor waits until an entry is as told, and then until the time is over; nothing else may happen.
func (k *kernelNode) waitFor(want []string, until time.Duration) error {
	const often = 5 * time.Millisecond
	for {
		e, err := k.lookup(want[0])
		if err != nil {
			return err
		}
		if got := strings.Fields(k.describe(e, want[0], nil))[1:]; len(got) >= len(want) && slices.Equal(got[:len(want)], want) {
			break
		} else if time.Since(k.start) > until {
			return fmt.Errorf("it is %q", got)
		}
		time.Sleep(often)
	}
	got, err := k.collect(until)
	if len(got) > 0 {
		return fmt.Errorf("the kernel did something before its time: %v", got)
	}
	return err
}

// differs compares what was played with the recording: the same lines in the same order, at their times.
func (c *kernelCase) differs() error {
	meant := func(l kernelLine) bool { return len(l.words) == 0 }
	want, got := slices.DeleteFunc(slices.Clone(c.lines), meant), slices.DeleteFunc(slices.Clone(c.played), meant)
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			return fmt.Errorf("after all, %q is missing", want[i].raw)
		case i >= len(want):
			return fmt.Errorf("after all, there is %q", got[i].words)
		case !sameWords(want[i].words, got[i].words):
			return fmt.Errorf("%.2f s: want %q, got %q at %.2f s", want[i].at.Seconds(), want[i].words, got[i].words, got[i].at.Seconds())
		case (want[i].at - got[i].at).Abs() > tolerance:
			return fmt.Errorf("%q: want it at %v, got it at %v", want[i].words, want[i].at, got[i].at)
		}
	}
	return nil
}

// sameWords compares two lines; numbers with a point in them are times.
func sameWords(a, b []string) bool {
	return slices.EqualFunc(a, b, func(a, b string) bool {
		x, errX := strconv.ParseFloat(a, 64)
		y, errY := strconv.ParseFloat(b, 64)
		if errX == nil && errY == nil && strings.Contains(a, ".") && strings.Contains(b, ".") {
			return time.Duration((x-y)*float64(time.Second)).Abs() <= tolerance
		}
		return a == b
	})
}

// text returns the file with the cases as played.
func (f *kernelFile) text() string {
	lines := slices.Clone(f.head)
	forTable := !strings.Contains(f.name, "responder")
	for _, c := range f.cases {
		var now time.Duration
		for _, l := range c.played {
			if !l.isObserved() {
				lines, now = append(lines, l.raw), l.at
				continue
			}
			raw := strings.Join(l.words, " ")
			if at := l.at.Round(recorded); at-now > 2*recorded {
				raw, now = seconds(at)+" "+raw, at
			}
			if forTable && l.words[1] == "reply" {
				raw = toldOnly + raw
			}
			lines = append(lines, raw)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
