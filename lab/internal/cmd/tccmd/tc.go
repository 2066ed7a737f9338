// Package tccmd is the command tc, as in iproute2 6.1, with the one queueing discipline that the lab has: netem.
package tccmd

import (
	"errors"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"tc": run} }

// Exit statuses.
const (
	usage   = 255
	illegal = 1 // of the command line
	refused = 2 // by the kernel
)

// tc is one call of the command.
type tc struct {
	p       *proc.Proc
	node    *network.Node
	args    *words.Args
	details bool
	stats   bool
}

type verb func(*tc) error

func run(p *proc.Proc, args []string) int {
	t := &tc{p: p, node: p.Node, args: words.NewArgs(args)}
	err := t.command()
	var refusal *words.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refusal):
		return p.Fail(refusal.Status, "%s", refusal.Text)
	}
	return p.Fail(refused, "RTNETLINK answers: %s", words.Errno(err))
}

const help = `Usage:	tc [ OPTIONS ] OBJECT { COMMAND | help }
where  OBJECT := { qdisc }
       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] | -n[etns] name }`

func (t *tc) command() error {
	for strings.HasPrefix(t.args.Peek(), "-") {
		if done, err := t.option("-" + strings.TrimLeft(t.args.Next(), "-")); done || err != nil {
			return err
		}
	}
	if !t.args.More() {
		t.p.Printf("%s\n", help)
		return nil
	}
	word := t.args.Next()
	if !strings.HasPrefix("qdisc", word) {
		return words.Errorf(usage, `Object "%s" is unknown, try "tc help".`, word)
	}
	return t.qdisc()
}

// option does one option, and reports whether it was all that is to be done.
func (t *tc) option(word string) (done bool, err error) {
	match := func(full string) bool { return len(word) > 1 && strings.HasPrefix(full, word) }
	switch {
	case match("-Version"):
		t.p.Printf("tc utility, iproute2-6.1.0\n")
		return true, nil
	case match("-statistics") || match("-stats"):
		t.stats = true
	case match("-details"):
		t.details = true
	case match("-color") || match("-oneline"):
	case match("-netns"):
		name, err := t.args.Value()
		if err != nil {
			return false, err
		}
		if t.node = t.p.Sys.Net.Node(name); t.node == nil || name == network.Default {
			return false, words.Errorf(usage, `Cannot open network namespace "%s": No such file or directory`, name)
		}
		t.p = t.p.On(t.node)
	default:
		return false, words.Errorf(usage, `Option "%s" is unknown, try "tc -help".`, word)
	}
	return false, nil
}

func (t *tc) qdisc() error {
	if !t.args.More() {
		return t.show()
	}
	word := t.args.Next()
	f, ok := words.Match([]words.Entry[verb]{
		{Name: "add", Value: func(t *tc) error { return t.modify(create | exclusive) }},
		{Name: "change", Value: func(t *tc) error { return t.modify(0) }},
		{Name: "replace", Value: func(t *tc) error { return t.modify(create) }},
		{Name: "delete", Value: (*tc).remove},
		{Name: "list", Value: (*tc).show},
		{Name: "show", Value: (*tc).show},
		{Name: "lst", Value: (*tc).show},
	}, word)
	if word == "ls" { // which is list
		f, ok = (*tc).show, true
	}
	if !ok {
		return words.Errorf(usage, `Command "%s" is unknown, try "tc qdisc help".`, word)
	}
	return f(t)
}

// What 'add', 'change' and 'replace' may do (NLM_F_CREATE, NLM_F_EXCL).
const (
	create = 1 << iota
	exclusive
)

// qdisc is a queueing discipline that a device has.
type qdisc struct {
	handle int
	netem  netem
}

// Keys of what is kept with a node: the disciplines of its devices, and with the first one the next handle.
type (
	qdiscKey  struct{ dev *network.Device }
	handleKey struct{}
)

// firstHandle is that of the first discipline without one of its own (net/sched/sch_api.c, qdisc_alloc_handle).
const firstHandle = 0x8001

func (t *tc) newHandle() int {
	n := t.p.Sys.Net.Default()
	handle, ok := n.Value(handleKey{}).(int)
	if !ok {
		handle = firstHandle
	}
	n.SetValue(handleKey{}, handle+1)
	return handle
}

// of returns the discipline of a device, nil if it has the one that does nothing.
func (t *tc) of(d *network.Device) *qdisc {
	if d == nil || d.Faults() == nil {
		return nil
	}
	q, _ := t.p.Sys.Net.Default().Value(qdiscKey{d}).(*qdisc)
	return q
}

func (t *tc) keep(d *network.Device, q *qdisc) {
	t.p.Sys.Net.Default().SetValue(qdiscKey{d}, q)
}

// target is where a discipline is to be: 'dev D root [handle H:] [KIND]'.
type target struct {
	dev    string
	root   bool
	parent bool
	handle int
	kind   string
}

