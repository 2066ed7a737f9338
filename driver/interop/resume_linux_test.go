package interop_test

// What happens to nodes and wires, while a TCP connection each way is under way: it goes on by itself.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
)

// TestKilled kills a node and starts it again, and makes the peer's VXLAN device anew.
func TestKilled(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for drivers := range lasting {
			for _, learning := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/learning=%t", drivers, learning), func(t *testing.T) {
					a := &process{drivers: drivers}
					s := overlay.Join(t, overlay.Config{Learning: learning}, a, overlay.Linux{})
					all := transferBothWays(t, s)
					for range 2 {
						a.kill(t)
						a.run(t, &s.A)
						all.goOn(t, "culvert killed and started again")
					}
					s.B.Node.IP(t, "link delete vxlan1")
					overlay.Linux{}.Tunnel(t, &s.B)
					all.goOn(t, "Linux's device made anew")
					all.end(t)
				})
			}
		}
	})
}

// TestLinkDownAndUp takes each device on the way down and up again.
func TestLinkDownAndUp(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, a := range overlay.Culverts() {
			t.Run(a.Name(), func(t *testing.T) {
				s := overlay.Join(t, overlay.Config{}, a, overlay.Linux{})
				all := transferBothWays(t, s)
				devices := []struct {
					ns   *netnstest.Namespace
					name string
				}{{s.A.Node, s.A.Wire}, {s.B.Node, s.B.Wire}, {s.A.Pod, overlay.Eth0}, {s.A.Node, overlay.PodPort}}
				for _, d := range devices {
					if d.name == overlay.PodPort && !strings.Contains(d.ns.IP(t, "-brief link"), d.name+"@") {
						continue // a TAP device is the pod's own
					}
					d.ns.IP(t, "link set "+d.name+" down")
					require.Eventually(t, func() bool { return !carriers(s.A.Runner) }, endurance, time.Millisecond, "%s is down", d.name)
					d.ns.Up(t, d.name)
					all.goOn(t, d.name+" down and up")
				}
				all.end(t)
			})
		}
	})
}

// carriers reports whether all of a node's ports have one.
func carriers(r *runner.Runner) bool {
	for _, p := range r.Ports() {
		if l, _ := r.Engine().Link(p.Name); !l.Carrier {
			return false
		}
	}
	return true
}

// TestDeviceMadeAnew deletes the wire, and then the pod's cable, and makes another one with the same name.
func TestDeviceMadeAnew(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, a := range overlay.Culverts() {
			t.Run(a.Name(), func(t *testing.T) {
				s := overlay.Join(t, overlay.Config{Learning: true}, a, overlay.Linux{})
				all := transferBothWays(t, s)
				s.A.Node.IP(t, "link delete "+s.A.Wire) // and with it the other end, and Linux's VXLAN device on that
				s.Lay(t)
				if a.Name() == "culvert tap+udp" {
					s.A.AddressNode(t)
				}
				s.B.AddressNode(t)
				overlay.Linux{}.Tunnel(t, &s.B)
				all.goOn(t, "another wire")

				s.A.Pod.IP(t, "link delete "+overlay.Eth0)
				if a.Name() == "culvert tap+udp" {
					s.A.Pod.IP(t, "tuntap add dev "+overlay.Eth0+" mode tap")
					s.A.AddressPod(t)
					s.A.Pod.Up(t, overlay.Eth0)
				} else {
					s.A.CablePod(t)
				}
				all.goOn(t, "another cable to the pod")
				all.end(t)
			})
		}
	})
}
