package engine_test

// Random scripts for the node that is fuzzed: what a fuzzer would take long to hit upon, because it is well-formed.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/reference"
)

const (
	scriptSeeds   = 150
	scriptRecords = fuzzRecords
)

func TestRandomScripts(t *testing.T) {
	for seed := range uint64(scriptSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			script := newScript(t, r).write()
			first, second := newFuzzNode(t), newFuzzNode(t)
			first.play(script)
			second.play(script)
			require.Equal(t, first.describe(), second.describe(), "the same script, another result")
			first.finish()
			second.finish()
		})
	}
}

// script is what is around the fuzzed node.
type script struct{ *world }

func newScript(t testing.TB, r *rand.Rand) script {
	w := &world{twin: &twin{t: t, r: r, ref: reference.New()}, pieces: 0.15}
	for i, name := range fuzzPorts {
		d := w.ref.Add(reference.Device{Name: name, Kind: reference.Port, MAC: macAt(1, 0, i), Raw: name == "raw0"})
		w.macs = append(w.macs, d.MAC)
	}
	br := w.ref.Add(reference.Device{Name: "br0", Kind: reference.Bridge, MAC: macAt(1, 0, 16)})
	pair := w.ref.Add(reference.Device{Name: "ve1", Kind: reference.Pair, MAC: macAt(1, 0, 18)})
	for _, at := range []struct {
		port    string
		device  *reference.Device
		address string
	}{
		{"eth0", w.ref.Device("eth0"), "172.16.100.%d"},
		{"eth1", w.ref.Device("eth1"), "192.168.30.%d"},
		{"p0", br, "10.244.1.%d"},
		{"p1", br, "10.244.1.%d"},
		{"p1", pair, "10.21.0.%d"},
		{"raw0", w.ref.Device("raw0"), "10.9.0.%d"},
	} {
		for k := range 3 {
			h := neighbourHost{port: at.port, device: at.device, ip: quad(at.address, 102+k), mac: macAt(2, len(at.port), k)}
			w.hosts = append(w.hosts, h)
			w.addrs = append(w.addrs, h.ip)
			w.macs = append(w.macs, h.mac)
		}
	}
	for _, a := range []string{
		"172.16.100.101", "192.168.30.211", "10.244.1.1", "10.21.0.1", "10.9.0.1", "10.244.1.0", "10.40.0.0", // the node's own
		"10.244.2.14", "10.244.3.14", "10.40.1.7", "10.41.1.7", "10.50.0.1", "10.50.1.1", "10.50.2.1", "10.51.0.1", "10.52.0.1",
		"8.8.8.8", "255.255.255.255", "10.244.1.255", "224.0.0.1",
	} {
		w.addrs = append(w.addrs, quad("%s", a))
	}
	flannel, far := ethernet.MustParseMAC("fe:90:c4:18:69:a7"), ethernet.MustParseMAC("b6:72:ae:36:7b:6c")
	w.macs = append(w.macs, br.MAC, pair.MAC, flannel)
	w.inner = []ethernet.MAC{far, macAt(7, 0, 0), macAt(7, 0, 1)}
	w.vnis, w.local = []uint32{1, 7}, quad("172.16.100.101")
	for k := range 3 {
		w.vteps = append(w.vteps, quad("172.16.100.%d", 102+k))
	}
	return script{w}
}

// write writes frames, the passing of time and control calls, mostly frames.
func (s script) write() (script []byte) {
	for range scriptRecords {
		switch s.r.IntN(8) {
		case 0:
			script = append(script, byte(fuzzTime+s.r.IntN(fuzzControl-fuzzTime)))
		case 1:
			script = append(script, byte(fuzzControl+s.r.IntN(0x100-fuzzControl)), byte(s.r.IntN(0x100)))
		default:
			port, frame := s.randomFrame()
			script = append(script, fuzzRecord(byte(slices.Index(fuzzPorts, port)), frame)...)
		}
	}
	return script
}
