package drivertest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/culvert-net/culvert/driver/drivertest"
	"github.com/culvert-net/culvert/driver/memory"
	"github.com/culvert-net/culvert/packet"
)

// The conformance test of a driver, here of package memory's.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestConformance
		drivertest.Run(t, drivertest.Harness{
			New: func(t *testing.T, c drivertest.Config) drivertest.Pair {
				near, far, err := memory.NewPair(memory.Config{A: memory.End{Pool: c.Pool}})
				if err != nil {
					t.Fatal(err)
				}
				return drivertest.Pair{
					Driver: near,
					Wire:   drivertest.Joined(far),
					SetUp:  func(up bool) error { far.SetUp(up); return nil },
					SetMTU: near.SetMTU,
				}
			},
		})
	}
}

// A device that sends only a part of every batch, and then loses its carrier.
func ExampleFaults() {
	near, far, err := memory.NewPair(memory.Config{Raw: true})
	if err != nil {
		panic(err)
	}
	faulty, err := drivertest.NewFaults(drivertest.FaultsConfig{Driver: near, Seed: 1, Send: drivertest.Chances{Short: 1}})
	if err != nil {
		panic(err)
	}
	send := func() error {
		batch := make([]*packet.Buffer, 10)
		for i := range batch {
			batch[i] = packet.Of([]byte("a packet"))
		}
		return faulty.Queues()[0].Send(batch)
	}
	fmt.Println(send())
	st := faulty.Stats()
	fmt.Println(st.TxPackets > 0, st.TxDropped > 0, st.TxPackets+st.TxDropped)

	faulty.SetChances(drivertest.Chances{}, drivertest.Chances{})
	fmt.Println(send())
	faulty.SetUp(false)
	<-faulty.Changed()
	fmt.Println(send())
	if err := errors.Join(faulty.Close(), far.Close()); err != nil {
		panic(err)
	}
	// Output:
	// driver: the device is full
	// true true 10
	// <nil>
	// driver: the link is down
}
