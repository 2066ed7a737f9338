package main

// The station: an engine with one port, the machine's device, and the tunnels to the backends.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"

	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/driver/runner"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/packet"
)

// station sends probes and finds the answers to them.
type station struct {
	e    *engine.Engine
	r    *runner.Runner
	d    *afpacket.Driver
	pool *packet.Pool
	stop context.CancelFunc
	done chan error

	mu      sync.Mutex
	pending map[key]probe
	last    uint16 // identifier given to a probe
}

// newStation opens the device and starts to run.
func newStation(o options) (*station, error) {
	pool, err := packet.NewPool(packet.PoolConfig{})
	if err != nil {
		return nil, err
	}
	mac := macOf(o.addr.Addr(), 0)
	s := &station{pool: pool, pending: map[key]probe{}, done: make(chan error, 1)}
	if s.e, err = engine.New(engine.Config{Pool: pool, Seed: rand.Uint64(), Local: s.receive}); err != nil {
		return nil, err
	}
	s.d, err = afpacket.New(afpacket.Config{Device: o.device, Promiscuous: true, Filter: &afpacket.Filter{MACs: []ethernet.MAC{mac}}})
	if err != nil {
		return nil, err
	}
	s.r = runner.New(s.e, runner.Config{})
	if _, err := s.r.Attach(s.d, engine.Port{Link: engine.Link{Name: "eth0", MAC: mac, Up: true}}); err != nil {
		return nil, errors.Join(err, s.d.Close())
	}
	if err := s.configure(o); err != nil {
		return nil, errors.Join(err, s.d.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.r.Run(ctx) }()
	return s, nil
}

// macOf returns the MAC address that goes with an IP address: locally administered, and the same after a restart, so that the
// neighbours' entries stay right.
func macOf(a netip.Addr, device byte) ethernet.MAC {
	b := a.As4()
	return ethernet.MAC{0x02, device, b[0], b[1], b[2], b[3]}
}

// configure gives the station its addresses, routes and tunnels. In comments, what that would be on Linux.
func (s *station) configure(o options) error {
	errs := []error{s.e.AddAddr("eth0", engine.Addr{Prefix: o.addr})} // ip addr add A/L dev eth0
	if o.gateway.IsValid() {
		everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		errs = append(errs, s.e.AddRoute(engine.Route{Prefix: everywhere, Via: o.gateway, Dev: "eth0"})) // ip route add default via G
	}
	if o.overlay != (overlay{}) {
		l := engine.Link{Name: "vxlan", MAC: macOf(o.overlay.addr.Addr(), 1), Up: true}
		_, err := s.e.AddVXLAN(engine.VXLAN{Link: l, VNI: o.overlay.vni, Local: o.addr.Addr(), DstPort: o.port})
		// ip link add vxlan address … up type vxlan id VNI local A dstport P
		errs = append(errs, err, s.e.AddAddr("vxlan", engine.Addr{Prefix: o.overlay.addr}))
	}
	tunnels := map[netip.Addr]string{}
	for n, t := range o.targets {
		switch {
		case t.tunnel == "vxlan":
			t.device = "vxlan"
			// bridge fdb append 00:00:00:00:00:00 dev vxlan dst B: ARP finds out which station is behind which backend
			if err := s.e.AppendFDB(engine.FDBEntry{Dev: "vxlan", Dst: t.backend}); !errors.Is(err, engine.ErrExists) {
				errs = append(errs, err)
			}
		case tunnels[t.backend] != "":
			t.device = tunnels[t.backend]
		default:
			t.device = fmt.Sprintf("ipip%d", n)
			tunnels[t.backend] = t.device
			_, err := s.e.AddIPIP(engine.IPIP{Link: engine.Link{Name: t.device, Up: true}, Local: o.addr.Addr(), Remote: t.backend})
			errs = append(errs, err) // ip tunnel add ipipN mode ipip local A remote B
		}
		if t.tunnel == "ipip" { // several backends have one virtual address: probes name the device, and metrics keep the routes apart
			r := engine.Route{Prefix: netip.PrefixFrom(t.addr.Addr(), 32), Dev: t.device, Metric: uint32(n) + 1, Source: o.addr.Addr()}
			errs = append(errs, s.e.AddRoute(r)) // ip route add VIP dev ipipN src A metric N
		}
	}
	return errors.Join(errs...)
}

// close ends what runs.
func (s *station) close() error {
	s.stop()
	return errors.Join(<-s.done, s.d.Close(), s.e.Stats().Check())
}
