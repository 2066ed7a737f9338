package packet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/packet"
)

func TestOffloads(t *testing.T) {
	for _, c := range []struct {
		set  packet.Offloads
		text string
	}{
		{packet.OffloadsNone, "none"},
		{packet.OffloadVLAN, "vlan"},
		{packet.OffloadChecksum | packet.OffloadTCP4, "checksum|tcp4"},
		{packet.OffloadUDP4 | packet.OffloadTunnelTCP4 | packet.OffloadTCP6, "udp4|tunnel-tcp4|tcp6"},
		{packet.OffloadVLAN | 1<<7, "vlan|unknown"},
	} {
		assert.Equal(t, c.text, c.set.String())
	}
	all := packet.OffloadChecksum | packet.OffloadTCP4
	assert.True(t, all.Has(packet.OffloadTCP4))
	assert.True(t, all.Has(packet.OffloadsNone))
	assert.False(t, all.Has(packet.OffloadTCP4|packet.OffloadUDP4), "one of two is not all")
}
