package takeapart

// The command as its users meet it: arguments and files in, text, JSON, pcapng and exit codes out.

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/internal/pcapfile"
	"github.com/culvert-net/culvert/internal/vectors"
)

var update = flag.Bool("update", false, "write testdata/demo.golden anew")

// result is what a run did.
type result struct {
	code           int
	stdout, stderr string
}

// run is the command without the flags that are not this package's: -r demo is meant where no -r is given.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	opt := Options{Read: Demo, Captures: os.DirFS("../..")}
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opt.Read, "r", opt.Read, "")
	flags.StringVar(&opt.Write, "w", "", "")
	opt.Register(flags)
	if flags.Parse(args) != nil {
		return cli.Usage
	}
	return Run(ctx, opt, stdin, stdout, stderr)
}

// quickstart runs it.
func quickstart(t testing.TB, stdin []byte, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, bytes.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// lastLine returns the last line of the output.
func (r result) lastLine() string {
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	return lines[len(lines)-1]
}

// golden returns one of the captures that the program carries with it.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../testdata", name))
	require.NoError(t, err)
	return b
}

// write writes a file into a directory of the test's own.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}

// pcapOf returns a capture file of frames.
func pcapOf(link pcapfile.LinkType, frames ...[]byte) []byte {
	const magic, version, snapLen = 0xa1b2c3d4, 2 | 4<<16, 262144
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint32(b, version)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, snapLen)
	b = le.AppendUint32(b, uint32(link))
	for i, f := range frames {
		b = appendRecord(b, uint32(i+1), f, len(f))
	}
	return b
}

// appendRecord appends a packet, captured at a number of seconds, to a capture file.
func appendRecord(b []byte, seconds uint32, frame []byte, wireLen int) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, seconds)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(frame)))
	b = le.AppendUint32(b, uint32(wireLen))
	return append(b, frame...)
}

// framesOf returns the packets of a capture file.
func framesOf(t testing.TB, capture []byte) []pcapfile.Packet {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(capture))
	require.NoError(t, err)
	var packets []pcapfile.Packet
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return packets
		}
		require.NoError(t, err)
		p.Data = bytes.Clone(p.Data)
		packets = append(packets, p)
	}
}

// ping is the frame of the first embedded capture: 148 bytes, of which the last 98 are the inner frame.
func ping(t testing.TB) []byte {
	t.Helper()
	return framesOf(t, golden(t, "flannel_vxlan_echo_request.pcap"))[0].Data
}

func TestDemoPrintsTheGoldenOutput(t *testing.T) {
	const file = "testdata/demo.golden"
	r := quickstart(t, nil)
	assert.Zero(t, r.code)
	assert.Empty(t, r.stderr)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(r.stdout), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), r.stdout)
	assert.Equal(t, "13 frames read, 13 rebuilt byte for byte", r.lastLine())
	assert.Contains(t, r.stdout, "118 bytes = Ethernet 14 + IPv4 20 | IPv4 20 + ICMP 8 + payload 56")
	assert.LessOrEqual(t, strings.Count(r.stdout, "\n"), 105, "nobody reads more in a minute")
}

func TestQuietPrintsOnlyTables(t *testing.T) {
	r := quickstart(t, nil, "-q")
	assert.Zero(t, r.code)
	assert.True(t, strings.HasPrefix(r.stdout, "== Tunnels and the flows inside\nTUNNEL  VNI  ENDS"), r.stdout)
	assert.Equal(t, 6, strings.Count(r.stdout, "\n"))
}

// The second half of the demo does not depend on what the first half was told to read.
func TestDemoWithOtherPorts(t *testing.T) {
	r := quickstart(t, nil, "-port", "1")
	assert.Zero(t, r.code, r.stderr)
	assert.Contains(t, r.stdout, "= IPIP: decapsulated, 84 bytes; encapsulated again (id 1), 118 bytes: identical")
	assert.Equal(t, "13 frames read, none with a tunnel", r.lastLine())
}

