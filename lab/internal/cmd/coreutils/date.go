package coreutils

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-net/culvert/lab/proc"
)

// date prints the date and time of day of virtual time: 'date [-u] [+FORMAT]'.
func date(p *proc.Proc, args []string) int {
	format := "%a %b %e %H:%M:%S %Z %Y"
	for _, arg := range args {
		switch {
		case arg == "-u":
		case strings.HasPrefix(arg, "+"):
			format = arg[1:]
		default:
			return p.Fail(1, "date: invalid option -- '%s'", strings.TrimLeft(arg, "-"))
		}
	}
	text, ok := strftime(format, p.Date(p.Now()))
	if !ok {
		return p.Fail(1, "date: format %q is not known here", format)
	}
	p.Printf("%s\n", text)
	return 0
}

// strftime writes a time as strftime(3) does, and returns false for a conversion that is not known here.
func strftime(format string, t time.Time) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		digits := 9 // of %N
		if i+1 < len(format) && format[i] >= '1' && format[i] <= '9' && format[i+1] == 'N' {
			digits = int(format[i] - '0')
			i++
		}
		if format[i] == 'N' {
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:digits])
			continue
		}
		text, ok := conversion(format[i], t)
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// conversion is one letter of a format.
func conversion(letter byte, t time.Time) (string, bool) {
	switch letter {
	case '%':
		return "%", true
	case 's':
		return strconv.FormatInt(t.Unix(), 10), true
	}
	layouts := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'M': "04", 'S': "05", 'F': "2006-01-02", 'T': "15:04:05",
		'a': "Mon", 'b': "Jan", 'Z': "UTC", 'y': "06",
	}
	layout, ok := layouts[letter]
	return t.Format(layout), ok
}
