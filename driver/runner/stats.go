package runner

// What can be seen of a runner.

import (
	"github.com/culvert-net/culvert/driver"
)

// PortStats is how a port's driver does.
type PortStats struct {
	Port   uint32
	Name   string // of the port
	Driver driver.Driver
	Link   driver.Link
	Stats  driver.Stats

	RxErrors, TxErrors uint64 // calls of Receive and Send that have returned errors
	RxError, TxError   error  // the last of them
}

// Ports returns what can be said of the ports that have drivers, by index.
func (r *Runner) Ports() []PortStats {
	var all []PortStats
	for _, b := range *r.ports.Load() {
		if b == nil {
			continue
		}
		s := PortStats{
			Port: b.port, Name: r.e.Name(b.port), Driver: b.driver, Link: b.driver.Link(), Stats: b.driver.Stats(),
			RxErrors: b.rxErrors.Load(), TxErrors: b.txErrors.Load(),
		}
		if err := b.lastErrors[0].Load(); err != nil {
			s.RxError = *err
		}
		if err := b.lastErrors[1].Load(); err != nil {
			s.TxError = *err
		}
		all = append(all, s)
	}
	return all
}

// Unbound returns how many packets the engine has sent by ports that have no driver; they are lost.
func (r *Runner) Unbound() uint64 { return r.unbound.Load() }
