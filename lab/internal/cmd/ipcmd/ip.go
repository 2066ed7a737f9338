// Package ipcmd is the command ip, as in iproute2 6.1 on Debian 12: one file for each object, one function for each word.
//
// Words are looked up in tables, in the order of iproute2's source, and may be shortened where they may be shortened there: so 'ip
// link add a type veth' is refused, since a is address. What ip itself refuses, and the exit status, is iproute2's: 255 where it
// calls exit(-1), which ends a batch too, 1 and 2 where it returns. What the kernel refuses has the texts of Linux 6.18.
package ipcmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"ip": run, "modprobe": modprobe} }

// ip is one call of the command.
type ip struct {
	p    *proc.Proc
	node *network.Node
	args *words.Args

	family  family
	details int  // -d
	stats   int  // -s
	oneline bool // -o
	brief   bool // -br
	all     bool // -a
	force   bool
	batched bool // a line of a batch
}

// verb is what a word does. The errors are those of package words.
type verb func(*ip) error

// verbs are the words of an object, in the order in which abbreviations are looked up: that of iproute2's source.
type verbs []words.Entry[verb]

// objects, in the order of iproute2's ip.c. Those that the lab does not have are there so that abbreviations mean the same.
func objects() []words.Entry[verb] {
	return []words.Entry[verb]{
		{Name: "address", Value: (*ip).address},
		{Name: "addrlabel"},
		{Name: "maddress"},
		{Name: "route", Value: (*ip).route},
		{Name: "rule"},
		{Name: "neighbor", Value: (*ip).neigh},
		{Name: "neighbour", Value: (*ip).neigh},
		{Name: "ntable"},
		{Name: "ntbl"},
		{Name: "link", Value: (*ip).link},
		{Name: "l2tp"},
		{Name: "fou"},
		{Name: "ila"},
		{Name: "macsec"},
		{Name: "tunnel", Value: (*ip).tunnel},
		{Name: "tunl", Value: (*ip).tunnel},
		{Name: "tuntap"},
		{Name: "tap"},
		{Name: "token"},
		{Name: "tcpmetrics"},
		{Name: "tcp_metrics"},
		{Name: "monitor"},
		{Name: "xfrm"},
		{Name: "mroute"},
		{Name: "mrule"},
		{Name: "netns", Value: (*ip).netns},
		{Name: "netconf"},
		{Name: "vrf"},
		{Name: "sr"},
		{Name: "nexthop"},
		{Name: "mptcp"},
		{Name: "ioam"},
		{Name: "help", Value: func(*ip) error { return help(usage) }},
		{Name: "stats"},
	}
}

func run(p *proc.Proc, args []string) int {
	i := &ip{p: p, node: p.Node, args: words.NewArgs(args)}
	return i.report(i.command())
}

