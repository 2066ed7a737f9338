// Package overlay gives tests two pods on two nodes, in network namespaces of their own, joined by whatever is tested or measured:
// Linux, Open vSwitch, or culvert on one of its drivers.
//
//	┌ pod A ┐   ┌── node A ──┐                   ┌── node B ──┐   ┌ pod B ┐
//	│  eth0 ┼───┼ pod  wire1 ┼───────────────────┼ wire2  pod ┼───┼ eth0  │
//	└───────┘   └────────────┘                   └────────────┘   └───────┘
//	10.244.0.1    172.31.0.1      VXLAN, VNI 1     172.31.0.2      10.244.0.2
//
// All cables are veth pairs with their default offloads. It works on Linux only; elsewhere the package is empty.
package overlay
