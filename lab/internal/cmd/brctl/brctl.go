// Package brctl is the command brctl, as in bridge-utils 1.7.
package brctl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"brctl": run} }

// call is one call of the command. What is wrong is printed by the functions themselves, whose results are exit statuses.
type call struct {
	p    *proc.Proc
	node *network.Node
}

// command is a word of brctl, in the order and with the help of brctl_cmd.c.
type command struct {
	name string
	args int // how many there must be
	help string
	do   func(c *call, args []string) int
}

func commands() []command {
	return []command{
		{"addbr", 1, "<bridge>\t\tadd bridge", (*call).addBridge},
		{"delbr", 1, "<bridge>\t\tdelete bridge", (*call).deleteBridge},
		{"addif", 2, "<bridge> <device>\tadd interface to bridge", (*call).addPort},
		{"delif", 2, "<bridge> <device>\tdelete interface from bridge", (*call).deletePort},
		{"hairpin", 3, "<bridge> <port> {on|off}\tturn hairpin on/off", (*call).hairpin},
		{"setageing", 2, "<bridge> <time>\t\tset ageing time", (*call).setAgeing},
		{"setbridgeprio", 2, "<bridge> <prio>\t\tset bridge priority", (*call).setBridgePriority},
		{"setfd", 2, "<bridge> <time>\t\tset bridge forward delay", (*call).setForwardDelay},
		{"sethello", 2, "<bridge> <time>\t\tset hello time", (*call).setHello},
		{"setmaxage", 2, "<bridge> <time>\t\tset max message age", (*call).setMaxAge},
		{"setpathcost", 3, "<bridge> <port> <cost>\tset path cost", (*call).setPathCost},
		{"setportprio", 3, "<bridge> <port> <prio>\tset port priority", (*call).setPortPriority},
		{"show", 0, "[ <bridge> ]\t\tshow a list of bridges", (*call).show},
		{"showmacs", 1, "<bridge>\t\tshow a list of mac addrs", (*call).showMACs},
		{"showstp", 1, "<bridge>\t\tshow bridge stp info", (*call).showSTP},
		{"stp", 2, "<bridge> {on|off}\tturn stp on/off", (*call).stp},
	}
}

func run(p *proc.Proc, args []string) int {
	c := &call{p: p, node: p.Node}
	if len(args) == 0 {
		return p.Fail(1, "%s", usage())
	}
	switch args[0] {
	case "-h", "--help":
		p.Printf("%s", usage())
		return 0
	case "-V", "--version":
		p.Printf("bridge-utils, 1.7\n")
		return 0
	}
	for _, cmd := range commands() {
		if cmd.name != args[0] {
			continue
		}
		if len(args)-1 < cmd.args {
			return p.Fail(1, "Incorrect number of arguments for command\nUsage: brctl %s %s", cmd.name, cmd.help)
		}
		return cmd.do(c, args[1:])
	}
	return p.Fail(1, "never heard of command [%s]\n%s", args[0], usage())
}

func usage() string {
	var s strings.Builder
	s.WriteString("Usage: brctl [commands]\ncommands:\n")
	for _, cmd := range commands() {
		fmt.Fprintf(&s, "\t%-10s\t%s\n", cmd.name, cmd.help)
	}
	return s.String()
}

// maxName is the length to which brctl cuts a new bridge's name.
const maxName = 15

func (c *call) addBridge(args []string) int {
	name := args[0][:min(len(args[0]), maxName)]
	_, err := c.node.E.AddBridge(engine.Bridge{Link: engine.Link{Name: name}})
	if errors.Is(err, engine.ErrExists) {
		return c.p.Fail(1, "device %s already exists; can't create bridge with the same name", args[0])
	}
	if err == nil {
		err = c.node.Retap()
	}
	if err != nil {
		return c.p.Fail(1, "add bridge failed: %s", words.Errno(err))
	}
	return 0
}

func (c *call) deleteBridge(args []string) int {
	l, ok := c.node.E.Link(args[0])
	switch {
	case !ok:
		return c.p.Fail(1, "bridge %s doesn't exist; can't delete it", args[0])
	case l.Kind != engine.KindBridge:
		return c.p.Fail(1, "can't delete bridge %s: Operation not permitted", args[0])
	case l.Up:
		return c.p.Fail(1, "bridge %s is still up; can't delete it", args[0])
	}
	if err := c.node.DeleteLink(l.Name); err != nil {
		return c.p.Fail(1, "can't delete bridge %s: %s", args[0], words.Errno(err))
	}
	return 0
}

