package lab

// The capture of everything: each frame at each device that it crosses, in one pcapng file.

import (
	"io"

	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/lab/network"
)

// capture writes frames. Its first error stays, and is told by close.
type capture struct {
	w          *pcapfile.Writer
	interfaces map[string]int // by node/device
	err        error
}

// newCapture writes all that crosses any device of net from now on.
func newCapture(net *network.Network, out io.Writer) (*capture, error) {
	w, err := pcapfile.NewWriter(out, pcapfile.WriterConfig{Application: "culvert lab", Comment: "each packet once at every device that it crosses"})
	if err != nil {
		return nil, err
	}
	c := &capture{w: w, interfaces: map[string]int{}}
	return c, net.Watch(c.see)
}

// see is the network's tap.
func (c *capture) see(f network.Frame) {
	if c.err != nil {
		return
	}
	index, err := c.index(f)
	if err == nil {
		comment := "received"
		if f.Out {
			comment = "sent"
		}
		err = c.w.WritePacketComment(index, f.Node.Network().Date(f.At), f.Bytes, 0, comment)
	}
	c.err = err
}

// index returns the number of the interface in the file.
func (c *capture) index(f network.Frame) (int, error) {
	name := f.Node.Name + "/" + f.Dev
	link := pcapfile.LinkEthernet
	if f.Raw {
		link = pcapfile.LinkIPv4
	}
	key := name + " " + link.String() // a name may come back as a device of another kind
	if index, ok := c.interfaces[key]; ok {
		return index, nil
	}
	index, err := c.w.AddInterface(pcapfile.Interface{Name: name, LinkType: link})
	if err == nil {
		c.interfaces[key] = index
	}
	return index, err
}

// close writes what is left, and returns the first error there was.
func (c *capture) close() error {
	if c == nil {
		return nil
	}
	if err := c.w.Flush(); c.err == nil {
		c.err = err
	}
	return c.err
}
