package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCommandLine(t *testing.T) {
	const (
		station = "-addr=192.0.2.9/24"
		target  = "ipip:192.0.2.2/icmp:203.0.113.10"
	)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no target", []string{"-dev", "d", station}, "want -dev, -addr and a target"},
		{"no device", []string{station, target}, "want -dev, -addr and a target"},
		{"no address", []string{"-dev", "d", target}, "want -dev, -addr and a target"},
		{"IPv6", []string{"-dev", "d", "-addr=::1/64", target}, "want -dev, -addr and a target"},
		{"an address that is none", []string{"-dev", "d", "-addr=192.0.2.9", target}, "invalid value"},
		{"an unknown tunnel", []string{"-dev", "d", station, "gre:192.0.2.2/icmp:203.0.113.10"}, "want ipip:BACKEND/ or vxlan:BACKEND/"},
		{"an unknown check", []string{"-dev", "d", station, "ipip:192.0.2.2/http:203.0.113.10"}, "want ipip:BACKEND/ or vxlan:BACKEND/"},
		{"TCP without a port", []string{"-dev", "d", station, "ipip:192.0.2.2/tcp:203.0.113.10"}, "want ipip:BACKEND/ or vxlan:BACKEND/"},
		{"no backend", []string{"-dev", "d", station, "ipip/icmp:203.0.113.10"}, "want ipip:BACKEND/ or vxlan:BACKEND/"},
		{"nothing but a tunnel", []string{"-dev", "d", station, "ipip:192.0.2.2"}, "want ipip:BACKEND/ or vxlan:BACKEND/"},
		{"VXLAN without an overlay", []string{"-dev", "d", station, "vxlan:192.0.2.2/icmp:10.0.0.1"}, "needs -overlay"},
		{"an overlay without an address", []string{"-dev", "d", "-overlay", "42", station, target}, "invalid value"},
		{"an overlay without a VNI", []string{"-dev", "d", "-overlay", "x=10.0.0.9/24", station, target}, "invalid value"},
		{"no such device", []string{"-dev", "nosuchdevice", station, target}, "nosuchdevice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, 2, run(t.Context(), c.args, &out, &out))
			assert.Contains(t, out.String(), c.want)
		})
	}
	var out bytes.Buffer
	assert.Equal(t, 0, run(t.Context(), []string{"-h"}, &out, &out))
	assert.Contains(t, out.String(), "healthcheck asks backends")
}
