//go:build !linux

package rawip

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/culvert-net/culvert/driver"
)

// Driver is a way by raw sockets; on this system there is none.
type Driver struct{ driver.Driver }

// New returns an error that wraps [errors.ErrUnsupported]: the driver needs Linux.
func New(Config) (*Driver, error) {
	return nil, fmt.Errorf("rawip: %w: the driver needs Linux, not %s", errors.ErrUnsupported, runtime.GOOS)
}
