package takeapart

// Where frames come from, and how far reading has got.

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

// input is one capture to be read.
type input struct {
	name    string // of the file, for messages
	heading string // for the report
	source  io.Reader
	size    int64 // bytes of source; 0 if not known
	close   func() error
}

// embedded returns the captures that the program carries with it.
func embedded(captures fs.FS) ([]input, error) {
	var inputs []input
	for _, c := range []struct{ name, heading string }{
		{
			"flannel_vxlan_echo_request.pcap",
			"a pod on node1 pings a pod on node2.\n" +
				"Its frame of 98 bytes crosses the nodes' network in a UDP datagram: 50 bytes more.",
		},
		{
			"flannel_vxlan_http.pcap",
			"a web page is fetched from a pod on another node, from SYN to FIN.\n" +
				"The pod offers mss 1410 (#3), not 1460: its MTU leaves room for the tunnel's 50 bytes.",
		},
	} {
		data, err := fs.ReadFile(captures, "testdata/"+c.name)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, input{
			name: c.name, heading: c.name + ": " + c.heading,
			source: bytes.NewReader(data), close: func() error { return nil },
		})
	}
	return inputs, nil
}

// openInput opens the file of that name, or standard input for "-".
func openInput(name string, stdin io.Reader) (input, error) {
	if name == "-" {
		return input{name: "standard input", heading: "standard input", source: stdin, close: func() error { return nil }}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return input{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return input{}, err
	}
	if info.IsDir() {
		return input{}, fmt.Errorf("%s is a directory: want a capture file", name)
	}
	in := input{name: name, heading: name, source: f, close: f.Close}
	if info.Mode().IsRegular() {
		in.size = info.Size()
	}
	return in, nil
}

// counter counts the bytes read through it: of a compressed file as they are on disk.
type counter struct {
	source io.Reader
	n      int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	c.n += int64(n)
	return n, err
}

// progress says on standard error how far a long run has got.
type progress struct {
	out  io.Writer
	last time.Time
	now  func() time.Time
}

const (
	progressEvery  = 2 * time.Second
	progressFrames = 1024 // looking at the clock at every frame would be a good part of the work
)

// at is called for every frame.
func (p *progress) at(t *totals, in *input, read *counter) {
	if p.out == nil || t.frames%progressFrames != 0 {
		return
	}
	now := p.now()
	if p.last.IsZero() {
		p.last = now
	}
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	percent := ""
	if in.size > 0 {
		percent = fmt.Sprintf(" (%d%% of the file)", read.n*100/in.size)
	}
	fmt.Fprintf(p.out, "quickstart: %d frames, %.1f MB read%s\n", t.frames, float64(t.bytes)/1e6, percent)
}

// newReader opens the capture in an input.
func newReader(in *input) (*pcapfile.Reader, *counter, error) {
	c := &counter{source: in.source}
	r, err := pcapfile.NewReader(c)
	return r, c, err
}
