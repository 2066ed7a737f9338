package main

// The command as its users meet it: arguments in, text, pcapng and exit codes out. What -r does is tested in internal/takeapart.

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/internal/pcapfile"
)

var update = flag.Bool("update", false, "write testdata/quickstart.golden anew")

// result is what a run did.
type result struct {
	code           int
	stdout, stderr string
}

// quickstart runs the command.
func quickstart(t testing.TB, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func TestRunPrintsTheGoldenOutput(t *testing.T) {
	const file = "testdata/quickstart.golden"
	r := quickstart(t)
	assert.Zero(t, r.code)
	assert.Empty(t, r.stderr)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(r.stdout), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), r.stdout)
	assert.LessOrEqual(t, strings.Count(r.stdout, "\n"), 110, "nobody reads more in a minute")
}

func TestHelp(t *testing.T) {
	r := quickstart(t, "-h")
	assert.Zero(t, r.code)
	assert.Empty(t, r.stderr)
	for _, f := range []string{"-w FILE", "-r FILE", "-r demo", "-port N", "-q", "-flows N", "-json", "-strict", "-h"} {
		assert.Contains(t, r.stdout, "\n  "+f)
	}
	_, examples, _ := strings.Cut(r.stdout, "Examples:")
	assert.Equal(t, 5, strings.Count(examples, "go run ./examples/quickstart"))
}

func TestUsageErrors(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown flag":          {[]string{"-x"}, "flag provided but not defined: -x"},
		"file without -r":       {[]string{"a.pcap"}, "to read a file say -r a.pcap"},
		"-r without a file":     {[]string{"-r"}, "flag needs an argument: -r"},
		"-r with an empty name": {[]string{"-r", ""}, "want a file name"},
		"-w with an empty name": {[]string{"-w", ""}, "want a file name"},
		"-json without -r":      {[]string{"-json"}, "-json says how captured frames are read: name a capture with -r, such as -r demo"},
		"-q without -r":         {[]string{"-w", "x.pcapng", "-q"}, "-q says how captured frames are read"},
		"-flows without -r":     {[]string{"-flows", "0"}, "-flows says how captured frames are read"},
		"-strict without -r":    {[]string{"-strict=false"}, "-strict says how captured frames are read"},
		"-port without -r":      {[]string{"-port", "4789"}, "-port says how captured frames are read"},
		"-port out of range":    {[]string{"-r", "demo", "-port", "0"}, "want port numbers from 1 to 65535"},
	} {
		t.Run(name, func(t *testing.T) {
			r := quickstart(t, c.args...)
			assert.Equal(t, cli.Usage, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, c.want)
		})
	}
}

// -r demo is the captures that the program carries with it, whatever is in the directory.
func TestReadsDemoAndFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("demo", []byte("not a capture"), 0o600))
	r := quickstart(t, "-r", "demo")
	assert.Zero(t, r.code, r.stderr)
	assert.Contains(t, r.stdout, "\n13 frames read, 13 rebuilt byte for byte\n")

	r = quickstart(t, "-r", "./demo")
	assert.Equal(t, cli.Fault, r.code)
	assert.Contains(t, r.stderr, "./demo: pcapfile: file header")
}

// interfaces are those of the -w file, in the order of their first packets.
var interfaces = []string{
	"node1/veth-a", "node1/flannel.1", "node1/ens192", "node2/ens192", "node2/flannel.1", "node2/veth-b",
	"k8s-1/veth-a", "k8s-1/flannel.ipip", "k8s-1/ens33", "k8s-2/ens33", "k8s-2/flannel.ipip", "k8s-2/veth-b",
}

// framesOf returns the packets of a capture file.
func framesOf(t *testing.T, content []byte) []pcapfile.Packet {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(content))
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

func TestHopsAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hops.pcapng")
	r := quickstart(t, "-w", file)
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, quickstart(t).stdout, r.stdout, "-w changes nothing of the text")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	toStdout := quickstart(t, "-w", "-")
	assert.Equal(t, string(content), toStdout.stdout)
	assert.Equal(t, r.stdout, toStdout.stderr, "the text goes to standard error")

	all, err := clusters()
	require.NoError(t, err)
	var want []hop
	for _, c := range all {
		require.NoError(t, c.ping())
		want = append(want, c.hops...)
	}
	got := framesOf(t, content)
	require.Len(t, got, len(want))
	for i, p := range got {
		assert.False(t, i > 0 && p.Time.Before(got[i-1].Time), "packet %d is from before the one in front of it", i+1)
		assert.Equal(t, want[i].data, p.Data)
		assert.Equal(t, want[i].at.Nanoseconds(), p.Time.UnixNano())
		link := pcapfile.LinkEthernet
		if want[i].raw {
			link = pcapfile.LinkRaw
		}
		assert.Equal(t, link, p.LinkType)
	}
}