// pair looks a bridge and a device up.
func (c *call) pair(bridge, device string) (br, dev engine.LinkInfo, status int) {
	br, ok := c.node.E.Link(bridge)
	if !ok {
		return br, dev, c.p.Fail(1, "bridge %s does not exist!", bridge)
	}
	if dev, ok = c.node.E.Link(device); !ok {
		return br, dev, c.p.Fail(1, "interface %s does not exist!", device)
	}
	return br, dev, 0
}

func (c *call) addPort(args []string) int {
	for _, name := range args[1:] {
		br, dev, status := c.pair(args[0], name)
		if status != 0 {
			return status
		}
		switch {
		case br.Kind != engine.KindBridge:
			return c.p.Fail(1, "can't add %s to bridge %s: Operation not supported", name, args[0])
		case dev.Master != "":
			return c.p.Fail(1, "device %s is already a member of a bridge; can't add it to bridge %s.", name, args[0])
		case dev.Kind == engine.KindBridge:
			return c.p.Fail(1, "device %s is a bridge device itself; can't add a bridge device to a bridge device.", name)
		}
		if err := c.node.SetLink(name, engine.LinkChange{Master: &br.Name}); err != nil {
			return c.p.Fail(1, "can't add %s to bridge %s: %s", name, args[0], words.Errno(err))
		}
	}
	return 0
}

func (c *call) deletePort(args []string) int {
	for _, name := range args[1:] {
		br, dev, status := c.pair(args[0], name)
		if status != 0 {
			return status
		}
		switch {
		case br.Kind != engine.KindBridge:
			return c.p.Fail(1, "can't delete %s from %s: Operation not supported", name, args[0])
		case dev.Master != br.Name:
			return c.p.Fail(1, "device %s is not a port of %s", name, args[0])
		}
		if err := c.node.SetLink(name, engine.LinkChange{Master: engine.Set("")}); err != nil {
			return c.p.Fail(1, "can't delete %s from %s: %s", name, args[0], words.Errno(err))
		}
	}
	return 0
}

// onOff reads a switch as brctl does, in many words.
func onOff(s string) (on, ok bool) {
	switch s {
	case "on", "yes", "1":
		return true, true
	case "off", "no", "0":
		return false, true
	}
	return false, false
}

func (c *call) hairpin(args []string) int {
	on, ok := onOff(args[2])
	if !ok {
		return c.p.Fail(1, "expect on/off for argument")
	}
	br, dev, status := c.pair(args[0], args[1])
	switch {
	case status != 0:
		return status
	case dev.Port == nil || dev.Master != br.Name:
		return c.p.Fail(1, "can't set %s to hairpin on bridge %s: No such file or directory", args[1], args[0])
	}
	port := *dev.Port
	port.Hairpin = on
	if err := c.node.E.SetBridgePort(dev.Name, port); err != nil {
		return c.p.Fail(1, "can't set %s to hairpin on bridge %s: %s", args[1], args[0], words.Errno(err))
	}
	return 0
}

func (c *call) stp(args []string) int {
	on, ok := onOff(args[1])
	if !ok {
		return c.p.Fail(1, "expect on/off for argument")
	}
	if fault := c.isBridge(args[0]); fault != "" {
		return c.p.Fail(1, "set stp status failed: %s", fault)
	}
	if on { // an engine's bridges do not run it, and without it a loop is a storm
		return c.p.Fail(1, "set stp status failed: Operation not supported")
	}
	return 0
}

// isBridge returns what is wrong with a bridge that a setting is for.
func (c *call) isBridge(name string) string {
	l, ok := c.node.E.Link(name)
	switch {
	case !ok:
		return "No such device"
	case l.Kind != engine.KindBridge:
		return "Operation not supported"
	}
	return ""
}

// seconds reads a time as brctl does.
func seconds(s string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1e8 {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)), true
}

func (c *call) setAgeing(args []string) int {
	d, ok := seconds(args[1])
	if !ok {
		return c.p.Fail(1, "bad ageing time value")
	}
	fault := c.isBridge(args[0])
	if fault == "" {
		if err := c.node.E.SetAgeing(args[0], ageing(d)); err != nil {
			fault = words.Errno(err)
		}
	}
	if fault != "" {
		return c.p.Fail(1, "set ageing time failed: %s", fault)
	}
	return 0
}

// ageing is what the engine is told: 0 ages at once on Linux, and is the default of an engine.
func ageing(d time.Duration) time.Duration { return max(d, time.Nanosecond) }
