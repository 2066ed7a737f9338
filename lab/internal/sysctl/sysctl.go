// Package sysctl is /proc/sys: the keys, and what of an engine each of them is. A key is written with slashes, as beneath /proc/sys
// ("net/ipv4/ip_forward"); a device's name may contain dots.
package sysctl

import (
	"errors"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
)

// Faults of a key or its value, as strerror(3) has them.
var (
	ErrNotFound = errors.New("No such file or directory")
	ErrInvalid  = errors.New("Invalid argument")
	ErrReadOnly = errors.New("Permission denied")
)

// Key is a key, or many that differ in the name of a device.
type Key struct {
	Pattern string // with * for a device's name, which may be all or default
	Get     func(n *network.Node, dev string) (string, error)
	Set     func(n *network.Node, dev, value string) error // nil: read-only
}

// Keys returns all keys.
func Keys() []Key {
	return []Key{
		{Pattern: "net/ipv4/ip_forward", Get: getForward, Set: setForward},
	}
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
	k, dev, err := Find(name)
	if err != nil {
		return "", err
	}
	return k.Get(n, dev)
}

// Set sets the value of a key.
func Set(n *network.Node, name, value string) error {
	k, dev, err := Find(name)
	switch {
	case err != nil:
		return err
	case k.Set == nil:
		return ErrReadOnly
	}
	return k.Set(n, dev, strings.TrimSpace(value))
}

func getForward(n *network.Node, _ string) (string, error) {
	c, err := n.E.Conf(engine.ConfAll)
	return flag(c.Forwarding), err
}

func setForward(n *network.Node, _, value string) error {
	on, err := parseFlag(value)
	if err == nil {
		n.E.SetForwarding(on)
	}
	return err
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

func parseFlag(s string) (bool, error) {
	switch s {
	case "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, ErrInvalid
}
