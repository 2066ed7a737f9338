package takeapart

// The -w file: what was in the tunnels, as pcapng.

import (
	"errors"
	"fmt"
	"io"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/pcapfile"
)

// innerWriter writes innermost frames and packets. Its interfaces come into being with their first packet, because some
// programs, tcpdump among them, read no file with interfaces of two kinds.
type innerWriter struct {
	w        *pcapfile.Writer
	ethernet int // interface numbers; -1 while there is none
	ip       int
}

func newInnerWriter(out io.Writer) (*innerWriter, error) {
	w, err := pcapfile.NewWriter(out, pcapfile.WriterConfig{
		Application: "culvert quickstart",
		Comment:     "innermost packets of VXLAN and IPIP tunnels",
	})
	return &innerWriter{w: w, ethernet: -1, ip: -1}, err
}

// write writes what is inside the innermost tunnel of f, and reports whether there was something. It returns errUnwritable
// for a frame that the format cannot hold, or the output's error.
//
// The bytes are those of the decapsulator, with the congestion mark that the outer header had; those of a frame that it
// drops are as captured, with a comment that says so.
func (w *innerWriter) write(f *frame) (bool, error) {
	if f.rejected || len(f.tunnels) == 0 {
		return false, nil
	}
	t := &f.tunnels[len(f.tunnels)-1]
	if t.level+1 == dissect.MaxLevels || t.level+1 == len(f.levels()) {
		return false, nil // too deep, or nothing inside that could be read
	}
	data, comment := t.decapsulated, ""
	wire := len(data)
	if data == nil {
		data, wire, comment = f.levelBytes(t.level+1), f.wireLen(t.level+1), "not rebuilt: "+t.why.String()
	}
	iface, err := w.iface(f.levels()[t.level+1].Ethernet.IsValid())
	if err != nil {
		return false, err
	}
	err = w.w.WritePacketComment(iface, f.packet.Time, data, wire, comment)
	if errors.Is(err, pcapfile.ErrTime) || errors.Is(err, pcapfile.ErrLimit) || errors.Is(err, pcapfile.ErrPacketTooLarge) {
		return false, fmt.Errorf("%w: %w", errUnwritable, err)
	}
	return err == nil, err
}

// errUnwritable reports a frame that pcapng cannot hold.
var errUnwritable = errors.New("cannot be written as pcapng")

// iface returns the number of the interface for Ethernet frames or for IP packets.
func (w *innerWriter) iface(ethernet bool) (int, error) {
	number, description := &w.ip, pcapfile.Interface{Name: "inner-ip", LinkType: pcapfile.LinkRaw}
	if ethernet {
		number, description = &w.ethernet, pcapfile.Interface{Name: "inner-ethernet", LinkType: pcapfile.LinkEthernet}
	}
	if *number >= 0 {
		return *number, nil
	}
	n, err := w.w.AddInterface(description)
	if err == nil {
		*number = n
	}
	return n, err
}

func (w *innerWriter) flush() error { return w.w.Flush() }
