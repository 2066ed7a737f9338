package count_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/driver"
	"github.com/culvert-net/culvert/driver/internal/count"
)

func TestPackets(t *testing.T) {
	var in, out count.Packets
	in.Pass(1, 2)
	in.Dropped.Add(3)
	in.Errors.Add(4)
	out.Pass(5, 6)
	out.Dropped.Add(7)
	out.Errors.Add(8)
	s := driver.Stats{RxPackets: 10, TxErrors: 10} // of another queue
	in.AddReceived(&s)
	out.AddSent(&s)
	assert.Equal(t, driver.Stats{
		RxPackets: 11, RxBytes: 2, RxDropped: 3, RxErrors: 4,
		TxPackets: 5, TxBytes: 6, TxDropped: 7, TxErrors: 18,
	}, s)
}
