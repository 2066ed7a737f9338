// Package getopt reads command lines as getopt_long(3) of glibc does, operands between the options included.
package getopt

import (
	"fmt"
	"slices"
	"strings"
)

// Option is an option of a command line: its letter, or its name if it is a long one without a letter.
type Option struct {
	Name  string
	Value string // "" if it takes none
}

// Parse divides args into options and operands. short is as for getopt(3), "ab:c" (b takes a value). long are names of long options,
// each with the short one that it stands for or "", and with a ':' behind that if it takes a value. The error is worded as glibc
// does, without the command's name in front; the options before it are returned too.
func Parse(args []string, short string, long map[string]string) (options []Option, operands []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return options, append(operands, args...), nil
		case strings.HasPrefix(arg, "--"):
			var o Option
			if o, args, err = parseLong(arg[2:], args, long); err != nil {
				return options, nil, err
			}
			options = append(options, o)
		case len(arg) > 1 && arg[0] == '-':
			var found []Option
			found, args, err = letters(arg[1:], args, short)
			options = append(options, found...)
			if err != nil {
				return options, nil, err
			}
		default:
			operands = append(operands, arg)
		}
	}
	return options, operands, nil
}

// letters reads a word of short options; the last may take its value from the next word.
func letters(word string, args []string, short string) ([]Option, []string, error) {
	var options []Option
	for i := range len(word) {
		at := strings.IndexByte(short, word[i])
		switch name := word[i : i+1]; {
		case at < 0 || word[i] == ':':
			return options, nil, fmt.Errorf("invalid option -- '%s'", name)
		case !strings.HasPrefix(short[at+1:], ":"):
			options = append(options, Option{Name: name})
		case i+1 < len(word):
			return append(options, Option{Name: name, Value: word[i+1:]}), args, nil
		case len(args) == 0:
			return options, nil, fmt.Errorf("option requires an argument -- '%s'", name)
		default:
			return append(options, Option{Name: name, Value: args[0]}), args[1:], nil
		}
	}
	return options, args, nil
}

// parseLong reads a long option, which may be shortened.
func parseLong(word string, args []string, long map[string]string) (Option, []string, error) {
	name, value, hasValue := strings.Cut(word, "=")
	var candidates []string
	for l := range long {
		if l == name {
			candidates = []string{l}
			break
		}
		if strings.HasPrefix(l, name) {
			candidates = append(candidates, l)
		}
	}
	slices.Sort(candidates)
	switch len(candidates) {
	case 0:
		return Option{}, nil, fmt.Errorf("unrecognized option '--%s'", name)
	case 1:
	default:
		return Option{}, nil, fmt.Errorf("option '--%s' is ambiguous; possibilities: '--%s'", name, strings.Join(candidates, "' '--"))
	}
	o := Option{Name: candidates[0]}
	letter, takesValue := strings.CutSuffix(long[o.Name], ":")
	switch {
	case takesValue && !hasValue && len(args) == 0:
		return o, nil, fmt.Errorf("option '--%s' requires an argument", o.Name)
	case takesValue && !hasValue:
		value, args = args[0], args[1:]
	case !takesValue && hasValue:
		return o, nil, fmt.Errorf("option '--%s' doesn't allow an argument", o.Name)
	}
	if letter != "" {
		o.Name = letter
	}
	o.Value = value
	return o, args, nil
}
