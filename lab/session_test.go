package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab"
	"github.com/culvert-net/culvert/lab/proc"
)

// wired are two nodes, each with a driver, and a pod behind the first of them on the lab's own wires:
//
//	pod ── veth ── [br0 ─ vx] a.eth0 ══ a wire of drivers ══ b.eth0 [vx]
const wired = `
set -e
ip netns add a; ip netns add b; ip netns add pod
ip -n a link add eth0 address 02:00:00:00:00:0a up type cable end a
ip -n b link add eth0 address 02:00:00:00:00:0b up type cable end b
ip -n a addr add 10.0.0.1/24 dev eth0
ip -n b addr add 10.0.0.2/24 dev eth0
ip -n a link add vx type vxlan id 7 local 10.0.0.1 remote 10.0.0.2 dstport 4789
ip -n b link add vx type vxlan id 7 local 10.0.0.2 remote 10.0.0.1 dstport 4789
ip -n b addr add 192.168.7.2/24 dev vx
ip -n b link set vx up
ip -n a link add br0 up type bridge
ip -n a link set vx master br0 up
ip -n a link add veth0 up type veth peer name eth0 netns pod
ip -n a link set veth0 master br0
ip -n pod addr add 192.168.7.1/24 dev eth0
ip -n pod link set eth0 up
trap 'echo goodbye' EXIT
`

// cable returns the kind of device that wired asks for, and the two ends.
func cable(t *testing.T) map[string]proc.OpenDriver {
	a, b, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	ends := map[string]driver.Driver{"a": a, "b": b}
	return map[string]proc.OpenDriver{"cable": func(_ engine.Link, words []string) (driver.Driver, error) {
		if len(words) != 2 || words[0] != "end" || ends[words[1]] == nil {
			return nil, errors.New("want: end a|b")
		}
		return ends[words[1]], nil
	}}
}

// output is what a session prints. Writes come from the lab's goroutine, reads from the test's.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the text is printed.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-deadline:
			t.Fatalf("%q is not printed. This is:\n%s", text, o)
		}
	}
}

// running is a session that was started.
type running struct {
	*output
	lines      *io.PipeWriter
	interrupts chan os.Signal
	stop       context.CancelFunc
	ended      chan error
	status     int
}

func start(t *testing.T, script string) *running {
	in, lines := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{
		output: &output{more: make(chan struct{}, 1)}, lines: lines, interrupts: make(chan os.Signal), stop: stop, ended: make(chan error, 1),
	}
	l, err := lab.New(lab.Config{RealTime: true, Seed: 1, Stdout: r, Stderr: r, Drivers: cable(t)})
	require.NoError(t, err)
	go func() {
		var err error
		r.status, err = l.Session(ctx, "node.sh", script, lab.Console{Lines: in, Prompt: "> ", More: "… ", Interrupts: r.interrupts})
		r.ended <- errors.Join(err, l.Close())
	}()
	t.Cleanup(func() { stop(); _ = in.Close() })
	return r
}

// types a line.
func (r *running) types(t *testing.T, line string) {
	_, err := fmt.Fprintln(r.lines, line)
	require.NoError(t, err)
}

func (r *running) end(t *testing.T) int {
	t.Helper()
	select {
	case err := <-r.ended:
		require.NoError(t, err, r.String())
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not end. It has printed:\n%s", r)
	}
	return r.status
}

func TestSession(t *testing.T) {
	r := start(t, wired)
	r.types(t, "ip netns exec pod ping -c 2 -i 0.1 -W 5 192.168.7.2")
	r.await(t, "2 packets transmitted, 2 received, 0% packet loss")
	r.types(t, "ip netns exec b ping -c 1 -W 5 192.168.7.1")
	r.await(t, "1 packets transmitted, 1 received, 0% packet loss")
	r.types(t, "ip netns exec a tcpdump -lni eth0 -c 1 udp port 4789 & ip netns exec b trace udp port 4789 & wait_for=job")
	r.types(t, "for i in 1; do")
	r.types(t, "ip netns exec pod arping -c 1 192.168.7.2; done")
	r.await(t, "1 packets received")
	r.types(t, "ip netns exec pod ping -c 1 -W 5 192.168.7.2; wait")
	r.await(t, "VXLAN, flags [I] (0x08), vni 7")
	r.await(t, "VXLAN vni 7 10.0.0.1 > 10.0.0.2")
	r.types(t, "ip -n a link del eth0")
	r.types(t, "ip link add x type cable")
	r.await(t, "x: want: end a|b")
	assert.NotContains(t, r.String(), "node.sh: line", "an error of what was typed has no line")
	r.types(t, "nonsense")
	r.await(t, "nonsense: command not found")
	r.types(t, "echo $wait_for; exit 3")
	assert.Equal(t, 3, r.end(t))
	assert.Contains(t, r.String(), "job\n")
	assert.Contains(t, r.String(), "… ")
	assert.True(t, strings.HasSuffix(r.String(), "goodbye\n"), r)
}

func TestSessionEnds(t *testing.T) {
	for _, c := range []struct {
		name, script string
		do           func(*running)
		status       int
	}{
		{"with its lines", wired, func(r *running) { _ = r.lines.Close() }, 0},
		{"with its script", "false\nexit 4", func(*running) {}, 4},
		{"with its script, by -e", "set -e; false", func(*running) {}, 1},
		{"by ^C at the prompt", wired, func(r *running) { r.interrupts <- os.Interrupt }, 0},
		{"by ^C in the script", "echo '> '; ping -c 1 -W 100 127.0.0.2; sleep 100", func(r *running) { r.interrupts <- os.Interrupt }, 130},
		{"by ^C in the script's own loop", "echo '> '; while true; do :; done", func(r *running) { r.interrupts <- os.Interrupt }, 130},
		{"by the context", wired, func(r *running) { r.stop() }, 0},
		{"by the context while something runs", wired + "echo '> '; sleep 100", func(r *running) { r.stop() }, 130},
		{"while jobs run", wired + "sleep 1000 & ip netns exec a tcpdump -lni eth0 &", func(r *running) { r.stop() }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.script)
			if c.status == 0 || c.status == 130 {
				r.await(t, "> ")
			}
			c.do(r)
			assert.Equal(t, c.status, r.end(t), r)
		})
	}
}

// TestSessionInterrupt is ^C while a command runs: that ends, with the list that it is in, and the session goes on.
func TestSessionInterrupt(t *testing.T) {
	r := start(t, wired)
	r.await(t, "> ")
	r.types(t, "while true; do echo again; sleep 100; done; echo never")
	r.await(t, "again")
	r.interrupts <- os.Interrupt
	r.types(t, "echo still here")
	r.await(t, "still here")
	r.types(t, "exit")
	assert.Equal(t, 0, r.end(t))
	assert.Equal(t, 1, strings.Count(r.String(), "again"))
	assert.NotContains(t, r.String(), "never")
}

// TestVirtualTime is that devices of the machine are refused where time is virtual.
func TestVirtualTime(t *testing.T) {
	var out strings.Builder
	l, err := lab.New(lab.Config{Stdout: &out, Stderr: &out, Drivers: cable(t)})
	require.NoError(t, err)
	status, err := l.Run("x.sh", "ip link add eth0 type cable end a")
	require.NoError(t, err)
	assert.Equal(t, 2, status)
	assert.Equal(t, "x.sh: line 1: eth0: network: time is virtual here, where no packet of the machine can come in\n", out.String())
	require.NoError(t, l.Close())
}
