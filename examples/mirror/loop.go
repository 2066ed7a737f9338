package main

// The loop: packets in, sums and packets out.

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/packet"
)

// collect takes packets from in until ctx is done or there are no more, and gives what was mirrored to out.
func (c *collector) collect(ctx context.Context, in, out driver.Driver, o options, stdout io.Writer) error {
	q := in.Queues()[0]
	defer context.AfterFunc(ctx, q.Interrupt)()
	batch := make([]*packet.Buffer, driver.BatchSize)
	for begin := time.Now(); ; {
		n, err := q.Receive(batch, max(0, o.every-time.Since(begin)))
		inner := batch[:0]
		for _, b := range batch[:n] {
			if c.take(b) {
				inner = append(inner, b)
			} else {
				b.Free()
			}
		}
		if err := out.Queues()[0].Send(inner); err != nil {
			return err
		}
		took := time.Since(begin)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), ctx.Err() != nil:
			if o.read != "" {
				took = 0
			}
			c.report(stdout, o.top, took)
			return nil
		case err != nil:
			return err
		case o.read == "" && took >= o.every:
			c.report(stdout, o.top, took)
			begin = time.Now()
		}
	}
}
