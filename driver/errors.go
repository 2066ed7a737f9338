package driver

// Errors of Send that a driver finds by itself. What the system found comes as the system says it, such as unix.EMSGSIZE.

import "errors"

// Why a packet was not sent, where the driver knows before it asks the system.
var (
	ErrDown     = errors.New("driver: the link is down")
	ErrFull     = errors.New("driver: the device is full")
	ErrShort    = errors.New("driver: packet shorter than its header")
	ErrTooLong  = errors.New("driver: packet longer than the MTU or what the device takes")
	ErrMetadata = errors.New("driver: packet with metadata that Link's Offloads do not name")
)
