package brctl

// What is about the spanning tree protocol: it can be set and shown, and changes nothing as long as that does not run.

import (
	"math"
	"strconv"
	"time"

	"github.com/culvert-net/culvert/lab/internal/bridges"
)

// Limits of the protocol's times (net/bridge/br_private_stp.h). The forward delay may be anything while the protocol is off.
const (
	minHello, maxHello   = time.Second, 10 * time.Second
	minMaxAge, maxMaxAge = 6 * time.Second, 40 * time.Second
)

// setTime sets one of a bridge's times.
func (c *call) setTime(args []string, bad, what string, lowest, highest time.Duration, set func(*bridges.Bridge, time.Duration)) int {
	d, ok := seconds(args[1])
	if !ok {
		return c.p.Fail(1, "bad %s value", bad)
	}
	fault := c.isBridge(args[0])
	if fault == "" && (d < lowest || d > highest) {
		fault = "Numerical result out of range"
	}
	if fault != "" {
		return c.p.Fail(1, "set %s failed: %s", what, fault)
	}
	set(bridges.Of(c.node, args[0]), d)
	return 0
}

func (c *call) setForwardDelay(args []string) int {
	return c.setTime(args, "forward delay", "forward delay", 0, math.MaxInt64, func(b *bridges.Bridge, d time.Duration) { b.ForwardDelay = d })
}

func (c *call) setHello(args []string) int {
	return c.setTime(args, "hello timer", "hello timer", minHello, maxHello, func(b *bridges.Bridge, d time.Duration) { b.Hello = d })
}

func (c *call) setMaxAge(args []string) int {
	return c.setTime(args, "max age", "max age", minMaxAge, maxMaxAge, func(b *bridges.Bridge, d time.Duration) { b.MaxAge = d })
}

func (c *call) setBridgePriority(args []string) int {
	n, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return c.p.Fail(1, "bad priority")
	}
	if fault := c.isBridge(args[0]); fault != "" {
		return c.p.Fail(1, "set bridge priority failed: %s", fault)
	}
	bridges.Of(c.node, args[0]).Priority = uint32(n)
	return 0
}

// port looks a bridge's port up, for a setting. The text is what is wrong.
func (c *call) port(args []string) (*bridges.Port, string) {
	if fault := c.isBridge(args[0]); fault != "" {
		return nil, fault
	}
	p := bridges.Of(c.node, args[0]).Port(c.node.E.Index(args[1]))
	if p == nil {
		return nil, "No such file or directory"
	}
	return p, ""
}

// Limits of a port's cost and priority (br_stp_set_path_cost, br_stp_set_port_priority).
const (
	maxCost         = 65535
	maxPortPriority = 63
)

func (c *call) setPathCost(args []string) int {
	n, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return c.p.Fail(1, "bad path cost value")
	}
	p, fault := c.port(args)
	if fault == "" && (n < 1 || n > maxCost) {
		fault = "Numerical result out of range"
	}
	if fault != "" {
		return c.p.Fail(1, "set path cost failed: %s", fault)
	}
	p.Cost = uint32(n)
	return 0
}

func (c *call) setPortPriority(args []string) int {
	n, err := strconv.ParseUint(args[2], 10, 32)
	if err != nil {
		return c.p.Fail(1, "bad path priority value")
	}
	p, fault := c.port(args)
	if fault == "" && n > maxPortPriority {
		fault = "Numerical result out of range"
	}
	if fault != "" {
		return c.p.Fail(1, "set port priority failed: %s", fault)
	}
	p.Priority = uint32(n)
	return 0
}