func TestUsageErrors(t *testing.T) {
	capture := write(t, "a.pcap", golden(t, "flannel_vxlan_http.pcap"))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port 0":                 {[]string{"-port", "0"}, "want port numbers from 1 to 65535"},
		"port too large":         {[]string{"-port", "65536"}, "want port numbers from 1 to 65535"},
		"port missing in a list": {[]string{"-port", "4789,"}, "want port numbers from 1 to 65535"},
		"flows in words":         {[]string{"-flows", "all"}, "want 0 (all) or more"},
		"negative flows":         {[]string{"-flows", "-1"}, "want 0 (all) or more"},
		"-w over -r":             {[]string{"-r", capture, "-w", capture}, "would overwrite the file that -r reads"},
	} {
		t.Run(name, func(t *testing.T) {
			r := quickstart(t, nil, c.args...)
			assert.Equal(t, cli.Usage, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, c.want)
		})
	}
	in, err := os.Open(capture)
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // read only
	assert.Equal(t, cli.Usage, run(t.Context(), []string{"-r", "-", "-w", capture}, in, io.Discard, io.Discard))
	content, err := os.ReadFile(capture)
	require.NoError(t, err)
	assert.Equal(t, golden(t, "flannel_vxlan_http.pcap"), content, "the capture was overwritten")
}

func TestUnreadableInput(t *testing.T) {
	text := write(t, "notes.txt", []byte("not a capture"))
	empty := write(t, "empty.pcap", nil)
	for name, c := range map[string]struct{ file, want string }{
		"no such file":  {"nosuch.pcap", "nosuch.pcap: no such file"},
		"a directory":   {t.TempDir(), "is a directory: want a capture file"},
		"a text file":   {text, "notes.txt: pcapfile: file header: first bytes 6e6f7420"},
		"an empty file": {empty, "empty.pcap: pcapfile: file header: 0 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.pcapng")
			r := quickstart(t, nil, "-r", c.file, "-w", out)
			assert.Equal(t, cli.Fault, r.code)
			assert.Contains(t, r.stderr, c.want)
			assert.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
		})
	}
}

// A file cut anywhere gives everything before the cut, in the text, the tables and the -w file.
func TestTruncatedFiles(t *testing.T) {
	whole := golden(t, "flannel_vxlan_http.pcap")
	const header, record = 24, 16
	ends := []int{header} // of the packets
	for _, p := range framesOf(t, whole) {
		ends = append(ends, ends[len(ends)-1]+record+len(p.Data))
	}
	for cut := range len(whole) {
		if cut > 300 && cut%7 != 0 {
			continue
		}
		frames := 0
		for frames+1 < len(ends) && ends[frames+1] <= cut {
			frames++
		}
		out := filepath.Join(t.TempDir(), "out.pcapng")
		r := quickstart(t, whole[:cut], "-r", "-", "-q", "-w", out)
		if cut == ends[frames] {
			require.Zero(t, r.code, "cut at %d", cut)
			require.Empty(t, r.stderr)
		} else {
			require.Equal(t, cli.Fault, r.code, "cut at %d", cut)
			require.Contains(t, r.stderr, "quickstart: standard input: ")
		}
		if cut > header && cut != ends[frames] {
			require.Contains(t, r.stderr, fmt.Sprintf("the file ends inside frame %d, those before it were read", frames+1))
		}
		require.True(t, strings.HasPrefix(r.lastLine(), fmt.Sprintf("%d frame", frames)), "cut at %d: %s", cut, r.lastLine())
		content, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Len(t, framesOf(t, content), frames, "cut at %d", cut)
	}
}