// report prints a refusal and returns the exit status.
func (i *ip) report(err error) int {
	if err == nil {
		return 0
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var refusal *words.Error
	if errors.As(words.Answer(err), &refusal) {
		return i.p.Fail(refusal.Status, "%s\n", refusal.Text)
	}
	return i.p.Fail(1, "%v", err)
}

// exitStatus is the status of a command that ip ran, and that has said itself what was wrong.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// command reads the options and runs what follows.
func (i *ip) command() error {
	batch := ""
	for strings.HasPrefix(i.args.Peek(), "-") {
		option := i.args.Next()
		if option == "--" {
			break
		}
		if strings.HasPrefix(option, "--") {
			option = option[1:] // --details is -details
		}
		do, ok := lookup(options, option)
		switch {
		case ok:
		case isColor(option):
			do = func(*ip, *string) error { return nil }
		default:
			return words.Errorf(255, `Option "%s" is unknown, try "ip -help".`, option)
		}
		if err := do(i, &batch); err != nil {
			return err
		}
	}
	if batch != "" {
		return i.batch(batch)
	}
	if !i.args.More() {
		return help(usage)
	}
	return i.object()
}

// options of ip itself; to is the file of -batch.
var options = []keyword[*string]{
	{"-loops*", skipValue[*string]},
	{"-family*", func(i *ip, _ *string) error {
		v, err := i.value()
		if err != nil {
			return help(usage)
		}
		f, ok := parseFamily(v)
		if !ok {
			return wrong(v, "invalid protocol family")
		}
		i.family = f
		return nil
	}},
	{"-4", func(i *ip, _ *string) error { i.family = inet; return nil }},
	{"-6", func(i *ip, _ *string) error { i.family = inet6; return nil }},
	{"-0", func(i *ip, _ *string) error { i.family = link; return nil }},
	{"-M|-B", nil},
	{"-human*|-human-readable*|-iec*", nil},
	{"-stats*|-statistics*", func(i *ip, _ *string) error { i.stats++; return nil }},
	{"-details*", func(i *ip, _ *string) error { i.details++; return nil }},
	{"-resolve*", skip[*string]}, // nobody has a name
	{"-oneline*", func(i *ip, _ *string) error { i.oneline = true; return nil }},
	{"-timestamp*|-tshort*", skip[*string]}, // only of 'ip monitor'
	{"-Version*", func(i *ip, _ *string) error {
		i.p.Printf("ip utility, iproute2-6.1.0, libbpf 1.1.2\n")
		return exitStatus(0)
	}},
	{"-force*", func(i *ip, _ *string) error { i.force = true; return nil }},
	{"-batch*", func(i *ip, file *string) (err error) {
		if *file, err = i.value(); err != nil {
			return help(usage)
		}
		return nil
	}},
	{"-brief*", func(i *ip, _ *string) error { i.brief = true; return nil }},
	{"-json*", nil},
	{"-pretty*", skip[*string]}, // without -json it does nothing
	{"-rcvbuf*", skipValue[*string]},
	{"-color*", skip[*string]},
	{"-help*", func(*ip, *string) error { return help(usage) }},
	{"-netns*", func(i *ip, _ *string) error {
		name, err := i.value()
		if err != nil {
			return err
		}
		node := i.namespace(name)
		if node == nil {
			return words.Errorf(255, `Cannot open network namespace "%s": No such file or directory`, name)
		}
		i.node, i.p = node, i.p.On(node)
		return nil
	}},
	{"-Numeric*", nil},
	{"-all*", func(i *ip, _ *string) error { i.all = true; return nil }},
	{"-echo", nil},
}

// isColor reports whether an option is -color=WHEN, which may be shortened.
func isColor(option string) bool {
	name, when, ok := strings.Cut(option, "=")
	return ok && len(name) > 1 && short(name, "-color") && slices.Contains([]string{"always", "auto", "never"}, when)
}

// object runs what the next word names.
func (i *ip) object() error {
	word := i.args.Next()
	f, ok := words.Match(objects(), word)
	switch {
	case !ok:
		return words.Errorf(1, `Object "%s" is unknown, try "ip help".`, word)
	case f == nil:
		return unsupported("ip " + word)
	}
	return f(i)
}

// do runs the verb that the next word means; without one, byDefault.
func (i *ip) do(object string, table verbs, byDefault verb) error {
	if !i.args.More() {
		return byDefault(i)
	}
	word := i.args.Next()
	f, ok := words.Match(table, word)
	switch {
	case !ok:
		return words.Errorf(255, `Command "%s" is unknown, try "ip %s help".`, word, object)
	case f == nil:
		return unsupported("ip " + object + " " + word)
	}
	return f(i)
}

// batch runs a file's lines.
func (i *ip) batch(name string) error {
	f, err := i.p.Open(name)
	if err != nil {
		return words.Errorf(1, "Cannot open file \"%s\" for reading: %s", name, words.Strerror(err))
	}
	defer func() { _ = f.Close() }()
	lines := commandLines{r: bufio.NewReader(f)}
	failed := false
	for {
		text, err := lines.next()
		if err != nil {
			break
		}
		fields, err := split(text)
		if err != nil {
			return err
		}
		if len(fields) == 0 {
			continue
		}
		line := *i
		line.args, line.batched = words.NewArgs(fields), true
		err = line.object()
		if err == nil {
			continue
		}
		status := line.report(err)
		if ends(err) {
			return exitStatus(status)
		}
		if status == 0 {
			continue
		}
		i.p.Errorf("Command failed %s:%d", name, lines.n)
		if failed = true; !i.force {
			break
		}
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

// ends reports whether ip ends at once with an error.
func ends(err error) bool {
	var f fatal
	var refusal *words.Error
	return errors.As(err, &f) || errors.As(err, &refusal) && refusal.Status == 255
}

// commandLines are a batch's lines: a backslash at the end of one continues it, # begins a comment (getcmdline in lib/utils.c).
type commandLines struct {
	r *bufio.Reader
	n int
}

func (l *commandLines) next() (string, error) {
	var whole strings.Builder
	for {
		line, err := l.r.ReadString('\n')
		if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
			return whole.String(), err
		}
		l.n++
		if before, _, comment := strings.Cut(line, "#"); comment {
			line = before
		}
		line = strings.TrimSuffix(line, "\n")
		head, more := strings.CutSuffix(line, "\\")
		whole.WriteString(head)
		if !more {
			return whole.String(), nil
		}
	}
}

// split returns a line's words; quotes hold blanks together.
func split(line string) ([]string, error) {
	var all []string
	const blanks = " \t\r\n"
	for line = strings.TrimLeft(line, blanks); line != ""; line = strings.TrimLeft(line, blanks) {
		if q := line[0]; q == '"' || q == '\'' {
			end := strings.IndexByte(line[1:], q)
			if end < 0 {
				return nil, exits("Unterminated quoted string")
			}
			all, line = append(all, line[1:1+end]), line[2+end:]
			continue
		}
		end := strings.IndexAny(line, blanks)
		if end < 0 {
			end = len(line)
		}
		all, line = append(all, line[:end]), line[end:]
	}
	return all, nil
}

// newline is what separates the lines of an entry: with -o a backslash.
func (i *ip) newline() string {
	if i.oneline {
		return "\\"
	}
	return "\n"
}

// namespace returns the node of a name, nil if there is none; the default one has no name.
func (i *ip) namespace(name string) *network.Node {
	if name == network.Default {
		return nil
	}
	return i.p.Sys.Net.Node(name)
}
