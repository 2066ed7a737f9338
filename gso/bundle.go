package gso

// UDP superframes of TCP superframes: for ways out that cut UDP but no TCP in tunnels, such as a packet socket, whose header for
// superframes knows no tunnels. Only the inner headers have to be written for each segment.

import (
	"encoding/binary"

	"github.com/culvert-net/culvert/checksum"
	"github.com/culvert-net/culvert/ethernet"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
	"github.com/culvert-net/culvert/udp"
)

// LargeSize is the room in bytes behind the headroom that a buffer needs to hold every superframe: the longest IPv4 packet in a
// frame with two VLAN tags.
const LargeSize = ipv4.MaxLen + ethernet.HeaderLen + 2*ethernet.TagLen

// maxDatagrams is how many datagrams Linux lets a UDP superframe have (UDP_MAX_SEGMENTS of include/linux/udp.h; 128 since 6.9, but
// who knows who cuts it).
const maxDatagrams = 64

var noTag ethernet.Tag

// Bundle makes of the superframe in b, which is in a UDP tunnel, superframes of type [packet.GSOUDP4]: one outer header and behind it
// equal datagrams, but for the last, each with a segment in it whose checksums are complete. The outer UDP checksum is partial, even
// where the tunnel has none: devices compute it along with what they cut. The superframes are appended to out, in buffers of Large;
// b is freed.
//
// It returns [ErrFew] if two datagrams do not fit into a packet, [ErrHeaders] if the outermost header is not a UDP tunnel's, or an
// error of [Segmenter.Cut]; then b and out are as they were. It allocates nothing, unless out has to grow.
func (s Segmenter) Bundle(b *packet.Buffer, raw bool, out []*packet.Buffer) ([]*packet.Buffer, error) {
	var x shape
	if err := x.find(b, raw); err != nil {
		return out, err
	}
	outer := &x.levels[0]
	if x.n < 2 || outer.udp == 0 {
		return out, ErrHeaders
	}
	headers := outer.udp + udp.HeaderLen
	each := x.payload + x.size - headers // bytes of a datagram's payload
	most := min(maxDatagrams, (ipv4.MaxLen-(headers-outer.ip))/each)
	n := x.segments()
	if n < 2 || most < 2 {
		return out, ErrFew
	}
	was := len(out)
	out, err := take(s.Large, out, (n+most-1)/most, headers+min(most, n)*each)
	if err != nil {
		return out, err
	}
	p := b.Bytes()
	for i, q := range out[was:] {
		x.bundle(q, p, i*most, min((i+1)*most, n), headers)
		q.SetHash(b.Hash())
		q.SetVLAN(b.VLAN())
		if x.segments()-i*most > 1 {
			q.SetGSO(packet.GSOUDP4, uint16(each))
		}
	}
	b.Free()
	return out, nil
}

// bundle makes q the UDP superframe of segments from to to.
func (x *shape) bundle(q *packet.Buffer, p []byte, from, to, headers int) {
	inner := x.payload - headers
	bytes := min(to*x.size, x.end-x.payload) - from*x.size
	whole, err := q.Extend(headers + (to-from)*inner + bytes)
	if err != nil {
		return // cannot be: take has seen to that
	}
	at := headers
	for i := from; i < to; i++ {
		data := p[x.payload+i*x.size : min(x.payload+(i+1)*x.size, x.end)]
		copy(whole[at:], p[headers:x.payload])
		copy(whole[at+inner:], data)
		end := at + inner + len(data)
		x.patch(whole[at-headers:end], i, 1, false) // as if the outer headers were in front of it
		at = end
	}
	copy(whole, p[:headers])
	v := &x.levels[0]
	length := uint16(len(whole) - v.udp)
	x.putIPv4(whole[v.ip:], v, uint16(len(whole)-v.ip), v.id+uint16(from))
	binary.BigEndian.PutUint16(whole[v.udp+atUDPLength:], length)
	binary.BigEndian.PutUint16(whole[v.udp+atUDPCheck:], checksum.Add(v.pseudo, length))
	_ = q.SetChecksumPartial(v.udp, atUDPCheck) // within reach, as find went through it
}
