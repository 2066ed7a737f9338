//go:build !linux

package afpacket

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/culvert-net/culvert/driver"
)

// Driver is a device's packet sockets; on this system there are none.
type Driver struct{ driver.Driver }

// New returns an error that wraps [errors.ErrUnsupported]: packet sockets are Linux's.
func New(c Config) (*Driver, error) {
	return nil, errors.Join(c.check(),
		fmt.Errorf("afpacket: %w: packet sockets need Linux, this is %s", errors.ErrUnsupported, runtime.GOOS))
}

// SetFilter does nothing.
func (*Driver) SetFilter(*Filter) error { return errors.ErrUnsupported }

// SetSteal does nothing.
func (*Driver) SetSteal(*Filter) error { return errors.ErrUnsupported }
