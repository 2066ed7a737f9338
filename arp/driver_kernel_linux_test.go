// Transcripts played to the Linux kernel: what it sends, and what becomes of its neighbours, beside what was recorded.
//
//	namespace node (the kernel)                                            namespace wire (the test)
//
//	eth0 02:00:00:00:00:01 10.0.0.1/24 (a case may say otherwise) ──veth── wire 02:00:00:00:00:ff, as everybody else
//	eth1 02:00:00:00:01:01, where routes of the responder's cases lead
//
// A transcript is its own script: what it does (events) is played, what the kernel then does is compared with the lines that
// tell it. With CULVERT_RECORD=1 these lines are written anew: a new case needs its events, and where to look at entries lines
// such as '= 10.0.0.2 ? updated'. All cases run at the same time, as they mostly wait.
package arp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/ipv4"
)

var (
	kernelMAC = ethernet.MustParseMAC("02:00:00:00:00:01")
	wireMAC   = ethernet.MustParseMAC("02:00:00:00:00:ff")
)

const (
	kernelPort = "eth0"
	kernelAddr = "10.0.0.1"

	// settle is how long the kernel gets for what an event makes it do at once.
	settle = 50 * time.Millisecond
	// recorded is the unit of recorded times: a jiffy of 4 ms or 10 ms.
	recorded = 10 * time.Millisecond
)

// kernelNode is what one case is played to.
type kernelNode struct {
	node    *netnstest.Namespace
	frames  int // packet socket on the wire
	udp     int // in the node, with its errors
	netlink int
	index   uint32 // of eth0
	start   time.Time
	events  []time.Duration // when they were to happen
	buf     []byte
}

