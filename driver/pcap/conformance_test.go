package pcap_test

import (
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name  string
		link  pcap.LinkType
		file  pcapfile.LinkType
		speed float64
	}{
		{"Ethernet", pcap.Ethernet, pcapfile.LinkEthernet, 0},
		{"raw", pcap.Raw, pcapfile.LinkIPv4, 0},
		{"paced", pcap.Ethernet, pcapfile.LinkEthernet, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{New: func(t *testing.T, want drivertest.Config) drivertest.Pair {
				w := newWire(t, c.file)
				d, err := pcap.New(pcap.Config{Reader: w.in, Writer: w.out, LinkType: c.link, Speed: c.speed, Pool: want.Pool})
				require.NoError(t, err)
				w.start(t)
				return drivertest.Pair{Driver: d, Wire: w}
			}})
		})
	}
}

// wire writes a capture that the driver reads while it grows, and reads the one that the driver writes.
type wire struct {
	in, out *pipe
	file    *pcapfile.Writer
	packets chan []byte
}

func newWire(t *testing.T, link pcapfile.LinkType) *wire {
	t.Helper()
	w := &wire{in: newPipe(), out: newPipe(), packets: make(chan []byte, 1<<16)}
	var err error
	w.file, err = pcapfile.NewWriter(w.in, pcapfile.WriterConfig{})
	require.NoError(t, err)
	_, err = w.file.AddInterface(pcapfile.Interface{LinkType: link})
	require.NoError(t, err)
	return w
}

// start starts to read what the driver writes.
func (w *wire) start(t *testing.T) {
	t.Helper()
	r, err := pcapfile.NewReader(w.out)
	require.NoError(t, err)
	go func() {
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			w.packets <- append([]byte(nil), p.Data...)
		}
	}()
}

func (w *wire) Inject(b *packet.Buffer) error {
	defer b.Free()
	if err := w.file.WritePacket(0, time.Unix(1, 0), b.Bytes(), 0); err != nil {
		return err
	}
	return w.file.Flush()
}

func (w *wire) Collect(wait time.Duration) (*packet.Buffer, error) {
	select {
	case p := <-w.packets:
		return packet.Of(p), nil
	case <-time.After(wait):
		return nil, nil
	}
}

func (w *wire) Close() error { return nil } // the driver closes both files

// pipe is an io.Pipe that keeps what is not read yet.
type pipe struct {
	mu     sync.Mutex
	more   sync.Cond
	bytes  []byte
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.more.L = &p.mu
	return p
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	p.bytes = append(p.bytes, b...)
	p.more.Signal()
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.bytes) == 0 && !p.closed {
		p.more.Wait()
	}
	if len(p.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.bytes)
	p.bytes = p.bytes[n:]
	return n, nil
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
	return nil
}
