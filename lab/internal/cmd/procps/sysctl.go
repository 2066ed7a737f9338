// Package procps is the command sysctl, as in procps-ng 4.0.2.
package procps

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/lab/internal/sysctl"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"sysctl": run} }

// call is one call of the command.
type call struct {
	p *proc.Proc

	all, deprecated bool
	names, values   bool // -N, -n
	bare            bool // -b
	ignore, quiet   bool // -e, -q
	write, load     bool
	help, version   bool
	dry             bool
	pattern         *regexp.Regexp
	status          int
}

// setting is KEY=VALUE, of the command line or of a file.
type setting struct {
	key, value string
	lenient    bool // an error does not matter: -KEY=VALUE
}

func run(p *proc.Proc, args []string) int {
	c := &call{p: p}
	rest, err := c.options(args)
	if err != nil {
		return p.Fail(1, "%v", err)
	}
	switch {
	case c.help:
		p.Printf("\n%s\n", usage)
		return 0
	case c.version:
		p.Printf("sysctl from procps-ng 4.0.2\n")
		return 0
	case c.load:
		c.loadFiles(rest)
	case c.all:
		c.show(sysctl.Names(p.Node, c.deprecated))
	case len(rest) == 0:
		return p.Fail(1, "\n%s", usage)
	default:
		c.arguments(rest)
	}
	return c.status
}

const usage = `Usage:
 sysctl [options] [variable[=value] ...]

Options:
  -a, --all            display all variables
  -A                   alias of -a
  -X                   alias of -a
      --deprecated     include deprecated parameters to listing
      --dry-run        Print the key and values but do not write
  -b, --binary         print value without new line
  -e, --ignore         ignore unknown variables errors
  -N, --names          print variable names without values
  -n, --values         print only values of the given variable(s)
  -p, --load[=<file>]  read values from file
  -f                   alias of -p
      --system         read values from all system directories
  -r, --pattern <expression>
                       select setting that match expression
  -q, --quiet          do not echo variable set
  -w, --write          enable writing a value to variable
  -o                   does nothing
  -x                   does nothing
  -d                   alias of -h

 -h, --help     display this help and exit
 -V, --version  output version information and exit

For more details see sysctl(8).`

func wrongUsage(what string) error { return fmt.Errorf("sysctl: %s\n\n%s", what, usage) }

// long are the long options by the letters of the short ones; those without have letters of their own here.
var long = map[string]byte{
	"all": 'a', "deprecated": 'D', "dry-run": 'Y', "binary": 'b', "ignore": 'e', "names": 'N', "values": 'n', "load": 'p',
	"pattern": 'r', "quiet": 'q', "write": 'w', "help": 'h', "version": 'V', "system": 'S',
}

// options reads the options, wherever they stand, and returns the other arguments.
func (c *call) options(args []string) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(rest, args...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, has := strings.Cut(arg[2:], "=")
			letter, ok := long[name]
			if !ok {
				return nil, wrongUsage("unrecognized option '" + arg + "'")
			}
			if has {
				args = slices.Insert(args, 0, value)
			}
			args, err = c.option(letter, args)
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg) && err == nil; i++ {
				if arg[i] == 'r' && i+1 < len(arg) { // its value follows at once
					args, err = c.option('r', slices.Insert(args, 0, arg[i+1:]))
					break
				}
				args, err = c.option(arg[i], args)
			}
		default:
			rest = append(rest, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// option sets one option; args are what follows it, of which it may take its value.
func (c *call) option(letter byte, args []string) ([]string, error) {
	switch letter {
	case 'a', 'A', 'X':
		c.all = true
	case 'D':
		c.deprecated = true
	case 'Y':
		c.dry = true
	case 'b':
		c.bare, c.values = true, true
	case 'e':
		c.ignore = true
	case 'N':
		c.names = true
	case 'n':
		c.values = true
	case 'p', 'f':
		c.load = true
	case 'q':
		c.quiet = true
	case 'w':
		c.write = true
	case 'o', 'x':
	case 'h', 'd':
		c.help = true
	case 'V':
		c.version = true
	case 'S': // there are no system directories
		c.load = true
	case 'r':
		if len(args) == 0 {
			return nil, wrongUsage("option requires an argument -- 'r'")
		}
		pattern, err := regexp.CompilePOSIX(args[0])
		if err != nil {
			return nil, fmt.Errorf("sysctl: incorrect pattern: %w", err)
		}
		c.pattern = pattern
		return args[1:], nil
	default:
		return nil, wrongUsage("invalid option -- '" + string(letter) + "'")
	}
	return args, nil
}

func (c *call) fail(format string, args ...any) {
	c.status = c.p.Fail(1, "sysctl: "+format, args...)
}

// path of a key that is written with dots or slashes: whichever comes first separates, and the other one is a character.
func pathOf(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return key
	}
	return swap(key)
}

