// Package words is what the commands share that read the language of iproute2 and its kin: abbreviations, addresses, numbers, and
// what the kernel's refusals are called.
package words

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/lab/network"
)

// Entry is a word that may be shortened, and what it means.
type Entry[T any] struct {
	Name  string
	Value T
}

// Match returns the first entry that word is the beginning of, as iproute2's matches() does (lib/utils.c): so the order of the
// entries decides what an abbreviation means.
func Match[T any](entries []Entry[T], word string) (value T, ok bool) {
	if word == "" {
		return value, false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, word) {
			return e.Value, true
		}
	}
	return value, false
}

// Args are the words that are left of a command.
type Args struct {
	words []string
	Last  string // the word that Next returned
}

// NewArgs returns the words as Args.
func NewArgs(words []string) *Args { return &Args{words: words} }

// More reports whether there are words left.
func (a *Args) More() bool { return len(a.words) > 0 }

// Peek returns the next word and leaves it there; "" if there is none.
func (a *Args) Peek() string {
	if len(a.words) == 0 {
		return ""
	}
	return a.words[0]
}

// Next takes the next word, "" if there is none.
func (a *Args) Next() string {
	if len(a.words) == 0 {
		return ""
	}
	a.Last = a.words[0]
	a.words = a.words[1:]
	return a.Last
}

// Is takes the next word if it is one of these.
func (a *Args) Is(names ...string) bool {
	if len(a.words) == 0 || !slices.Contains(names, a.words[0]) {
		return false
	}
	a.Next()
	return true
}

// Back gives a word back: it is the next one again.
func (a *Args) Back(word string) { a.words = append([]string{word}, a.words...) }

// Rest takes all words.
func (a *Args) Rest() []string {
	rest := a.words
	a.words = nil
	return rest
}

// Value takes the value of the word that was taken last. The error is iproute2's for a command line that ends too early.
func (a *Args) Value() (string, error) {
	if len(a.words) == 0 {
		return "", ErrIncomplete
	}
	name := a.Last
	v := a.Next()
	a.Last = name
	return v, nil
}

// Error is a command's refusal: a text for standard error as it stands, and the exit status.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Errorf returns a refusal.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...)}
}

// ErrIncomplete is iproute2's incomplete_command(): lib/utils.c.
var ErrIncomplete = &Error{Status: 255, Text: `Command line is not complete. Try option "help"`}

// Invalid is iproute2's invarg().
func Invalid(value, what string) error {
	return Errorf(255, `Error: argument "%s" is wrong: %s`, value, what)
}

// Answer turns an error of the engine or the network into the refusal that iproute2 prints: 'RTNETLINK answers: …', status 2. A
// refusal stays as it is.
func Answer(err error) error {
	if err == nil {
		return nil
	}
	var refusal *Error
	if errors.As(err, &refusal) {
		return err
	}
	return Errorf(2, "RTNETLINK answers: %s", Errno(err))
}

// Errno returns what strerror(3) says of an error of the engine or the network.
func Errno(err error) string {
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.text
		}
	}
	return err.Error()
}

// Strerror returns what strerror(3) says of an error of the system, such as a file's.
func Strerror(err error) string {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err.Error()
	}
	text := number.Error() // Go has the same texts, in lower case
	return strings.ToUpper(text[:1]) + text[1:]
}

var errnos = []struct {
	err  error
	text string
}{
	{engine.ErrExists, "File exists"},
	{engine.ErrNotFound, "No such file or directory"},
	{engine.ErrFull, "No space left on device"},
	{engine.ErrBusy, "Device or resource busy"},
	{engine.ErrLoop, "Too many levels of symbolic links"},
	{engine.ErrDown, "Network is down"},
	{engine.ErrNotBridge, "Operation not supported"},
	{engine.ErrInvalid, "Invalid argument"},
	{engine.ErrBlackhole, "Invalid argument"},
	{engine.ErrUnreachable, "No route to host"},
	{engine.ErrProhibited, "Permission denied"},
	{engine.ErrNoRoute, "Network is unreachable"},
	{engine.ErrMessageSize, "Message too long"},
	{engine.ErrNoRoom, "No buffer space available"},
	{engine.ErrSource, "Cannot assign requested address"},
	{engine.ErrBroadcast, "Permission denied"},
	{network.ErrInUse, "Address already in use"},
	{network.ErrNoBuffers, "No buffer space available"},
	{network.ErrNoTransmit, "Operation not supported"},
	{network.ErrImmovable, "Invalid argument"},
}

// NoDevice is iproute2's refusal of a device that does not exist.
func NoDevice(name string) error { return Errorf(1, `Cannot find device "%s"`, name) }

// Addr reads an IPv4 address. what names it in the error, as in "inet address".
func Addr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}, Errorf(1, `Error: inet address is expected rather than "%s".`, s)
	}
	return a, nil
}

// Prefix reads an IPv4 prefix, an address (of which all bits count), or 'default' and 'any'. Bits behind the length stay.
func Prefix(s string) (netip.Prefix, error) {
	if s == "default" || s == "any" || s == "all" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4() {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err == nil && a.Is4() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, Errorf(1, `Error: inet prefix is expected rather than "%s".`, s)
}

// MAC reads a MAC address.
func MAC(s string) (ethernet.MAC, error) {
	m, err := ethernet.ParseMAC(s)
	if err != nil {
		return m, Errorf(255, `"%s" is invalid lladdr.`, s)
	}
	return m, nil
}

// Uint reads a number from lowest to highest. what names it in the error.
func Uint(s, what string, lowest, highest uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n < lowest || n > highest {
		return 0, Invalid(s, fmt.Sprintf("invalid %s", what))
	}
	return n, nil
}

// OnOff reads 'on' or 'off'.
func OnOff(s, what string) (bool, error) {
	switch s {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, Errorf(1, `Error: argument of "%s" must be "on" or "off", not "%s"`, what, s)
}
