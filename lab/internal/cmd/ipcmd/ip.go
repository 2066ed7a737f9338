// Package ipcmd is the command ip, as in iproute2 6.1: one file for each object, one function for each word.
package ipcmd

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"ip": run} }

// ip is one call of the command.
type ip struct {
	p    *proc.Proc
	node *network.Node
	args *words.Args

	details int // -d
	stats   int // -s
	oneline bool
	brief   bool
	json    bool
	force   bool
}

// verb is what a word does. The errors are those of package words.
type verb func(*ip) error

// verbs are the words of an object, in the order in which abbreviations are looked up: that of iproute2's source.
type verbs []words.Entry[verb]

// objects, in the order of iproute2's ip.c.
func objects() []words.Entry[verb] {
	return []words.Entry[verb]{
		{Name: "address", Value: (*ip).address},
		{Name: "route", Value: (*ip).route},
		{Name: "link", Value: (*ip).link},
		{Name: "netns", Value: (*ip).netns},
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
		return i.p.Fail(refusal.Status, "%s", refusal.Text)
	}
	return i.p.Fail(1, "%v", err)
}

// exitStatus is the status of a command that ip ran, and that has said itself what was wrong.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// command reads the options and runs what follows.
func (i *ip) command() error {
	for strings.HasPrefix(i.args.Peek(), "-") {
		option := strings.TrimPrefix(i.args.Next(), "-")
		option = "-" + strings.TrimPrefix(option, "-") // --details is -details
		switch {
		case matches(option, "-netns"):
			name, err := i.args.Value()
			if err != nil {
				return err
			}
			if i.node = i.p.Sys.Net.Node(name); i.node == nil || name == network.Default {
				return words.Errorf(1, "Cannot open network namespace \"%s\": No such file or directory", name)
			}
			i.p = i.p.On(i.node)
		case matches(option, "-batch"):
			name, err := i.args.Value()
			if err != nil {
				return err
			}
			return i.batch(name)
		case matches(option, "-family"):
			if _, err := i.args.Value(); err != nil {
				return err
			}
		case option == "-4" || matches(option, "-color") || matches(option, "-resolve") || matches(option, "-Numeric") || matches(option, "-pretty"):
		case matches(option, "-details"):
			i.details++
		case matches(option, "-stats") || matches(option, "-statistics"):
			i.stats++
		case matches(option, "-oneline"):
			i.oneline = true
		case matches(option, "-brief"):
			i.brief = true
		case matches(option, "-json"):
			i.json = true
		case matches(option, "-force"):
			i.force = true
		case matches(option, "-Version"):
			i.p.Printf("ip utility, iproute2-6.1.0 (culvert lab)\n")
			return nil
		default:
			return words.Errorf(255, `Option "%s" is unknown, try "ip -help".`, option)
		}
	}
	if !i.args.More() {
		return words.Errorf(255, "Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }")
	}
	word := i.args.Next()
	f, ok := words.Match(objects(), word)
	if !ok {
		return words.Errorf(255, `Object "%s" is unknown, try "ip help".`, word)
	}
	return f(i)
}

// matches is iproute2's matches() of an option: any beginning of it will do.
func matches(word, full string) bool { return len(word) > 1 && strings.HasPrefix(full, word) }

// do runs the verb that the next word means; without one, byDefault.
func (i *ip) do(object string, table verbs, byDefault verb) error {
	if !i.args.More() {
		return byDefault(i)
	}
	word := i.args.Next()
	f, ok := words.Match(table, word)
	if !ok {
		return words.Errorf(255, `Command "%s" is unknown, try "ip %s help".`, word, object)
	}
	return f(i)
}

// batch runs a file's lines.
func (i *ip) batch(name string) error {
	f, err := i.p.Open(name)
	if err != nil {
		return words.Errorf(1, "Cannot open file \"%s\" for reading: %v", name, errors.Unwrap(err))
	}
	defer f.Close()
	lines, status := bufio.NewScanner(f), 0
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		line := &ip{p: i.p, node: i.node, args: words.NewArgs(fields), details: i.details, stats: i.stats, oneline: i.oneline, brief: i.brief, json: i.json}
		if s := line.report(line.command()); s != 0 {
			i.p.Errorf("Command failed %s:%d", name, n)
			if status = 1; !i.force {
				break
			}
		}
	}
	if err := lines.Err(); err != nil {
		return words.Errorf(1, "%s: %v", name, err)
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

// device takes the name of a device that exists, with or without 'dev' in front.
func (i *ip) device() (string, error) {
	i.args.Is("dev")
	name := i.args.Next()
	if name == "" {
		return "", words.Errorf(255, `Not enough information: "dev" argument is required.`)
	}
	if i.node.E.Index(name) == 0 {
		return "", words.NoDevice(name)
	}
	return name, nil
}
