package engine

// Who may keep how much of the pool. What waits, for other fragments, for a neighbour to answer, for the agent to tell where a
// station is, waits in the pool's buffers, and senders decide how much of it there is. So that they cannot keep the node from
// receiving and answering, the defaults leave a quarter of the pool to packets on their way.

import (
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/packet"
)

// DefaultBuffers is how many buffers of [packet.DefaultSize] bytes there are in a pool of the engine's own: twice the memory that
// Linux lets fragments have.
const DefaultBuffers = 4096

// The defaults, and as what part of the pool at most.
const (
	fragBytes    = 4 << 20 // net.ipv4.ipfrag_high_thresh
	fragPart     = 2
	waitingLimit = 512 // packets for neighbours in all, arp.TableConfig.MaxWaiting
	waitingPart  = 8
	missingLimit = 256
	missingPart  = 8
)

// part returns a default that is limited to a part of the pool.
func part(limit, whole, divisor int) int { return max(min(limit, whole/divisor), 1) }

// share fills in how much may wait, where the configuration leaves that open.
func (c *Config) share(p *packet.Pool) {
	if c.MaxMissing == 0 {
		c.MaxMissing = part(missingLimit, p.Len(), missingPart)
	}
	if c.Neighbours.MaxWaiting == 0 {
		c.Neighbours.MaxWaiting = part(waitingLimit, p.Len(), waitingPart)
	}
}

// reassembly is the configuration of reassembly.
func (e *Engine) reassembly(g Global) ipfrag.Config {
	if g.FragMaxBytes == 0 {
		like := e.pool.Outside()
		g.FragMaxBytes = part(fragBytes, e.pool.Len()*(like.Headroom()+like.Tailroom()), fragPart)
	}
	return ipfrag.Config{Timeout: g.FragTimeout, MaxBytes: g.FragMaxBytes}
}
