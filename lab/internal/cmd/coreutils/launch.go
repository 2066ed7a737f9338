package coreutils

// Commands that run other commands.

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/lab/proc"
)

// launcher is a command that runs another one in some way that makes no difference here: sudo, nohup, stdbuf -oL …
func launcher(p *proc.Proc, args []string) int {
	takesValue := map[string]string{"sudo": "-u -g", "nice": "-n", "stdbuf": "-i -o -e"}[p.Name]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if slices.Contains(strings.Fields(takesValue), args[0]) && len(args) > 1 {
			args = args[1:]
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return p.Fail(1, "%s: missing operand", p.Name)
	}
	return p.Exec(args)
}

// nothing is a command with no effect here: what a module would bring is there.
func nothing(*proc.Proc, []string) int { return 0 }

// env runs a command with further variables, or prints all.
func env(p *proc.Proc, args []string) int {
	vars := slices.Clone(p.Envs())
	for len(args) > 0 && strings.Contains(args[0], "=") {
		name, _, _ := strings.Cut(args[0], "=")
		vars = slices.DeleteFunc(vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		vars = append(vars, args[0])
		args = args[1:]
	}
	if len(args) == 0 {
		for _, v := range vars {
			p.Printf("%s\n", v)
		}
		return 0
	}
	if strings.HasPrefix(args[0], "-") {
		return p.Fail(125, "env: invalid option -- '%s'", strings.TrimLeft(args[0], "-"))
	}
	child := *p
	child.Envs = func() []string { return vars }
	return child.Exec(args)
}

// which prints where a command is.
func which(p *proc.Proc, args []string) int {
	status := 0
	for _, name := range args {
		if p.Sys.Table[name] == nil {
			status = 1
			continue
		}
		p.Printf("/usr/sbin/%s\n", name)
	}
	return status
}

// xargs runs a command with words, or with -I lines, from standard input.
func xargs(p *proc.Proc, args []string) int {
	most, replace, ifAny := 0, "", false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option, value := args[0], ""
		args = args[1:]
		if len(option) > 2 {
			option, value = option[:2], option[2:]
		} else if (option == "-n" || option == "-I" || option == "-L") && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch option {
		case "-n":
			n, err := strconv.Atoi(value)
			if err != nil {
				return p.Fail(1, "xargs: invalid number \"%s\" for -n option", value)
			}
			if n < 1 {
				return p.Fail(1, "xargs: value %s for -n option should be >= 1", value)
			}
			most = n
		case "-I":
			replace = value
		case "-r":
			ifAny = true
		default:
			return p.Fail(1, "xargs: invalid option -- '%s'", option[1:])
		}
	}
	if len(args) == 0 {
		args = []string{"echo"}
	}
	input, err := io.ReadAll(p.Stdin)
	if err != nil {
		return p.Fail(1, "xargs: %v", err)
	}
	return runEach(p, args, groups(string(input), most, replace, ifAny), replace)
}

// groups cuts the input into what each call gets.
func groups(input string, most int, replace string, ifAny bool) [][]string {
	if replace != "" {
		var all [][]string
		for lines := bufio.NewScanner(strings.NewReader(input)); lines.Scan(); {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				all = append(all, []string{line})
			}
		}
		return all
	}
	words := strings.Fields(input)
	switch {
	case len(words) == 0 && ifAny:
		return nil
	case most <= 0 || len(words) == 0:
		return [][]string{words}
	}
	return slices.Collect(slices.Chunk(words, most))
}

// runEach runs the command for each group. Its status is xargs': 123 if any call failed.
func runEach(p *proc.Proc, args []string, groups [][]string, replace string) int {
	status := 0
	for _, group := range groups {
		command := slices.Concat(args, group)
		if replace != "" {
			command = nil
			for _, a := range args {
				command = append(command, strings.ReplaceAll(a, replace, group[0]))
			}
		}
		switch s := p.With(strings.NewReader(""), nil, nil).Exec(command); s {
		case 0:
		case 127:
			return s
		default:
			status = 123
		}
	}
	return status
}
