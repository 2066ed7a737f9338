package tuntap_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/driver/tuntap"
	"github.com/culvert-net/culvert/ethernet"
)

// TestConfigFaults: all are reported, with the field's name.
func TestConfigFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		config tuntap.Config
		texts  []string
	}{
		{"no kind", tuntap.Config{Kind: 7}, []string{"Kind: Kind(7)"}},
		{"long name", tuntap.Config{Name: "sixteen-bytes-is"}, []string{"Name:"}},
		{"path for a name", tuntap.Config{Name: "../x"}, []string{"Name:"}},
		{"too many queues", tuntap.Config{Queues: tuntap.MaxQueues + 1}, []string{"Queues: 257"}},
		{"MTU below what IPv4 needs", tuntap.Config{MTU: 67}, []string{"MTU: 67"}},
		{"MTU above what Linux takes", tuntap.Config{MTU: 65522}, []string{"MTU: 65522"}},
		{"MAC of a TUN device", tuntap.Config{Kind: tuntap.TUN, MAC: ethernet.MAC{2}}, []string{"MAC: a TUN device has none"}},
		{"multicast MAC", tuntap.Config{MAC: ethernet.MAC{1}}, []string{"MAC: 01:00:00:00:00:00"}},
		{"all at once", tuntap.Config{Kind: 2, Name: "a b", Queues: -1, MTU: 1}, []string{"Kind:", "Name:", "Queues:", "MTU:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := tuntap.New(c.config)
			require.Error(t, err)
			assert.Nil(t, d)
			for _, text := range c.texts {
				assert.Contains(t, err.Error(), text)
			}
		})
	}
}
