// Package gso cuts superframes into the segments that they stand for, and puts segments together to superframes, as Linux does
// for devices that cannot (net/ipv4/af_inet.c, tcp_offload.c, udp_offload.c).
//
// A superframe is one packet of up to 64 KiB in a [packet.Buffer] whose metadata names a type and a segment size: all the way
// through a node it costs what a small packet costs. Its headers are those of the first segment, but for lengths, which are the
// whole's; the transport checksum is partial, and where that starts is which header the type means, so that any number of
// tunnel headers may be in front:
//
//	 Ethernet IPv4 UDP VXLAN  Ethernet IPv4 TCP  payload .................................
//	└─ tunnel headers ──────┘└─ one segment's ─┘└─ size ─┘└─ size ─┘└─ size ─┘└─ what is left
//	                                        ▲
//	                                        PartialChecksum
//
// [Segmenter.Fit] is all that a device needs before it sends: it does in software what the device cannot. [Segmenter.Cut] cuts,
// [Segmenter.Bundle] makes UDP superframes of TCP in a UDP tunnel, which more devices take, [Coalescer.Merge] is the way back.
// [SegmentLen] is what to compare with an MTU.
//
// TCP and UDP over IPv4 and TCP over IPv6 without extension headers are known, in VXLAN and IPIP, in each other up to 16 deep.
// Nothing here allocates, keeps a buffer, or knows the time.
package gso

import "errors"

// Faults of a packet that is to be cut or put together; it is then unchanged.
var (
	ErrHeaders  = errors.New("gso: headers are not those of a superframe of its type")
	ErrSize     = errors.New("gso: segment size is 0")
	ErrNoBuffer = errors.New("gso: pool has too few buffers for the segments")
	ErrFew      = errors.New("gso: nothing is won by a superframe of one datagram")
)
