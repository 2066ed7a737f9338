package engine

// Why packets were dropped: one reason for each place that drops, with a stable name and a text.

import (
	"fmt"
	"iter"
)

// Reason is why a packet was dropped.
type Reason uint8

// The reasons. Their names, as Name returns them, do not change.
const (
	DropNoDevice    Reason = iota + 1 // given to Process for a port that does not exist
	DropDown                          // the device is down, or has no carrier
	DropNoOutput                      // nobody takes what the worker sends
	DropNoBuffer                      // the pool is empty
	DropNoHeadroom                    // no room in front of the packet for another header
	DropShortFrame                    // shorter than an Ethernet header
	DropOtherHost                     // for another station
	DropTagged                        // for a VLAN that the device is not in
	DropProtocol                      // neither IPv4 nor ARP
	DropSelf                          // sent to the station itself
	DropSourceMAC                     // from a group or zero address, or the bridge's own
	DropLinkLocal                     // reserved group address that bridges do not forward
	DropLocked                        // the port is locked, and the station has no entry on it
	DropSamePort                      // the station is behind the port that the frame came in by
	DropNoPort                        // no port of the bridge takes it
	DropFrameTooBig                   // longer than the port's MTU allows
	DropLoop                          // has crossed too many devices inside the engine

	DropARPMalformed // not ARP for IPv4 over Ethernet

	DropIPShort        // shorter than an IPv4 header
	DropIPHeader       // version, header length or total length is wrong
	DropIPTruncated    // total length beyond the end of the frame
	DropIPChecksum     // wrong header checksum
	DropIPOptions      // malformed options
	DropSourceRoute    // source routes are not followed
	DropMartianSource  // a source that nobody may have, or that the node has itself
	DropMartianDst     // a destination that nobody may have
	DropReversePath    // the way back to the source leaves by another device (rp_filter)
	DropNotForwarding  // forwarding is off
	DropNotUnicast     // sent to everybody on the link; such packets are not routed
	DropMulticast      // for a group that nobody here has joined
	DropNoRoute        // no route
	DropBlackhole      // blackhole route
	DropUnreachable    // unreachable route
	DropProhibited     // prohibit route
	DropTTL            // time to live expired
	DropTooBig         // larger than the MTU, and must not be fragmented
	DropFragment       // could not be cut into fragments
	DropMetadata       // what the driver says beside the packet, such as a superframe's type, does not fit it
	DropDeviceGone     // the route's device does not exist any more
	DropNeighbour      // the neighbour does not answer
	DropNeighbourQueue // too many packets wait for the neighbour
	DropNeighbourFull  // the neighbour table has no room
	DropNeighbourNone  // not an address that can be asked for
	DropNeighbourGone  // the neighbour was removed while the packet waited

	DropReassembly     // a fragment that does not fit its datagram
	DropReassemblyTime // the other fragments did not come in time
	DropReassemblyFull // too much waits for other fragments

	DropNoSocket // nobody takes packets of this protocol or port
	DropICMP     // malformed ICMP, or a message that is not answered
	DropUDP      // malformed UDP
	DropTCP      // malformed TCP

	DropTunnelInner    // what is in the tunnel is malformed
	DropTunnelVNI      // no device for the VNI
	DropTunnelHeader   // malformed tunnel header
	DropTunnelReserved // reserved bits are set
	DropTunnelPeer     // from somebody who is no peer of the tunnel
	DropTunnelOwnMAC   // from the tunnel's own MAC address
	DropTunnelECN      // congestion was experienced, and the inner packet cannot say so
	DropTunnelNone     // no tunnel for these outer addresses
	DropTunnelRemote   // the tunnel has no remote end for the packet
	DropTunnelRoute    // no way to the tunnel's remote end
	DropTunnelLoop     // the way to the tunnel's remote end leads into the tunnel
	DropTunnelDepth    // too many tunnels inside each other
	DropTunnelLong     // too long for one outer packet
	DropTunnelPinned   // claims a MAC address that is configured elsewhere
	DropFDBMiss        // no entry for the MAC address, and none for everybody else
	DropFDBWait        // the agent did not tell in time where the MAC address is
	DropFDBWaitFull    // too many packets wait for the agent

	numReasons
)

// A reason's name and text.
type reasonText struct{ name, text string }