// target reads the words up to the kind's own.
func (t *tc) target() (g target, err error) {
	for t.args.More() && err == nil && g.kind == "" {
		switch word := t.args.Next(); word {
		case "dev":
			if g.dev != "" {
				return g, words.Errorf(usage, `Error: either "dev" is duplicate, or "%s" is a garbage.`, t.args.Peek())
			}
			g.dev, err = t.args.Value()
		case "root":
			g.root = true
		case "parent":
			g.parent = true
			_, err = t.args.Value()
		case "handle":
			g.handle, err = t.handle()
		case "ingress", "clsact":
			return g, words.Errorf(refused, "Error: Specified qdisc kind is unknown.")
		default:
			g.kind = word
		}
	}
	if err == nil && g.dev != "" && t.node.E.Index(g.dev) == 0 {
		err = words.Errorf(illegal, `Cannot find device "%s"`, g.dev)
	}
	return g, err
}

func (t *tc) handle() (int, error) {
	value, err := t.args.Value()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(value, ":"), 16, 16)
	if err != nil {
		return 0, words.Errorf(usage, `Error: argument "%s" is wrong: invalid qdisc ID`, value)
	}
	return int(n), nil
}

// kernel is a refusal with the kernel's own words.
func kernel(text string) error { return words.Errorf(refused, "Error: %s", text) }

// modify adds, changes or replaces a discipline (tc_modify_qdisc).
func (t *tc) modify(flags int) error {
	g, err := t.target()
	if err != nil {
		return err
	}
	var n netem
	if g.kind == "netem" {
		if n, err = readNetem(t.args); err != nil {
			return err
		}
	} else if t.args.More() {
		return words.Errorf(illegal, `Unknown qdisc "%s", hence option "%s" is unparsable`, g.kind, t.args.Peek())
	}
	d := t.node.Device(g.dev)
	have := t.of(d)
	switch {
	case g.dev == "":
		return words.Errorf(refused, "RTNETLINK answers: No such device")
	case g.parent:
		return kernel("Failed to find specified qdisc.")
	case !g.root:
		return kernel("Handle cannot be zero.")
	case have == nil && flags&create == 0:
		return kernel("Qdisc not found. To create specify NLM_F_CREATE flag.")
	case g.kind != "netem":
		return kernel("Specified qdisc kind is unknown.")
	case have != nil && flags&exclusive != 0:
		return kernel("Exclusivity flag on, cannot modify.")
	case d == nil || d.Kind != "veth": // devices without a wire have nowhere to lose packets
		return words.Errorf(refused, "RTNETLINK answers: Operation not supported")
	}
	if err := d.SetFaults(n.faults()); err != nil {
		return err
	}
	if have == nil || g.handle != 0 && g.handle != have.handle {
		have = &qdisc{handle: g.handle}
		if g.handle == 0 {
			have.handle = t.newHandle()
		}
	}
	have.netem = n
	t.keep(d, have)
	return nil
}

// remove takes a discipline away (tc_get_qdisc).
func (t *tc) remove() error {
	g, err := t.target()
	if err != nil {
		return err
	}
	d := t.node.Device(g.dev)
	have := t.of(d)
	switch {
	case g.dev == "":
		return words.Errorf(refused, "RTNETLINK answers: No such device")
	case !g.root:
		return kernel("Failed to find qdisc with specified handle.")
	case have == nil && g.handle != 0 || have != nil && g.handle != 0 && g.handle != have.handle:
		return kernel("Invalid handle.")
	case have == nil && g.kind != "" || have != nil && g.kind != "" && g.kind != "netem":
		return kernel("Invalid qdisc name: must match existing qdisc.")
	case have == nil:
		return kernel("Cannot delete qdisc with handle of zero.")
	}
	t.keep(d, nil)
	return d.SetFaults(nil)
}

// show prints the disciplines of all devices that are up, or of one.
func (t *tc) show() error {
	g, err := t.target()
	if err != nil {
		return err
	}
	for _, l := range t.node.E.Links() {
		if g.dev != "" && l.Name != g.dev {
			continue
		}
		q := t.of(t.node.Device(l.Name))
		if q == nil && !l.Up {
			continue
		}
		dev := ""
		if g.dev == "" {
			dev = "dev " + l.Name + " "
		}
		if q == nil {
			t.p.Printf("qdisc noqueue 0: %sroot refcnt 2 \n", dev)
		} else {
			t.p.Printf("qdisc netem %x: %sroot refcnt 2 %s\n", q.handle, dev, q.netem)
		}
		if t.stats {
			t.showStats(q, l.Name)
		}
	}
	return nil
}

// showStats prints what a discipline has counted; the one that does nothing counts nothing.
func (t *tc) showStats(q *qdisc, dev string) {
	var s network.QueueStats
	if q != nil {
		s = t.node.Device(dev).QueueStats()
	}
	t.p.Printf(" Sent %d bytes %d pkt (dropped %d, overlimits 0 requeues 0) \n backlog 0b %dp requeues 0\n", s.Bytes, s.Packets, s.Dropped, s.Waiting)
}
