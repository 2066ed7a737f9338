package interop_test

// A TCP connection that is under way while things happen to those who carry it: it has to go on by itself, and every byte to arrive.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/overlay"
)

// endurance bounds how long what was interrupted may take to go on: on a busy machine a node takes seconds to start, and TCP, which
// doubles the time between its attempts, as long again.
const endurance = 60 * time.Second

// transfer is bytes on their way from one host to another: chunk after chunk of random ones that both sides know.
type transfer struct {
	way  string
	put  atomic.Int64 // chunks that were given to the kernel
	got  atomic.Int64 // those that have arrived, each compared
	stop atomic.Bool
	sent chan error
	read chan error
}

// transferChunk is short, so that progress shows on a slow machine, too.
const transferChunk = 16 << 10

// begin begins a transfer.
func begin(t *testing.T, from, to host, seed uint64) *transfer {
	t.Helper()
	var l net.Listener
	require.NoError(t, to.ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(to.addr, 0).String())
		return err
	}))
	defer l.Close() //nolint:errcheck // a socket of the test's own
	var out net.Conn
	require.NoError(t, from.ns.Do(func() (err error) {
		out, err = net.DialTimeout("tcp4", l.Addr().String(), endurance)
		return err
	}))
	in, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, out.(*net.TCPConn).SetWriteBuffer(1<<18)) // it is waited for what is in it
	x := &transfer{way: fmt.Sprintf("%v to %v", from.addr, to.addr), sent: make(chan error, 1), read: make(chan error, 1)}
	go func() { x.sent <- x.say(out, seed) }()
	go func() { x.read <- x.hear(in, seed) }()
	t.Cleanup(func() { _, _ = out.Close(), in.Close() })
	return x
}

// say sends until it is to stop.
func (x *transfer) say(c net.Conn, seed uint64) error {
	random, b := rand.New(rand.NewPCG(seed, 0)), make([]byte, transferChunk)
	for !x.stop.Load() {
		fill(random, b)
		if _, err := c.Write(b); err != nil {
			return err
		}
		x.put.Add(1)
	}
	return c.(*net.TCPConn).CloseWrite()
}

// hear compares until the end.
func (x *transfer) hear(c net.Conn, seed uint64) error {
	random, want, got := rand.New(rand.NewPCG(seed, 0)), make([]byte, transferChunk), make([]byte, transferChunk)
	for {
		if _, err := io.ReadFull(c, got); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if fill(random, want); !bytes.Equal(want, got) {
			return errors.New("bytes have changed on the way")
		}
		x.got.Add(1)
	}
}

// transfers are several, under way at once.
type transfers []*transfer

// transferBothWays begins one from each pod to the other.
func transferBothWays(t *testing.T, s *overlay.Site) transfers {
	t.Helper()
	a, b := host{s.A.Pod, s.A.PodAddr}, host{s.B.Pod, s.B.PodAddr}
	all := transfers{begin(t, a, b, 1), begin(t, b, a, 2)}
	all.goOn(t, "at first")
	return all
}

// goOn waits until all have brought over something that they are only going to send: what arrives before may have been under way.
func (all transfers) goOn(t *testing.T, what string) {
	t.Helper()
	start := time.Now()
	for _, x := range all {
		for want := x.put.Load() + 2; x.got.Load() < want; {
			select {
			case err := <-x.read:
				require.FailNow(t, "a connection has ended", "%s, %s: %v", what, x.way, err)
			case err := <-x.sent:
				require.FailNow(t, "a connection has ended", "%s, %s: %v", what, x.way, err)
			case <-time.After(10 * time.Millisecond):
			}
			require.Less(t, time.Since(start), endurance, "%s: nothing arrives any more, %s", what, x.way)
		}
	}
	t.Logf("%s: goes on after %v", what, time.Since(start).Round(time.Millisecond))
}

// farther returns a function that reports whether all have brought over some MiB since.
func (all transfers) farther() func(t *testing.T) bool {
	const some = 4 << 20 / transferChunk
	start, wants := time.Now(), make([]int64, len(all))
	for i, x := range all {
		wants[i] = x.got.Load() + some
	}
	return func(t *testing.T) bool {
		t.Helper()
		require.Less(t, time.Since(start), endurance, "the transfers have come to a stop")
		for i, x := range all {
			if x.got.Load() < wants[i] {
				return false
			}
		}
		return true
	}
}

// end ends all, and checks that all that was sent has arrived.
func (all transfers) end(t *testing.T) {
	t.Helper()
	for _, x := range all {
		x.stop.Store(true)
	}
	for _, x := range all {
		for _, half := range []chan error{x.sent, x.read} {
			select {
			case err := <-half:
				require.NoError(t, err, x.way)
			case <-time.After(endurance):
				require.FailNow(t, "a connection does not end", x.way)
			}
		}
	}
}