// Where the bytes come from makes no difference.
func TestStandardInputAndGzip(t *testing.T) {
	capture := golden(t, "flannel_vxlan_http.pcap")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(capture)
	require.NoError(t, err)
	require.NoError(t, z.Close())

	want := quickstart(t, nil, "-r", write(t, "a.pcap", capture))
	require.Zero(t, want.code, want.stderr)
	body := func(r result) string { _, b, _ := strings.Cut(r.stdout, "#1 "); return b }
	for name, r := range map[string]result{
		"gzip":                   quickstart(t, nil, "-r", write(t, "a.pcap.gz", zipped.Bytes())),
		"standard input":         quickstart(t, capture, "-r", "-"),
		"gzip on standard input": quickstart(t, zipped.Bytes(), "-r", "-"),
	} {
		assert.Zero(t, r.code, name)
		assert.Empty(t, r.stderr, name)
		assert.Equal(t, body(want), body(r), name)
	}
}

// A frame read from a pipe is shown before the next one comes: as `tcpdump -w - | quickstart -r -` needs it.
func TestLivePipe(t *testing.T) {
	capture := golden(t, "flannel_vxlan_echo_request.pcap")
	in, feed := io.Pipe()
	watch, out := io.Pipe()
	code := make(chan int, 1)
	go func() {
		defer out.Close() //nolint:errcheck // never fails (io.PipeWriter)
		code <- run(t.Context(), []string{"-r", "-"}, in, out, io.Discard)
	}()
	_, err := feed.Write(capture)
	require.NoError(t, err)
	var seen []byte
	for b := make([]byte, 512); !bytes.Contains(seen, []byte(": identical\n")); {
		n, err := watch.Read(b)
		require.NoError(t, err, "%s", seen)
		seen = append(seen, b[:n]...)
	}
	require.NoError(t, feed.Close())
	rest, err := io.ReadAll(watch)
	require.NoError(t, err)
	assert.Zero(t, <-code)
	assert.Contains(t, string(rest), "1 frame read, 1 rebuilt byte for byte")
}

// failing is an output that breaks after a number of bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, f.err
	}
	f.left -= len(p)
	return len(p), nil
}

func TestBrokenStandardOutput(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		code   int
		stderr string
	}{
		"closed, as by head": {&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}, cli.OK, ""},
		"full":               {syscall.ENOSPC, cli.Fault, "quickstart: writing standard output: no space left on device\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			file := filepath.Join(t.TempDir(), "out.pcapng")
			code := run(t.Context(), []string{"-w", file}, nil, &failing{100, c.err}, &stderr)
			assert.Equal(t, c.code, code)
			assert.Equal(t, c.stderr, stderr.String())
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Len(t, framesOf(t, content), 13, "the -w file is complete all the same")
		})
	}
}

func TestReadingStopsWhenNobodyListens(t *testing.T) {
	source := &endless{capture: golden(t, "flannel_vxlan_http.pcap")}
	code := run(t.Context(), []string{"-r", "-"}, source, &failing{1000, syscall.EPIPE}, io.Discard)
	assert.Zero(t, code)
}

// endless repeats the packets of a capture for ever.
type endless struct {
	capture []byte
	at      int
}

func (e *endless) Read(p []byte) (int, error) {
	const header = 24
	if e.at == len(e.capture) {
		e.at = header
	}
	n := copy(p, e.capture[e.at:])
	e.at += n
	return n, nil
}

