package main

// Tests run the command itself, as a process of its own, in namespaces.

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// asNode makes the test's own binary the command.
const asNode = "CULVERT_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestNamespaces runs the script that shows all kinds of devices.
func TestNamespaces(t *testing.T) {
	if out, err := exec.Command("unshare", unshareArgs("true")...).CombinedOutput(); err != nil {
		netnstest.Missing(t, "namespaces, by unshare: "+err.Error()+": "+string(out))
	}
	for _, tool := range []string{"ip", "ping", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			netnstest.Missing(t, tool)
		}
	}
	cmd := exec.Command("./namespaces.sh")
	out, err := cmd.CombinedOutput()
	for _, lack := range []string{"Unknown device type", "Operation not permitted", "/dev/net/tun"} {
		if err != nil && strings.Contains(string(out), lack) {
			netnstest.Missing(t, "for namespaces.sh: "+string(out))
		}
	}
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
	assert.NotContains(t, string(out), "DOES NOT REACH")
}

// unshareArgs are namespaces.sh's.
func unshareArgs(command ...string) []string {
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		args = append(args, "-Ur")
	}
	return append(args, command...)
}

// process is the command at work.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	typed io.WriteCloser

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{}
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return p.out.Write(b)
}

func (p *process) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start starts a node in a namespace with a script.
func start(t *testing.T, ns *netnstest.Namespace, script string) *process {
	t.Helper()
	name := filepath.Join(t.TempDir(), "node.sh")
	require.NoError(t, os.WriteFile(name, []byte(script), 0o600))
	p := &process{t: t, cmd: exec.Command("/proc/self/exe", name), more: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), asNode+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	p.typed, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, ns.Do(p.cmd.Start))
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// types a line, and waits for what it prints.
func (p *process) types(line, want string) {
	p.t.Helper()
	p.mu.Lock()
	p.out.Reset()
	p.mu.Unlock()
	_, err := io.WriteString(p.typed, line+"\n")
	require.NoError(p.t, err)
	p.await(want)
}

func (p *process) await(want string) {
	p.t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(p.String(), want) {
		select {
		case <-p.more:
		case <-deadline:
			p.t.Fatalf("%q is not printed. This is:\n%s", want, p)
		}
	}
}

// signals sends a signal.
func (p *process) signals(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// end waits for the end and returns the exit status.
func (p *process) end() int {
	p.t.Helper()
	over := make(chan error, 1)
	go func() { over <- p.cmd.Wait() }()
	select {
	case err := <-over:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(p.t, err)
		}
	case <-time.After(30 * time.Second):
		p.t.Fatalf("it does not end. It has printed:\n%s", p)
	}
	return p.cmd.ProcessState.ExitCode()
}

const (
	deviceMAC = "02:00:00:00:00:d1"
	peerMAC   = "02:00:00:00:00:d2"
)

// wire is a veth pair between two namespaces: wire, where the node is, and far, which has 10.9.9.1.
func wire(t *testing.T) (node, far *netnstest.Namespace) {
	node, far = netnstest.New(t), netnstest.New(t)
	plug(t, node, far)
	return node, far
}

func plug(t *testing.T, node, far *netnstest.Namespace) {
	netnstest.Veth(t,
		netnstest.End{Namespace: node, Device: "wire", MAC: deviceMAC},
		netnstest.End{Namespace: far, Device: "far", MAC: peerMAC})
	far.IP(t, "addr add 10.9.9.1/24 dev far")
}

const onWire = `
set -e
ip link add eth0 address 02:00:00:00:00:09 up type afpacket dev wire
ip addr add 10.9.9.9/24 dev eth0
`

// reach is a ping that waits for as long as it takes.
const reach = "until ping -c 1 -W 1 10.9.9.1 >/dev/null; do :; done; echo reached"

func TestHot(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		here, far := wire(t)
		p := start(t, here, onWire)
		p.types(reach, "reached")
		p.types("arping -c 1 10.9.9.1", "1 packets received")

		p.types("ip link set eth0 down; ping -c 1 -W 1 10.9.9.1; echo $?", "\n2\n")
		p.types("ip link set eth0 up; "+reach, "reached")

		p.types("ip link del eth0; show", "loopback")
		assert.NotContains(t, p.String(), "eth0")
		p.types(strings.TrimPrefix(onWire, "\nset -e\n")+reach, "reached")

		here.IP(t, "link del wire")
		p.types("until show | grep 'eth0  *no wire'; do sleep 0.05; done; echo gone", "gone")
		plug(t, here, far)
		p.types(reach, "reached")

		p.signals(syscall.SIGTERM)
		assert.Equal(t, 0, p.end(), p)
		assert.Contains(t, p.String(), "default: in ")
	})
}