// newKernelNode makes the namespaces of a case and what its first lines ask for.
func newKernelNode(t *testing.T, c kernelCase) *kernelNode {
	t.Helper()
	k := &kernelNode{node: netnstest.New(t), buf: make([]byte, 1<<16)}
	wire := netnstest.New(t)
	netnstest.Veth(t,
		netnstest.End{Namespace: k.node, Device: kernelPort, MAC: kernelMAC.String()},
		netnstest.End{Namespace: wire, Device: "wire", MAC: wireMAC.String()})
	k.node.IP(t, "link set lo up")
	for key, value := range map[string]string{
		"icmp_ratelimit": "0",                                                        // the sender's errors come from the node itself, as ICMP
		"ip_forward":     "0", "conf.all.rp_filter": "0", "conf.eth0.rp_filter": "0", // whatever the machine has
	} {
		if err := k.node.Do(k.sysctl(key, value)); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range c.setup() {
		if err := k.configure(l); err != nil {
			t.Fatalf("%s: %v", l.raw, err)
		}
	}
	if err := k.node.Do(k.openNode); err != nil {
		t.Fatal(err)
	}
	if err := wire.Do(func() (err error) { k.frames, err = openWire(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range []int{k.frames, k.udp, k.netlink} {
			_ = unix.Close(fd)
		}
	})
	return k
}

// openNode opens the sockets in the node.
func (k *kernelNode) openNode() error {
	dev, err := net.InterfaceByName(kernelPort)
	if err != nil {
		return err
	}
	k.index = uint32(dev.Index)
	if k.netlink, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if k.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(k.udp, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
}

// openWire opens a packet socket that notes when frames came.
func openWire() (int, error) {
	dev, err := net.InterfaceByName("wire")
	if err != nil {
		return -1, err
	}
	const all = unix.ETH_P_ALL // asked for in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{all >> 8, all & 0xff}), Ifindex: dev.Index}))
}

// sysctl returns the writing of a key under net.ipv4, for [netnstest.Namespace.Do].
func (k *kernelNode) sysctl(key, value string) func() error {
	return func() error {
		return os.WriteFile("/proc/sys/net/ipv4/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
	}
}

// ip runs the ip tool in the node. Unlike [netnstest.Namespace.IP] it may fail, and be called from any goroutine.
func (k *kernelNode) ip(args string) error {
	return k.node.Do(func() error {
		cmd := exec.Command("ip", strings.Fields(args)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
		return nil
	})
}

// ntable are the names of parameters in 'ip ntable', which works without the rights over the whole machine that their sysctls
// need, by those of the transcripts.
var ntable = map[string]string{
	"base_reachable_time": "base_reachable", "delay_first_probe_time": "delay_probe", "retrans_time": "retrans",
	"gc_stale_time": "gc_stale", "locktime": "locktime", "ucast_solicit": "ucast_probes", "app_solicit": "app_probes",
	"mcast_solicit": "mcast_probes", "unres_qlen": "queue", "proxy_delay": "proxy_delay", "proxy_qlen": "proxy_queue",
}

// configure does what a line that is no event says.
func (k *kernelNode) configure(l kernelLine) error {
	switch l.words[0] {
	case "us", "port":
		var errs []error
		for _, a := range l.words[1:] {
			if !strings.Contains(a, "/") {
				a += "/24"
			}
			errs = append(errs, k.ip("address add "+a+" dev "+kernelPort))
		}
		return errors.Join(errs...)
	case "set":
		return k.set(l.words[1:])
	case "slack":
		return nil
	case "behind": // a device that routes lead to
		return errors.Join(k.ip("link add eth1 address 02:00:00:00:01:01 type veth peer name eth1p"),
			k.ip("link set eth1 up"), k.ip("link set eth1p up"), k.ip("address add "+l.words[1]+" dev eth1"))
	case "route":
		way := map[string]string{"on": "dev eth1", "back": "dev eth0"}[l.words[2]]
		if way == "" {
			return k.ip("route add " + l.words[2] + " " + l.words[1])
		}
		return k.ip("route add " + l.words[1] + " " + way)
	case "proxy":
		return k.ip("neigh " + l.words[1] + " proxy " + l.words[2] + " dev eth0")
	}
	return errors.New("what is that?")
}

// What the kernel counts for a packet: unres_qlen is for full ones, and transcripts have small ones. Exactly as many fit as
// asked for if that is 2, 5 or 8.
const (
	smallPacket = 768  // bytes of memory
	fullPacket  = 2090 // SKB_TRUESIZE(ETH_FRAME_LEN)
)

// set changes parameters of eth0.
func (k *kernelNode) set(settings []string) error {
	words := ""
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		word := ntable[name]
		if word == "" {
			key := "conf.eth0." + name
			if name == "ip_forward" {
				key = name
			}
			if err := k.node.Do(k.sysctl(key, value)); err != nil {
				return err
			}
			continue
		}
		n, err := strconv.Atoi(value)
		if d, notTime := time.ParseDuration(value); notTime == nil {
			n, err = int(d.Milliseconds()), nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		if name == "unres_qlen" {
			n = (n*smallPacket + fullPacket - 1) / fullPacket
		}
		value = strconv.Itoa(max(0, n)) // -1 is none
		words += " " + word + " " + value
	}
	if words == "" {
		return nil
	}
	return k.ip("ntable change name arp_cache dev eth0" + words)
}

// event does what a line says, now.
func (k *kernelNode) event(words []string) error {
	switch words[0] {
	case "out", "send":
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		from := ""
		if len(words) > 4 {
			from = words[4]
		}
		return k.sendUDP(words[1], from, make([]byte, n-ipv4.HeaderLen-udpHeaderLen), 0)
	case "confirm":
		return k.sendUDP(words[1], "", nil, unix.MSG_CONFIRM|msgProbe)
	case "in":
		f, dst, err := received(words[1:])
		if err != nil {
			return err
		}
		_, err = unix.Write(k.frames, f.AppendFrame(nil, dst))
		return err
	case "burst":
		return k.burst(words[1:])
	case "add", "replace", "change":
		mac := ""
		if words[2] != "-" {
			mac = " lladdr " + words[2]
		}
		return k.ip("neigh " + words[0] + " " + words[1] + mac + " dev eth0 nud " + strings.ToLower(words[3]))
	case "del":
		return k.ip("neigh del " + words[1] + " dev eth0")
	case "down", "address":
		return k.ip("link set eth0 " + map[string]string{"down": "down", "address": "address " + kernelMAC.String()}[words[0]])
	case "flush":
		return k.ip("neigh flush dev eth0")
	case "tick", "->": // what the kernel drops, it does not tell
		return nil
	}
	return k.configure(kernelLine{words: words})
}

const (
	udpHeaderLen = 8
	msgProbe     = 0x10 // MSG_PROBE of include/linux/socket.h: nothing is sent
)

// sendUDP sends a datagram to the discard port of addr, from an address of the node's if that is not empty.
func (k *kernelNode) sendUDP(addr, from string, payload []byte, flags int) error {
	ip, err := ipOf(addr)
	if err != nil {
		return err
	}
	var control []byte
	if from != "" {
		source, err := ipOf(from)
		if err != nil {
			return err
		}
		control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: source})
	}
	const discard = 9
	return os.NewSyscallError("sendmsg",
		unix.Sendmsg(k.udp, payload, control, &unix.SockaddrInet4{Port: discard, Addr: ip}, flags))
}

func ipOf(text string) ([4]byte, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return [4]byte{}, fmt.Errorf("%q is no IPv4 address: %w", text, err)
	}
	return a.As4(), nil
}

// burst sends requests for as many addresses, one after the other.
func (k *kernelNode) burst(words []string) error {
	n, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	f, dst, err := received(append(append([]string{"request"}, words[1:]...), "broadcast"))
	if err != nil {
		return err
	}
	for range n {
		if _, err := unix.Write(k.frames, f.AppendFrame(nil, dst)); err != nil {
			return os.NewSyscallError("write", err)
		}
		f.TargetIP = netip.AddrFrom4(f.TargetIP).Next().As4()
	}
	return nil
}

// received reads the words of an 'in' line.
func received(words []string) (f arp.Fields, dst ethernet.MAC, err error) {
	f.Op = map[string]arp.Op{"request": arp.Request, "reply": arp.Reply}[words[0]]
	if f.Op == 0 {
		return f, dst, fmt.Errorf("%q is no packet", words)
	}
	var errs [3]error
	f.SenderIP, errs[0] = ipOf(words[1])
	f.SenderMAC, errs[1] = ethernet.ParseMAC(words[2])
	f.TargetIP, errs[2] = ipOf(words[4])
	if err := errors.Join(errs[:]...); err != nil {
		return f, dst, err
	}
	if f.Op == arp.Reply && f.SenderIP == f.TargetIP {
		f.TargetMAC = f.SenderMAC
	}
	dst = ethernet.Broadcast
	if words[5] == "unicast" {
		dst = kernelMAC
	}
	if len(words) > 7 {
		f.TargetMAC, err = ethernet.ParseMAC(words[7])
	}
	return f, dst, err
}

// observed is something that the kernel did, and when.
type observed struct {
	at   time.Duration
	text string
}

// collect waits until a time, and returns what the kernel did until then.
func (k *kernelNode) collect(until time.Duration) ([]observed, error) {
	var all []observed
	for {
		wait := until - time.Since(k.start)
		fds := []unix.PollFd{{Fd: int32(k.frames), Events: unix.POLLIN}, {Fd: int32(k.udp)}}
		timeout := unix.NsecToTimespec(max(0, wait.Nanoseconds()))
		if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return all, os.NewSyscallError("ppoll", err)
		}
		got, err := k.receive()
		if err != nil {
			return all, err
		}
		all = append(all, got...)
		if wait <= 0 && len(got) == 0 {
			slices.SortStableFunc(all, func(a, b observed) int { return int(a.at - b.at) })
			return all, nil
		}
	}
}

// receive takes what lies in the sockets.
func (k *kernelNode) receive() (all []observed, err error) {
	control := make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(k.frames, k.buf, control, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		if text := describeFrame(k.buf[:n]); text != "" {
			all = append(all, observed{k.stamp(control[:oobn]), text})
		}
	}
	for {
		n, _, _, from, err := unix.Recvmsg(k.udp, k.buf, control, unix.MSG_ERRQUEUE)
		if errors.Is(err, unix.EAGAIN) {
			return all, nil
		} else if err != nil {
			return nil, os.NewSyscallError("recvmsg of errors", err)
		}
		to, ok := from.(*unix.SockaddrInet4)
		if !ok {
			return nil, fmt.Errorf("an error from %v", from)
		}
		all = append(all, observed{
			time.Since(k.start), fmt.Sprintf("-> unreachable %v %d", net.IP(to.Addr[:]), n+ipv4.HeaderLen+udpHeaderLen),
		})
	}
}

// stamp returns when a frame came.
func (k *kernelNode) stamp(control []byte) time.Duration {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
				return time.Unix(int64(sec), int64(nsec)).Sub(k.start.Round(0))
			}
		}
	}
	return time.Since(k.start)
}

