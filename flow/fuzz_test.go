// Any bytes at all: no panic, and no byte counts that must not.
package flow_test

import (
	"encoding/binary"
	"testing"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/flow"
)

// tupleOf reads what the hash of an IPv4 packet is documented to depend on, step by step.
func tupleOf(p []byte) (f tuple, fragment bool) {
	f = tuple{src: binary.BigEndian.Uint32(p[12:]), dst: binary.BigEndian.Uint32(p[16:]), protocol: p[9]}
	fragment = p[6]&0x20 != 0 || p[6]&0x1f != 0 || p[7] != 0
	at := max(20, int(p[0]&15)*4)
	switch f.protocol {
	case 6, 17, 33, 50, 132, 136:
		if !fragment && len(p) >= at+4 {
			f.srcPort, f.dstPort = binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:])
		}
	}
	return f, fragment
}

func FuzzFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		h := flow.NewHasher(seed)
		hash := h.Frame(b)
		_, _ = h.IPv4(b), h.IPv6(b) // whatever they say of bytes that are something else
		exact := append(make([]byte, 0, len(b)), b...)
		if h.Frame(exact) != hash {
			t.Fatal("bytes behind the frame count")
		}
		at, etherType := flow.Network(b)
		if at > len(b) {
			t.Fatalf("network header at %d of %d bytes", at, len(b))
		}
		if etherType != ethernet.TypeIPv4 || len(b) < at+20 {
			return
		}
		want, fragment := tupleOf(b[at:])
		if got := h.IPv4(want.packet()); got != hash {
			t.Fatalf("hash %#x, but a plain packet of the same flow %+v has %#x", hash, want, got)
		}
		if fragment {
			for i := at + 20; i < len(exact); i++ {
				exact[i] ^= 0xa5
			}
			if h.Frame(exact) != hash {
				t.Fatal("bytes behind a fragment's header count")
			}
		}
	})
}
