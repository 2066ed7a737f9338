package overlay

// Open vSwitch's userspace datapath as a subject: one bridge with the underlay and the node's address, one with the pod and a VXLAN
// port. Its two processes are the test's, and end with it.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// OpenVSwitch is Open vSwitch's userspace datapath (Debian: openvswitch-switch, ethtool).
type OpenVSwitch struct{}

// Name is Subject's.
func (OpenVSwitch) Name() string { return "Open vSwitch" }

// Start is Subject's.
func (OpenVSwitch) Start(tb testing.TB, e *End) {
	e.CablePod(tb)
	// Its packet sockets do not know of superframes and partial checksums, so nobody may send it any.
	plain(tb, e.Node, PodPort)
	plain(tb, e.Node, e.Wire)
	plain(tb, e.Pod, Eth0)
	plain(tb, e.Far.Node, e.Far.Wire)

	v := vswitch{e.Node, tb.TempDir()}
	v.run(tb, "ovsdb-tool", "create", v.file("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	v.daemon(tb, "ovsdb-server", v.file("conf.db"), "--remote=p"+v.db())
	v.configure(tb, "--no-wait", "init")
	v.daemon(tb, "ovs-vswitchd", v.db())
	v.configure(tb, "add-br", "phy", "--", "set", "bridge", "phy", "datapath_type=netdev", "other-config:hwaddr="+e.NodeMAC.String(),
		"--", "add-port", "phy", e.Wire)
	v.configure(tb, "add-br", "pods", "--", "set", "bridge", "pods", "datapath_type=netdev", "--", "add-port", "pods", PodPort)
	v.configure(tb, "add-port", "pods", "tunnel", "--", "set", "interface", "tunnel", "type=vxlan",
		"options:remote_ip="+e.Far.NodeAddr.String(), fmt.Sprintf("options:key=%d", VNI), fmt.Sprintf("options:dst_port=%d", e.Port),
		fmt.Sprintf("options:csum=%t", e.UDPChecksum))
	e.Node.IP(tb, fmt.Sprintf("address add %s/24 dev phy", e.NodeAddr))
	for _, bridge := range []string{"phy", "pods"} {
		e.Node.Up(tb, bridge)
	}
	v.control(tb, "tnl/neigh/set", "phy", e.Far.NodeAddr.String(), e.Far.NodeMAC.String())
	if !e.Learning {
		v.control(tb, "fdb/add", "pods", PodPort, "0", e.PodMAC.String())
		v.control(tb, "fdb/add", "pods", "tunnel", "0", e.Far.PodMAC.String())
	}
}

// plain takes all offloads from a device.
func plain(tb testing.TB, ns *netnstest.Namespace, device string) {
	ns.Tool(tb, "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
}

// vswitch is an instance of Open vSwitch, with all its files in a directory.
type vswitch struct {
	ns  *netnstest.Namespace
	dir string
}

func (v vswitch) file(name string) string { return filepath.Join(v.dir, name) }

func (v vswitch) db() string { return "unix:" + v.file("db.sock") }

func (v vswitch) run(tb testing.TB, args ...string) {
	tb.Helper()
	v.ns.Tool(tb, "env", append([]string{"OVS_RUNDIR=" + v.dir, "OVS_DBDIR=" + v.dir, "OVS_LOGDIR=" + v.dir}, args...)...)
}

func (v vswitch) configure(tb testing.TB, args ...string) {
	tb.Helper()
	v.run(tb, append([]string{"ovs-vsctl", "--db=" + v.db()}, args...)...)
}

// control talks to the running switch.
func (v vswitch) control(tb testing.TB, args ...string) {
	tb.Helper()
	v.run(tb, append([]string{"ovs-appctl", "-t", v.file("ovs-vswitchd." + v.pid(tb, "ovs-vswitchd") + ".ctl")}, args...)...)
}

// daemon starts a process that goes into the background, and ends it with the test.
func (v vswitch) daemon(tb testing.TB, tool string, args ...string) {
	tb.Helper()
	v.run(tb, append([]string{
		tool, "--pidfile=" + v.file(tool+".pid"), "--detach", "--no-chdir", "--log-file=" + v.file(tool+".log"), "-vconsole:off",
	}, args...)...)
	pid := v.pid(tb, tool)
	tb.Cleanup(func() {
		v.run(tb, "sh", "-c", "kill "+pid+"; for i in $(seq 100); do kill -0 "+pid+" 2>/dev/null || exit 0; sleep 0.02; done; kill -9 "+pid)
	})
}

func (v vswitch) pid(tb testing.TB, tool string) string {
	tb.Helper()
	text, err := os.ReadFile(v.file(tool + ".pid"))
	require.NoError(tb, err)
	return strings.TrimSpace(string(text))
}
