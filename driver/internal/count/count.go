// Package count is how the drivers count packets: every queue has one for each direction.
package count

import (
	"sync/atomic"

	"github.com/culvert-net/culvert/driver"
)

// Packets counts those of one direction. The zero value is ready; all of it is safe for concurrent use.
type Packets struct{ Passed, Bytes, Dropped, Errors atomic.Uint64 }

// Pass counts packets that have passed, and their bytes.
func (c *Packets) Pass(packets, bytes int) {
	c.Passed.Add(uint64(packets))
	c.Bytes.Add(uint64(bytes))
}

// AddReceived adds what was counted of what came in.
func (c *Packets) AddReceived(s *driver.Stats) {
	s.RxPackets += c.Passed.Load()
	s.RxBytes += c.Bytes.Load()
	s.RxDropped += c.Dropped.Load()
	s.RxErrors += c.Errors.Load()
}

// AddSent adds what was counted of what went out.
func (c *Packets) AddSent(s *driver.Stats) {
	s.TxPackets += c.Passed.Load()
	s.TxBytes += c.Bytes.Load()
	s.TxDropped += c.Dropped.Load()
	s.TxErrors += c.Errors.Load()
}
