package tuntap_test

// The conformance suite, with the kernel as the wire:
//
//	packet socket ── tap0 or tun0 ── driver

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

func TestConformance(t *testing.T) { run(t, testConformance) }

func testConformance(t *testing.T) {
	for _, c := range []struct {
		name   string
		config tuntap.Config
	}{
		{"tap", tuntap.Config{}},
		{"tap without offloads", tuntap.Config{Without: packet.OffloadChecksum}},
		{"tap with two queues", tuntap.Config{Queues: 2}},
		{"tun", tuntap.Config{Kind: tuntap.TUN}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{
				LongOK: true, // a TAP device takes any frame, as it is not sent further
				New: func(t *testing.T, s drivertest.Config) drivertest.Pair {
					ns := netnstest.New(t)
					c.config.Pool = s.Pool
					d := openUp(t, ns, c.config)
					name := d.Link().Name
					set := func(args string) error {
						return ns.Do(exec.Command("sh", "-c", "ip link set "+name+" "+args).Run)
					}
					return drivertest.Pair{
						Driver: d,
						Wire:   newWire(t, ns, d.Link()),
						SetUp: func(up bool) error {
							if up {
								return set("up")
							}
							return set("down")
						},
						SetMTU: func(mtu int) error { return set(fmt.Sprint("mtu ", mtu)) },
					}
				},
			})
		})
	}
}
