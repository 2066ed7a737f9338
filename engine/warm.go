package engine

// The warm-up pass: what the packets of a burst will ask the tables for is loaded for all of them first, and the results thrown
// away. The loads overlap in the memory system then, while those of packets in turn would wait for each other. Nothing else
// depends on it; it pays only where tables do not fit the cache.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/fdb"
	"github.com/culvert-net/culvert/packet"
)

// Sizes from which on WarmAuto warms up: entries of some table, as measured (see benchmarks).
const (
	warmStations = 1 << 15
	warmRoutes   = 1 << 14
)

// warmUp touches the tables for a burst that a port has received.
func (w *Worker) warmUp(d *device, batch []*packet.Buffer) {
	if d.raw {
		return
	}
	var br *fdb.Table
	if m := w.st.device(d.master); m != nil && m.bridge != nil {
		br = m.bridge.table
	}
	for _, b := range batch {
		p := b.Bytes()
		if len(p) < ethernet.HeaderLen+20 {
			continue
		}
		dst := binary.BigEndian.Uint64(p) >> 16
		if br != nil {
			_ = br.Lookup(fdb.Key(dst))
			_ = br.Lookup(fdb.Key(binary.BigEndian.Uint64(p[4:]) & macBroadcast))
			continue
		}
		if dst == d.mac {
			_ = w.e.routes.Lookup(binary.BigEndian.Uint32(p[30:]))
		}
	}
}
