package ipfrag_test

// What the tests share: fragments written as text, a reassembler whose buffers are counted, and packets to cut.

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/ipfrag"
	"github.com/culvert-net/culvert/ipv4"
	"github.com/culvert-net/culvert/packet"
)

// part is a fragment as a test writes it: "16-24" are the bytes 16 to 24 of the datagram and its end, "16-24+" has more behind
// it. Words may follow: id=7, src=2, domain=1, proto=6, tos=3, ttl=9, df, evil, options (8 bytes of them), other (other bytes
// than at these places of the datagram), pad (bytes behind the packet), at=5s (the time).
type part struct {
	start, end    int
	domain        uint32
	fields        ipv4.Fields
	other, padded bool
	at            time.Duration
}

var (
	source  = [4]byte{10, 0, 0, 2}
	target  = [4]byte{10, 0, 0, 1}
	options = []byte{ipv4.OptionRouterAlert, 4, 0, 0, ipv4.OptionRecordRoute, 3, 4, 0}
)

const (
	experiment  = 253 // a protocol for experiments (RFC 3692)
	experiment2 = 254 // the other one
	defaultTTL  = 64
)

func parsePart(text string) part {
	words := strings.Fields(text)
	span, more := strings.CutSuffix(words[0], "+")
	from, to, _ := strings.Cut(span, "-")
	p := part{start: number(from), end: number(to), fields: ipv4.Fields{
		ID: 1, TTL: defaultTTL, Protocol: experiment, Src: source, Dst: target, FragmentOffset: uint16(number(from)),
	}}
	if more {
		p.fields.Flags = ipv4.MoreFragments
	}
	for _, w := range words[1:] {
		p.word(w)
	}
	return p
}

