// Package culvert is a packet encapsulation library: it does in user space, on plain byte slices, what a Kubernetes node's
// kernel does for Flannel and Calico. This package holds only the map; each of the packages below can be used alone.
//
// # Codecs: bytes in, fields out, and back
//
//   - [github.com/culvert-net/culvert/ethernet]: Ethernet II and 802.3 headers, any number of VLAN tags, MAC addresses
//   - [github.com/culvert-net/culvert/arp]: ARP for IPv4 over Ethernet; see below for the neighbours
//   - [github.com/culvert-net/culvert/ipv4]: IPv4 headers, options, fragments, edits that keep the checksum in step
//   - [github.com/culvert-net/culvert/udp]: UDP headers; checksums absent, whole or partial
//   - [github.com/culvert-net/culvert/tcp]: TCP headers
//   - [github.com/culvert-net/culvert/icmp]: ICMP echo, and errors with their quote and next-hop MTU
//   - [github.com/culvert-net/culvert/vxlan]: VXLAN headers, and whole frames into and out of VXLAN
//   - [github.com/culvert-net/culvert/ipip]: IPv4 packets into and out of IPv4
//   - [github.com/culvert-net/culvert/checksum]: the Internet checksum, whole and incremental
//
// A header is a validated view of packet memory: Parse checks every length once and returns the view and the payload;
// accessors after it cannot panic; setters edit in place. Building takes a struct of fields and writes into the caller's
// memory. Nothing allocates, on error paths neither.
//
// # Tables: where a packet goes
//
//   - [github.com/culvert-net/culvert/fdb]: which port or remote VTEP a station is behind; learning, moving, ageing
//   - [github.com/culvert-net/culvert/arp]: the neighbour table as Linux has it, answers for oneself and by proxy, address
//     conflict detection
//   - [github.com/culvert-net/culvert/route]: longest prefix match, types, metrics, weighted next hops
//
// Readers take no lock and allocate nothing while others change the tables. No table reads a clock, sends or logs: the time
// is an argument, and what is to be sent a result.
//
// # The engine: a node in memory
//
//   - [github.com/culvert-net/culvert/engine]: bridges, routes, tunnels and their control in iproute2's words; traces and explains
//   - lab, a module of its own: iproute2 scripts in memory, and a package for tests that need a network
//
// # Drivers: real wires
//
//   - [github.com/culvert-net/culvert/driver]: the contract; below it afpacket, tuntap, udp, rawip, pcap, memory, and drivertest, the
//     suite that they pass
//   - [github.com/culvert-net/culvert/driver/runner]: runs an engine on drivers
//
// # Packets and what is known of them
//
//   - [github.com/culvert-net/culvert/packet]: the buffer with headroom, batches, the pool
//   - [github.com/culvert-net/culvert/gso]: superframes of 64 KiB cut into segments, and put together again
//   - [github.com/culvert-net/culvert/dissect]: one call through all layers of a frame, tunnels included
//   - [github.com/culvert-net/culvert/flow]: five-tuples, and the hash that spreads flows
//   - [github.com/culvert-net/culvert/tunnel]: the rules that VXLAN and IPIP share
package culvert
