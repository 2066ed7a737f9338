// Package tcpdumpcmd is tcpdump 4.99, with libpcap's filters: what it shows is what the taps of a node's devices see, or a capture
// file.
package tcpdumpcmd

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/culvert-net/culvert/lab/internal/pcapfilter"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// Commands are the package's.
func Commands() proc.Table { return proc.Table{"tcpdump": run} }

// capture is one call of the command.
type capture struct {
	p *proc.Proc
	o options

	link   linkType
	filter *pcapfilter.Filter
	print  *printer
	write  *writer // nil: packets are printed

	taken, matched int
	lost           uint64 // by the network when the capture began
}

// source is where packets come from. next returns io.EOF when there are no more.
type source interface {
	linkType() linkType
	config() pcapfilter.Config
	next() (packet, error)
	close() error
}

// errDone says that -c packets have been taken.
var errDone = errors.New("tcpdump: count reached")

func run(p *proc.Proc, args []string) int {
	o, err := parse(p, args)
	if err != nil {
		return p.Fail(1, "%v", err)
	}
	if o.version {
		p.Printf("%s\n", version)
		return 0
	}
	c := &capture{p: p, o: o, lost: p.Sys.Net.Lost()}
	src, err := c.open()
	if err != nil {
		return p.Fail(1, "%v", err)
	}
	status := c.runOn(src)
	if err := src.close(); err != nil {
		return p.Fail(1, "tcpdump: %v", err)
	}
	return status
}

// open opens the file or the device.
func (c *capture) open() (source, error) {
	if c.o.read != "" {
		f, err := openFile(c.p, c.o.read)
		if err == nil && c.o.snapLen == maxSnapLen {
			c.o.snapLen = f.snapLen()
		}
		return f, err
	}
	return openDevice(c)
}

// runOn shows what comes from a source, and returns the exit status.
func (c *capture) runOn(src source) (status int) {
	c.link = src.linkType()
	var err error
	if c.filter, err = pcapfilter.Compile(c.o.filter, src.config()); err != nil {
		return c.p.Fail(1, "tcpdump: %v", err)
	}
	c.print = newPrinter(c.p, c.o, c.link)
	if c.o.write != "" {
		if c.write, err = newWriter(c.p, c.o.write, c.o.snapLen, c.link); err != nil {
			return c.p.Fail(1, "tcpdump: %s: %s", c.o.write, words.Strerror(err))
		}
		defer func() {
			if err := c.write.close(); err != nil {
				status = c.p.Fail(1, "tcpdump: %s: %s", c.o.write, words.Strerror(err))
			}
		}()
	}
	if d, live := src.(*device); live {
		d.begin(c.filter)
	}
	c.greet()
	for err == nil {
		var k packet
		if k, err = src.next(); err == nil {
			err = c.take(k)
		}
	}
	return c.end(err)
}

// greet prints what tcpdump says at first, on standard error.
func (c *capture) greet() {
	switch {
	case c.o.read != "":
		fmt.Fprintf(c.p.Stderr, "reading from file %s, link-type %s, snapshot length %d\n", c.o.read, c.link, c.o.snapLen)
		if c.link == linkCooked {
			fmt.Fprintln(c.p.Stderr, "Warning: interface names might be incorrect")
		}
		return
	case c.link == linkCooked:
		fmt.Fprintln(c.p.Stderr, "tcpdump: data link type LINUX_SLL2")
	}
	program := "tcpdump: "
	if c.write == nil && c.o.verbose == 0 {
		fmt.Fprintln(c.p.Stderr, "tcpdump: verbose output suppressed, use -v[v]... for full protocol decode")
		program = ""
	}
	fmt.Fprintf(c.p.Stderr, "%slistening on %s, link-type %s, snapshot length %d bytes\n", program, c.o.device, c.link, c.o.snapLen)
}

// take counts a packet that the filter takes, and prints or writes it.
func (c *capture) take(k packet) error {
	if c.o.read != "" && !c.matches(k) {
		return nil
	}
	c.taken++
	if len(k.bytes) > c.o.snapLen {
		k.bytes = k.bytes[:c.o.snapLen]
	}
	if c.write != nil {
		if err := c.write.packet(k); err != nil {
			return err
		}
	} else {
		c.print.packet(k)
	}
	if c.taken == c.o.count {
		return errDone
	}
	return nil
}

// matches applies the filter, and then -Q, which is not counted.
func (c *capture) matches(k packet) bool {
	if !c.filter.Match(pcapfilter.Packet{Bytes: k.bytes, WireLen: k.wireLen, Out: k.out}) {
		return false
	}
	c.matched++
	switch c.o.direction {
	case "in":
		return !k.out
	case "out":
		return k.out
	}
	return true
}

// end prints the summary, of live captures, and returns the exit status.
func (c *capture) end(err error) int {
	_, caught := c.p.Catch(err)
	var broken *brokenFile
	switch {
	case caught:
		if c.write == nil {
			c.p.Printf("\n")
		}
	case errors.As(err, &broken):
		return c.p.Fail(1, "tcpdump: pcap_loop: %v", broken)
	case !errors.Is(err, errDone) && !errors.Is(err, io.EOF):
		return c.p.Killed(err)
	}
	if c.o.read == "" {
		fmt.Fprintf(c.p.Stderr, "%d packet%s captured\n%d packet%s received by filter\n%d packets dropped by kernel\n",
			c.taken, plural(c.taken), c.matched, plural(c.matched), c.p.Sys.Net.Lost()-c.lost)
	}
	return 0
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// create makes a file to write; "-" is standard output.
func create(p *proc.Proc, name string) (io.WriteCloser, error) {
	if name == "-" {
		return nopCloser{p.Stdout}, nil
	}
	return os.Create(p.Path(name))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
