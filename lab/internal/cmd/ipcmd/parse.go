package ipcmd

// What the words of all objects are read with.

import (
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/internal/words"
)

// keyword is a word of a command, and what it does with the words behind it. Its names are separated by |; one that ends in * may
// be shortened. A table of them is in the order of iproute2's source, which decides what an abbreviation means. nil is a word that
// Linux has and the lab has not.
type keyword[T any] struct {
	names string
	do    func(i *ip, to T) error
}

// lookup finds what a word does.
func lookup[T any](table []keyword[T], word string) (do func(*ip, T) error, ok bool) {
	for _, k := range table {
		for name := range strings.SplitSeq(k.names, "|") {
			full, may := strings.CutSuffix(name, "*")
			if full != word && (!may || !short(word, full)) {
				continue
			}
			if k.do == nil {
				return func(*ip, T) error { return unsupported(full) }, true
			}
			return k.do, true
		}
	}
	return nil, false
}

// short reports whether a word is a beginning of another, as iproute2's matches() does (lib/utils.c).
func short(word, full string) bool { return word != "" && strings.HasPrefix(full, word) }

// each takes all words, by a table; those that are not in it are given to other.
func each[T any](i *ip, table []keyword[T], to T, other func(word string) error) error {
	for i.args.More() {
		word := i.args.Next()
		do, ok := lookup(table, word)
		var err error
		if ok {
			err = do(i, to)
		} else {
			err = other(word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skip is a word that has no effect on what is printed, without a value.
func skip[T any](*ip, T) error { return nil }

// skipValue is one with a value.
func skipValue[T any](i *ip, _ T) error {
	_, err := i.value()
	return err
}

// text is a word whose value is a text.
func text[T any](set func(to T, value string)) func(*ip, T) error {
	return func(i *ip, to T) error {
		value, err := i.value()
		if err == nil {
			set(to, value)
		}
		return err
	}
}

// exitsNot is a usage after which ip returns 1, so that a batch goes on.
func exitsNot(text string) error { return words.Errorf(1, "%s", text) }

// fatal is a refusal that ends ip at once, even in a batch: iproute2's exit() instead of return.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// exits is a refusal with status 1 that ends ip at once; those with status 255 do so anyway.
func exits(format string, args ...any) error { return fatal{words.Errorf(1, format, args...)} }

// unsupported is the refusal of what the lab does not have.
func unsupported(what string) error {
	return words.Errorf(255, `Error: "%s" is not implemented in the lab, see DIFFERENCES.md.`, what)
}

// wrong is iproute2's invarg(). Some of its texts end in a newline of their own.
func wrong(value, what string) error {
	return words.Errorf(255, `Error: argument "%s" is wrong: %s`, value, what)
}

// duplicate is iproute2's duparg().
func duplicate(key, value string) error {
	return words.Errorf(255, `Error: duplicate "%s": "%s" is the second value.`, key, value)
}

// garbage is iproute2's duparg2().
func garbage(key, word string) error {
	return words.Errorf(255, `Error: either "%s" is duplicate, or "%s" is a garbage.`, key, word)
}

// extack is a refusal of the kernel with a text of its own.
func extack(text string) error { return words.Errorf(2, "Error: %s", text) }

// answers is a refusal of the kernel with an error number.
func answers(errno string) error { return words.Errorf(2, "RTNETLINK answers: %s", errno) }

// value takes the value of the word that was taken last.
func (i *ip) value() (string, error) { return i.args.Value() }

// number takes a number of so many bits; what says what it is.
func (i *ip) number(bits int, what string) (uint64, error) {
	v, err := i.value()
	if err != nil {
		return 0, err
	}
	n, ok := number(v, bits)
	if !ok {
		return 0, wrong(v, what)
	}
	return n, nil
}

// integer takes a number that may be negative (get_integer).
func (i *ip) integer(what string) (int, error) {
	v, err := i.value()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(v, 0, 32)
	if err != nil || strings.Contains(v, "_") {
		return 0, wrong(v, what)
	}
	return int(n), nil
}

// number reads a number as strtoul(3) does with base 0.
func number(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, bits)
	return n, err == nil && !strings.Contains(s, "_")
}

// onOff takes 'on' or 'off' as ip link set wants them.
func (i *ip) onOff() (bool, error) {
	name := i.args.Last
	v, err := i.value()
	if err != nil {
		return false, err
	}
	if v != "on" && v != "off" {
		return false, words.Errorf(1, `Error: argument of "%s" must be "on" or "off", not "%s"`, name, v)
	}
	return v == "on", nil
}

// lladdr reads a link-layer address of any length (ll_addr_a2n): hexadecimal numbers, of which the end may be anything, or an IPv4
// address.
func lladdr(s string) ([]byte, error) {
	invalid := words.Errorf(1, `"%s" is invalid lladdr.`, s)
	if strings.Contains(s, ".") {
		a, ok := ipv4Addr(s)
		if !ok {
			return nil, invalid
		}
		return a.AsSlice(), nil
	}
	const most = 32
	var b []byte
	for part := range strings.SplitSeq(s, ":") {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789abcdefABCDEF"))]
		n, err := strconv.ParseUint(digits, 16, 8)
		if err != nil {
			return nil, words.Errorf(1, `"%s" is invalid lladdr.`, part)
		}
		if b = append(b, byte(n)); len(b) == most {
			break
		}
	}
	return b, nil
}

// mac returns an address of the length of a MAC address as one.
func mac(b []byte) (m ethernet.MAC, ok bool) {
	copy(m[:], b)
	return m, len(b) == len(m)
}
