//go:build wire

package wire_test

// Open vSwitch's userspace datapath as a subject: one bridge with the underlay and the node's address, one with the pod and a VXLAN port.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

type openVSwitch struct{}

func (openVSwitch) name() string { return "Open vSwitch" }

func (openVSwitch) start(tb testing.TB, e *end) {
	e.cablePod(tb)
	dir := tb.TempDir()
	run := func(tool string, args ...string) {
		e.node.Tool(tb, "env", append([]string{"OVS_RUNDIR=" + dir, "OVS_DBDIR=" + dir, "OVS_LOGDIR=" + dir, tool}, args...)...)
	}
	// Its packet sockets do not know of superframes and partial checksums, so nobody may send it any.
	plain(tb, e.node, podDev)
	plain(tb, e.node, e.wire)
	plain(tb, e.pod, eth0)
	plain(tb, e.far.node, e.far.wire)
	db, sock := filepath.Join(dir, "conf.db"), "unix:"+filepath.Join(dir, "db.sock")
	run("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	run("ovsdb-server", db, "--remote=p"+sock, "--pidfile="+filepath.Join(dir, "ovsdb.pid"), "--detach", "--no-chdir",
		"--log-file="+filepath.Join(dir, "ovsdb.log"), "-vconsole:off")
	tb.Cleanup(func() { stopByPidfile(tb, e.node, filepath.Join(dir, "ovsdb.pid")) })
	run("ovs-vsctl", "--db="+sock, "--no-wait", "init")
	run("ovs-vswitchd", sock, "--pidfile="+filepath.Join(dir, "vswitchd.pid"), "--detach", "--no-chdir",
		"--log-file="+filepath.Join(dir, "vswitchd.log"), "-vconsole:off")
	tb.Cleanup(func() { stopByPidfile(tb, e.node, filepath.Join(dir, "vswitchd.pid")) })
	run("ovs-vsctl", "--db="+sock, "add-br", "phy", "--", "set", "bridge", "phy", "datapath_type=netdev",
		"other-config:hwaddr="+e.nodeMAC.String(), "--", "add-port", "phy", e.wire)
	run("ovs-vsctl", "--db="+sock, "add-br", "pods", "--", "set", "bridge", "pods", "datapath_type=netdev", "--", "add-port", "pods", podDev)
	run("ovs-vsctl", "--db="+sock, "add-port", "pods", "tunnel", "--", "set", "interface", "tunnel", "type=vxlan",
		"options:remote_ip="+e.otherNode.String(), fmt.Sprintf("options:key=%d", vni), fmt.Sprintf("options:dst_port=%d", udpPort))
	e.node.IP(tb, fmt.Sprintf("address add %s/24 dev phy", e.nodeAddr))
	e.node.IP(tb, "link set phy up")
	e.node.IP(tb, "link set pods up")
	target := filepath.Join(dir, "ovs-vswitchd."+pidIn(tb, filepath.Join(dir, "vswitchd.pid"))+".ctl")
	run("ovs-appctl", "-t", target, "tnl/neigh/set", "phy", e.otherNode.String(), e.otherMAC.String())
	run("ovs-appctl", "-t", target, "fdb/add", "pods", podDev, "0", e.podMAC.String())
	run("ovs-appctl", "-t", target, "fdb/add", "pods", "tunnel", "0", e.podFar.String())
}

// plain takes all offloads from a device.
func plain(tb testing.TB, ns *netnstest.Namespace, device string) {
	ns.Tool(tb, "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
}

func pidIn(tb testing.TB, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(tb, err)
	return strings.TrimSpace(string(text))
}

// stopByPidfile ends a process that has gone into the background, and waits for its end.
func stopByPidfile(tb testing.TB, ns *netnstest.Namespace, file string) {
	if _, err := os.Stat(file); err == nil {
		pid := pidIn(tb, file)
		ns.Tool(tb, "sh", "-c", "kill "+pid+"; for i in $(seq 100); do kill -0 "+pid+" 2>/dev/null || exit 0; sleep 0.02; done; kill -9 "+pid)
	}
}
