package takeapart

// The flags of -r.

import (
	"errors"
	"flag"
	"io/fs"
	"strconv"
	"strings"

	"github.com/culvert-net/culvert/vxlan"
)

// Demo as Options.Read stands for the captures that the program carries with it.
const Demo = "demo"

// Options are what the flags say.
type Options struct {
	Read     string // name of a file, "-" for standard input, or Demo
	Write    string // name of a file, "-" for standard output, "" for none
	Ports    []uint16
	Flows    int // to show; 0 is all
	Quiet    bool
	JSON     bool
	Strict   bool
	Captures fs.FS // has Demo's
}

// Register defines the flags that say how to read, all but -r and -w, with their defaults.
func (o *Options) Register(flags *flag.FlagSet) {
	o.Ports = []uint16{vxlan.Port, vxlan.PortLinux}
	flags.Func("port", "", func(s string) (err error) {
		o.Ports, err = parsePorts(s)
		return err
	})
	o.Flows = 50
	flags.Func("flows", "", func(s string) (err error) {
		o.Flows, err = strconv.Atoi(s)
		if err != nil || o.Flows < 0 {
			return errors.New("want 0 (all) or more")
		}
		return nil
	})
	flags.BoolVar(&o.Quiet, "q", false, "")
	flags.BoolVar(&o.JSON, "json", false, "")
	flags.BoolVar(&o.Strict, "strict", false, "")
}

func parsePorts(s string) ([]uint16, error) {
	var ports []uint16
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(field), 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("want port numbers from 1 to 65535 with commas between them, such as 4789,8472")
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}
