// Package umlpeer gives tests a second Linux kernel as a peer, User-Mode Linux, which has kinds of device that the machine's own kernel may
// lack, such as ipip. It is an ordinary process, whose network cards are ends of veth pairs; the machine's files, tools included, are its
// root file system, read-only. It starts in two or three seconds. Its kernel answers and forwards well, its processes are slow.
//
//	peer := umlpeer.Start(t, namespace, `
//		ip link set vec0 up
//		ip address add 192.0.2.2/24 dev vec0`, "eth0")
//
// It needs the Debian packages user-mode-linux and kmod, and packet sockets (CAP_NET_RAW), which a user namespace has.
// It works on Linux only; elsewhere the package is empty.
package umlpeer
