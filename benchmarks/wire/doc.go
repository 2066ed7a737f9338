// Package wire measures culvert's drivers on devices of the Linux kernel, beside the kernel's own VXLAN device and Open vSwitch:
// packets per second, TCP throughput, and the round trip of an idle link. It needs root; 'make bench-wire' runs it.
//
//	┌ pod A ┐   ┌── node A ──┐                   ┌── node B ──┐   ┌ pod B ┐
//	│  eth0 ┼───┼ pod  wire1 ┼───────────────────┼ wire2  pod ┼───┼ eth0  │
//	└───────┘   └────────────┘                   └────────────┘   └───────┘
//	10.244.0.1    172.31.0.1       VNI 1, 8472     172.31.0.2      10.244.0.2
//
// Each node joins its pod to the other's, by whatever is measured: a bridge and a VXLAN device. All cables are veth pairs with
// their default offloads. For encapsulation and decapsulation there is no node B: frames are counted, or made, at its end of the
// cable. The subjects take turns, with a new network each time; the table shows medians.
package wire
