package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/internal/netnstest"
)

func TestScript(t *testing.T) {
	out := netnstest.Script(t, "./namespaces.sh", "-n", "4")
	assert.Contains(t, out, " 0% packet loss")
	assert.Contains(t, out, "vni 9  ICMP 10.9.0.1 > 10.9.0.2")
	assert.Contains(t, out, "vni 9  ICMP 10.9.0.2 > 10.9.0.1")
}
