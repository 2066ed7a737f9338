package umlpeer_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/internal/netnstest"
	"github.com/culvert-net/culvert/internal/umlpeer"
)

func TestPeer(t *testing.T) {
	netnstest.Run(t, func(t *testing.T) {
		one, two := netnstest.New(t), netnstest.New(t)
		netnstest.Veth(t,
			netnstest.End{Namespace: one, Device: "dev0", MAC: "02:00:00:00:00:01"},
			netnstest.End{Namespace: two, Device: "dev1", MAC: "02:00:00:00:00:02"})
		one.IP(t, "address add 192.0.2.1/24 dev dev0")
		p := umlpeer.Start(t, two, `
			ip link set vec0 up
			ip address add 192.0.2.2/24 dev vec0
			ip link add tunnel0 type ipip local 192.0.2.2 remote 192.0.2.1`, "dev1")
		out, status := p.Run(t, "ping -q -c 3 -i 0.2 192.0.2.1")
		assert.Zero(t, status, out)
		out, status = p.Run(t, "ip -d link show tunnel0; exit 7")
		assert.Equal(t, 7, status)
		assert.Contains(t, out, "remote 192.0.2.1 local 192.0.2.2")
	})
}
