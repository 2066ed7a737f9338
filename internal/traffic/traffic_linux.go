// Package traffic is what tests have two network namespaces say to each other, over whatever joins them: TCP and UDP by ordinary sockets,
// every byte compared.
package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/netnstest"
)

const (
	// Patience bounds what must come; only a failing test waits so long.
	Patience = 20 * time.Second

	streamPatience = 3 * Patience
	chunk          = 256 << 10 // bytes in a call
	back           = 12345     // where in the pattern the way back starts, so that one's own bytes are not taken for the other's
	patternLen     = 1<<20 + 7
)

// pattern is data of which each piece says where it is, as its length has no factor in common with that of anything else. It is there
// twice, so that every piece is in one.
var pattern = sync.OnceValue(func() []byte {
	p, source := make([]byte, patternLen), rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(p) // it never fails
	return append(p, p...)
})

// Piece returns n bytes, up to a mebibyte, that a stream has at an offset. They are the package's: read only.
func Piece(at, n int) []byte { return pattern()[at%patternLen:][:n] }

// Stream sends size bytes over TCP from a namespace to an address of another one, and returns how long that took.
func Stream(from, to *netnstest.Namespace, addr string, size int) (time.Duration, error) {
	client, server, err := connect(from, to, addr)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = pass(client, server, 0, size)
	return time.Since(start), errors.Join(err, client.Close(), server.Close())
}

// Exchange is Stream with as many bytes the other way, in the same connection at the same time.
func Exchange(from, to *netnstest.Namespace, addr string, size int) (time.Duration, error) {
	client, server, err := connect(from, to, addr)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	answer := make(chan error, 1)
	go func() { answer <- pass(server, client, back, size) }()
	err = errors.Join(pass(client, server, 0, size), <-answer)
	return time.Since(start), errors.Join(err, client.Close(), server.Close())
}

// Rate returns that of size bytes, for people.
func Rate(size int, took time.Duration) string {
	return fmt.Sprintf("%.2f Gbit/s", float64(size)*8/took.Seconds()/1e9)
}

// connect returns both ends of a TCP connection.
func connect(from, to *netnstest.Namespace, addr string) (client, server *net.TCPConn, err error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, nil, err
	}
	var l *net.TCPListener
	if err := to.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		return err
	}); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := from.Do(func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), Patience)
		if err == nil {
			client = c.(*net.TCPConn)
		}
		return err
	}); err != nil {
		return nil, nil, err
	}
	end := time.Now().Add(streamPatience)
	if err := l.SetDeadline(end); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	if server, err = l.AcceptTCP(); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, server, errors.Join(client.SetDeadline(end), server.SetDeadline(end))
}

// pass sends size bytes of the pattern from one end to the other, where nothing else may come.
func pass(from, to *net.TCPConn, at, size int) error {
	said := make(chan error, 1)
	go func() { said <- errors.Join(say(from, at, size), from.CloseWrite()) }()
	if err := hear(to, at, size); err != nil {
		_ = to.Close() // ends the other one, too
		return errors.Join(err, <-said)
	}
	return <-said
}

func say(w io.Writer, at, size int) error {
	for end := at + size; at < end; {
		n, err := w.Write(Piece(at, min(chunk, end-at)))
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

func hear(r io.Reader, at, size int) error {
	buf := make([]byte, chunk)
	for end := at + size; at < end; {
		n, err := r.Read(buf)
		if err != nil {
			return fmt.Errorf("%d bytes before the end: %w", end-at, err)
		}
		if n > end-at || !bytes.Equal(buf[:n], Piece(at, n)) {
			return fmt.Errorf("other bytes than those sent, %d to %d before the end", end-at, end-at-n)
		}
		at += n
	}
	n, err := r.Read(buf)
	switch {
	case n != 0:
		return fmt.Errorf("%d bytes too many", n)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("behind the last byte: %w", err)
	}
	return nil
}

// ListenUDP returns a socket at an address and port of a namespace. It is closed when the test is over; reads fail after [Patience] unless
// they are given another deadline.
func ListenUDP(tb testing.TB, ns *netnstest.Namespace, addr string) *net.UDPConn {
	tb.Helper()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	var c *net.UDPConn
	if err := ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Echo starts to send datagrams back to where they come from, until the socket is closed.
func Echo(c *net.UDPConn) {
	_ = c.SetDeadline(time.Time{}) // closed: nothing to echo
	go func() {
		for buf := make([]byte, 1<<16); ; {
			n, peer, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(buf[:n], peer)
		}
	}()
}

// Processor returns the time that the process has had of processors: it says more than the clock where others are at work, too. What the kernel does in interrupts counts for whom they interrupt.
func Processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
