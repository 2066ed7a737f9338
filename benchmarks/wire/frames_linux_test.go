//go:build wire

package wire_test

// The frames that are sent, and how many a device has received.

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/udp"
	"github.com/culvert-net/culvert/vxlan"
)

// received returns how many packets and bytes a device of a namespace has received.
func received(ns *netnstest.Namespace, device string) (packets, bytes uint64, err error) {
	err = ns.Do(func() error {
		f, err := os.Open("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was only read
		for lines := bufio.NewScanner(f); lines.Scan(); {
			name, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
			if fields := strings.Fields(rest); ok && name == device {
				var errs [2]error
				bytes, errs[0] = strconv.ParseUint(fields[0], 10, 64)
				packets, errs[1] = strconv.ParseUint(fields[1], 10, 64)
				return errors.Join(errs[:]...)
			}
		}
		return fmt.Errorf("no device %s", device)
	})
	return packets, bytes, err
}

// flows is how many flows the packets of a load belong to.
const flows = 64

// podFrames are 64-byte frames (their frame check sequence included) between pods, one of each flow, or as long IP packets if raw.
// They are for an address that the pod has not got, so that no socket's work is measured.
func podFrames(tb testing.TB, from, to *overlay.End, raw bool) (frames [][]byte) {
	const size = 60
	for n := range flows {
		f := udpFrame(tb, from.PodMAC, to.PodMAC, from.PodAddr, to.Nobody(), uint16(10_000+n), 9, make([]byte, size-42))
		if raw {
			f = f[ethernet.HeaderLen:]
		}
		frames = append(frames, f)
	}
	return frames
}

// wireFrames are podFrames in VXLAN, or in IPIP, as the other node sends them.
func wireFrames(tb testing.TB, from, to *overlay.End, inIPIP bool) (frames [][]byte) {
	for n, inner := range podFrames(tb, from, to, inIPIP) {
		if inIPIP {
			f, err := ethernet.Fields{Dst: to.NodeMAC, Src: from.NodeMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
			require.NoError(tb, err)
			f, err = ipv4.Fields{
				TTL: 64, Protocol: ipv4.ProtocolIPIP, Src: from.NodeAddr.As4(), Dst: to.NodeAddr.As4(),
			}.Append(f, len(inner))
			require.NoError(tb, err)
			frames = append(frames, append(f, inner...))
			continue
		}
		b, err := vxlan.Fields{VNI: overlay.VNI}.Append(nil)
		require.NoError(tb, err)
		f := udpFrame(tb, from.NodeMAC, to.NodeMAC, from.NodeAddr, to.NodeAddr, uint16(40_000+n), from.Port, append(b, inner...))
		frames = append(frames, f)
	}
	return frames
}

func udpFrame(tb testing.TB, srcMAC, dstMAC ethernet.MAC, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	const header = 8
	f, err := ethernet.Fields{Dst: dstMAC, Src: srcMAC, EtherType: ethernet.TypeIPv4}.Append(nil)
	require.NoError(tb, err)
	f, err = ipv4.Fields{TTL: 64, Protocol: ipv4.ProtocolUDP, Src: src.As4(), Dst: dst.As4()}.Append(f, header+len(payload))
	require.NoError(tb, err)
	f, err = udp.Fields{SrcPort: sport, DstPort: dport}.Append(f, len(payload))
	require.NoError(tb, err)
	return append(f, payload...)
}
