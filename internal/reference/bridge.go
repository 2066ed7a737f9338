package reference

// A learning bridge (IEEE 802.1D-2004 clause 7.7, 7.8; net/bridge/br_input.c, br_forward.c, br_fdb.c).

import (
	"fmt"
	"time"

	"github.com/culvert-net/culvert/ethernet"
)

// bridge takes a frame that came in by a port of br.
func (n *Node) bridge(br, port *Device, f frame) {
	switch {
	case !br.Up:
		n.drop("Down") // all ports of a bridge that is down are disabled
		return
	case !isStation(f.src) || n.isOwn(br, f.src):
		faults := []string{"SourceMAC"}
		if port.Locked {
			faults = append(faults, "Locked")
		}
		if reservedGroup(f.dst) {
			faults = append(faults, "LinkLocal")
		}
		n.drop(faults...)
		return
	case reservedGroup(f.dst):
		faults := []string{"LinkLocal"}
		if port.Locked {
			faults = append(faults, "Locked")
		}
		n.drop(faults...)
		if f.dst[5] != 1 && (!port.Locked || n.isAt(br, f.src, port)) { // pause frames do not even teach; __br_handle_local_finish
			n.learn(br, port, f.src)
		}
		return
	case port.Locked && !n.isAt(br, f.src, port):
		n.drop("Locked")
		return
	}
	n.learn(br, port, f.src)
	switch s := n.station(br, f.dst); {
	case isGroup(f.dst):
		n.flood(br, port, f)
		n.inputFrame(br, f)
	case s == nil:
		if n.flood(br, port, f) == 0 {
			n.drop("NoPort")
		}
	case s.Local:
		n.inputFrame(br, f)
	case s.Port == port && !port.Hairpin:
		n.drop("SamePort")
	case !n.mayLeave(port, s.Port):
		n.drop("NoPort", "Down")
	default:
		n.leave(s.Port, f)
	}
}

// transmitBridge sends a frame of the host's own (br_dev_xmit).
func (n *Node) transmitBridge(br *Device, f frame) {
	s := n.station(br, f.dst)
	switch {
	case isGroup(f.dst) || s == nil:
		if n.flood(br, nil, f) == 0 {
			n.drop("NoPort")
		}
	case s.Local:
		n.drop("Self")
	case !n.mayLeave(nil, s.Port):
		n.drop("NoPort", "Down")
	default:
		n.leave(s.Port, f)
	}
}

// flood sends a frame to all ports that want it, and returns how many there are.
func (n *Node) flood(br, from *Device, f frame) (copies int) {
	for _, p := range n.Devices {
		if p.Master != br || !n.mayLeave(from, p) || p == from && !p.Hairpin || frameTooBig(p, f) {
			continue
		}
		switch {
		case f.dst == ethernet.Broadcast:
			if p.NoBroadcast {
				continue
			}
		case isGroup(f.dst):
			if p.NoMulticast {
				continue
			}
		case p.NoFlood:
			continue
		}
		copies++
		n.leave(p, f)
	}
	return copies
}

// mayLeave reports whether frames from one port may leave by another (should_deliver).
func (n *Node) mayLeave(from, to *Device) bool {
	if !to.Up || !to.Carrier {
		return false
	}
	return from == nil || !from.Isolated || !to.Isolated
}

func (n *Node) leave(p *Device, f frame) {
	if frameTooBig(p, f) {
		n.drop("FrameTooBig")
		return
	}
	n.transmit(p, f)
}

// reservedGroup reports whether bridges keep frames to m to themselves: 01:80:c2:00:00:0X, but for :00, which is forwarded while
// no spanning tree runs.
func reservedGroup(m ethernet.MAC) bool {
	return m[0] == 0x01 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5]&0xf0 == 0 && m[5] != 0
}

func (n *Node) isOwn(br *Device, m ethernet.MAC) bool {
	s := br.Stations[m]
	return m == br.MAC || s != nil && s.Local
}

func (n *Node) isAt(br *Device, m ethernet.MAC, port *Device) bool {
	s := n.station(br, m)
	return s != nil && s.Port == port
}

// station returns where m is, nil if nobody knows.
func (n *Node) station(br *Device, m ethernet.MAC) *Station {
	if m == br.MAC {
		return &Station{Local: true}
	}
	return br.Stations[m]
}

// learn notes where m was heard. Static entries follow their station and stay static, sticky ones stay where they are.
func (n *Node) learn(br, port *Device, m ethernet.MAC) {
	if port.NoLearning {
		return
	}
	s := br.Stations[m]
	switch {
	case s == nil:
		if br.Limit == 0 || learned(br) < br.Limit {
			br.Stations[m] = &Station{Port: port, Heard: n.now, Learned: true}
		}
	case s.Local || s.Sticky && s.Port != port:
	default:
		s.Port, s.Heard = port, n.now
	}
}

func learned(d *Device) (count int) {
	for _, s := range d.Stations {
		if s.Learned {
			count++
		}
	}
	return count
}

// age forgets stations that were not heard for too long.
func (n *Node) age() {
	for _, d := range n.Devices {
		for m, s := range d.Stations {
			if !s.Static && !s.Local && n.now-s.Heard >= d.Ageing {
				delete(d.Stations, m)
			}
		}
	}
}

// Ambiguous reports whether an entry is so near its end that a table with stamps of a second's precision may have forgotten it.
func (n *Node) Ambiguous(now time.Duration) bool {
	for _, d := range n.Devices {
		for _, s := range d.Stations {
			if age := now - s.Heard; !s.Static && !s.Local && age > d.Ageing-2*time.Second && age < d.Ageing+2*time.Second {
				return true
			}
		}
	}
	return false
}

// Table returns where the stations of a bridge or VXLAN device are.
func (d *Device) Table() map[string]string {
	all := map[string]string{}
	for m, s := range d.Stations {
		switch {
		case s.Local:
			all[m.String()] = "local"
		case s.Port != nil:
			all[m.String()] = s.Port.Name
		default:
			all[m.String()] = fmt.Sprint(s.VTEPs)
		}
	}
	if d.Kind == Bridge {
		all[d.MAC.String()] = "local"
	}
	return all
}

// Flush forgets what was learned.
func (d *Device) Flush() {
	for m, s := range d.Stations {
		if !s.Static && !s.Local {
			delete(d.Stations, m)
		}
	}
}