// tshark runs tshark on a file and returns its output, a line a packet.
func tshark(t *testing.T, file string, args ...string) []string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		if os.Getenv("CULVERT_REQUIRE_TOOLS") == "1" {
			require.NoError(t, err)
		}
		t.Skip(err)
	}
	cmd := exec.Command("tshark", append([]string{"-r", file, "-d", "udp.port==8472,vxlan"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	for line := range strings.Lines(stderr.String()) {
		assert.Contains(t, line, "Running as user", "tshark complains")
	}
	return strings.FieldsFunc(string(output), func(r rune) bool { return r == '\n' })
}

func TestWiresharkReadsTheHops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hops.pcapng")
	require.Zero(t, quickstart(t, "-w", file).code)
	lines := tshark(t, file, "-Y", "icmp", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "ip.ttl", "-e", "vxlan.vni")
	assert.Equal(t, []string{
		"node1/veth-a\t98\t64\t", "node1/flannel.1\t98\t63\t", "node1/ens192\t148\t64,63\t1",
		"node2/ens192\t148\t64,63\t1", "node2/flannel.1\t98\t63\t", "node2/veth-b\t98\t62\t",
		"node2/veth-b\t98\t64\t", "node2/flannel.1\t98\t63\t", "node2/ens192\t148\t64,63\t1",
		"node1/ens192\t148\t64,63\t1", "node1/flannel.1\t98\t63\t", "node1/veth-a\t98\t62\t",

		"k8s-1/veth-a\t98\t64\t", "k8s-1/flannel.ipip\t84\t63\t", "k8s-1/ens33\t118\t63,63\t",
		"k8s-2/ens33\t118\t63,63\t", "k8s-2/flannel.ipip\t84\t63\t", "k8s-2/veth-b\t98\t62\t",
		"k8s-2/veth-b\t98\t64\t", "k8s-2/flannel.ipip\t84\t63\t", "k8s-2/ens33\t118\t63,63\t",
		"k8s-1/ens33\t118\t63,63\t", "k8s-1/flannel.ipip\t84\t63\t", "k8s-1/veth-a\t98\t62\t",
	}, lines)
	assert.Empty(t, tshark(t, file, "-o", "ip.check_checksum:TRUE", "-Y",
		"_ws.malformed || _ws.expert.severity >= \"Warning\" || ip.checksum.status == 0 || icmp.checksum.status == 0"))
	assert.Len(t, tshark(t, file, "-o", "ip.check_checksum:TRUE", "-Y", "icmp.checksum.status == 1 && ip.checksum.status == 1"), len(lines))
	var seen []string // interfaces
	for _, name := range tshark(t, file, "-T", "fields", "-e", "frame.interface_name") {
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
		}
	}
	assert.Equal(t, interfaces, seen)
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
			file := filepath.Join(t.TempDir(), "hops.pcapng")
			code := run(t.Context(), []string{"-w", file}, nil, &failing{100, c.err}, &stderr)
			assert.Equal(t, c.code, code)
			assert.Equal(t, c.stderr, stderr.String())
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Greater(t, len(framesOf(t, content)), 24, "the -w file is complete all the same")
		})
	}
}

func TestUnwritableFile(t *testing.T) {
	r := quickstart(t, "-w", filepath.Join(t.TempDir(), "no", "such", "directory"))
	assert.Equal(t, cli.Fault, r.code)
	assert.Empty(t, r.stdout)
	assert.Contains(t, r.stderr, "no such file or directory")

	var stderr bytes.Buffer
	code := run(t.Context(), []string{"-w", "-"}, nil, &failing{0, syscall.ENOSPC}, &stderr)
	assert.Equal(t, cli.Fault, code)
	assert.Contains(t, stderr.String(), "quickstart: writing standard output: no space left on device\n")
	assert.Contains(t, stderr.String(), "64 bytes from 10.244.2.14", "the text is printed all the same")
}
