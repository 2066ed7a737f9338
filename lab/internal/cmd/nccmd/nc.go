// Package nccmd is nc of netcat-openbsd 1.219, for UDP: nc -u.
package nccmd

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/icmp"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
	"github.com/culvert-net/culvert/route"
	"github.com/culvert-net/culvert/udp"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"nc": run, "netcat": run, "nc.openbsd": run} }

// Sizes and times of nc's source: what it reads of standard input at once, which becomes a datagram, and how long -z probes.
const (
	chunk       = 16384
	scanSeconds = 3
)

// nc is one call of the command.
type nc struct {
	p    *proc.Proc
	o    options
	sock *network.Socket
	peer netip.AddrPort // zero: -k, which has none
}

func run(p *proc.Proc, args []string) int {
	o, status, ok := parse(p, args)
	if !ok {
		return status
	}
	n := &nc{p: p, o: o}
	if o.listen {
		return n.listen()
	}
	status = 1
	for port := o.first; port <= o.last; port++ {
		status = n.client(uint16(port))
	}
	return status
}

// client talks to a port, or with -z only looks whether there is one.
func (n *nc) client(port uint16) int {
	n.peer = netip.AddrPortFrom(n.o.host, port)
	if err := n.connect(); err != nil {
		if errors.Is(err, errBind) {
			return n.p.Fail(1, "nc: bind failed: %s", words.Errno(err))
		}
		if n.o.verbose {
			n.p.Errorf("nc: connect to %s port %d (udp) failed: %s", n.o.name, port, words.Errno(err))
		}
		return 1
	}
	defer n.sock.Close()
	if n.o.verbose {
		found, err := n.probe()
		if err != nil {
			return n.p.Killed(err)
		}
		if !found {
			return 1
		}
		fmt.Fprintf(n.p.Stderr, "Connection to %s %d port [udp/%s] succeeded!\n", n.o.name, port, n.o.service(port))
	}
	if n.o.scan {
		return 0
	}
	return n.talk(nil)
}

// errBind says that there is no socket with the source that was asked for.
var errBind = errors.New("nc: bind")

// connect opens a socket with the source address that the route says.
func (n *nc) connect() error {
	answer, err := n.p.Node.E.GetRoute(n.peer.Addr(), engine.RouteQuery{})
	if err != nil && !n.o.source.IsValid() {
		return err
	}
	if answer.Route.Type == route.Broadcast && !n.o.broadcast {
		return engine.ErrBroadcast
	}
	source := answer.Source
	if n.o.source.IsValid() {
		source = n.o.source
		if !local(n.p.Node, source) {
			return fmt.Errorf("%w: %w", errBind, engine.ErrSource)
		}
	}
	if n.sock, err = n.p.Node.ListenUDP(netip.AddrPortFrom(source, n.o.sourcePort)); err != nil {
		return fmt.Errorf("%w: %w", errBind, err)
	}
	if answer.Route.Type != route.Broadcast {
		n.sock.Connect(n.peer)
	}
	return nil
}

// local reports whether an address is the node's.
func local(node *network.Node, a netip.Addr) bool {
	for _, l := range node.E.Links() {
		for _, own := range node.E.Addrs(l.Name) {
			if own.Prefix.Addr() == a || a.IsLoopback() && own.Prefix.Contains(a) {
				return true
			}
		}
	}
	return false
}

// probe sends a few datagrams, and reports whether nobody has refused them.
func (n *nc) probe() (bool, error) {
	seconds := scanSeconds
	if n.o.timeout >= 0 {
		seconds = int(n.o.timeout / time.Second)
	}
	for i := range 2 + seconds {
		if i >= 2 {
			if err := n.p.Sleep(time.Second); err != nil {
				return false, err
			}
		}
		n.p.Settle()
		if m, ok := n.sock.Read(); ok && refused(m) || n.send([]byte("X")) != nil {
			return false, nil
		}
	}
	return true, nil
}

