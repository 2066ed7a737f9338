package pcap_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/pcap"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/packet"
)

// recorded is a packet of a capture.
type recorded struct {
	face int
	at   time.Duration
	data []byte
	cut  int // bytes that the capture lacks
}

// capture returns a pcapng file with an interface for each link type, named a, b and so on.
func capture(t *testing.T, links []pcapfile.LinkType, packets ...recorded) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapfile.NewWriter(&file, pcapfile.WriterConfig{})
	require.NoError(t, err)
	for i, link := range links {
		_, err := w.AddInterface(pcapfile.Interface{Name: string(rune('a' + i)), LinkType: link})
		require.NoError(t, err)
	}
	for _, p := range packets {
		require.NoError(t, w.WritePacket(p.face, time.Unix(1000, 0).Add(p.at), p.data, len(p.data)+p.cut))
	}
	require.NoError(t, w.Flush())
	return file.Bytes()
}

// frame returns bytes that can be told from those of other numbers.
func frame(n byte) []byte { return bytes.Repeat([]byte{n}, 20) }

// datagram is frame for a raw link.
func datagram(n byte) []byte { return append([]byte{0x45}, frame(n)...) }

var (
	ethernetOnly = []pcapfile.LinkType{pcapfile.LinkEthernet}
	rawOnly      = []pcapfile.LinkType{pcapfile.LinkRaw}
)

// everything receives until there is an error, which it returns; numbers are the last bytes of the packets.
func everything(t *testing.T, d *pcap.Driver) (numbers []byte, err error) {
	t.Helper()
	batch := make([]*packet.Buffer, 3)
	for {
		n, err := d.Queues()[0].Receive(batch, driver.Forever)
		for _, b := range batch[:n] {
			numbers = append(numbers, b.Bytes()[b.Len()-1])
		}
		packet.FreeBatch(batch[:n])
		if err != nil {
			return numbers, err
		}
	}
}

func open(t *testing.T, c pcap.Config) *pcap.Driver {
	t.Helper()
	var err error
	c.Pool, err = packet.NewPool(packet.PoolConfig{Buffers: 8, Size: 256})
	require.NoError(t, err)
	d, err := pcap.New(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, d.Close())
		assert.Zero(t, c.Pool.InUse())
	})
	return d
}

func TestReceive(t *testing.T) {
	both := []pcapfile.LinkType{pcapfile.LinkEthernet, pcapfile.LinkEthernet, pcapfile.LinkIPv4}
	for _, c := range []struct {
		name   string
		file   []byte
		config pcap.Config
		want   []byte
		raw    bool
		errors uint64
	}{
		{name: "no packet", file: capture(t, ethernetOnly)},
		{name: "no packet, raw", file: capture(t, rawOnly), raw: true},
		{name: "no packet and no interface", file: capture(t, nil)},
		{name: "packets", file: capture(t, ethernetOnly, recorded{data: frame(1)}, recorded{data: frame(2)}), want: []byte{1, 2}},
		{name: "raw", file: capture(t, rawOnly, recorded{data: datagram(1)}), want: []byte{1}, raw: true},
		{name: "raw, IPv6 among them", file: capture(t, rawOnly, recorded{data: datagram(1)}, recorded{data: frame(0x60)}), want: []byte{1}, raw: true, errors: 1},
		{
			name: "cut by the capture's snap length",
			file: capture(t, ethernetOnly, recorded{data: frame(1), cut: 1}, recorded{data: frame(2)}), want: []byte{2}, errors: 1,
		},
		{name: "shorter than a header", file: capture(t, ethernetOnly, recorded{data: frame(1)[:13]}, recorded{data: frame(2)}), want: []byte{2}, errors: 1},
		{name: "longer than a buffer", file: capture(t, ethernetOnly, recorded{data: make([]byte, 129)}, recorded{data: frame(2)}), want: []byte{2}, errors: 1},
		{
			name: "all interfaces of a kind",
			file: capture(t, both, recorded{0, 0, frame(1), 0}, recorded{1, 0, frame(2), 0}, recorded{2, 0, datagram(3), 0}), want: []byte{1, 2}, errors: 1,
		},
		{
			name: "one interface by name", config: pcap.Config{Interface: "b"},
			file: capture(t, both, recorded{0, 0, frame(1), 0}, recorded{1, 0, frame(2), 0}, recorded{2, 0, datagram(3), 0}), want: []byte{2},
		},
		{
			name: "one interface by number", config: pcap.Config{Interface: "#2"},
			file: capture(t, both, recorded{0, 0, frame(1), 0}, recorded{1, 0, frame(2), 0}, recorded{2, 0, datagram(3), 0}), want: []byte{3}, raw: true,
		},
		{
			name: "three times", config: pcap.Config{Loops: 3},
			file: capture(t, ethernetOnly, recorded{data: frame(1)}, recorded{data: frame(2)}), want: []byte{1, 2, 1, 2, 1, 2},
		},
		{name: "for ever, but nothing useful", config: pcap.Config{Loops: -1}, file: capture(t, ethernetOnly, recorded{data: frame(1), cut: 1}), errors: 1},
		{name: "for ever, but empty", config: pcap.Config{Loops: -1}, file: capture(t, ethernetOnly)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Reader = bytes.NewReader(c.file)
			d := open(t, c.config)
			assert.Equal(t, c.raw, d.Link().Raw)
			got, err := everything(t, d)
			assert.Equal(t, io.EOF, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.errors, d.Stats().RxErrors)
			assert.EqualValues(t, len(c.want), d.Stats().RxPackets)
			_, err = d.Queues()[0].Receive(make([]*packet.Buffer, 1), driver.Forever)
			assert.Equal(t, io.EOF, err, "the end is for good")
		})
	}
}