func (p *part) word(w string) {
	name, value, _ := strings.Cut(w, "=")
	switch name {
	case "id":
		p.fields.ID = uint16(number(value))
	case "src":
		p.fields.Src[3] = byte(number(value))
	case "dst":
		p.fields.Dst[3] = byte(number(value))
	case "domain":
		p.domain = uint32(number(value))
	case "proto":
		p.fields.Protocol = byte(number(value))
	case "tos":
		p.fields.TOS = byte(number(value))
	case "ttl":
		p.fields.TTL = byte(number(value))
	case "df":
		p.fields.Flags |= ipv4.DontFragment
	case "evil":
		p.fields.Flags |= ipv4.ReservedFlag
	case "options":
		p.fields.Options = options
	case "other":
		p.other = true
	case "pad":
		p.padded = true
	case "at":
		at, err := time.ParseDuration(value)
		if err != nil {
			panic(err)
		}
		p.at = at
	default:
		panic("no such word: " + w)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// content returns what stands at the bytes from start to end of every datagram.
func content(start, end int) []byte {
	p := make([]byte, end-start)
	for i := range p {
		at := start + i
		p[i] = byte(at ^ at>>8*37 ^ 0x5a)
	}
	return p
}

// packet returns the fragment's bytes.
func (p part) packet() []byte {
	payload := content(p.start, p.end)
	if p.other {
		for i := range payload {
			payload[i] ^= 0xff
		}
	}
	b, err := p.fields.Append(nil, len(payload))
	if err != nil {
		panic(err)
	}
	b = append(b, payload...)
	if p.padded {
		b = append(b, "padding"...)
	}
	return b
}

// kit is a reassembler, and the pool that its buffers come from.
type kit struct {
	t      testing.TB
	r      *ipfrag.Reassembler
	pool   *packet.Pool
	sent   map[*packet.Buffer][]byte // what is in the reassembler, with its bytes as they were
	out    []ipfrag.Result
	wholes [][]byte
}

const bufferSize = 2048

func newKit(t testing.TB, c ipfrag.Config) *kit { return newKitOf(t, c, 256, bufferSize) }

func newKitOf(t testing.TB, c ipfrag.Config, buffers, size int) *kit {
	t.Helper()
	r, err := ipfrag.New(c)
	require.NoError(t, err)
	pool, err := packet.NewPool(packet.PoolConfig{Buffers: buffers, Size: size})
	require.NoError(t, err)
	return &kit{t: t, r: r, pool: pool, sent: make(map[*packet.Buffer][]byte)}
}

// buffer returns a buffer of the pool with p in it, and some metadata.
func (k *kit) buffer(p []byte) *packet.Buffer {
	k.t.Helper()
	b := k.pool.Get()
	require.NotNil(k.t, b, "the pool is empty")
	require.NoError(k.t, b.SetBytes(p))
	b.SetHash(0xfeedbeef)
	b.SetChecksumVerified()
	return b
}

// input sends a fragment and returns what came out, as text.
func (k *kit) input(domain uint32, p []byte, now time.Duration) string {
	k.t.Helper()
	b := k.buffer(p)
	k.sent[b] = p
	return k.took(k.r.Input(domain, b, now, k.out[:0]))
}

func (k *kit) send(p part) string {
	k.t.Helper()
	return k.input(p.domain, p.packet(), p.at)
}

func (k *kit) tick(now time.Duration) string {
	k.t.Helper()
	return k.took(k.r.Tick(now, k.out[:0]))
}

// took checks and frees what came out, and returns it as text: "Merged 0-16, Whole 40".
func (k *kit) took(out []ipfrag.Result) string {
	k.t.Helper()
	k.out = out
	var words []string
	for _, r := range out {
		words = append(words, k.one(r))
		r.Buffer.Free()
	}
	k.check()
	return strings.Join(words, ", ")
}

func (k *kit) one(r ipfrag.Result) string {
	k.t.Helper()
	p := r.Buffer.Bytes()
	was, ok := k.sent[r.Buffer]
	require.Equal(k.t, !r.Made, ok, "%v: a buffer that came out before, or is a stranger", r.Outcome)
	delete(k.sent, r.Buffer)
	if r.Outcome != ipfrag.Whole {
		require.Equal(k.t, string(was), string(p), "%v: the packet is not as it was", r.Outcome)
		h, payload, err := ipv4.Parse(p)
		if err != nil {
			return r.Outcome.String()
		}
		return fmt.Sprintf("%v %d-%d", r.Outcome, h.FragmentOffset(), int(h.FragmentOffset())+len(payload))
	}
	if h, _, _ := ipv4.Parse(was); h.IsValid() && !h.IsFragment() {
		return "no fragment"
	}
	k.wholes = append(k.wholes, slices.Clone(p))
	h, payload, err := ipv4.Parse(p)
	require.NoError(k.t, err)
	require.True(k.t, h.ChecksumOK())
	require.False(k.t, h.IsFragment())
	require.Len(k.t, p, h.Len()+len(payload), "bytes behind the datagram")
	require.Equal(k.t, packet.ChecksumUnknown, r.Buffer.Checksum())
	require.Zero(k.t, r.Buffer.Hash())
	return fmt.Sprintf("%v %d", r.Outcome, len(payload)) + remarkable(h)
}

// remarkable returns what is in a header that parsePart does not put there unasked, in its words.
func remarkable(h ipv4.Header) string {
	s := ""
	if h.TOS() != 0 {
		s += fmt.Sprintf(" tos=%d", h.TOS())
	}
	if h.TTL() != defaultTTL {
		s += fmt.Sprintf(" ttl=%d", h.TTL())
	}
	if h.DF() {
		s += " df"
	}
	if h.Flags()&ipv4.ReservedFlag != 0 {
		s += " evil"
	}
	if len(h.Options()) > 0 {
		s += " options"
	}
	return s
}

// check compares all counts: of the pool, of the reassembler, of its statistics.
func (k *kit) check() {
	k.t.Helper()
	_, fragments, bytes := k.r.Len()
	require.Len(k.t, k.sent, fragments)
	require.Equal(k.t, fragments, k.pool.InUse())
	size := 0
	for b := range k.sent {
		size += b.Headroom() + b.Len() + b.Tailroom()
	}
	require.Equal(k.t, size, bytes)
	s := k.r.Stats()
	out := uint64(0)
	for _, n := range s.Out {
		out += n
	}
	require.Equal(k.t, s.ReasmReqds+s.Made, out+uint64(fragments))
	require.Zero(k.t, s.Out[ipfrag.Held])
	require.Equal(k.t, s.ReasmOKs, s.Out[ipfrag.Whole])
}

// close gets back what is held, and checks that nothing is left.
func (k *kit) close() {
	k.t.Helper()
	k.took(k.r.Flush(k.out[:0]))
	datagrams, fragments, bytes := k.r.Len()
	assert.Zero(k.t, datagrams)
	assert.Zero(k.t, fragments)
	assert.Zero(k.t, bytes)
	assert.Zero(k.t, k.pool.InUse())
	assert.Equal(k.t, ipfrag.Never, k.r.Next())
}

// whole returns the packet that fields and n bytes of content make.
func whole(t testing.TB, f ipv4.Fields, n int) []byte {
	t.Helper()
	b, err := f.Append(nil, n)
	require.NoError(t, err)
	return append(b, content(0, n)...)
}

// partial makes b's transport checksum one that is yet to be computed, its field at the start of the payload.
func partial(t testing.TB, b *packet.Buffer) {
	t.Helper()
	h, payload, err := ipv4.Parse(b.Bytes())
	require.NoError(t, err)
	binary.BigEndian.PutUint16(payload, 0x1234)
	require.NoError(t, b.SetChecksumPartial(h.Len(), 0))
}
