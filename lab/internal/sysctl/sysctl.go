// Package sysctl is /proc/sys: the keys, and what of an engine each of them is. A key is written with slashes, as beneath /proc/sys
// ("net/ipv4/ip_forward"); a device's name may contain dots.
//
// A key that says something to an engine is read from it; what was written is kept beside, for the kernel keeps 3 where an engine
// knows 2 as the greatest. Keys without meaning here, of TCP and IPv6, are remembered and do nothing.
package sysctl

import (
	"slices"
	"strings"
	"syscall"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// Faults of a key or its value.
const (
	ErrNotFound = syscall.ENOENT
	ErrInvalid  = syscall.EINVAL
	ErrReadOnly = syscall.EACCES
)

// Key is a key, or many that differ in the name of a device.
type Key struct {
	Pattern string // with * for a device's name, which may be all or default
	Get     func(n *network.Node, dev string) (string, error)
	Set     func(n *network.Node, dev, value string) error // nil: read-only

	Deprecated bool                                   // listed only if asked for
	has        func(n *network.Node, dev string) bool // nil: every device has it, and all and default
}

// Keys returns all keys.
func Keys() []Key {
	return slices.Concat(globalKeys(), confKeys(), neighKeys(), otherKeys())
}

// Find returns the key of a name, and the device in it.
func Find(name string) (key Key, dev string, err error) {
	for _, k := range Keys() {
		if dev, ok := match(k.Pattern, name); ok {
			return k, dev, nil
		}
	}
	return Key{}, "", ErrNotFound
}

// find is Find, of keys and devices that a node has.
func find(n *network.Node, name string) (Key, string, error) {
	k, dev, err := Find(name)
	if err == nil && !k.in(n, dev) {
		err = ErrNotFound
	}
	return k, dev, err
}

// in reports whether a node has the key for a device.
func (k *Key) in(n *network.Node, dev string) bool {
	if dev != "" && dev != engine.ConfAll && dev != engine.ConfDefault && n.E.Index(dev) == 0 {
		return false
	}
	return k.has == nil || k.has(n, dev)
}

// Exists reports whether a node has a key of that name.
func Exists(n *network.Node, name string) bool {
	_, _, err := find(n, name)
	return err == nil
}

// Names returns the names of all keys that a node has, in the order in which sysctl(8) lists them.
func Names(n *network.Node, deprecated bool) []string {
	var names []string
	devs := []string{engine.ConfAll, engine.ConfDefault}
	for _, l := range n.E.Links() {
		devs = append(devs, l.Name)
	}
	for _, k := range Keys() {
		if k.Deprecated && !deprecated {
			continue
		}
		before, after, star := strings.Cut(k.Pattern, "*")
		if !star {
			names = append(names, k.Pattern)
			continue
		}
		for _, dev := range devs {
			if k.in(n, dev) {
				names = append(names, before+dev+after)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	return names
}

// match reports whether a name fits a pattern, and returns what * stands for.
func match(pattern, name string) (string, bool) {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return "", pattern == name
	}
	rest, ok := strings.CutPrefix(name, before)
	if !ok {
		return "", false
	}
	dev, ok := strings.CutSuffix(rest, after)
	return dev, ok && dev != "" && !strings.Contains(dev, "/")
}

// Get returns the value of a key.
func Get(n *network.Node, name string) (string, error) {
	k, dev, err := find(n, name)
	switch {
	case err != nil:
		return "", err
	case k.Get == nil:
		return "", ErrReadOnly // write-only, which reads as this too
	}
	return k.Get(n, dev)
}

// Set sets the value of a key.
func Set(n *network.Node, name, value string) error {
	k, dev, err := find(n, name)
	switch {
	case err != nil:
		return err
	case k.Set == nil:
		return ErrReadOnly
	}
	return k.Set(n, dev, strings.TrimSpace(value))
}
