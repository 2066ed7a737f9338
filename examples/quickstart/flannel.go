package main

// A node of a Kubernetes cluster with Flannel: what both tunnels need around them. The comments give the commands of node1.

import (
	"errors"
	"net/netip"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
)

// node is a node and the pod on it. Peers know of each other by way of the cluster's store.
type node struct {
	name string

	nic  string // network card
	mac  ethernet.MAC
	addr netip.Prefix

	cni0    ethernet.MAC // of the bridge that pods are attached to
	gateway netip.Prefix // its address: the pods' gateway
	mtu     int          // that the tunnel leaves to pods
	veth    string       // the port of the bridge that leads to the pod

	tunnel    netip.Addr   // address of the tunnel device
	tunnelMAC ethernet.MAC // of a VXLAN device

	pod pod
}

// subnet returns the addresses of the node's pods.
func (n *node) subnet() netip.Prefix { return n.gateway.Masked() }

// setUp makes what a node has before its tunnel.
func (n *node) setUp(e *engine.Engine) error {
	// sysctl net.ipv4.ip_forward=1
	e.SetForwarding(true)

	return errors.Join(
		// ip link set ens192 address 00:50:56:93:6a:3a up
		added(e.AddPort(engine.Port{Link: engine.Link{Name: n.nic, MAC: n.mac, Up: true}})),
		// ip addr add 172.16.100.101/24 dev ens192
		e.AddAddr(n.nic, engine.Addr{Prefix: n.addr}),

		// ip link add cni0 address 0a:58:0a:f4:01:01 mtu 1450 type bridge; ip link set cni0 up
		added(e.AddBridge(engine.Bridge{Link: engine.Link{Name: "cni0", MAC: n.cni0, MTU: n.mtu, Up: true}})),
		// ip addr add 10.244.1.1/24 dev cni0
		e.AddAddr("cni0", engine.Addr{Prefix: n.gateway}),

		// ip link add veth-a mtu 1450 type veth peer name eth0 netns pod-a; ip link set veth-a up
		added(e.AddPort(engine.Port{Link: engine.Link{Name: n.veth, MTU: n.mtu, Up: true}})),
		// ip link set veth-a master cni0
		e.SetMaster(n.veth, "cni0"),
		// bridge link set dev veth-a hairpin on
		e.SetBridgePort(n.veth, engine.BridgePort{Hairpin: true}),
	)
}

// added leaves out the index of a device that was added: names will do here.
func added(_ uint32, err error) error { return err }