var reasons = [numReasons]reasonText{
	DropNoDevice:      {"NoDevice", "no such port"},
	DropDown:          {"Down", "device is down"},
	DropNoOutput:      {"NoOutput", "nobody takes the worker's output"},
	DropNoBuffer:      {"NoBuffer", "buffer pool is empty"},
	DropNoHeadroom:    {"NoHeadroom", "no room in front of the packet for another header"},
	DropShortFrame:    {"ShortFrame", "frame shorter than an Ethernet header"},
	DropOtherHost:     {"OtherHost", "frame for another station"},
	DropTagged:        {"Tagged", "frame of a VLAN that the device is not in"},
	DropProtocol:      {"Protocol", "neither IPv4 nor ARP"},
	DropSelf:          {"Self", "frame to the station itself"},
	DropSourceMAC:     {"SourceMAC", "source MAC address is a group's, zero or the bridge's own"},
	DropLinkLocal:     {"LinkLocal", "reserved group address, not forwarded by bridges"},
	DropLocked:        {"Locked", "port is locked and the station unknown"},
	DropSamePort:      {"SamePort", "station is behind the port that the frame came in by"},
	DropNoPort:        {"NoPort", "no port of the bridge takes the frame"},
	DropFrameTooBig:   {"FrameTooBig", "frame longer than the port's MTU allows"},
	DropLoop:          {"Loop", "crossed too many devices inside the engine"},
	DropARPMalformed:  {"ARPMalformed", "not ARP for IPv4 over Ethernet"},
	DropIPShort:       {"IPShort", "packet shorter than an IPv4 header"},
	DropIPHeader:      {"IPHeader", "wrong version, header length or total length"},
	DropIPTruncated:   {"IPTruncated", "total length beyond the end of the frame"},
	DropIPChecksum:    {"IPChecksum", "wrong IPv4 header checksum"},
	DropIPOptions:     {"IPOptions", "malformed IPv4 options"},
	DropSourceRoute:   {"SourceRoute", "source routes are not followed"},
	DropMartianSource: {"MartianSource", "source address that no other host may have"},
	DropMartianDst:    {"MartianDestination", "destination address that no host may have"},
	DropReversePath:   {"ReversePath", "way back to the source leaves by another device"},
	DropNotForwarding: {"NotForwarding", "forwarding is off"},
	DropNotUnicast:    {"NotUnicast", "link-layer broadcast is not routed"},
	DropMulticast:     {"Multicast", "multicast group that nobody here has joined"},
	DropNoRoute:       {"NoRoute", "no route to the destination"},
	DropBlackhole:     {"Blackhole", "blackhole route"},
	DropUnreachable:   {"Unreachable", "unreachable route"},
	DropProhibited:    {"Prohibited", "prohibit route"},
	DropTTL:           {"TTL", "time to live expired"},
	DropTooBig:        {"TooBig", "larger than the MTU and not to be fragmented"},
	DropMetadata:      {"Metadata", "superframe or partial checksum that does not fit the packet's headers"},
	DropFragment:      {"Fragment", "could not be cut into fragments"},
	DropDeviceGone:    {"DeviceGone", "the route's device does not exist"},

	DropNeighbour:      {"Neighbour", "neighbour does not answer"},
	DropNeighbourQueue: {"NeighbourQueue", "too many packets wait for neighbours"},
	DropNeighbourFull:  {"NeighbourFull", "neighbour table is full"},
	DropNeighbourNone:  {"NeighbourNone", "not an address that can be asked for"},
	DropNeighbourGone:  {"NeighbourGone", "neighbour was removed while the packet waited"},

	DropReassembly:     {"Reassembly", "fragment does not fit its datagram"},
	DropReassemblyTime: {"ReassemblyTime", "other fragments did not come in time"},
	DropReassemblyFull: {"ReassemblyFull", "too many fragments wait"},

	DropNoSocket: {"NoSocket", "nobody takes packets of this protocol and port"},
	DropICMP:     {"ICMP", "malformed ICMP, or not to be answered"},
	DropUDP:      {"UDP", "malformed UDP"},
	DropTCP:      {"TCP", "malformed TCP"},

	DropTunnelInner:    {"TunnelInner", "malformed packet in the tunnel"},
	DropTunnelVNI:      {"TunnelVNI", "no device for the VNI"},
	DropTunnelHeader:   {"TunnelHeader", "malformed tunnel header"},
	DropTunnelReserved: {"TunnelReserved", "reserved bits of the tunnel header are set"},
	DropTunnelPeer:     {"TunnelPeer", "outer source is no peer of the tunnel"},
	DropTunnelOwnMAC:   {"TunnelOwnMAC", "inner source is the tunnel's own MAC address"},
	DropTunnelECN:      {"TunnelECN", "congestion experienced, but the inner packet is not ECN-capable"},
	DropTunnelNone:     {"TunnelNone", "no tunnel for the outer addresses"},
	DropTunnelRemote:   {"TunnelRemote", "tunnel has no remote end for the packet"},
	DropTunnelRoute:    {"TunnelRoute", "no way to the tunnel's remote end"},
	DropTunnelLoop:     {"TunnelLoop", "way to the tunnel's remote end leads into the tunnel itself"},
	DropTunnelDepth:    {"TunnelDepth", "too many tunnels inside each other"},
	DropTunnelLong:     {"TunnelLong", "too long for one outer packet"},
	DropTunnelPinned:   {"TunnelPinned", "inner source MAC address is configured elsewhere"},
	DropFDBMiss:        {"FDBMiss", "no FDB entry for the MAC address, nor for everybody else"},
	DropFDBWait:        {"FDBWait", "the agent did not tell in time where the MAC address is"},
	DropFDBWaitFull:    {"FDBWaitFull", "too many packets wait for the agent"},
}

// Name returns the reason's stable name, such as "NoRoute".
func (r Reason) Name() string {
	if r == 0 || r >= numReasons {
		return fmt.Sprintf("Reason%d", uint8(r))
	}
	return reasons[r].name
}

// String returns the reason in words.
func (r Reason) String() string {
	if r == 0 || r >= numReasons {
		return r.Name()
	}
	return reasons[r].text
}

// Reasons returns all reasons.
func Reasons() iter.Seq[Reason] {
	return func(yield func(Reason) bool) {
		for r := Reason(1); r < numReasons; r++ {
			if !yield(r) {
				return
			}
		}
	}
}
