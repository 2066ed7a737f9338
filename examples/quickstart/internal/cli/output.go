package cli

// Output that remembers its first error, so that printing need not be checked line by line.

import (
	"bufio"
	"errors"
	"io"
	"os"
	"syscall"
)

// Output is a buffered writer with a sticky error.
type Output struct {
	buf *bufio.Writer
	err error
}

// NewOutput returns an Output for w.
func NewOutput(w io.Writer) *Output { return &Output{buf: bufio.NewWriterSize(w, 64<<10)} }

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	var n int
	n, o.err = o.buf.Write(p)
	return n, o.err
}

// Flush hands on what is buffered.
func (o *Output) Flush() {
	if o.err == nil {
		o.err = o.buf.Flush()
	}
}

// Err returns the first error.
func (o *Output) Err() error { return o.err }

// Closed reports whether the reader went away, as `| head` does: no error, but nobody to print for.
func Closed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// IsTerminal reports whether w is a character device, as a terminal is, but not the null device.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
