package ipcmd

// Kinds whose other side is outside: devices of the machine, of a lab in real time. They are no kinds of iproute2.

import (
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// addDriver makes a device of the machine. The kind reads its own words.
func (i *ip) addDriver(l *linkWords, open proc.OpenDriver) error {
	freeName(l, l.kind)
	e, err := l.base(minMTU)
	if err != nil {
		return err
	}
	var rest []string
	for i.args.More() {
		rest = append(rest, i.args.Next())
	}
	d, err := open(e, rest)
	if err == nil {
		err = l.node.AddDriver(e, l.kind, d)
	}
	if err != nil {
		return words.Errorf(2, "%s: %v", l.name, err)
	}
	return i.dress(l)
}