// describeFrame returns the line for a frame that the kernel sent, "" if it is none of ours.
func describeFrame(frame []byte) string {
	h, payload, err := ethernet.Parse(frame)
	if err != nil {
		return ""
	}
	if h.EtherType() == ethernet.TypeIPv4 {
		p, _, err := ipv4.Parse(payload)
		if err != nil {
			return ""
		}
		dst := p.Dst()
		return fmt.Sprintf("-> send %v %v %d", net.IP(dst[:]), h.Dst(), p.TotalLen())
	}
	p, err := arp.Parse(payload)
	if err != nil {
		return ""
	}
	sender, target, to := p.SenderIP(), p.TargetIP(), h.Dst().String()
	if h.Dst() == ethernet.Broadcast {
		to = "broadcast"
	}
	if p.Op() == arp.Request {
		return fmt.Sprintf("-> request %v %s from %v", net.IP(target[:]), to, net.IP(sender[:]))
	}
	return fmt.Sprintf("-> reply %v %v to %v %s", net.IP(sender[:]), p.SenderMAC(), net.IP(target[:]), to)
}

// neighbour is an entry as the kernel shows it.
type neighbour struct {
	state                    uint16
	mac                      string
	probes                   uint32
	confirmed, used, updated time.Duration // times of the case
}