// listen waits for somebody to talk to.
func (n *nc) listen() int {
	host := n.o.host
	if !host.IsValid() {
		host = netip.IPv4Unspecified()
	}
	if !host.IsUnspecified() && !local(n.p.Node, host) {
		return n.p.Fail(1, "nc: %s", words.Errno(engine.ErrSource))
	}
	sock, err := n.p.Node.ListenUDP(netip.AddrPortFrom(host, uint16(n.o.first)))
	if err != nil {
		return n.p.Fail(1, "nc: %s", words.Errno(err))
	}
	defer sock.Close()
	n.sock = sock
	if n.o.verbose {
		fmt.Fprintf(n.p.Stderr, "Bound on %s %d\n", host, n.o.first)
	}
	if n.o.keep {
		return n.talk(nil)
	}
	m, err := n.p.Recv(sock, proc.Forever)
	if err != nil {
		return n.p.Killed(err)
	}
	n.peer = netip.AddrPortFrom(m.Src, m.SrcPort)
	sock.Connect(n.peer)
	if n.o.verbose {
		fmt.Fprintf(n.p.Stderr, "Connection received on %s %d\n", m.Src, m.SrcPort)
	}
	return n.talk(&m)
}

// talk sends standard input, and prints what comes: first of all a message that is there already. It ends when it is refused, with
// -w when nothing came for so long, and with -q so long after the end of standard input.
func (n *nc) talk(first *network.Message) int {
	if first != nil && n.show(*first) {
		return 0
	}
	if n.peer.IsValid() && !n.o.noInput {
		if status, ok := n.sendAll(); !ok {
			return status
		}
	}
	end := proc.Forever
	if n.o.quit >= 0 && n.peer.IsValid() {
		end = n.p.Now() + n.o.quit
	}
	for {
		until := end
		if n.o.timeout >= 0 && n.peer.IsValid() {
			until = min(until, n.p.Now()+n.o.timeout)
		}
		m, err := n.p.Recv(n.sock, until)
		switch {
		case errors.Is(err, proc.ErrDeadline):
			return 0
		case err != nil:
			return n.p.Killed(err)
		case refused(m):
			return 0
		case m.Error == nil && n.show(m):
			return 0
		}
	}
}

// sendAll sends standard input; false: there was an error, with this exit status.
func (n *nc) sendAll() (status int, ok bool) {
	data, err := io.ReadAll(n.p.Stdin)
	if err != nil {
		return n.p.Fail(1, "nc: %v", err), false
	}
	for len(data) > 0 {
		size := min(len(data), chunk)
		if n.send(data[:size]) != nil {
			break // as nc does: nothing more is sent
		}
		data = data[size:]
	}
	return 0, true
}

// send sends a datagram, in fragments if it must.
func (n *nc) send(data []byte) error {
	how := engine.Send{TTL: n.o.ttl, TOS: n.o.tos, Broadcast: n.o.broadcast}
	if a, err := n.p.Node.E.GetRoute(n.peer.Addr(), engine.RouteQuery{}); err == nil {
		how.DF = len(data)+udp.HeaderLen+ipv4.HeaderLen <= a.MTU
	}
	return n.sock.SendUDP(n.peer, how, data)
}

// show prints a datagram, and reports whether those that -W allows have come.
func (n *nc) show(m network.Message) bool {
	fmt.Fprintf(n.p.Stdout, "%s", m.Data)
	if n.o.receive > 0 {
		n.o.receive--
		return n.o.receive == 0
	}
	return false
}

// refused reports whether a message is an ICMP error that a connected socket is told of (icmp_err_convert of net/ipv4/icmp.c).
func refused(m network.Message) bool {
	if m.Error == nil || m.Error.Type != icmp.TypeUnreachable {
		return false
	}
	switch m.Error.Code {
	case 2, 3, 6, 7, 8, 9, 10, 13, 14, 15: // all but net, host and source route, also for the type of service
		return true
	}
	return false
}
