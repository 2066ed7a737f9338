package sockets_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/sockets"
)

func TestControlMessages(t *testing.T) {
	room := sockets.NewBatch(1, false, 128).ControlRoom(0)
	data, rest := sockets.PutControl(room, 1, 2, 4)
	copy(data, "four")
	data, rest = sockets.PutControl(rest, 3, 4, 1)
	data[0] = '1'
	_, rest = sockets.PutControl(rest, 5, 6, 12)
	whole := room[:len(room)-len(rest)]

	var got []string
	for b := whole; ; {
		h, data, rest := sockets.NextControl(b)
		if h == nil {
			break
		}
		got = append(got, fmt.Sprintf("%d%d%s", h.Level, h.Type, data))
		b = rest
	}
	assert.Equal(t, []string{"12four", "341", "56" + string(make([]byte, 12))}, got)

	for n := range unix.CmsgLen(4) { // cut short
		h, _, _ := sockets.NextControl(whole[:n])
		assert.Nil(t, h, "%d bytes", n)
	}
	h, _, _ := sockets.NextControl(whole)
	h.SetLen(unix.CmsgLen(0) - 1)
	h, _, _ = sockets.NextControl(whole)
	assert.Nil(t, h, "a length that is less than the header's")
}

func TestPiecesMakeOneMessage(t *testing.T) {
	p := newPeer(t)
	out := sockets.NewGather(2, 3, true, 0)
	for i, pieces := range [][]string{{"one ", "", "message"}, {"another"}} {
		out.Clear(i)
		for _, text := range pieces {
			assert.True(t, out.Append(i, []byte(text)))
		}
		assert.Equal(t, len(pieces), out.Pieces(i))
		name := out.Name(i)
		*name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: p.addr.Addr, Port: uint16(p.addr.Port)<<8 | uint16(p.addr.Port)>>8}
	}
	assert.False(t, out.Append(0, nil), "there is no room for a fourth")
	for i := range messages {
		p.in.Set(i, make([]byte, 100))
	}
	buf := make([]byte, 100)
	p.in.Set(0, buf[:5])
	require.NoError(t, p.conn.Control(func(fd int) error {
		n, errno := out.Send(uintptr(fd), 0, 2)
		assert.Equal(t, 2, n)
		assert.Zero(t, errno)
		return nil
	}))
	ok, err := p.conn.Read(time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	n, flags := p.in.Received(0)
	assert.Equal(t, "one m", string(buf[:n]))
	assert.NotZero(t, flags&unix.MSG_TRUNC)
}

func TestWatch(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		ns := netnstest.New(t)
		ns.IP(t, "link add dev0 mtu 1400 type veth peer name dev1")
		ns.Up(t, "dev1")
		var byName, byAddr *sockets.Watch
		var err1, err2 error
		require.NoError(t, ns.Do(func() error {
			byName, err1 = sockets.NewWatch("dev0", netip.Addr{}, nil)
			byAddr, err2 = sockets.NewWatch("", netip.MustParseAddr("192.0.2.1"), nil)
			return nil
		}))
		require.NoError(t, err1)
		require.NoError(t, err2)
		defer func() { assert.NoError(t, byName.Close()) }()
		defer func() { assert.NoError(t, byAddr.Close()) }()
		assert.Equal(t, "dev0", byName.Device().Name)
		assert.Equal(t, 1400, byName.Device().MTU)
		assert.False(t, byName.Device().Up)
		assert.Zero(t, byAddr.Device())

		becomes := func(w *sockets.Watch, what string, is func(sockets.Device) bool) {
			t.Helper()
			late := time.After(10 * time.Second)
			for !is(w.Device()) {
				select {
				case <-w.Changed():
				case <-late:
					require.FailNow(t, what, "%+v", w.Device())
				}
			}
		}
		ns.IP(t, "address add 192.0.2.1/24 dev dev0")
		becomes(byAddr, "the address is there", func(d sockets.Device) bool { return d.Name == "dev0" })
		ns.Up(t, "dev0")
		becomes(byName, "it is up", func(d sockets.Device) bool { return d.Up })
		ns.IP(t, "link set dev0 mtu 1300")
		becomes(byAddr, "the MTU is less", func(d sockets.Device) bool { return d.MTU == 1300 })
		ns.IP(t, "link delete dev0")
		becomes(byName, "it is gone", func(d sockets.Device) bool { return d == sockets.Device{} })
		becomes(byAddr, "the address is gone", func(d sockets.Device) bool { return d == sockets.Device{} })
	})
}
