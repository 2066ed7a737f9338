package interop_test

// A node as a process of its own, which can be killed: the test binary, started again for TestNode.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
)

// nodeEnv says, as JSON, which node a process is to be; see [TestNode].
const nodeEnv = "CULVERT_INTEROP_NODE"

// node is what a node's process is told. Its files 3 and 4 are the network namespaces of the node and of the pod.
type node struct {
	Drivers string // one of the keys of lasting
	Number  byte   // of the site's end
	Config  overlay.Config
}

// lasting are culvert on drivers whose devices stay when the process ends.
var lasting = map[string]overlay.Culvert{
	"afpacket": {Open: overlay.PacketSockets},
	"tap+udp":  {Open: overlay.TAPAndUDP},
}

const nodeIsReady = "culvert node: ready"

// TestNode does nothing, unless it is started again as a node. Then it runs until its standard input ends.
func TestNode(t *testing.T) {
	text := os.Getenv(nodeEnv)
	if text == "" {
		return
	}
	var n node
	require.NoError(t, json.Unmarshal([]byte(text), &n))
	nodeSpace, podSpace := os.NewFile(3, "node"), os.NewFile(4, "pod")
	lasting[n.Drivers].Start(t, overlay.Adopt(n.Config, n.Number, netnstest.From(nodeSpace), netnstest.From(podSpace)))
	fmt.Println("\n" + nodeIsReady)
	_, err := io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}

// process is a node in a process of its own: a subject that can be killed and started again.
type process struct {
	drivers string

	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Scanner
}

// Name is Subject's.
func (p *process) Name() string { return "culvert " + p.drivers }

// Start is Subject's.
func (p *process) Start(tb testing.TB, e *overlay.End) {
	if p.drivers == "afpacket" {
		e.CablePod(tb)
	}
	p.run(tb, e)
	tb.Cleanup(func() { p.leave(tb) })
}

// run starts the process, and returns when it forwards.
func (p *process) run(tb testing.TB, e *overlay.End) {
	tb.Helper()
	text, err := json.Marshal(node{Drivers: p.drivers, Number: e.PodMAC[5], Config: e.Config})
	require.NoError(tb, err)
	p.cmd = exec.Command("/proc/self/exe", "-test.run=^TestNode$", "-test.v")
	p.cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	p.cmd.ExtraFiles = []*os.File{e.Node.File(), e.Pod.File()}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(tb, err)
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(tb, err)
	require.NoError(tb, p.cmd.Start())
	p.out = bufio.NewScanner(out)
	said := ""
	for p.out.Scan() {
		if p.out.Text() == nodeIsReady {
			return
		}
		said += p.out.Text() + "\n"
	}
	err = p.cmd.Wait()
	if err == nil && strings.Contains(said, "--- SKIP") {
		netnstest.Missing(tb, said)
	}
	require.FailNow(tb, "the node has ended", "%v\n%s", err, said)
}

// kill ends the process as the kernel does when there is no memory left: it cannot do anything about it.
func (p *process) kill(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, p.cmd.Process.Kill())
	for p.out.Scan() {
	}
	require.Error(tb, p.cmd.Wait(), "it was killed")
	require.Equal(tb, "signal: killed", p.cmd.ProcessState.String())
}

// leave ends the process in good order; its own checks are the test's.
func (p *process) leave(tb testing.TB) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.stdin.Close()
	said := ""
	for p.out.Scan() {
		said += p.out.Text() + "\n"
	}
	require.NoError(tb, p.cmd.Wait(), said)
}
