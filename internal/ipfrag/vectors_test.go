package ipfrag_test

// Packets that others cut: scapy (testdata/generate.py), and senders in captures (testdata/captures.json, with their sources).

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// hexBytes are written as hexadecimal digits.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestScapy(t *testing.T) {
	var cases []struct {
		Name      string
		MTU       int
		Whole     hexBytes
		Fragments []hexBytes
		Part      bool // Whole is a fragment itself
	}
	load(t, "scapy.json", &cases)
	require.Len(t, cases, 9)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			require.Greater(t, len(c.Fragments), 1)
			frags, err := ipfrag.Fragment(packet.Of(c.Whole), c.MTU, func() *packet.Buffer { return packet.New(bufferSize) }, nil)
			require.NoError(t, err)
			var got []hexBytes
			for _, f := range frags {
				got = append(got, f.Bytes())
			}
			assert.Equal(t, c.Fragments, got)

			k := newKit(t, ipfrag.Config{})
			slices.Reverse(c.Fragments)
			for _, f := range c.Fragments {
				k.input(0, f, 0)
			}
			if c.Part {
				assert.Empty(t, k.wholes)
			} else {
				assert.Equal(t, [][]byte{c.Whole}, k.wholes)
			}
			k.close()
		})
	}
}

func TestCaptures(t *testing.T) {
	var cases []struct {
		Name     string
		Source   string // of the bytes
		Packets  []hexBytes
		Outcomes []string
		Whole    hexBytes // as scapy's defragment has it
		Reply    hexBytes // to an echo request: with the same data
	}
	load(t, "captures.json", &cases)
	require.Len(t, cases, 7)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			k := newKit(t, ipfrag.Config{})
			for i, p := range c.Packets {
				assert.Equal(t, c.Outcomes[i], k.input(0, p, 0))
			}
			k.close()
			if c.Whole == nil {
				assert.Empty(t, k.wholes)
				return
			}
			require.Equal(t, [][]byte{c.Whole}, k.wholes)
			h, payload, err := ipv4.Parse(k.wholes[0])
			require.NoError(t, err)
			if h.Protocol() == ipv4.ProtocolTCP {
				pseudo := checksum.PseudoHeader(h.Src(), h.Dst(), h.Protocol(), uint16(len(payload)))
				assert.EqualValues(t, 0xffff, checksum.Add(pseudo, checksum.Sum(payload)), "TCP checksum")
			} else {
				assert.Zero(t, checksum.Of(payload), "ICMP checksum")
				_, reply, err := ipv4.Parse(c.Reply)
				require.NoError(t, err)
				assert.Equal(t, reply[4:], payload[4:], "the reply's data")
			}
		})
	}
}
