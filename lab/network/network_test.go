package network_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/lab/network"
)

func prefix(s string) engine.Addr { return engine.Addr{Prefix: netip.MustParsePrefix(s)} }

// pair returns two namespaces with a veth pair between them, 10.0.0.1/24 and 10.0.0.2/24.
func pair(t *testing.T) (net *network.Network, a, b *network.Node) {
	t.Helper()
	net, err := network.New(network.Config{Seed: 1})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, net.Check()) })
	a, err = net.AddNode("a")
	require.NoError(t, err)
	b, err = net.AddNode("b")
	require.NoError(t, err)
	require.NoError(t, a.AddVeth(engine.Link{Name: "eth0", Up: true}, b, engine.Link{Name: "eth0", Up: true}))
	require.NoError(t, a.E.AddAddr("eth0", prefix("10.0.0.1/24")))
	require.NoError(t, b.E.AddAddr("eth0", prefix("10.0.0.2/24")))
	return net, a, b
}

// ping reports whether an echo request is answered within a second.
func ping(t *testing.T, n *network.Node, to string) bool {
	t.Helper()
	s := n.ListenEcho()
	defer s.Close()
	message := icmp.Echo(s.EchoID(), 1).Append(nil, make([]byte, 56))
	if err := n.Send(engine.Send{Dst: netip.MustParseAddr(to), Protocol: icmp.Protocol}, message); err != nil {
		return false
	}
	require.NoError(t, n.Network().Run(n.Now()+time.Second))
	m, ok := s.Read()
	return ok && m.Error == nil
}

func carrier(t *testing.T, n *network.Node, dev string) bool {
	t.Helper()
	l, ok := n.E.Link(dev)
	require.True(t, ok)
	return l.Carrier
}

func TestVeth(t *testing.T) {
	_, a, b := pair(t)
	assert.True(t, ping(t, a, "10.0.0.2"))
	require.NoError(t, b.SetLink("eth0", engine.LinkChange{Up: engine.Set(false)}))
	assert.False(t, carrier(t, a, "eth0"), "the other end is down")
	assert.False(t, ping(t, a, "10.0.0.2"))
	require.NoError(t, b.SetLink("eth0", engine.LinkChange{Up: engine.Set(true)}))
	assert.True(t, carrier(t, a, "eth0"))
	assert.True(t, ping(t, a, "10.0.0.2"))

	require.NoError(t, a.SetLink("eth0", engine.LinkChange{Name: engine.Set("wan")}))
	assert.Equal(t, "wan", b.Device("eth0").Peer.Name)
	require.NoError(t, b.DeleteLink("eth0"))
	assert.Zero(t, a.E.Index("wan"), "the pair goes as a whole")
	assert.Nil(t, a.Device("wan"))
}

func TestMoveLink(t *testing.T) {
	net, a, b := pair(t)
	c, err := net.AddNode("c")
	require.NoError(t, err)
	before, _ := b.E.Link("eth0")
	require.NoError(t, b.MoveLink("eth0", c))
	assert.Zero(t, b.E.Index("eth0"))
	after, ok := c.E.Link("eth0")
	require.True(t, ok)
	assert.Equal(t, before.MAC, after.MAC)
	assert.False(t, after.Up)
	assert.Empty(t, c.E.Addrs("eth0"))
	assert.NotEmpty(t, a.E.Addrs("eth0"), "the other end stays as it is")

	require.NoError(t, c.SetLink("eth0", engine.LinkChange{Up: engine.Set(true)}))
	require.NoError(t, c.E.AddAddr("eth0", prefix("10.0.0.3/24")))
	assert.True(t, ping(t, a, "10.0.0.3"))

	require.ErrorIs(t, a.MoveLink("eth0", c), engine.ErrExists)
	require.ErrorIs(t, a.MoveLink("lo", c), network.ErrImmovable)
	require.ErrorIs(t, a.MoveLink("eth9", c), engine.ErrNotFound)
	require.NoError(t, a.MoveLink("eth0", a))
}

func TestPairInOneNode(t *testing.T) {
	net, _, _ := pair(t)
	n := net.Default()
	require.NoError(t, n.AddVeth(engine.Link{Name: "v0", Up: true}, n, engine.Link{Name: "v1", Up: true}))
	assert.Same(t, n.Device("v1"), n.Device("v0").Peer)
	require.ErrorIs(t, n.AddVeth(engine.Link{Name: "v0"}, n, engine.Link{Name: "v2"}), engine.ErrExists)
	require.ErrorIs(t, n.AddVeth(engine.Link{Name: "v2"}, n, engine.Link{Name: "v1"}), engine.ErrExists)
	assert.Zero(t, n.E.Index("v2"), "nothing is left of what failed")
}

