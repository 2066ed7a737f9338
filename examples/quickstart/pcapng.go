package main

// The -w file: hops, an interface for each place that they were seen at.

import (
	"io"
	"time"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/internal/pcapfile"
)

// hopFile writes hops as pcapng; the nil *hopFile writes nothing. Its first error is told at the end.
type hopFile struct {
	cli.Created
	w      *pcapfile.Writer
	ifaces map[string]int
	err    error
}

// createHopFile creates the file of that name, "-" for standard output; nil for "".
func createHopFile(name string, stdout io.Writer) (*hopFile, error) {
	if name == "" {
		return nil, nil
	}
	created, err := cli.Create(name, stdout)
	if err != nil {
		return nil, err
	}
	f := &hopFile{Created: created, ifaces: map[string]int{}}
	f.w, f.err = pcapfile.NewWriter(created, pcapfile.WriterConfig{
		Application: "culvert quickstart",
		Comment:     "pings across nodes that exist in memory only; time begins at 1970-01-01",
	})
	return f, nil
}

// add writes all that was seen in a cluster.
func (f *hopFile) add(c *cluster) {
	if f == nil {
		return
	}
	for i := range c.hops {
		h := &c.hops[i]
		number, err := f.iface(h, c.title)
		if err == nil {
			err = f.w.WritePacket(number, time.Unix(0, 0).Add(h.at), h.data, 0)
		}
		if err != nil && f.err == nil {
			f.err = err
		}
	}
}

// iface returns the number of a hop's interface, which comes into being with its first packet.
func (f *hopFile) iface(h *hop, description string) (int, error) {
	if number, ok := f.ifaces[h.where]; ok {
		return number, nil
	}
	i := pcapfile.Interface{Name: h.where, Description: description, LinkType: pcapfile.LinkEthernet}
	if h.raw {
		i.LinkType = pcapfile.LinkRaw
	}
	number, err := f.w.AddInterface(i)
	if err == nil {
		f.ifaces[h.where] = number
	}
	return number, err
}

// finish flushes and closes the file, and returns the first error.
func (f *hopFile) finish() error {
	if f == nil {
		return nil
	}
	if err := f.w.Flush(); f.err == nil {
		f.err = err
	}
	if err := f.Close(); f.err == nil {
		f.err = err
	}
	return f.err
}