// TestMade are devices that the node makes on the machine, and takes away again.
func TestMade(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			netnstest.Missing(t, "a /dev/net/tun that may be opened: "+err.Error())
		}
		require.NoError(t, f.Close())
		here := netnstest.New(t)
		p := start(t, here, "ip link add tap5 up type tap; ip link add tun5 mtu 1400 up type tun dev far5")
		p.types("show", "tun far5")
		here.IP(t, "link show tap5")
		assert.Contains(t, here.IP(t, "link show far5"), "mtu 1400")
		p.types("ip link del tap5; ip link del tun5; show", "loopback")
		assert.NotRegexp(t, "tap5|far5", here.IP(t, "link show"))
		p.types("exit", "")
		assert.Equal(t, 0, p.end(), p)
	})
}

func TestEnds(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			do     func(*process)
			status int
		}{
			{"by exit", func(p *process) { p.types("exit 3", "") }, 3},
			{"by the end of its input", func(p *process) { _ = p.typed.Close() }, 0},
			{"by SIGTERM", func(p *process) { p.signals(syscall.SIGTERM) }, 0},
			{"by SIGTERM while a command runs", func(p *process) {
				p.types("ping 10.9.9.1", "icmp_seq=1")
				p.signals(syscall.SIGTERM)
			}, 0},
			{"by ^C while a command runs", func(p *process) {
				p.types("ping 10.9.9.1", "icmp_seq=1")
				p.signals(syscall.SIGINT)
			}, 130},
		} {
			t.Run(c.name, func(t *testing.T) {
				here, _ := wire(t)
				p := start(t, here, onWire+"tcpdump -lni eth0 >/dev/null &\necho ready")
				p.await("ready")
				p.types("echo typed", "typed")
				c.do(p)
				assert.Equal(t, c.status, p.end(), p)
				assert.Contains(t, p.String(), "default: in ")
			})
		}
	})
}

// TestMistakes are scripts that cannot run: the message names script, line, device and what would help.
func TestMistakes(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		here, _ := wire(t)
		here.IP(t, "addr add 10.9.9.8/24 dev wire") // where there are no addresses, Linux lets sockets have any
		for _, c := range []struct{ name, script, want string }{
			{"no such device", "true\nip link add eth0 type afpacket dev nope", "node.sh: line 2: eth0: afpacket: Config.Device \"nope\": no such device"},
			{"no device", "ip link add eth0 type afpacket", "line 1: eth0: afpacket: dev is missing"},
			{"a device without a name", "ip link add eth0 type afpacket dev", "line 1: eth0: afpacket: dev: a value is missing"},
			{"an unknown word", "ip link add eth0 type afpacket device wire", `line 1: eth0: afpacket: what is "device"? Known is: dev D`},
			{"an unknown filter", "ip link add eth0 type afpacket dev wire filter tcp 80", `what is "tcp"? Known is: filter udp PORT`},
			{"a filter's port", "ip link add eth0 type afpacket dev wire filter udp 70000", `"70000" is no number from 0 to 65535`},
			{"stealing everything", "ip link add eth0 type afpacket dev wire steal", "steal: needs a filter"},
			{"a name that is in use", "ip link add wire type tap", "line 1: wire: "},
			{"an address of nobody here", "ip link add u type udp local 192.0.2.1", "line 1: u: udp: "},
			{"no address", "ip link add u type udp local wire", `line 1: u: udp: local: `},
			{"an address of the wrong family", "ip link add u type udp local ::1", "line 1: u: udp: local: ::1 is no IPv4 address"},
			{"no such kind", "ip link add u type ring", "Error: Unknown device type."},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := start(t, here, c.script+"\nexit $?")
				assert.Equal(t, 2, p.end(), p)
				assert.Contains(t, p.String(), c.want)
			})
		}
	})
}

func TestCommandLine(t *testing.T) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = null.Close() }()
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"help", []string{"-h"}, 0, "ip link add eth0 address"},
		{"nothing", nil, 2, "node is a network node"},
		{"no such script", []string{"nope.sh"}, 2, "node: open nope.sh: no such file or directory"},
		{"no such option", []string{"-x"}, 2, "flag provided but not defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, c.status, run(c.args, null, &out, &out))
			assert.Contains(t, out.String(), c.want)
		})
	}
}
