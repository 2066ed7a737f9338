// Package interop has the tests that join culvert, on each of its drivers, with other implementations in network namespaces: Linux,
// Open vSwitch, a second Linux kernel with IPIP, and culvert itself. There is nothing in it to import.
package interop
