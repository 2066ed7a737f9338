//go:build wire

package wire_test

// Loads: frames as fast as one packet socket sends them, pings on an idle link, and TCP by iperf3.

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/overlay"
	"github.com/culvert-net/culvert/internal/sockets"
)

const (
	warmup  = 200 * time.Millisecond
	measure = time.Second
)

// place is a device where packets are counted.
type place struct {
	ns     *netnstest.Namespace
	device string
}

// shared is how much of a datagram with a tunnel packet is there but once in a superframe of several: Ethernet, IPv4 and UDP headers.
const shared = 42

// rate sends frames by a device, over and over, and returns how many thousand packets of a length arrive at a place in a second. A
// superframe of datagrams counts as those. It logs how many were sent.
func rate(tb testing.TB, from place, frames [][]byte, to place, length int) float64 {
	tb.Helper()
	var packets, bytes [2]uint64
	var sent int
	var took time.Duration
	require.NoError(tb, from.ns.Do(func() error {
		fd, err := packetSocket(from.device)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // nothing could be done about it
		batch := sockets.NewBatch(len(frames), false, 0)
		for i, f := range frames {
			batch.Set(i, f)
		}
		if _, err := sendFor(fd, batch, warmup); err != nil {
			return err
		}
		if packets[0], bytes[0], err = received(to.ns, to.device); err != nil {
			return err
		}
		start := time.Now()
		if sent, err = sendFor(fd, batch, measure); err != nil {
			return err
		}
		took = time.Since(start)
		packets[1], bytes[1], err = received(to.ns, to.device)
		return err
	}))
	tb.Logf("%.1f kpps sent", float64(sent)/took.Seconds()/1000)
	headers := (packets[1] - packets[0]) * shared
	return float64(bytes[1]-bytes[0]-headers) / float64(length-shared) / took.Seconds() / 1000
}

// sendFor sends a batch again and again for some time, and returns how many messages were sent.
func sendFor(fd int, batch *sockets.Batch, d time.Duration) (sent int, err error) {
	const between = 16 // batches between looks at the clock
	for end := time.Now().Add(d); time.Now().Before(end); {
		for range between {
			n, errno := batch.Send(uintptr(fd), 0, batch.Len())
			sent += n
			if errno != 0 && errno != unix.ENOBUFS && errno != unix.EAGAIN {
				return sent, fmt.Errorf("sendmmsg: %w", errno)
			}
		}
	}
	return sent, nil
}

// packetSocket returns a socket that only sends, by a device.
func packetSocket(device string) (int, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

var rtt = regexp.MustCompile(`= [0-9.]+/([0-9.]+)/`)

// ping returns the mean round trip in microseconds between two pods whose link is idle.
func ping(tb testing.TB, s *overlay.Site) float64 {
	tb.Helper()
	s.A.Pod.Tool(tb, "ping", "-c", "2", "-i", "0.2", s.B.PodAddr.String()) // to learn and to resolve
	out := s.A.Pod.Tool(tb, "ping", "-q", "-c", "40", "-i", "0.02", s.B.PodAddr.String())
	m := rtt.FindStringSubmatch(out)
	require.NotNil(tb, m, out)
	ms, err := strconv.ParseFloat(m[1], 64)
	require.NoError(tb, err)
	return ms * 1000
}

// tcp returns Gbit/s of one connection from pod A to pod B, or the other way.
func tcp(tb testing.TB, s *overlay.Site, back bool) float64 {
	tb.Helper()
	server, err := start(s.B.Pod, "iperf3", "-s", "-1", "-B", s.B.PodAddr.String())
	require.NoError(tb, err)
	defer server()
	args := []string{"-c", s.B.PodAddr.String(), "-t", "2", "-O", "1", "-J", "--connect-timeout", "3000"}
	if back {
		args = append(args, "-R")
	}
	var result struct {
		End struct {
			Sum struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	require.NoError(tb, json.Unmarshal([]byte(s.A.Pod.Tool(tb, "iperf3", args...)), &result))
	return result.End.Sum.Rate / 1e9
}
