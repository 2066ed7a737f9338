package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/arp"
	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/packet"
)

func TestScript(t *testing.T) {
	out := netnstest.Script(t, "./namespaces.sh")
	assert.Contains(t, out, "1 packets transmitted, 0 received")
	assert.Contains(t, out, "3 packets transmitted, 3 received")
	assert.Contains(t, out, "asks for 169.254.1.1: answered")
}

func TestDelayedAnswerComes(t *testing.T) {
	near, far, err := memory.NewPair(memory.Config{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, errors.Join(near.Close(), far.Close())) }()
	r, err := arp.NewResponder(arp.ResponderConfig{
		MAC: ethernet.MAC{2, 1}, ProxyFor: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, ProxyDelay: 5 * time.Millisecond,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- answer(ctx, near, r, io.Discard) }()
	const requests = 20
	batch := make([]*packet.Buffer, driver.BatchSize)
	for i := range byte(requests) {
		q := arp.WhoHas([4]byte{10, 0, 0, i}, ethernet.MAC{2, 2}, [4]byte{10, 9, 9, 9}).AppendFrame(nil, ethernet.Broadcast)
		require.NoError(t, far.Queues()[0].Send([]*packet.Buffer{packet.Of(q)}))
	}
	for n := 0; n < requests; {
		k, err := far.Queues()[0].Receive(batch, 10*time.Second)
		require.NoError(t, err)
		require.NotZero(t, k, "after %d answers", n)
		for _, b := range batch[:k] {
			_, payload, err := ethernet.Parse(b.Bytes())
			require.NoError(t, err)
			p, err := arp.Parse(payload)
			require.NoError(t, err)
			assert.Equal(t, arp.Reply, p.Op())
			assert.Equal(t, ethernet.MAC{2, 1}, p.SenderMAC())
			b.Free()
		}
		n += k
	}
	cancel()
	assert.NoError(t, <-ended)
}

func TestWrongUse(t *testing.T) {
	for args, want := range map[string]string{
		"":                              "-dev and at least one address",
		"-dev lo":                       "at least one address",
		"10.0.0.1":                      "-dev",
		"-dev lo 10.0.0":                `"10.0.0" is no IPv4 address`,
		"-dev lo fe80::1":               `"fe80::1" is no IPv4 address`,
		"-dev lo -mac 1 10.0.0.1":       "MAC",
		"-dev no-such-device0 10.0.0.1": "no-such-device0",
	} {
		var out bytes.Buffer
		assert.ErrorContains(t, run(t.Context(), strings.Fields(args), &out, &out), want, args)
	}
	var out bytes.Buffer
	assert.ErrorIs(t, run(t.Context(), []string{"-h"}, &out, &out), flag.ErrHelp)
	assert.Contains(t, out.String(), "namespaces.sh")
}
