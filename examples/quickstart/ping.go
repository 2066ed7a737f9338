package main

// The run without -r: two clusters, one after the other, a ping across each, and what is to be seen of it.

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
)

// cluster is two nodes, a pod on each, and the network between them.
type cluster struct {
	network
	title  string
	device string // of the tunnel
	nodes  [2]*host
	pods   [2]*host
	plan   [2]*node
	reply  *reply // that pod A has got
}

// tunnelSetUp is what a node does for its tunnel to a peer.
type tunnelSetUp func(n *node, e *engine.Engine, peer *node) error

// newCluster sets up nodes and pods, and joins them.
func newCluster(title, device string, plan [2]*node, tunnel tunnelSetUp) (*cluster, error) {
	c := &cluster{title: title, device: device, plan: plan}
	for i, n := range plan {
		if err := c.start(i, n, tunnel); err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
	}
	c.wire(c.nodes[0], plan[0].nic, c.nodes[1], plan[1].nic)
	return c, nil
}

// start sets up a node and its pod.
func (c *cluster) start(i int, n *node, tunnel tunnelSetUp) error {
	var errs [2]error
	c.nodes[i], errs[0] = c.add(n.name, nil)
	c.pods[i], errs[1] = c.add(n.pod.name, c.local)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	err := errors.Join(
		n.setUp(c.nodes[i].Engine),
		tunnel(n, c.nodes[i].Engine, c.plan[1-i]),
		n.pod.setUp(c.pods[i].Engine, n.gateway.Addr(), n.mtu),
		c.capture(c.nodes[i], n.veth, c.device, n.nic),
	)
	c.wire(c.nodes[i], n.veth, c.pods[i], "eth0")
	return err
}

// local is given the packets for a pod itself: echo requests are answered by its engine, what is left is the reply.
func (c *cluster) local(_ *engine.Worker, d engine.Delivery) bool {
	r, ok := replyOf(d)
	if ok {
		c.reply = &r
		d.Buffer.Free()
	}
	return ok
}

// ping lets pod A ping pod B, and waits for the reply.
func (c *cluster) ping() error {
	if err := sendEcho(c.pods[0].Engine, c.plan[1].pod.addr.Addr(), c.now); err != nil {
		return err
	}
	if err := c.until(func() bool { return c.reply != nil }); err != nil {
		return errors.Join(fmt.Errorf("pod B does not answer: %w", err), c.check())
	}
	return c.check()
}

// clusters are what the run shows.
func clusters() ([]*cluster, error) {
	withVXLAN, err1 := newCluster("Flannel's VXLAN", "flannel.1", [2]*node{vxlanNode1(), vxlanNode2()}, (*node).setUpVXLAN)
	withIPIP, err2 := newCluster("Flannel's IPIP", "flannel.ipip", [2]*node{ipipNode1(), ipipNode2()}, (*node).setUpIPIP)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	withIPIP.now = time.Second // after the other, for the order in a -w file
	return []*cluster{withVXLAN, withIPIP}, nil
}

// ping runs the clusters, prints what happens, and writes it to the file of that name unless it is empty. It returns the exit
// code.
func ping(write string, stdout, stderr io.Writer) int {
	fail := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "quickstart: "+format+"\n", args...)
		return cli.Fault
	}
	all, err := clusters()
	if err != nil {
		return fail("%v", err)
	}
	file, err := createHopFile(write, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return cli.ExitCode(err)
	}
	text, textName := cli.NewOutput(stdout), "standard output"
	if write == "-" {
		text, textName = cli.NewOutput(stderr), "standard error"
	}
	code := cli.OK
	fmt.Fprint(text, intro)
	for _, c := range all {
		if err := errors.Join(c.ping(), show(text, c)); err != nil {
			text.Flush() // so that both outputs on one terminal are in order
			code = fail("%s: %v", c.title, err)
		}
		file.add(c)
	}
	fmt.Fprint(text, outro)
	text.Flush()
	if err := file.finish(); err != nil && !cli.Closed(err) {
		code = fail("writing %s: %v", file.Name, err)
	}
	if err := text.Err(); err != nil && !cli.Closed(err) {
		code = fail("writing %s: %v", textName, err)
	}
	return code
}
