// Package netnstest gives tests network namespaces of their own, so that real devices of the Linux kernel can be the peer,
// and packet sockets to talk to them. Nothing is done to the namespace that the test was started in, and everything is gone
// when the test ends.
//
//	func TestPeer(t *testing.T) {
//		netnstest.Run(t, func(t *testing.T) {
//			node, wire := netnstest.New(t), netnstest.New(t)
//			netnstest.Veth(t,
//				netnstest.End{Namespace: node, Device: "eth0", MAC: "02:00:00:00:00:01"},
//				netnstest.End{Namespace: wire, Device: "wire", MAC: "02:00:00:00:00:02"})
//			node.IP(t, "address add 10.0.0.1/24 dev eth0")
//
// Namespaces need CAP_SYS_ADMIN. Where the test has not got it, [Run] starts the test again as root of a user namespace,
// which Linux allows to everybody unless told otherwise. Where that does not work either, or a tool or a kind of device is
// missing, the test is skipped with the name of what is missing; with CULVERT_REQUIRE_NETNS=1 in the environment it fails.
//
// It works on Linux only; elsewhere the package is empty, and tests that use it belong into _linux_test.go files.
package netnstest
