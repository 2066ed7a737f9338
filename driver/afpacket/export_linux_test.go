package afpacket

import "github.com/culvert-net/culvert/packet"

// Distrust tells a driver that the kernel refused a packet.
func Distrust(d *Driver, b *packet.Buffer) { d.distrust(b) }