// nudNames are the states of include/uapi/linux/neighbour.h.
var nudNames = map[uint16]string{
	unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE", unix.NUD_DELAY: "DELAY",
	unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_NOARP: "NOARP", unix.NUD_PERMANENT: "PERMANENT",
}

// lookup asks the kernel for its entry, by RTM_GETNEIGH.
func (k *kernelNode) lookup(addr string) (neighbour, error) {
	ip, err := ipOf(addr)
	if err != nil {
		return neighbour{}, err
	}
	const headerLen, ndLen, attrLen = unix.SizeofNlMsghdr, unix.SizeofNdMsg, unix.SizeofRtAttr
	m := make([]byte, headerLen+ndLen+attrLen+4)
	native := binary.NativeEndian
	native.PutUint32(m[0:], uint32(len(m)))
	native.PutUint16(m[4:], unix.RTM_GETNEIGH)
	native.PutUint16(m[6:], unix.NLM_F_REQUEST)
	nd := m[headerLen:]
	nd[0] = unix.AF_INET
	native.PutUint32(nd[4:], k.index)
	attr := nd[ndLen:]
	native.PutUint16(attr[0:], attrLen+4)
	native.PutUint16(attr[2:], unix.NDA_DST)
	copy(attr[attrLen:], ip[:])
	if err := unix.Sendto(k.netlink, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return neighbour{}, os.NewSyscallError("netlink", err)
	}
	n, _, err := unix.Recvfrom(k.netlink, k.buf, 0)
	if err != nil {
		return neighbour{}, os.NewSyscallError("netlink", err)
	}
	return k.parseNeighbour(k.buf[:n])
}

// parseNeighbour reads the answer to lookup.
func (k *kernelNode) parseNeighbour(m []byte) (e neighbour, err error) {
	native := binary.NativeEndian
	if len(m) < unix.SizeofNlMsghdr+4 {
		return e, errors.New("netlink: short answer")
	}
	body := m[unix.SizeofNlMsghdr:]
	if native.Uint16(m[4:]) == unix.NLMSG_ERROR {
		if errno := unix.Errno(-int32(native.Uint32(body))); errno != unix.ENOENT {
			return e, fmt.Errorf("netlink: %w", errno)
		}
		return e, nil
	}
	e.state = native.Uint16(body[8:])
	now := time.Since(k.start)
	ago := func(ticks uint32) time.Duration { return now - time.Duration(int32(ticks))*10*time.Millisecond } // USER_HZ
	for b := body[unix.SizeofNdMsg:]; len(b) >= unix.SizeofRtAttr; {
		n := int(native.Uint16(b))
		data := b[unix.SizeofRtAttr:n]
		switch native.Uint16(b[2:]) {
		case unix.NDA_LLADDR:
			e.mac = ethernet.MAC(data).String()
		case unix.NDA_PROBES:
			e.probes = native.Uint32(data)
		case unix.NDA_CACHEINFO:
			e.confirmed, e.used, e.updated = ago(native.Uint32(data)), ago(native.Uint32(data[4:])), ago(native.Uint32(data[8:]))
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return e, nil
}

// describe returns the line for an entry, with the times that are wanted.
func (k *kernelNode) describe(e neighbour, addr string, wanted []string) string {
	if e.state == 0 {
		return "= " + addr + " NONE"
	}
	text := "= " + addr + " " + nudNames[e.state]
	if e.mac != "" {
		text += " " + e.mac
	}
	text += fmt.Sprintf(" probes %d", e.probes)
	for _, t := range []struct {
		name string
		at   time.Duration
	}{{"used", e.used}, {"confirmed", e.confirmed}, {"updated", e.updated}} {
		if slices.Contains(wanted, t.name) {
			text += fmt.Sprintf(" %s %s", t.name, seconds(k.eventAt(t.at)))
		}
	}
	return text
}

// eventAt returns the time of the event that something at a time was due to, or the time if there is none.
func (k *kernelNode) eventAt(at time.Duration) time.Duration {
	const soon = 30 * time.Millisecond
	for _, e := range k.events {
		if at > e-recorded && at < e+soon {
			return e
		}
	}
	return at
}

// seconds returns a time as transcripts have it.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Round(recorded).Seconds(), 'f', 2, 64)
}
