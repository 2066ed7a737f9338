package main

// Output that remembers its first error, so that printing need not be checked line by line.

import (
	"bufio"
	"errors"
	"io"
	"os"
	"syscall"
)

// output is a buffered writer with a sticky error.
type output struct {
	buf *bufio.Writer
	err error
}

func newOutput(w io.Writer) *output { return &output{buf: bufio.NewWriterSize(w, 64<<10)} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	var n int
	n, o.err = o.buf.Write(p)
	return n, o.err
}

// flush hands on what is buffered.
func (o *output) flush() {
	if o.err == nil {
		o.err = o.buf.Flush()
	}
}

// closed reports whether the reader went away, as `| head` does: no error, but nobody to print for.
func closed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// isTerminal reports whether w is a character device, as a terminal is, but not the null device.
func isTerminal(w any) bool {
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