func TestReceiveGzip(t *testing.T) {
	var file bytes.Buffer
	w := gzip.NewWriter(&file)
	_, err := w.Write(capture(t, ethernetOnly, recorded{data: frame(1)}))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	got, err := everything(t, open(t, pcap.Config{Reader: &file}))
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, []byte{1}, got)
}

func TestReceiveManyMoreThanBuffers(t *testing.T) {
	var all []recorded
	var want []byte
	for i := range 2000 {
		all = append(all, recorded{data: frame(byte(i))})
		want = append(want, byte(i))
	}
	got, err := everything(t, open(t, pcap.Config{Reader: bytes.NewReader(capture(t, ethernetOnly, all...))}))
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, want, got, "a file waits for buffers")
}

// TestBrokenCapture has faults behind the first packet: those before it, New returns.
func TestBrokenCapture(t *testing.T) {
	file := capture(t, ethernetOnly, recorded{data: frame(1)}, recorded{data: frame(2)})
	d := open(t, pcap.Config{Reader: bytes.NewReader(file[:len(file)-1])})
	got, err := everything(t, d)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "what is wrong comes once")
	assert.Equal(t, []byte{1}, got)
	_, err = everything(t, d)
	assert.Equal(t, io.EOF, err, "and then the end")
}

func TestPace(t *testing.T) {
	file := capture(t, ethernetOnly,
		recorded{at: 0, data: frame(1)}, recorded{at: 2 * time.Second, data: frame(2)},
		recorded{at: time.Second, data: frame(3)}, recorded{at: 10 * time.Second, data: frame(4)}, recorded{at: 9 * time.Second, data: frame(5)})
	for _, c := range []struct {
		name  string
		speed float64
		loops int
		want  []time.Duration // when each packet comes
	}{
		{"as captured, a timestamp that goes back among them", 1, 1, []time.Duration{0, 2 * time.Second, 2 * time.Second, 10 * time.Second, 10 * time.Second}},
		{"ten times as fast", 10, 1, []time.Duration{0, 200 * time.Millisecond, 200 * time.Millisecond, time.Second, time.Second}},
		{"half as fast", 0.5, 1, []time.Duration{0, 4 * time.Second, 4 * time.Second, 20 * time.Second, 20 * time.Second}},
		{"at once", 0, 1, []time.Duration{0, 0, 0, 0, 0}},
		{"twice", 1, 2, []time.Duration{0, 2e9, 2e9, 10e9, 10e9, 10e9, 12e9, 12e9, 20e9, 20e9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // in virtual time
				d, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file), Speed: c.speed, Loops: c.loops})
				require.NoError(t, err)
				start, batch := time.Now(), make([]*packet.Buffer, 1)
				var got []time.Duration
				for {
					n, err := d.Queues()[0].Receive(batch, driver.Forever)
					if err != nil {
						break
					}
					got = append(got, slices.Repeat([]time.Duration{time.Since(start)}, n)...)
					packet.FreeBatch(batch[:n])
				}
				assert.Equal(t, c.want, got)
				require.NoError(t, d.Close())
			})
		})
	}
}

