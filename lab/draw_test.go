package lab_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/lab"
)

// drawn runs a script and returns the network's picture.
func drawn(t *testing.T, script string) string {
	t.Helper()
	var picture bytes.Buffer
	l, err := lab.New(lab.Config{Seed: seed, Dir: t.TempDir()})
	require.NoError(t, err)
	_, err = l.Run("draw", script)
	require.NoError(t, err)
	require.NoError(t, l.Draw(&picture))
	require.NoError(t, l.Close())
	return picture.String()
}

// TestDraw: pictures of all samples are XML, and the same each time.
func TestDraw(t *testing.T) {
	for _, s := range append(lab.Samples(), lab.Sample{Name: "nothing"}, lab.Sample{Name: "markup", Script: "ip netns add 'a<b&c'"}) {
		t.Run(s.Name, func(t *testing.T) {
			picture := drawn(t, s.Script)
			for d := xml.NewDecoder(strings.NewReader(picture)); ; {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
			}
			assert.Equal(t, picture, drawn(t, s.Script))
		})
	}
}

// TestDrawWay draws wires, tunnels and the way of a traced packet.
func TestDrawWay(t *testing.T) {
	sample, err := lab.FindSample("flannel-vxlan")
	require.NoError(t, err)
	picture := drawn(t, sample.Script)
	assert.Equal(t, 3, strings.Count(picture, `class="wire"`), "node1 to node2, and a pod on each")
	assert.Equal(t, 1, strings.Count(picture, `class="dashed"`), "the tunnel")
	assert.Contains(t, picture, ">flannel.1  VXLAN 1  10.244.1.0/32<")
	traced := strings.Replace(sample.Script, "ip netns exec pod4 ping", "ip netns exec node1 trace -i veth4 -c 2 icmp &\nip netns exec pod4 ping -c 1 10.244.2.3; ip netns exec pod4 ping", 1)
	picture = drawn(t, traced)
	assert.Equal(t, 2, strings.Count(picture, `class="wire traced"`), "from pod4 to node1, and on to node2")
}
