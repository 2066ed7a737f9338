package differ_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/lab/internal/differ"
)

func onKernel(t *testing.T, text string) differ.Result {
	t.Helper()
	r, err := differ.Kernel{}.Run(differ.Script{Name: "x.sh", Text: text})
	if errors.Is(err, errors.ErrUnsupported) {
		netnstest.Missing(t, err.Error())
	}
	require.NoError(t, err)
	return r
}

func TestKernelResult(t *testing.T) {
	r := onKernel(t, `
		echo out; echo err >&2
		printf capture >some.pcap
		printf other >some.txt
		exit 3`)
	assert.Equal(t, differ.Result{
		Output: "out\n", Errors: "err\n", Exit: 3, Captures: map[string][]byte{"some.pcap": []byte("capture")},
	}, r)
}

func TestKernelNetworkIsTheScriptsOwn(t *testing.T) {
	r := onKernel(t, `
		ip -br link show | wc -l
		ls /sys/class/net
		ip netns add red
		ip netns list
		echo 1 >/proc/sys/net/ipv4/ip_forward
		cat /proc/sys/net/ipv4/ip_forward`)
	assert.Equal(t, "1\nlo\nred\n1\n", r.Output, r.Errors)
	assert.NoFileExists(t, "/run/netns/red")
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	require.NoError(t, err)
	r = onKernel(t, `cat /proc/sys/net/ipv4/ip_forward`)
	assert.Equal(t, "0\n", r.Output, "left by the script before; here it is %s", forward)
}

func TestKernelEndsWhatTheScriptLeavesBehind(t *testing.T) {
	start := time.Now()
	r := onKernel(t, `
		sleep 1000 &
		(trap '' TERM HUP; sleep 1000) &
		setsid sleep 1000 &
		echo $$ >/dev/null`)
	assert.Zero(t, r.Exit)
	assert.Less(t, time.Since(start), differ.Patience/2)
}

func TestUMLResult(t *testing.T) {
	r, err := differ.UML{}.Run(differ.Script{Name: "x.sh", Text: `
		ip tunnel add tun mode ipip local 10.0.0.1 remote 10.0.0.2 || exit 1
		ip tunnel show tun; echo err >&2
		printf capture >some.pcap
		(echo >/forbidden) 2>/dev/null && echo "the machine's files can be written"
		exit 3`})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	assert.Equal(t, differ.Result{
		Output: "tun: ip/ip remote 10.0.0.2 local 10.0.0.1 ttl inherit\n", Errors: "err\n", Exit: 3,
		Captures: map[string][]byte{"some.pcap": []byte("capture")},
	}, r)
}
