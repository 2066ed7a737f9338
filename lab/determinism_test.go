package lab_test

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
)

// busy is a script with everything at once that could depend on chance: jobs, pipelines, losses, random MAC addresses, ports.
const busy = `
for n in 1 2 3 4; do
	ip netns add n$n
	ip link add br$n type bridge; ip link set br$n up
	ip link add v$n type veth peer name eth0 netns n$n
	ip link set v$n master br1; ip link set v$n up
	ip -n n$n addr add 10.0.0.$n/24 dev eth0; ip -n n$n link set eth0 up
done
for n in 2 3 4; do
	(ip netns exec n1 ping -c 3 -i 0.3 10.0.0.$n | sed 's/^/'$n': /'; echo "$n done at $SECONDS") &
done
ip netns exec n2 ping -i 0.1 10.0.0.3 > pinged & P=$!
sleep 1.5
kill -INT $P; wait $P; echo "killed: $?"
wait
tail -3 pinged
echo $RANDOM $RANDOM $(echo $RANDOM) $$ $!
ip link show | grep ether | sort
`

// runs is how often each script is run.
const runs = 100

// TestDeterminism runs a script many times: outputs and captures must be the same, byte for byte.
func TestDeterminism(t *testing.T) {
	scripts := map[string]string{"busy": busy}
	for _, s := range lab.Samples() {
		scripts[s.Name] = s.Script
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			firstOut, firstHops := record(t, name, script)
			require.NotEmpty(t, firstOut)
			n := runs
			if testing.Short() {
				n = 5
			}
			for range n {
				out, hops := record(t, name, script)
				require.Equal(t, firstOut, out)
				require.True(t, bytes.Equal(firstHops, hops), "captures differ")
			}
		})
	}
}

// record runs a script and returns what it printed, and the capture of everything.
func record(t *testing.T, name, script string) (string, []byte) {
	t.Helper()
	var out, hops bytes.Buffer
	l, err := lab.New(lab.Config{Seed: seed, Stdout: &out, Stderr: &out, Dir: t.TempDir(), Capture: &hops})
	require.NoError(t, err)
	_, err = l.Run(name, script)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return out.String(), hops.Bytes()
}

// TestGoroutinesEnd runs a script that leaves jobs behind.
func TestGoroutinesEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	run(t, "left", "for i in 1 2 3; do sleep 1000 & (while true; do sleep 1; done) & done; echo left | cat")
	var after int
	for range 1000 { // a goroutine that has said that it ends may need a moment to
		if after = runtime.NumGoroutine(); after <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	assert.Fail(t, "goroutines are left", "%d before, %d after", before, after)
}