func swap(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s)
}

// arguments shows keys, and sets those with '='. All of those to be set are read before the first is.
func (c *call) arguments(args []string) {
	var settings []setting
	for _, arg := range args {
		key, value, set := strings.Cut(arg, "=")
		switch {
		case set && key != "":
			settings = append(settings, setting{key: strings.TrimSpace(key), value: strings.TrimSpace(value)})
		case set || c.write:
			c.fail("command line(0): invalid syntax, continuing...")
			return
		default:
			c.show(c.expand(pathOf(arg)))
		}
	}
	for _, s := range settings {
		c.set(s)
	}
}

// expand returns the keys that a name stands for: one, those of a directory, or those that a pattern fits.
func (c *call) expand(name string) []string {
	if sysctl.Exists(c.p.Node, name) {
		return []string{name}
	}
	var found []string
	for _, key := range sysctl.Names(c.p.Node, c.deprecated) {
		if fits, _ := path.Match(name, key); fits || strings.HasPrefix(key, strings.TrimSuffix(name, "/")+"/") {
			found = append(found, key)
		}
	}
	if len(found) == 0 {
		c.missing(name)
	}
	return found
}

func (c *call) missing(name string) {
	if !c.ignore {
		c.fail("cannot stat /proc/sys/%s: No such file or directory", name)
	}
}

// show prints keys and their values.
func (c *call) show(keys []string) {
	for _, key := range keys {
		name := swap(key)
		if c.pattern != nil && !c.pattern.MatchString(name) {
			continue
		}
		value, err := sysctl.Get(c.p.Node, key)
		switch {
		case errors.Is(err, sysctl.ErrReadOnly): // write-only: lists leave it out
			if len(keys) == 1 {
				c.fail("permission denied on key '%s'", name)
			}
		case err != nil:
			c.fail("reading key \"%s\": %s", name, words.Strerror(err))
		case c.names:
			c.p.Printf("%s\n", name)
		case c.bare:
			c.p.Printf("%s", value)
		case c.values:
			c.p.Printf("%s\n", value)
		default:
			c.p.Printf("%s = %s\n", name, value)
		}
	}
}

// set sets one key, or all that a pattern fits.
func (c *call) set(s setting) {
	name := pathOf(s.key)
	keys := []string{name}
	if strings.ContainsAny(name, "*?[") {
		keys = slices.DeleteFunc(sysctl.Names(c.p.Node, true), func(key string) bool {
			fits, _ := path.Match(name, key)
			return !fits
		})
	}
	for _, key := range keys {
		if err := c.setOne(key, s.value); err != nil && !s.lenient {
			c.status = 1
		}
	}
}

func (c *call) setOne(key, value string) error {
	status := c.status
	defer func() { c.status = status }()
	if !sysctl.Exists(c.p.Node, key) {
		c.missing(key)
		if c.ignore {
			return nil
		}
		return sysctl.ErrNotFound
	}
	if !c.dry {
		if err := sysctl.Set(c.p.Node, key, value); err != nil {
			c.fail("setting key \"%s\": %s", swap(key), words.Strerror(err))
			return err
		}
	}
	switch {
	case c.quiet:
	case c.names:
		c.p.Printf("%s\n", swap(key))
	case c.values:
		c.p.Printf("%s\n", value)
	default:
		c.p.Printf("%s = %s\n", swap(key), value)
	}
	return nil
}

// loadFiles reads settings from files. Without any it would be /etc/sysctl.conf, which the lab does not have.
func (c *call) loadFiles(files []string) {
	var settings []setting
	for _, name := range files {
		f, err := c.p.Open(name)
		if err != nil {
			c.fail("cannot open \"%s\": %s", name, words.Strerror(err))
			continue
		}
		settings = append(settings, c.read(name, f)...)
		_ = f.Close() // was read only
	}
	for _, s := range settings {
		c.set(s)
	}
}

// read reads the settings of a file: KEY = VALUE, a line each.
func (c *call) read(name string, f io.Reader) []setting {
	var settings []setting
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		line, lenient := strings.CutPrefix(line, "-")
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			c.fail("%s(%d): invalid syntax, continuing...", name, n)
			continue
		}
		settings = append(settings, setting{key: strings.TrimSpace(key), value: strings.TrimSpace(value), lenient: lenient})
	}
	return settings
}
