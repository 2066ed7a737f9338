package tccmd

// The words of netem, and how they are shown (iproute2, tc/q_netem.c).

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

// netem is what netem is told to do.
type netem struct {
	limit         int
	delay, jitter time.Duration
	rate          uint64 // bytes in a second
	loss          chance
	duplicate     chance
	reorder       chance
	corrupt       chance
	correlation   float64 // of delays
}

// chance is a probability, and how much one decision depends on the one before. Both are 0 to 1. The correlation is shown, and
// changes nothing: each packet is decided by itself.
type chance struct{ p, correlation float64 }

const defaultLimit = 1000

const netemHelp = `Usage: ... netem [ limit PACKETS ]
                 [ delay TIME [ JITTER [CORRELATION]]]
                 [ corrupt PERCENT [CORRELATION]]
                 [ duplicate PERCENT [CORRELATION]]
                 [ loss random PERCENT [CORRELATION]]
                 [ reorder PERCENT [CORRELATION]]
                 [ rate RATE ]`

// readNetem reads the words behind 'netem'.
func readNetem(args *words.Args) (netem, error) {
	n := netem{limit: defaultLimit}
	for args.More() {
		if err := n.word(args, args.Next()); err != nil {
			return n, err
		}
	}
	if n.reorder.p > 0 && n.delay == 0 {
		return n, words.Errorf(illegal, "reordering not possible without specifying some delay\n%s", netemHelp)
	}
	return n, nil
}

func wrong(what string) error { return words.Errorf(illegal, `Illegal "%s"`, what) }

// word reads one word and its values. Any beginning of a word will do.
func (n *netem) word(args *words.Args, word string) (err error) {
	is := func(full string) bool { return strings.HasPrefix(full, word) }
	switch {
	case word == "":
		return wrong("netem")
	case is("limit"):
		err = n.setLimit(args)
	case is("latency") || is("delay"):
		err = n.setDelay(args)
	case is("loss") || is("drop"):
		err = n.setLoss(args)
	case is("duplicate"):
		n.duplicate, err = readChance(args, "duplicate")
	case is("reorder"):
		n.reorder, err = readChance(args, "reorder")
	case is("corrupt"):
		n.corrupt, err = readChance(args, "corrupt")
	case is("rate"):
		err = n.setRate(args)
	case word == "help":
		err = words.Errorf(illegal, netemHelp)
	default:
		err = words.Errorf(illegal, "What is \"%s\"?\n%s", word, netemHelp)
	}
	return err
}

// number reports whether the next word is a number (NEXT_IS_NUMBER).
func number(args *words.Args) bool {
	next := args.Peek()
	return next != "" && next[0] >= '0' && next[0] <= '9'
}

func (n *netem) setLimit(args *words.Args) error {
	value, err := args.Value()
	if err != nil {
		return err
	}
	v, err := size(value)
	if err != nil {
		return wrong("limit")
	}
	n.limit = v
	return nil
}

// size reads a number with a suffix (get_size).
func size(s string) (int, error) {
	v, suffix, err := leading(s)
	factor := map[string]float64{"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}[suffix]
	if err != nil || factor == 0 || v < 0 || v*factor > math.MaxInt32 {
		return 0, strconv.ErrSyntax
	}
	return int(v * factor), nil
}

// leading splits a number from what follows, in lower case.
func leading(s string) (float64, string, error) {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '-' })
	if end < 0 {
		end = len(s)
	}
	v, err := strconv.ParseFloat(s[:end], 64)
	return v, strings.ToLower(s[end:]), err
}

func (n *netem) setDelay(args *words.Args) error {
	value, err := args.Value()
	if err != nil {
		return err
	}
	if n.delay, err = readTime(value); err != nil {
		return wrong("latency")
	}
	if !number(args) {
		return nil
	}
	if n.jitter, err = readTime(args.Next()); err != nil {
		return wrong("latency")
	}
	if !number(args) {
		return nil
	}
	if n.correlation, err = percent(args.Next()); err != nil {
		return wrong("latency")
	}
	return nil
}

// units of time, of which none stands for microseconds (get_time64).
var units = map[string]time.Duration{
	"": time.Microsecond, "s": time.Second, "sec": time.Second, "secs": time.Second, "ms": time.Millisecond, "msec": time.Millisecond,
	"msecs": time.Millisecond, "us": time.Microsecond, "usec": time.Microsecond, "usecs": time.Microsecond, "ns": 1, "nsec": 1, "nsecs": 1,
}

func readTime(s string) (time.Duration, error) {
	v, suffix, err := leading(s)
	unit := units[suffix]
	if err != nil || unit == 0 || v < 0 || v*float64(unit) > float64(24*time.Hour) {
		return 0, strconv.ErrSyntax
	}
	return time.Duration(v * float64(unit)), nil
}

