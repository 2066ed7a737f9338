package afpacket_test

// Filters in the kernel. Receiving over the wire of [pair], stealing through a bridge, where what the near kernel has not got does not
// come out at the other side:
//
//	far wire0 ──── port0 near, in bridge0 ── out0 ──── end0 beyond

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/afpacket"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

const kernelFrames = 400

// mix returns random frames; the last one is one of those that are to arrive.
func mix(t *testing.T, arrives func(frame) bool) (frames []frame, want []int) {
	t.Helper()
	r := rand.New(rand.NewPCG(filterSeed, 1))
	for i := 0; i < kernelFrames || len(want) == 0 || want[len(want)-1] != i-1; i++ {
		require.Less(t, i, 100*kernelFrames, "no frame of seed %d arrives", filterSeed)
		frames = append(frames, randomFrame(r, i))
		if arrives(frames[i]) {
			want = append(want, i)
		}
	}
	return frames, want
}

// send sends frames by a driver, as many at a time as the wire holds.
func send(t *testing.T, d *afpacket.Driver, frames []frame) {
	t.Helper()
	for _, f := range frames {
		require.NoError(t, d.Queues()[0].Send([]*packet.Buffer{packet.Of(f.onWire())}))
	}
}

// numbers receives frames of mix up to the last one, and returns which ones there were.
func numbers(t *testing.T, d *afpacket.Driver, last int) (got []int) {
	t.Helper()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n, err := d.Queues()[0].Receive(batch, time.Second)
		require.NoError(t, err)
		for _, b := range batch[:n] {
			if p := b.Bytes(); binary.BigEndian.Uint16(p[6:]) == 0x0201 { // of randomFrame
				got = append(got, int(binary.BigEndian.Uint16(p[10:])))
			}
			b.Free()
		}
		if len(got) > 0 && got[len(got)-1] == last {
			return got
		}
	}
	t.Errorf("frame %d has not arrived", last)
	return got
}

const patience = 10 * time.Second

func TestFilterInKernel(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		out := open(t, p.far, afpacket.Config{Device: "wire0", Filter: &afpacket.Filter{EtherTypes: []uint16{0xffff}}})
		in := open(t, p.near, afpacket.Config{Device: "port0", Promiscuous: true})
		for name, f := range filters {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, in.SetFilter(f))
				frames, want := mix(t, func(fr frame) bool { return wants(f, fr, false) })
				send(t, out, frames)
				assert.Equal(t, want, numbers(t, in, want[len(want)-1]))
			})
		}
	})
}

func TestStealInKernel(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		p, beyond := newPair(t), netnstest.New(t)
		netnstest.Veth(t,
			netnstest.End{Namespace: p.near, Device: "out0", MAC: "02:00:00:00:00:03"},
			netnstest.End{Namespace: beyond, Device: "end0", MAC: "02:00:00:00:00:04"})
		p.near.IP(t, "link add bridge0 type bridge mcast_snooping 0")
		for _, args := range []string{"port0 master bridge0", "out0 master bridge0", "bridge0 addrgenmode none", "bridge0 up"} {
			p.near.IP(t, "link set "+args)
		}
		letNonsensePass(t, p.near)
		out := open(t, p.far, afpacket.Config{Device: "wire0", Filter: &afpacket.Filter{EtherTypes: []uint16{0xffff}}})
		in := open(t, beyond, afpacket.Config{Device: "end0", Promiscuous: true})
		thief := open(t, p.near, afpacket.Config{Device: "port0", Filter: &afpacket.Filter{EtherTypes: []uint16{0xffff}}})
		for name, f := range filters {
			if f == nil {
				continue // steals nothing
			}
			t.Run(name, func(t *testing.T) {
				require.NoError(t, thief.SetSteal(f))
				frames, want := mix(t, func(fr frame) bool { return !wants(f, fr, true) })
				send(t, out, frames)
				assert.Equal(t, want, numbers(t, in, want[len(want)-1]))
			})
		}
	})
}

// letNonsensePass makes a namespace's bridges bridges: with br_netfilter, which some machines have, they drop IP packets that are none.
func letNonsensePass(t *testing.T, ns *netnstest.Namespace) {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		for _, what := range []string{"iptables", "ip6tables", "arptables"} {
			err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+what, []byte("0"), 0)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}))
}
