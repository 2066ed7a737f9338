// Package wire measures culvert's drivers on devices of the Linux kernel, beside the kernel's own VXLAN device and Open vSwitch:
// packets per second, TCP throughput, and the round trip of an idle link, with the runner's default and where it is told to stay awake
// (runner.Config.Poll). It needs root; 'make bench-wire' runs it.
//
// Package overlay has the network: two nodes, a pod on each, and VXLAN between them by whatever is measured. For encapsulation and
// decapsulation there is no second node: frames are counted, or made, at its end of the cable. The subjects take turns, with a new
// network each time; the table shows medians.
package wire
