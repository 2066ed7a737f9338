package sysctl

// Values: how they are written and read, and what is remembered of them.

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// unit is what a number counts. The kernel keeps times in jiffies, so they lose what is finer (kernel/sysctl.c, proc_dointvec_jiffies
// and its like).
type unit uint8

const (
	plain        unit = iota
	seconds           // jiffies, as seconds
	milliseconds      // jiffies, as milliseconds
	hundredths        // jiffies, as 1/100 s (USER_HZ)
)

// Ticks of a second: of the kernel as Debian configures it, and as it tells user space.
const (
	hz     = 250
	userHZ = 100
)

// number is a key whose value is one number.
type number struct {
	pattern    string
	unit       unit
	low, high  int64 // both 0: any that fits 32 bits
	initial    int64 // of those that the engine does not have
	deprecated bool
	has        func(n *network.Node, dev string) bool

	get func(n *network.Node, dev string) (int64, error) // nil: it is remembered, and does nothing
	set func(n *network.Node, dev string, v int64) error
}

// key returns the number as a key.
func (x number) key() Key {
	return Key{
		Pattern: x.pattern, Deprecated: x.deprecated, has: x.has,
		Get: func(n *network.Node, dev string) (string, error) {
			v, err := x.value(n, dev)
			return strconv.FormatInt(v, 10), err
		},
		Set: func(n *network.Node, dev, text string) error {
			v, ok := x.parse(text)
			if !ok {
				return ErrInvalid
			}
			return x.change(n, dev, v)
		},
	}
}

// parse reads a number as the kernel does: decimal, octal or hexadecimal. What follows behind a blank is ignored.
func (x number) parse(text string) (int64, bool) {
	word, _, _ := strings.Cut(strings.Join(strings.Fields(text), " "), " ")
	if strings.HasPrefix(word, "+") || strings.ContainsAny(word, "_") {
		return 0, false
	}
	v, err := strconv.ParseInt(word, 0, 64)
	if err != nil || v < math.MinInt32 || v > math.MaxInt32 && x.high <= math.MaxInt32 || !x.fits(v) {
		return 0, false
	}
	return x.round(v), true
}

func (x number) fits(v int64) bool {
	switch x.unit {
	case seconds:
		if v > math.MaxInt32/hz || v < math.MinInt32/hz {
			return false
		}
	case milliseconds:
		if v < 0 {
			return false
		}
	}
	return x.low == 0 && x.high == 0 || v >= x.low && v <= x.high
}

// round returns a number as it comes back from the kernel.
func (x number) round(v int64) int64 {
	switch x.unit {
	case milliseconds:
		return (v*hz + 999) / 1000 * 1000 / hz
	case hundredths:
		return v * hz / userHZ * userHZ / hz
	}
	return v
}

// duration returns a number as a time.
func (x number) duration(v int64) time.Duration {
	switch x.unit {
	case seconds:
		return time.Duration(v) * time.Second
	case milliseconds:
		return time.Duration(v) * time.Millisecond
	case hundredths:
		return time.Duration(v) * (time.Second / userHZ)
	}
	return time.Duration(v)
}

// count is the inverse of duration.
func (x number) count(d time.Duration) int64 { return int64(d / x.duration(1)) }

// written is a value as it was written, and what the engine said then.
type written struct{ value, engine int64 }

// place is where a written value belongs.
type place struct {
	pattern string
	dev     uint32
}

// Numbers that stand for no device.
const (
	indexAll     = math.MaxUint32
	indexDefault = math.MaxUint32 - 1
)

func (x number) place(n *network.Node, dev string) place {
	switch dev {
	case engine.ConfAll:
		return place{x.pattern, indexAll}
	case engine.ConfDefault:
		return place{x.pattern, indexDefault}
	}
	return place{x.pattern, n.E.Index(dev)}
}

// value returns a number as it is: what was written, unless something else has changed the engine since.
func (x number) value(n *network.Node, dev string) (int64, error) {
	w, was := n.Value(x.place(n, dev)).(written)
	switch {
	case x.get != nil:
		v, err := x.get(n, dev)
		if was && err == nil && w.engine == v {
			v = w.value
		}
		return v, err
	case was:
		return w.value, nil
	case dev != "" && dev != engine.ConfAll && dev != engine.ConfDefault: // a device begins with the default
		return x.value(n, engine.ConfDefault)
	}
	return x.initial, nil
}

func (x number) change(n *network.Node, dev string, v int64) error {
	w := written{value: v}
	if x.set != nil {
		if err := x.set(n, dev, v); err != nil {
			return err
		}
		var err error
		if w.engine, err = x.get(n, dev); err != nil {
			return err
		}
	}
	n.SetValue(x.place(n, dev), w)
	return nil
}

// textKey is a key whose value is any text, which is remembered.
func textKey(pattern, initial string) Key {
	x := number{pattern: pattern}
	return Key{
		Pattern: pattern,
		Get: func(n *network.Node, dev string) (string, error) {
			if s, ok := n.Value(x.place(n, dev)).(string); ok {
				return s, nil
			}
			return initial, nil
		},
		Set: func(n *network.Node, dev, value string) error {
			if value == "" {
				return ErrInvalid
			}
			n.SetValue(x.place(n, dev), strings.Join(strings.Fields(value), "\t"))
			return nil
		},
	}
}

func boolOf(on bool) int64 {
	if on {
		return 1
	}
	return 0
}
