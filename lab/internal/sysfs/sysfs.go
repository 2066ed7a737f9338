// Package sysfs is /sys/class/net: a directory for each device, with its address, MTU, state and counters. Nothing else is in /sys,
// and nothing in /proc/net, so that no script takes the machine's network for its own.
package sysfs

import (
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// root is where the devices are.
const root = "/sys/class/net/"

// attribute is a file of a device.
type attribute struct {
	name  string
	value func(n *network.Node, l engine.LinkInfo) string
}

// attributes are the files (net/core/net-sysfs.c).
func attributes() []attribute {
	number := func(v uint64) string { return strconv.FormatUint(v, 10) }
	counter := func(f func(engine.LinkStats) uint64) func(*network.Node, engine.LinkInfo) string {
		return func(n *network.Node, l engine.LinkInfo) string {
			s, _ := n.Stats(l.Name) // the device exists
			return number(f(s))
		}
	}
	return []attribute{
		{"address", func(_ *network.Node, l engine.LinkInfo) string { return l.MAC.String() }},
		{"mtu", func(_ *network.Node, l engine.LinkInfo) string { return strconv.Itoa(network.MTU(l)) }},
		{"ifindex", func(_ *network.Node, l engine.LinkInfo) string { return number(uint64(l.Index)) }},
		{"iflink", func(n *network.Node, l engine.LinkInfo) string {
			if d := n.Device(l.Name); d != nil && d.Peer != nil {
				return number(uint64(d.Peer.Node.E.Index(d.Peer.Name)))
			}
			return number(uint64(l.Index))
		}},
		{"carrier", func(_ *network.Node, l engine.LinkInfo) string {
			if l.Carrier {
				return "1"
			}
			return "0"
		}},
		{"operstate", func(_ *network.Node, l engine.LinkInfo) string { return operstate(l) }},
		{"statistics/rx_bytes", counter(func(s engine.LinkStats) uint64 { return s.RxBytes })},
		{"statistics/rx_packets", counter(func(s engine.LinkStats) uint64 { return s.RxPackets })},
		{"statistics/rx_errors", counter(func(s engine.LinkStats) uint64 { return s.RxErrors })},
		{"statistics/rx_dropped", counter(func(s engine.LinkStats) uint64 { return s.RxDropped })},
		{"statistics/tx_bytes", counter(func(s engine.LinkStats) uint64 { return s.TxBytes })},
		{"statistics/tx_packets", counter(func(s engine.LinkStats) uint64 { return s.TxPackets })},
		{"statistics/tx_errors", counter(func(s engine.LinkStats) uint64 { return s.TxErrors })},
		{"statistics/tx_dropped", counter(func(s engine.LinkStats) uint64 { return s.TxDropped })},
	}
}

// operstate is the state of RFC 2863: tunnels and lo, which have no carrier to speak of, are 'unknown' while they are up.
func operstate(l engine.LinkInfo) string {
	switch {
	case !l.Up:
		return "down"
	case l.Kind == engine.KindLoopback || l.Kind == engine.KindVXLAN || l.Kind == engine.KindIPIP:
		return "unknown"
	case l.Carrier:
		return "up"
	}
	return "lowerlayerdown"
}

// Open is the proc.FileFunc.
func Open(p *proc.Proc, name string, flag int) (io.ReadWriteCloser, bool, error) {
	rest, ok := strings.CutPrefix(name, root)
	if !ok {
		absent := strings.HasPrefix(name, "/sys/") || strings.HasPrefix(name, "/proc/net/")
		return nil, absent, syscall.ENOENT
	}
	dev, file, _ := strings.Cut(rest, "/")
	l, ok := p.Node.E.Link(dev)
	if !ok {
		return nil, true, syscall.ENOENT
	}
	for _, a := range attributes() {
		if a.name != file {
			continue
		}
		if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
			return nil, true, syscall.EACCES
		}
		return proc.TextFile(a.value(p.Node, l) + "\n"), true, nil
	}
	return nil, true, syscall.ENOENT
}

// Paths returns the names of all files.
func Paths(p *proc.Proc) []string {
	var all []string
	for _, l := range p.Node.E.Links() {
		for _, a := range attributes() {
			all = append(all, root+l.Name+"/"+a.name)
		}
	}
	return all
}
