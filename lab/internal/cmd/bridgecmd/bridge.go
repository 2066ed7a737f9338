// Package bridgecmd is the command bridge, as in iproute2 6.1.
package bridgecmd

import (
	"bufio"
	"errors"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"bridge": run} }

// failed is the exit status of most refusals: main returns what the kernel's answer made, -1.
const failed = 255

// bridge is one call of the command.
type bridge struct {
	p    *proc.Proc
	node *network.Node
	args *words.Args

	details, stats, force bool
}

type verb func(*bridge) error

type verbs []words.Entry[verb]

// objects, in the order of iproute2's bridge.c. There are no VLANs and no multicast databases in an engine.
func objects() verbs {
	return verbs{
		{Name: "link", Value: (*bridge).link},
		{Name: "fdb", Value: (*bridge).fdb},
		{Name: "help", Value: func(*bridge) error { return words.Errorf(failed, usage) }},
	}
}

const usage = `Usage: bridge [ OPTIONS ] OBJECT { COMMAND | help }
       bridge [ -force ] -batch filename
where  OBJECT := { link | fdb }
       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] |
                    -o[neline] | -t[imestamp] | -n[etns] name |
                    -c[ompressvlans] -color }`

func run(p *proc.Proc, args []string) int {
	b := &bridge{p: p, node: p.Node, args: words.NewArgs(args)}
	return b.report(b.command())
}

// report prints a refusal and returns the exit status.
func (b *bridge) report(err error) int {
	if err == nil {
		return 0
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var refusal *words.Error
	if errors.As(err, &refusal) {
		return b.p.Fail(refusal.Status, "%s", refusal.Text)
	}
	return b.p.Fail(failed, "RTNETLINK answers: %s", words.Errno(err))
}

// exitStatus is the status of a batch, which has said itself what was wrong.
type exitStatus int

func (exitStatus) Error() string { return "command failed" }

// options of the command, in the order in which bridge.c compares them.
func options() verbs {
	return verbs{
		{Name: "-help", Value: func(*bridge) error { return words.Errorf(failed, usage) }},
		{Name: "-Version", Value: func(b *bridge) error {
			b.p.Printf("bridge utility, 6.1.0\n")
			return exitStatus(0)
		}},
		{Name: "-stats", Value: func(b *bridge) error { b.stats = true; return nil }},
		{Name: "-statistics", Value: func(b *bridge) error { b.stats = true; return nil }},
		{Name: "-details", Value: func(b *bridge) error { b.details = true; return nil }},
		{Name: "-oneline", Value: nothing},
		{Name: "-timestamp", Value: nothing},
		{Name: "-family", Value: func(b *bridge) error { _, err := b.args.Value(); return err }},
		{Name: "-4", Value: nothing},
		{Name: "-netns", Value: setNetns},
		{Name: "-color", Value: nothing},
		{Name: "-compressvlans", Value: nothing},
		{Name: "-force", Value: func(b *bridge) error { b.force = true; return nil }},
		{Name: "-batch", Value: (*bridge).batch},
	}
}

// nothing is what an option does that concerns colours and the like.
func nothing(*bridge) error { return nil }

func setNetns(b *bridge) error {
	name, err := b.args.Value()
	if err != nil {
		return err
	}
	n := b.p.Sys.Net.Node(name)
	if n == nil || name == network.Default {
		return words.Errorf(failed, "Cannot open network namespace \"%s\": No such file or directory", name)
	}
	b.node, b.p = n, b.p.On(n)
	return nil
}

// command reads the options and runs what follows.
func (b *bridge) command() error {
	for strings.HasPrefix(b.args.Peek(), "-") {
		word := b.args.Next()
		option := strings.TrimPrefix(word, "-")
		if len(option) > 1 {
			option = strings.TrimPrefix(option, "-") // --details is -details
		}
		set, ok := words.Match(options(), "-"+option)
		if !ok || option == "" {
			return words.Errorf(failed, `Option "-%s" is unknown, try "bridge help".`, option)
		}
		if err := set(b); err != nil {
			return err
		}
	}
	if !b.args.More() {
		return words.Errorf(failed, usage)
	}
	word := b.args.Next()
	f, ok := words.Match(objects(), word)
	if !ok {
		return words.Errorf(failed, `Object "%s" is unknown, try "bridge help".`, word)
	}
	return f(b)
}

// do runs the verb that the next word means; without one, byDefault.
func (b *bridge) do(object string, table verbs, byDefault verb) error {
	if !b.args.More() {
		return byDefault(b)
	}
	word := b.args.Next()
	f, ok := words.Match(table, word)
	if !ok {
		return words.Errorf(failed, `Command "%s" is unknown, try "bridge %s help".`, word, object)
	}
	return f(b)
}

// batch runs a file's lines: 'bridge -batch FILE'. Nothing behind it on the command line is looked at.
func (b *bridge) batch() error {
	name, err := b.args.Value()
	if err != nil {
		return err
	}
	f, err := b.p.Open(name)
	if err != nil {
		return words.Errorf(1, `Cannot open file "%s" for reading: %s`, name, words.Strerror(err))
	}
	defer func() { _ = f.Close() }() // was read only
	lines, status := bufio.NewScanner(f), exitStatus(0)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		line := &bridge{p: b.p, node: b.node, args: words.NewArgs(fields), details: b.details, stats: b.stats}
		if line.report(line.command()) != 0 {
			b.p.Errorf("Command failed %s:%d", name, n)
			if status = 1; !b.force {
				break
			}
		}
	}
	if err := lines.Err(); err != nil {
		return words.Errorf(1, "%s: %v", name, err)
	}
	return status
}

func noDevice(name string) error { return words.Errorf(failed, `Cannot find device "%s"`, name) }

func noBridge(name string) error { return words.Errorf(failed, `Cannot find bridge device "%s"`, name) }

// duplicate is iproute2's duparg2().
func duplicate(word, value string) error {
	return words.Errorf(failed, `Error: either "%s" is duplicate, or "%s" is a garbage.`, word, value)
}
