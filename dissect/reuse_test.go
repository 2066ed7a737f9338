// One stack for many frames: nothing of a frame is left for the next one, and nothing is allocated, whatever comes.
package dissect_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/internal/vectors"
)

// input is a frame with the link that it comes over.
type input struct {
	name  string
	link  vectors.Link
	frame []byte
}

// inputs are all vectors, each whole, cut at some places, and with bytes of all kinds set to others.
func inputs(t testing.TB, seed uint64) []input {
	t.Helper()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []input
	for _, v := range vectors.Load(t) {
		all = append(all, input{v.Name, v.Link, exact(v.Frame)})
		for range 3 {
			n := rng.IntN(len(v.Frame))
			all = append(all, input{fmt.Sprintf("%s cut to %d", v.Name, n), v.Link, exact(v.Frame[:n])})
			b, at := exact(v.Frame), rng.IntN(min(len(v.Frame), 100))
			b[at] = byte(rng.Uint32())
			all = append(all, input{fmt.Sprintf("%s with byte %d set to %#x", v.Name, at, b[at]), v.Link, b})
		}
	}
	return all
}

// outcome is all that a walk tells, without the memory it lies in.
type outcome struct {
	levels []dissect.Level
	err    string
	at     dissect.Error
}

func outcomeOf(w *dissect.Walker, s *dissect.Stack, in input) outcome {
	err := walk(w, s, in.link, in.frame)
	o := outcome{levels: append([]dissect.Level{}, s.Levels()...)}
	var at *dissect.Error
	if errors.As(err, &at) {
		o.err, o.at = err.Error(), *at
	}
	return o
}

func TestReuse(t *testing.T) {
	all := inputs(t, 10)
	rng := rand.New(rand.NewPCG(11, 0))
	for name, c := range map[string]dissect.Config{
		"default": {}, "partial": {Partial: true}, "one level": {Levels: 1}, "no VXLAN": {VXLANPorts: []uint16{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWalker(t, c)
			var reused dissect.Stack
			longest := input{"nested", vectors.LinkEthernet, vector(t, "vxlan/nested/three-deep")}
			for _, i := range rng.Perm(len(all)) {
				in := all[i]
				if i%2 == 0 { // long, then short
					outcomeOf(w, &reused, longest)
				}
				var fresh dissect.Stack
				require.Equal(t, outcomeOf(w, &fresh, in), outcomeOf(w, &reused, in), in.name)
			}
		})
	}
}

// TestOneWalkerForAll is for -race: a walker is shared, each goroutine has a stack.
func TestOneWalkerForAll(t *testing.T) {
	w := newWalker(t, dissect.Config{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var s dissect.Stack
			for range 100 {
				if err := w.Ethernet(&s, flannelPing); err != nil || len(s.Levels()) != 2 {
					t.Errorf("%d levels, error %v", len(s.Levels()), err)
				}
				if err := w.Ethernet(&s, flannelPing[:60]); err == nil {
					t.Error("no error in a cut frame")
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocatesNothing looks at every vector, accepted or refused, whole or not, and at what is asked of the result.
func TestAllocatesNothing(t *testing.T) {
	strict, partial := newWalker(t, dissect.Config{}), newWalker(t, dissect.Config{Partial: true})
	var s dissect.Stack
	accepted, refused := 0, 0
	for _, in := range inputs(t, 12) {
		for _, w := range []*dissect.Walker{strict, partial} {
			var err error
			ports := 0
			allocations := testing.AllocsPerRun(1, func() {
				err = walk(w, &s, in.link, in.frame)
				for i := range s.Levels() {
					l := &s.Levels()[i]
					if l.WrongChecksum() != nil || l.WrongTransportChecksum() != nil || l.IsFragment() {
						ports++
					}
					ports += int(l.Flow().DstPort)
				}
				ports += len(s.Inner().Payload) + len(s.Outer().Payload)
			})
			require.Zero(t, allocations, in.name)
			if err == nil {
				accepted++
			} else {
				refused++
			}
		}
	}
	assert.Greater(t, accepted, 1000)
	assert.Greater(t, refused, 500)
}
