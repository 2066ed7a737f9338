// The package itself, with the machine's kernel:
//
//	namespace one                    namespace two
//	port1 02:00:00:00:00:01 ──veth── port2 02:00:00:00:00:02
package netnstest_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/netnstest"
)

func TestRun(t *testing.T) { netnstest.Run(t, exchange) }

// TestRootless does in a user namespace, whoever runs it, what an ordinary user can do.
func TestRootless(t *testing.T) {
	netnstest.Rootless(t, func(t *testing.T) {
		uids, err := os.ReadFile("/proc/self/uid_map")
		require.NoError(t, err)
		require.Len(t, strings.Fields(string(uids)), 3)
		assert.Equal(t, "1", strings.Fields(string(uids))[2], "one user is all there is here")
		t.Run("exchange", exchange)
	})
}

// exchange sends frames from one namespace to the other, and expects them there in their order, tags in their place.
func exchange(t *testing.T) {
	one, two := netnstest.New(t), netnstest.New(t)
	assert.NotContains(t, one.IP(t, "link show"), "2:", "there is nothing but lo")
	netnstest.Veth(t,
		netnstest.End{Namespace: one, Device: "port1", MAC: "02:00:00:00:00:01"},
		netnstest.End{Namespace: two, Device: "port2", MAC: "02:00:00:00:00:02"})
	assert.NotContains(t, one.IP(t, "link show"), "port2:")
	assert.Contains(t, two.IP(t, "link show"), "02:00:00:00:00:02")
	from, to := one.Socket(t, "port1"), two.Socket(t, "port2")
	var frames [][]byte
	for i := range 100 {
		f := []byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5 and two bytes")
		if i%2 == 1 {
			f = append(f[:12:12], "\x81\x00\x60\x64\x88\xb5 behind a tag"...)
		}
		frames = append(frames, binary.BigEndian.AppendUint16(f, uint16(i)))
	}
	from.SetMark(t, 7)
	from.Send(t, frames...)
	for _, want := range frames {
		got := to.Receive(t)
		require.Equal(t, want, got.Bytes)
		require.False(t, got.Partial)
	}
}

// TestNothingStays: the devices were made elsewhere, and the namespace cannot be entered when its test is over.
func TestNothingStays(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		var ns *netnstest.Namespace
		t.Run("that ends", func(t *testing.T) {
			ns = netnstest.New(t)
			ns.IP(t, "link add nowhere type veth peer name else")
			require.Contains(t, ns.IP(t, "link show"), "nowhere@else")
			here, err := net.Interfaces()
			require.NoError(t, err)
			for _, dev := range here {
				require.NotContains(t, []string{"nowhere", "else"}, dev.Name)
			}
		})
		require.Error(t, ns.Do(func() error { return nil }))
	})
}

// outcome says how TestOutcome is to end.
const outcome = "CULVERT_NETNSTEST_OUTCOME"

// TestOutcome does nothing unless [TestOutcomeIsTakenOver] runs it.
func TestOutcome(t *testing.T) {
	want := os.Getenv(outcome)
	if want == "" {
		return
	}
	netnstest.Rootless(t, func(t *testing.T) {
		switch want {
		case "FAIL":
			t.Error("as asked for")
		case "SKIP":
			netnstest.Missing(t, "a thing")
		}
	})
}

// TestOutcomeIsTakenOver: what a test comes to in its user namespace is what it comes to.
func TestOutcomeIsTakenOver(t *testing.T) {
	for _, c := range []struct{ outcome, require, want string }{
		{"PASS", "1", "PASS"},
		{"FAIL", "0", "FAIL"},
		{"SKIP", "0", "SKIP"},
		{"SKIP", "1", "FAIL"},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOutcome$", "-test.v")
		cmd.Env = append(os.Environ(), outcome+"="+c.outcome, netnstest.Require+"="+c.require)
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "missing: user namespaces") {
			netnstest.Missing(t, "user namespaces")
		}
		assert.Equal(t, c.want == "FAIL", err != nil, "%v\n%s", err, out)
		assert.Regexp(t, "(?m)^--- "+c.want+": TestOutcome ", string(out))
	}
}

// recorder is a test that only notes how it would end.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Skipf(f string, a ...any)  { r.skipped = fmt.Sprintf(f, a...) }
func (r *recorder) Fatalf(f string, a ...any) { r.failed = fmt.Sprintf(f, a...) }

func TestMissing(t *testing.T) {
	for _, c := range []struct{ env, skipped, failed string }{
		{"", "missing: a thing", ""},
		{"0", "missing: a thing", ""},
		{"1", "", "missing: a thing (and CULVERT_REQUIRE_NETNS=1)"},
	} {
		t.Setenv(netnstest.Require, c.env)
		var r recorder
		netnstest.Missing(&r, "a thing")
		assert.Equal(t, [2]string{c.skipped, c.failed}, [2]string{r.skipped, r.failed}, "%s=%s", netnstest.Require, c.env)
	}
}

// TestMissingDevice: a kind of device that the kernel has not got is something missing, no failure.
func TestMissingDevice(t *testing.T) {
	t.Setenv(netnstest.Require, "0")
	netnstest.Run(t, func(t *testing.T) {
		r := &recorder{TB: t}
		netnstest.New(t).IP(r, "link add nowhere type nosuchdevice")
		assert.Contains(t, r.skipped, `kernel support for ["link" "add" "nowhere" "type" "nosuchdevice"]`)
	})
}
