//go:build !linux

package tuntap

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/culvert-net/culvert/driver"
)

// Driver is a TUN or TAP device, which there is on Linux only.
type Driver struct{}

// New returns errors.ErrUnsupported.
func New(Config) (*Driver, error) {
	return nil, fmt.Errorf("tuntap: no TUN and TAP devices on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Queues implements [driver.Driver].
func (d *Driver) Queues() []driver.Queue { return nil }

// Link implements [driver.Driver].
func (d *Driver) Link() driver.Link { return driver.Link{} }

// Changed implements [driver.Driver].
func (d *Driver) Changed() <-chan struct{} { return nil }

// Stats implements [driver.Driver].
func (d *Driver) Stats() driver.Stats { return driver.Stats{} }

// Close implements [driver.Driver].
func (d *Driver) Close() error { return nil }