func TestCloseEndsPace(t *testing.T) {
	file := capture(t, ethernetOnly, recorded{at: 0, data: frame(1)}, recorded{at: 1000 * time.Hour, data: frame(2)})
	synctest.Test(t, func(t *testing.T) {
		d, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file), Speed: 1e-3})
		require.NoError(t, err)
		batch := make([]*packet.Buffer, 2)
		for _, want := range []int{1, 0} { // the second packet is due after the times that there are
			n, err := d.Queues()[0].Receive(batch, 1000*time.Hour)
			require.NoError(t, err)
			assert.Equal(t, want, n)
			packet.FreeBatch(batch[:n])
		}
		start := time.Now()
		require.NoError(t, d.Close())
		assert.Zero(t, time.Since(start))
		_, err = d.Queues()[0].Receive(make([]*packet.Buffer, 1), driver.Forever)
		assert.ErrorIs(t, err, net.ErrClosed)
	}) // which also fails if the goroutine stays
}

func TestSend(t *testing.T) {
	for _, c := range []struct {
		name string
		link pcap.LinkType
		snap int
		make func(b *packet.Buffer)
		want []byte
		wire int
		err  error
	}{
		{name: "as it is", want: frame(1)},
		{name: "raw", link: pcap.Raw, want: frame(1)},
		{name: "cut to the snap length", snap: 15, want: frame(1)[:15], wire: 20},
		{name: "shorter than the snap length", snap: 25, want: frame(1)},
		{name: "a VLAN tag", make: func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN, TCI: 7}) }, want: slices.Insert(frame(1), 12, 0x81, 0, 0, 7)},
		{name: "a VLAN tag on a raw link", link: pcap.Raw, make: func(b *packet.Buffer) { b.SetVLAN(ethernet.Tag{TPID: ethernet.TypeVLAN}) }, err: driver.ErrMetadata},
		{name: "a superframe", make: func(b *packet.Buffer) { b.SetGSO(packet.GSOUDP4, 10) }, err: driver.ErrMetadata},
		{name: "shorter than a header", make: func(b *packet.Buffer) { _ = b.Truncate(13) }, err: driver.ErrShort},
		{name: "empty", link: pcap.Raw, make: func(b *packet.Buffer) { _ = b.Truncate(0) }, err: driver.ErrShort},
		{name: "partial checksum that was cut off", make: func(b *packet.Buffer) {
			_ = b.SetChecksumPartial(14, 0)
			_ = b.TrimFront(15)
			_, _ = b.Extend(1)
		}, err: driver.ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			var file bytes.Buffer
			at := time.Unix(1234, 5)
			d := open(t, pcap.Config{Writer: &file, LinkType: c.link, SnapLen: c.snap, Name: "out", Now: func() time.Time { return at }})
			b := packet.New(100)
			require.NoError(t, b.SetBytes(frame(1)))
			if c.make != nil {
				c.make(b)
			}
			err := d.Queues()[0].Send([]*packet.Buffer{b})
			if c.err != nil {
				assert.Error(t, err)
				assert.EqualValues(t, 1, d.Stats().TxErrors)
				c.wire = -1
			} else {
				require.NoError(t, err)
			}
			checkFile(t, file.Bytes(), c.link == pcap.Raw, c.want, c.wire, at)
		})
	}
}