// percent reads a part of a hundred, with or without the sign, as a part of one.
func percent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || v < 0 || v > 100 {
		return 0, strconv.ErrSyntax
	}
	return v / 100, nil
}

// readChance reads 'PERCENT [CORRELATION]'.
func readChance(args *words.Args, what string) (c chance, err error) {
	value, err := args.Value()
	if err != nil {
		return c, err
	}
	if c.p, err = percent(value); err != nil {
		return c, wrong(what)
	}
	if number(args) {
		if c.correlation, err = percent(args.Next()); err != nil {
			return c, wrong(what)
		}
	}
	return c, nil
}

// setLoss reads '[random] PERCENT [CORRELATION]'. Loss by the states of a model is not in the lab.
func (n *netem) setLoss(args *words.Args) error {
	args.Is("random")
	if !args.More() {
		return words.ErrIncomplete
	}
	if !number(args) {
		return words.Errorf(illegal, "Unknown loss parameter: %s", args.Next())
	}
	c, err := readChance(args, "loss percent")
	n.loss = c
	return err
}

// rates are the units of get_rate64, in bits a second; those of bytes end in 'bps'.
var rates = map[string]float64{
	"": 1, "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12, "kibit": 1 << 10, "mibit": 1 << 20, "gibit": 1 << 30,
	"bps": 8, "kbps": 8e3, "mbps": 8e6, "gbps": 8e9, "tbps": 8e12, "kibps": 8 << 10, "mibps": 8 << 20, "gibps": 8 << 30,
}

func (n *netem) setRate(args *words.Args) error {
	value, err := args.Value()
	if err != nil {
		return err
	}
	v, suffix, err := leading(value)
	unit := rates[suffix]
	if err != nil || unit == 0 || v < 0 {
		return wrong("rate")
	}
	n.rate = uint64(v * unit / 8)
	return nil
}

// faults returns what is to happen to frames. Delays are spread evenly about the mean, from no delay at all.
func (n *netem) faults() *network.Faults {
	f := &network.Faults{
		Latency: max(n.delay-n.jitter, 0), Jitter: 2 * n.jitter, Loss: n.loss.p, Duplicate: n.duplicate.p, Corrupt: n.corrupt.p,
		Reorder: n.reorder.p, ReorderBy: -1, Rate: int64(min(n.rate, math.MaxInt64/8) * 8),
	}
	if n.delay < n.jitter {
		f.Jitter = n.delay + n.jitter
	}
	if n.delay > 0 || n.jitter > 0 || n.rate > 0 { // else no frame ever waits
		f.Limit = n.limit
	}
	return f
}

// String returns the words as tc shows them.
func (n netem) String() string {
	s := fmt.Sprintf("limit %d", n.limit)
	if n.delay > 0 {
		s += " delay " + timeText(n.delay)
		if n.jitter > 0 {
			s += "  " + timeText(n.jitter) + percentText(n.correlation)
		}
	}
	s += n.loss.text("loss") + n.duplicate.text("duplicate") + n.reorder.text("reorder") + n.corrupt.text("corrupt")
	if n.rate > 0 {
		s += " rate " + rateText(n.rate)
	}
	if n.reorder.p > 0 {
		s += " gap 1"
	}
	return s
}

func (c chance) text(what string) string {
	if c.p == 0 {
		return ""
	}
	return " " + what + percentText(c.p) + percentText(c.correlation)
}

// percentText is a part of one as ' P%', nothing for 0. The kernel keeps it in 32 bits.
func percentText(p float64) string {
	if p == 0 {
		return ""
	}
	kept := math.Round(p*math.MaxUint32) / math.MaxUint32
	return " " + strconv.FormatFloat(kept*100, 'g', 6, 64) + "%"
}

// timeText is a time with three digits (sprint_time64).
func timeText(d time.Duration) string {
	text := func(unit time.Duration, name string) string {
		return strconv.FormatFloat(float64(d)/float64(unit), 'g', 3, 64) + name
	}
	switch {
	case d >= time.Second:
		return text(time.Second, "s")
	case d >= time.Millisecond:
		return text(time.Millisecond, "ms")
	case d >= time.Microsecond:
		return text(time.Microsecond, "us")
	}
	return fmt.Sprintf("%dns", d)
}

// rateText is a rate in the greatest unit that leaves a whole number (tc_print_rate).
func rateText(bytes uint64) string {
	const kilo = 1000
	rate := bytes * 8
	for _, unit := range []string{"", "K", "M", "G"} {
		if rate < kilo || rate%kilo != 0 && rate < kilo*kilo {
			return fmt.Sprintf("%d%sbit", rate, unit)
		}
		rate /= kilo
	}
	return fmt.Sprintf("%dTbit", rate)
}
