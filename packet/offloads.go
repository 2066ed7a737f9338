package packet

// Offloads: what a way out takes beside a packet's bytes, so that the packet need not be changed before it leaves.

// Offloads is the set of what a device can do with a packet's metadata when it sends: what it lacks has to be put into the bytes
// before. The zero value can do nothing.
type Offloads uint8

// What a device may be able to do.
const (
	OffloadVLAN       Offloads = 1 << iota // insert the VLAN tag that travels beside the frame
	OffloadChecksum                        // complete a partial checksum; all that follow need it
	OffloadTCP4                            // cut superframes of TCP over IPv4 (GSOTCP4) that are in no tunnel
	OffloadUDP4                            // cut superframes of UDP over IPv4 (GSOUDP4), the datagrams of UDP tunnels among them
	OffloadTunnelTCP4                      // cut GSOTCP4 in one UDP tunnel, such as VXLAN: outer headers are those of the whole
	OffloadTCP6                            // cut superframes of TCP over IPv6 (GSOTCP6) that are in no tunnel

	OffloadsNone Offloads = 0
)

var offloadNames = [...]string{"vlan", "checksum", "tcp4", "udp4", "tunnel-tcp4", "tcp6"}

// Has reports whether all of x are in the set.
func (o Offloads) Has(x Offloads) bool { return o&x == x }

// String returns the names of what is in the set, such as "checksum|tcp4"; "none" for the empty one.
func (o Offloads) String() string {
	if o == 0 {
		return "none"
	}
	var text []byte
	for i, name := range offloadNames {
		if o&(1<<i) != 0 {
			text = append(append(text, '|'), name...)
		}
	}
	if o>>len(offloadNames) != 0 {
		text = append(text, "|unknown"...)
	}
	return string(text[1:])
}
