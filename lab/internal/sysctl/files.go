package sysctl

// The files in /proc/sys.

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// root is where the keys are.
const root = "/proc/sys/"

// Open is the proc.FileFunc of /proc/sys.
func Open(p *proc.Proc, name string, flag int) (io.ReadWriteCloser, bool, error) {
	key, ok := strings.CutPrefix(name, root)
	if !ok {
		return nil, false, nil
	}
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		_, _, err := find(p.Node, key)
		return &file{node: p.Node, key: key}, true, errno(err)
	}
	value, err := Get(p.Node, key)
	return proc.TextFile(value + "\n"), true, errno(err)
}

// Paths returns the names of all files.
func Paths(p *proc.Proc) []string {
	all := Names(p.Node, true)
	for i, name := range all {
		all[i] = root + name
	}
	return all
}

// errno makes our faults the system's, whose texts the tools print.
func errno(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return syscall.ENOENT
	case errors.Is(err, ErrReadOnly):
		return syscall.EACCES
	}
	return syscall.EINVAL
}

// file is a key that is open: what is written to it is its value, set at each write, as on Linux.
type file struct {
	io.Reader
	node *network.Node
	key  string
}

func (f *file) Write(b []byte) (int, error) {
	if err := Set(f.node, f.key, string(bytes.TrimSpace(b))); err != nil {
		return 0, errno(err)
	}
	return len(b), nil
}

func (*file) Close() error { return nil }