func TestUnwritableFile(t *testing.T) {
	r := quickstart(t, nil, "-w", filepath.Join(t.TempDir(), "no", "such", "directory"))
	assert.Equal(t, cli.Fault, r.code)
	assert.Empty(t, r.stdout)
	assert.Contains(t, r.stderr, "no such file or directory")

	var stderr, stdout bytes.Buffer
	code := run(t.Context(), []string{"-w", "-", "-q"}, nil, &failing{0, syscall.ENOSPC}, &stderr)
	assert.Equal(t, cli.Fault, code)
	assert.Contains(t, stderr.String(), "quickstart: writing standard output: no space left on device\n")
	assert.Contains(t, stderr.String(), "13 frames read", "the tables are printed all the same")
	assert.Empty(t, stdout.String())
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"-r", "-"}, &endless{capture: golden(t, "flannel_vxlan_http.pcap")}, &stdout, &stderr)
	assert.Equal(t, cli.Fault, code)
	assert.Equal(t, "quickstart: standard input: interrupted after frame 0\n", stderr.String())
	assert.Contains(t, stdout.String(), "0 frames read")
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_700_000_000, 0)
	p := progress{out: &out, last: now, now: func() time.Time { return now }}
	in, read := &input{size: 1000}, &counter{}
	step := func(frames int, bytes, onDisk int64, passed time.Duration) string {
		out.Reset()
		now = now.Add(passed)
		read.n = onDisk
		p.at(&totals{frames: frames, bytes: bytes}, in, read)
		return out.String()
	}
	assert.Empty(t, step(progressFrames, 1e6, 100, time.Second), "too soon")
	assert.Equal(t, "quickstart: 2048 frames, 2.0 MB read (20% of the file)\n", step(2*progressFrames, 2e6, 200, time.Second))
	assert.Empty(t, step(3*progressFrames, 3e6, 300, time.Second), "too soon again")
	assert.Empty(t, step(3*progressFrames+1, 3e6, 300, time.Hour), "the clock is not asked at every frame")
	in.size = 0
	assert.Equal(t, "quickstart: 4096 frames, 4.5 MB read\n", step(4*progressFrames, 4_500_000, 400, time.Hour))
}

func TestCaptures(t *testing.T) {
	dir := os.Getenv("CULVERT_CAPTURES")
	if dir == "" {
		if os.Getenv("CULVERT_REQUIRE_CAPTURES") == "1" {
			require.FailNow(t, "CULVERT_CAPTURES is required: a directory with capture files")
		}
		t.Skip("CULVERT_CAPTURES names no directory with capture files")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		for _, flags := range [][]string{nil, {"-json"}, {"-strict", "-q"}} {
			out := filepath.Join(t.TempDir(), "out.pcapng")
			r := quickstart(t, nil, append([]string{"-r", file, "-w", out}, flags...)...)
			want := cli.OK
			if strings.Contains(r.lastLine(), " rejected, ") || strings.HasSuffix(r.lastLine(), " rejected") {
				want = cli.Fault
			}
			assert.Equal(t, want, r.code, "%s: %s", file, r.stderr)
			assert.Empty(t, r.stderr, file)
			content, err := os.ReadFile(out)
			require.NoError(t, err)
			framesOf(t, content)
		}
	}
}

// FuzzRun feeds whatever bytes to the command: it must neither panic nor hang, say why it failed, and write a readable -w file.
func FuzzRun(f *testing.F) {
	f.Add(golden(f, "flannel_vxlan_echo_request.pcap"), uint8(0))
	f.Add(golden(f, "flannel_vxlan_http.pcap")[:400], uint8(1))
	var frames [][]byte
	for _, v := range vectors.Load(f) {
		if v.Link == vectors.LinkEthernet && len(v.Frame) < 200 && len(frames) < 40 && strings.Contains(v.Name, "n") {
			frames = append(frames, v.Frame)
		}
	}
	f.Add(pcapOf(pcapfile.LinkEthernet, frames...), uint8(3))
	f.Fuzz(func(t *testing.T, capture []byte, flags uint8) {
		args := []string{"-r", "-", "-w", "-"}
		for i, name := range []string{"-json", "-strict", "-q"} {
			if flags>>i&1 != 0 {
				args = append(args, name)
			}
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, bytes.NewReader(capture), &stdout, &stderr)
		require.Contains(t, []int{cli.OK, cli.Fault}, code)
		framesOf(t, stdout.Bytes())
		if flags&1 == 0 {
			return
		}
		objects := 0
		for line := range strings.Lines(stderr.String()) { // the text goes to standard error, beside error messages
			if strings.HasPrefix(line, "quickstart: ") {
				continue
			}
			require.True(t, json.Valid([]byte(line)), "%q", line)
			objects++
		}
		require.Positive(t, objects)
	})
}

// requireTool skips, or fails where tools are required, without a program.
func requireTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CULVERT_REQUIRE_TOOLS") == "1" {
			require.NoError(t, err)
		}
		t.Skip(err)
	}
}
