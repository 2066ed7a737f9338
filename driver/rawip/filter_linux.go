package rawip

// The filter of a socket, in classic BPF (Documentation/networking/filter.rst): peers, and the queue's share of the flows. Packets begin
// with their IPv4 header.

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/ipip"
	"github.com/culvert-net/culvert/ipv4"
)

const (
	acceptAll = 1<<32 - 1 // bytes of the packet
	srcAt     = 12        // of the addresses in the IPv4 header
	dstAt     = 16
)

// filter returns the program of a queue, one of several; nil if it takes everything.
func (c *Config) filter(queue int) []unix.SockFilter {
	var p []unix.SockFilter
	add := func(code uint16, k uint32) { p = append(p, unix.SockFilter{Code: code, K: k}) }
	if len(c.Peers) > 0 {
		p = append(p, peers(c.Peers, c.Queues == 1)...)
	}
	if c.Queues == 1 {
		return p
	}
	if c.Protocol == ipip.Protocol {
		add(unix.BPF_LDX|unix.BPF_B|unix.BPF_MSH, 0) // X: length of the outer header
	} else {
		add(unix.BPF_LDX|unix.BPF_W|unix.BPF_IMM, 0)
	}
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, srcAt) // what is too short for it is dropped
	add(unix.BPF_ST, 0)
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, dstAt)
	add(unix.BPF_LDX|unix.BPF_W|unix.BPF_MEM, 0)
	const xor, mod = 0xa0, 0x90 // BPF_XOR and BPF_MOD of include/uapi/linux/filter.h, Linux 3.7
	add(unix.BPF_ALU|xor|unix.BPF_X, 0)
	add(unix.BPF_ALU|mod|unix.BPF_K, uint32(c.Queues))
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(queue), Jf: 1})
	add(unix.BPF_RET|unix.BPF_K, acceptAll)
	add(unix.BPF_RET|unix.BPF_K, 0)
	return p
}

// peers returns the part that drops packets from others than the peers, and accepts theirs or goes on.
func peers(addrs []netip.Addr, last bool) []unix.SockFilter {
	p := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: srcAt}}
	end := 1 + 2*len(addrs) // where the instruction is that drops
	for i, a := range addrs {
		b := a.As4()
		found := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: acceptAll}
		if !last {
			found = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(end - (1 + 2*i + 1))} // behind the drop
		}
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(b[:]), Jf: 1}, found)
	}
	return append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K})
}

// attach gives a socket its filter, and takes away what came before it had one.
func attach(fd int, p []unix.SockFilter) error {
	if len(p) > 0 {
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}); err != nil {
			return err
		}
	}
	for buf := make([]byte, ipv4.HeaderLen); ; {
		if _, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); err != nil {
			return nil
		}
	}
}