// checkFile expects one packet in a capture, or none if wire is negative.
func checkFile(t *testing.T, file []byte, raw bool, want []byte, wire int, at time.Time) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	p, err := r.Next()
	if wire < 0 {
		assert.Equal(t, io.EOF, err)
		return
	}
	require.NoError(t, err)
	assert.Equal(t, want, p.Data)
	assert.Equal(t, max(wire, len(want)), p.WireLen)
	assert.True(t, at.Equal(p.Time), p.Time)
	link := pcapfile.LinkEthernet
	if raw {
		link = pcapfile.LinkRaw
	}
	assert.Equal(t, "out", r.Interfaces()[0].Name)
	assert.Equal(t, link, p.LinkType)
}

type brokenWriter struct{ after int }

var errDisk = errors.New("no space left on device")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	d, err := pcap.New(pcap.Config{Writer: &brokenWriter{after: 300}})
	require.NoError(t, err)
	for range 10 {
		_ = d.Queues()[0].Send([]*packet.Buffer{packet.Of(frame(1)), packet.Of(frame(2))})
	}
	assert.ErrorIs(t, d.Queues()[0].Send([]*packet.Buffer{packet.Of(frame(1))}), errDisk)
	st := d.Stats()
	assert.EqualValues(t, 21, st.TxPackets+st.TxErrors)
	assert.NotZero(t, st.TxPackets)
	assert.NotZero(t, st.TxErrors)
	assert.ErrorIs(t, d.Close(), errDisk)
	assert.NoError(t, d.Close())

	_, err = pcap.New(pcap.Config{Writer: &brokenWriter{}})
	assert.ErrorIs(t, err, errDisk)
}

func TestNewErrors(t *testing.T) {
	bad := func(b ...byte) io.Reader { return bytes.NewReader(b) }
	for _, c := range []struct {
		name   string
		config pcap.Config
		says   []string
	}{
		{"nothing", pcap.Config{}, []string{"Config.Reader and Config.Writer"}},
		{
			"every field",
			pcap.Config{Interface: "a", LinkType: 9, Speed: -1, Loops: -2, SnapLen: -1, Name: string(make([]byte, 300))},
			[]string{"Config.Interface", "Config.LinkType", "Config.Speed", "Config.Loops", "Config.SnapLen", "Config.Name"},
		},
		{"loops over a pipe", pcap.Config{Reader: io.MultiReader(), Loops: 2}, []string{"Config.Loops", "io.Seeker"}},
		{"not a capture", pcap.Config{Reader: bad(1, 2, 3, 4, 5, 6, 7, 8)}, []string{"not a valid capture"}},
		{"an empty file", pcap.Config{Reader: bad()}, []string{"pcap: "}},
		{
			"the 'any' device",
			pcap.Config{Reader: bytes.NewReader(capture(t, []pcapfile.LinkType{pcapfile.LinkLinuxSLL2}, recorded{data: frame(1)}))},
			[]string{"LINUX_SLL2", "want Ethernet"},
		},
		{
			"the 'any' device, no packet",
			pcap.Config{Reader: bytes.NewReader(capture(t, []pcapfile.LinkType{pcapfile.LinkLinuxSLL}))},
			[]string{"LINUX_SLL"},
		},
		{
			"an interface that is not there",
			pcap.Config{Interface: "eth7", Reader: bytes.NewReader(capture(t, ethernetOnly, recorded{data: frame(1)}))},
			[]string{`"eth7"`, `#0 "a"`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := pcap.New(c.config)
			require.Error(t, err)
			for _, s := range c.says {
				assert.ErrorContains(t, err, s)
			}
		})
	}
}

// TestOtherLinkType says what to expect, so that New does not look.
func TestOtherLinkType(t *testing.T) {
	file := capture(t, rawOnly, recorded{data: datagram(1)})
	_, err := everything(t, open(t, pcap.Config{Reader: bytes.NewReader(file), LinkType: pcap.Ethernet}))
	assert.ErrorContains(t, err, "Config.LinkType is Ethernet")
}

func TestNoReaderWaits(t *testing.T) {
	d := open(t, pcap.Config{Writer: io.Discard})
	n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 1), time.Microsecond)
	assert.Zero(t, n)
	assert.NoError(t, err)
}

