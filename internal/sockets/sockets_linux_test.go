package sockets_test

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/sockets"
)

// peer is a UDP socket on the loopback, its Conn and a batch for each direction.
type peer struct {
	conn    *sockets.Conn
	addr    *unix.SockaddrInet4
	in, out *sockets.Batch
	got     int
	errno   unix.Errno
}

const (
	messages = 4
	control  = 64
)

func newPeer(t *testing.T) *peer {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1))
	name, err := unix.Getsockname(fd)
	require.NoError(t, err)
	p := &peer{addr: name.(*unix.SockaddrInet4), in: sockets.NewBatch(messages, true, control), out: sockets.NewBatch(messages, true, control)}
	for i := range messages {
		p.in.Set(i, make([]byte, 100))
	}
	p.conn, err = sockets.New(fd, "test", func(fd uintptr) bool {
		p.got, p.errno = p.in.Receive(fd, messages)
		return p.errno != unix.EAGAIN
	}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.conn.Close()) })
	return p
}

// send sends texts to a peer, all but the first with a TTL of 9.
func (p *peer) send(t *testing.T, to *peer, texts ...string) {
	t.Helper()
	for i, text := range texts {
		p.out.Set(i, []byte(text))
		name := p.out.Name(i)
		name.Family, name.Addr = unix.AF_INET, to.addr.Addr
		name.Port = uint16(to.addr.Port)<<8 | uint16(to.addr.Port)>>8
		p.out.SetControl(i, 0)
		if i > 0 {
			p.out.SetControl(i, putTTL(p.out.ControlRoom(i), 9))
		}
	}
	require.NoError(t, p.conn.Control(func(fd int) error {
		n, errno := p.out.Send(uintptr(fd), 0, len(texts))
		assert.Equal(t, len(texts), n)
		assert.Zero(t, errno)
		return nil
	}))
}

func TestMessages(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	a.send(t, b, "one", "two", "", "four, which is longer")
	ok, err := b.conn.Read(time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 4, b.got)
	for i, want := range []int{3, 3, 0, 21} {
		n, flags := b.in.Received(i)
		assert.Equal(t, want, n)
		assert.Zero(t, flags&unix.MSG_TRUNC)
		assert.Equal(t, a.addr.Addr, b.in.Name(i).Addr)
		ttl := 64
		if i > 0 {
			ttl = 9
		}
		assert.Equal(t, ttl, ttlOf(t, b.in.Control(i)), "message %d", i)
	}
}

func TestTruncatedMessageSaysSo(t *testing.T) {
	a, b := newPeer(t), newPeer(t)
	a.send(t, b, string(make([]byte, 101)), "short")
	_, err := b.conn.Read(time.Minute)
	require.NoError(t, err)
	_, flags := b.in.Received(0)
	assert.NotZero(t, flags&unix.MSG_TRUNC)
	_, flags = b.in.Received(1)
	assert.Zero(t, flags&unix.MSG_TRUNC)
}

func TestReadWaits(t *testing.T) {
	p := newPeer(t)
	for name, wait := range map[string]time.Duration{"not at all": 0, "a moment": time.Millisecond} {
		ok, err := p.conn.Read(wait)
		assert.NoError(t, err, name)
		assert.False(t, ok, name)
	}

	ended := make(chan error, 1)
	go func() {
		ok, err := p.conn.Read(-1)
		assert.False(t, ok)
		ended <- err
	}()
	runtime.Gosched()
	p.conn.Interrupt()
	assert.NoError(t, <-ended)

	p.conn.Interrupt() // before it waits
	ok, err := p.conn.Read(-1)
	assert.NoError(t, err)
	assert.False(t, ok)

	p.send(t, p, "after an interruption it waits again")
	ok, err = p.conn.Read(-1)
	assert.NoError(t, err)
	assert.True(t, ok)
}

func TestCloseEndsRead(t *testing.T) {
	p := newPeer(t)
	ended := make(chan error, 1)
	go func() {
		_, err := p.conn.Read(-1)
		ended <- err
	}()
	runtime.Gosched()
	require.NoError(t, p.conn.Close())
	assert.ErrorIs(t, <-ended, net.ErrClosed)
	_, err := p.conn.Read(0)
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.ErrorIs(t, p.conn.Control(func(int) error { return nil }), net.ErrClosed)
}

func TestNoAllocations(t *testing.T) {
	p := newPeer(t)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = p.conn.Read(0)
		_, _ = p.conn.Read(time.Microsecond)
	}))
}

// putTTL writes a control message with a time to live.
func putTTL(b []byte, ttl byte) int {
	h := unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_TTL}
	h.SetLen(unix.CmsgLen(4))
	clear(b[:unix.CmsgSpace(4)])
	putHeader(b, &h)
	b[unix.CmsgLen(0)] = ttl
	return unix.CmsgSpace(4)
}

func ttlOf(t *testing.T, b []byte) int {
	t.Helper()
	all, err := unix.ParseSocketControlMessage(b)
	require.NoError(t, err)
	for _, m := range all {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL {
			return int(m.Data[0])
		}
	}
	return 0
}
