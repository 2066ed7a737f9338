package main

// What a capture on a device of a node sees.

import (
	"bytes"
	"time"

	"github.com/culvert-net/culvert/dissect"
)

// hop is a packet as one device of one node had it.
type hop struct {
	where string // node/device
	at    time.Duration
	raw   bool // an IPv4 packet, without an Ethernet header
	data  []byte
}

// capture keeps what devices of a host send and receive from now on: tcpdump -i, for each.
func (n *network) capture(h *host, devices ...string) error {
	for _, device := range devices {
		link, _ := h.Link(device)
		err := h.Tap(device, func(_ uint32, _ bool, packet []byte, now time.Duration) {
			n.hops = append(n.hops, hop{h.name + "/" + device, now, link.Raw, bytes.Clone(packet)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// walk reads a hop's headers.
func (h *hop) walk(w *dissect.Walker, s *dissect.Stack) error {
	if h.raw {
		return w.IPv4(s, h.data)
	}
	return w.Ethernet(s, h.data)
}