func TestNodes(t *testing.T) {
	net, a, _ := pair(t)
	_, err := net.AddNode("a")
	require.ErrorIs(t, err, engine.ErrExists)
	assert.Same(t, a, net.Node("a"))
	assert.Empty(t, a.E.Addrs("lo"), "lo of a new namespace is down, and has no address")
	require.NoError(t, a.SetLink("lo", engine.LinkChange{Up: engine.Set(true)}))
	assert.True(t, ping(t, a, "127.0.0.1"))
	require.NoError(t, net.DeleteNode("b"))
	assert.Nil(t, net.Node("b"))
	assert.Zero(t, a.E.Index("eth0"), "the other end of its veth pair has gone with it")
	require.ErrorIs(t, net.DeleteNode("b"), engine.ErrNotFound)
	require.ErrorIs(t, net.DeleteNode(network.Default), engine.ErrNotFound)
}

func TestTaps(t *testing.T) {
	net, a, b := pair(t)
	var all, one, any []string
	see := func(list *[]string) network.TapFunc {
		return func(f network.Frame) {
			way := "<"
			if f.Out {
				way = ">"
			}
			*list = append(*list, f.Node.Name+"/"+f.Dev+way)
		}
	}
	require.NoError(t, net.Watch(see(&all)))
	tap, err := b.Tap("eth0", see(&one))
	require.NoError(t, err)
	_, err = b.Tap("eth9", see(&one))
	require.ErrorIs(t, err, engine.ErrNotFound)
	_, err = b.Tap(network.Any, see(&any))
	require.NoError(t, err)
	require.NoError(t, b.AddDummy(engine.Link{Name: "d0", Up: true}))
	require.NoError(t, b.E.AddAddr("d0", prefix("10.0.9.1/24")))
	assert.True(t, ping(t, a, "10.0.0.2"))
	assert.Equal(t, []string{"a/eth0>", "b/eth0<", "b/eth0>", "a/eth0<"}, all[:4])
	assert.Equal(t, []string{"b/eth0<", "b/eth0>", "b/eth0<", "b/eth0>"}, one)
	require.NoError(t, tap.Close())
	assert.False(t, ping(t, b, "10.0.9.2"))
	assert.Len(t, one, 4, "closed")
	assert.Contains(t, any, "b/d0>")
}

// TestTapsBehindFaults: what netem holds is seen when it leaves, and what it loses is not.
func TestTapsBehindFaults(t *testing.T) {
	_, a, b := pair(t)
	var at []time.Duration
	_, err := a.Tap("eth0", func(f network.Frame) {
		if f.Out {
			at = append(at, f.At)
		}
	})
	require.NoError(t, err)
	require.NoError(t, a.Device("eth0").SetFaults(&network.Faults{Latency: 10 * time.Millisecond}))
	assert.True(t, ping(t, a, "10.0.0.2"))
	assert.Equal(t, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, at, "ARP, then the echo request")
	require.NoError(t, a.Device("eth0").SetFaults(&network.Faults{Loss: 1}))
	assert.False(t, ping(t, a, "10.0.0.2"))
	assert.Len(t, at, 2)
	require.NoError(t, a.Device("eth0").SetFaults(nil))
	assert.True(t, ping(t, a, "10.0.0.2"))
	require.NoError(t, b.AddDummy(engine.Link{Name: "d0"}))
	assert.Error(t, b.Device("d0").SetFaults(&network.Faults{}))
}

func TestTransmit(t *testing.T) {
	_, a, b := pair(t)
	frame := make([]byte, 60)
	copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5})
	require.NoError(t, a.Transmit("eth0", frame))
	require.NoError(t, a.Network().Settle())
	s, err := b.E.DeviceStats("eth0")
	require.NoError(t, err)
	assert.EqualValues(t, 1, s.RxPackets)
	require.ErrorIs(t, a.Transmit("lo", frame), network.ErrNoTransmit)
	require.ErrorIs(t, a.Transmit("nothing", frame), network.ErrNoTransmit)

	require.NoError(t, b.SetLink("eth0", engine.LinkChange{MTU: engine.Set(100)}))
	long := append(frame, make([]byte, 100)...)
	require.ErrorIs(t, a.Transmit("eth0", long), network.ErrNoBuffers)
	s, err = a.Stats("eth0")
	require.NoError(t, err)
	assert.Equal(t, engine.LinkStats{TxPackets: 1, TxBytes: 60, TxDropped: 1}, s)
	_, err = a.E.AddBridge(engine.Bridge{Link: engine.Link{Name: "br0", Up: true}})
	require.NoError(t, err)
	require.NoError(t, a.SetLink("eth0", engine.LinkChange{Master: engine.Set("br0")}))
	require.NoError(t, a.Transmit("br0", long), "a bridge does not tell")
	s, err = a.Stats("eth0")
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.TxDropped)
	require.NoError(t, a.SetLink("eth0", engine.LinkChange{Up: engine.Set(false)}))
	require.ErrorIs(t, a.Transmit("eth0", frame), engine.ErrDown)
}
