package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// TestNamespaces runs the script, and reads what it says of each target.
func TestNamespaces(t *testing.T) {
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "true"}
	if os.Getuid() != 0 {
		args = append([]string{"-Ur"}, args...)
	}
	if out, err := exec.Command("unshare", args...).CombinedOutput(); err != nil {
		netnstest.Missing(t, "namespaces, by unshare: "+err.Error()+": "+string(out))
	}
	for _, tool := range []string{"ip", "python3", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			netnstest.Missing(t, tool)
		}
	}
	b, err := exec.Command("./namespaces.sh").CombinedOutput()
	out := string(b)
	for _, lack := range []string{"Unknown device type", "Operation not permitted", "/dev/net/tun"} {
		if err != nil && strings.Contains(out, lack) {
			netnstest.Missing(t, "for namespaces.sh: "+out)
		}
	}
	require.NoError(t, err, out)
	t.Logf("%s", out)

	parts := strings.Split(out, "\n\n")
	require.Len(t, parts, 3, out)
	const vip, dns = "ipip:192.168.99.2/", "vxlan:192.168.99.3/"
	for i, want := range [][]string{
		{"UP   " + vip + "icmp", "UP   " + vip + "tcp", "UP   " + dns + "icmp", "UP   " + dns + "udp", "exit status 0"},
		{
			"UP   " + vip + "icmp", "DOWN " + vip + "tcp:203.0.113.10:80: the connection is refused (RST)",
			"UP   " + dns + "icmp", "DOWN " + dns + "udp:10.42.0.3:53: 10.42.0.3 says: nobody listens there", "exit status 1",
		},
		{
			"DOWN " + vip + "icmp:203.0.113.10: no answer", "DOWN " + vip + "tcp:203.0.113.10:80: no answer",
			"DOWN " + dns + "icmp:10.42.0.3: no answer", "DOWN " + dns + "udp:10.42.0.3:53: no answer", "exit status 1",
		},
	} {
		for _, line := range want {
			assert.Contains(t, parts[i], line)
		}
	}
}