var errReader = errors.New("input/output error")

// brokenFile is a capture that cannot be read, or not read again.
type brokenFile struct {
	io.Reader
	seek error
}

func (f *brokenFile) Seek(int64, int) (int64, error) { return 0, f.seek }

func TestReaderFails(t *testing.T) {
	file := capture(t, ethernetOnly, recorded{data: frame(1)})
	for _, c := range []struct {
		name   string
		reader io.Reader
		loops  int
	}{
		{"read", io.MultiReader(bytes.NewReader(file), iotest.ErrReader(errReader)), 1},
		{"seek", &brokenFile{bytes.NewReader(file), errReader}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, pcap.Config{Reader: c.reader, Loops: c.loops})
			got, err := everything(t, d)
			assert.ErrorIs(t, err, errReader)
			assert.Equal(t, []byte{1}, got)
			_, err = everything(t, d)
			assert.Equal(t, io.EOF, err)
		})
	}
}

// TestCloseWithoutBuffers closes while the capture waits for buffers.
func TestCloseWithoutBuffers(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: 1})
	require.NoError(t, err)
	b := pool.Get()
	synctest.Test(t, func(t *testing.T) {
		d, err := pcap.New(pcap.Config{Reader: bytes.NewReader(capture(t, ethernetOnly, recorded{data: frame(1)})), Pool: pool})
		require.NoError(t, err)
		n, err := d.Queues()[0].Receive(make([]*packet.Buffer, 1), time.Second)
		assert.Zero(t, n)
		require.NoError(t, err)
		require.NoError(t, d.Close())
	}) // fails if the goroutine stays
	b.Free()
	assert.Zero(t, pool.InUse())
}

func TestLinkType(t *testing.T) {
	assert.Equal(t, "auto Ethernet raw LinkType(9)", fmt.Sprint(pcap.Auto, " ", pcap.Ethernet, " ", pcap.Raw, " ", pcap.LinkType(9)))
}

// FuzzReceive receives files of any bytes: the driver comes to an end, and all buffers back.
func FuzzReceive(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte, loops byte, name string) {
		pool, err := packet.NewPool(packet.PoolConfig{Buffers: 4, Size: 512})
		require.NoError(t, err)
		d, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file), Loops: int(loops % 4), Interface: name, Pool: pool})
		if err == nil {
			for err = error(nil); !errors.Is(err, io.EOF); {
				_, err = everything(t, d)
			}
			require.NoError(t, d.Close())
		}
		require.Zero(t, pool.InUse())
	})
}

// BenchmarkReceive receives a capture in memory over and over; ns/op is for a packet.
func BenchmarkReceive(b *testing.B) {
	var file bytes.Buffer
	w, err := pcapfile.NewWriter(&file, pcapfile.WriterConfig{})
	require.NoError(b, err)
	_, err = w.AddInterface(pcapfile.Interface{LinkType: pcapfile.LinkEthernet})
	require.NoError(b, err)
	for range 10000 {
		require.NoError(b, w.WritePacket(0, time.Unix(1, 0), make([]byte, 100), 0))
	}
	require.NoError(b, w.Flush())
	d, err := pcap.New(pcap.Config{Reader: bytes.NewReader(file.Bytes()), Loops: -1})
	require.NoError(b, err)
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	b.ResetTimer()
	for total := 0; total < b.N; {
		n, err := d.Queues()[0].Receive(batch, driver.Forever)
		require.NoError(b, err)
		packet.FreeBatch(batch[:n])
		total += n
	}
	require.NoError(b, d.Close())
}

// BenchmarkSend writes to nowhere; ns/op is for a packet.
func BenchmarkSend(b *testing.B) {
	pool, err := packet.NewPool(packet.PoolConfig{})
	require.NoError(b, err)
	d, err := pcap.New(pcap.Config{Writer: io.Discard})
	require.NoError(b, err)
	batch := make([]*packet.Buffer, driver.BatchSize)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(batch) {
		pool.GetBatch(batch)
		for _, p := range batch {
			_, _ = p.Extend(100)
		}
		if err := d.Queues()[0].Send(batch); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, d.Close())
}
