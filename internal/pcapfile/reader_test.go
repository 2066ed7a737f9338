package pcapfile_test

// The reader against files built field by field from draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng, by hand or by
// the helpers at the end of this file, which share nothing with the package's own writer.

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/internal/pcapfile"
)

var orders = []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}

func TestPcapByHand(t *testing.T) {
	file := unhex(`
		d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000   magic, 2.4, zone, sigfigs, snaplen 262144, Ethernet
		80436d38 40e20100 04000000 3c000000 deadbeef             2000-01-01 00:00:00.123456, 4 of 60 bytes
		80436d38 3f420f00 00000000 00000000                      .999999, an empty packet`)
	r := open(t, file)
	packets, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, []pcapfile.Packet{
		{
			Number: 1, Time: time.Date(2000, 1, 1, 0, 0, 0, 123456000, time.UTC), Data: unhex("deadbeef"), WireLen: 60,
			LinkType: pcapfile.LinkEthernet,
		},
		{
			Number: 2, Time: time.Date(2000, 1, 1, 0, 0, 0, 999999000, time.UTC), Data: []byte{},
			LinkType: pcapfile.LinkEthernet,
		},
	}, packets)
	assert.Equal(t, []pcapfile.Interface{{LinkType: pcapfile.LinkEthernet, SnapLen: 262144}}, r.Interfaces())
	assert.EqualValues(t, len(file), r.Offset())
}

func TestPcapHeaders(t *testing.T) {
	when := time.Date(2038, 1, 19, 3, 14, 8, 7000, time.UTC) // one second past 31 bits: the field is unsigned
	for _, o := range orders {
		for name, c := range map[string]struct {
			magic    uint32
			fraction uint32
			extra    string
			link     uint32
			want     pcapfile.LinkType
		}{
			"microseconds":              {magic: 0xa1b2c3d4, fraction: 7, link: 101, want: pcapfile.LinkRaw},
			"nanoseconds":               {magic: 0xa1b23c4d, fraction: 7000, link: 276, want: pcapfile.LinkLinuxSLL2},
			"modified record header":    {magic: 0xa1b2cd34, fraction: 7, extra: "EIGHT...", link: 113, want: pcapfile.LinkLinuxSLL},
			"FCS length above the type": {magic: 0xa1b2c3d4, fraction: 7, link: 0x24000001, want: pcapfile.LinkEthernet},
		} {
			t.Run(fmt.Sprint(name, " ", o), func(t *testing.T) {
				file := join(
					enc(o, c.magic, uint16(2), uint16(4), uint64(0), uint32(3), c.link),
					enc(o, uint32(when.Unix()), c.fraction, uint32(5), uint32(5), c.extra, "first"), // over the snaplen of 3
					enc(o, uint32(when.Unix()), c.fraction, uint32(6), uint32(2), c.extra, "second"),
				)
				packets, err := readAll(open(t, file))
				require.ErrorIs(t, err, io.EOF)
				assert.Equal(t, []pcapfile.Packet{
					{Number: 1, Time: when, Data: []byte("first"), WireLen: 5, LinkType: c.want},
					{Number: 2, Time: when, Data: []byte("second"), WireLen: 6, LinkType: c.want}, // the field says 2
				}, packets)
			})
		}
	}
}

func TestPcapngByHand(t *testing.T) {
	file := unhex(`
		0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000       section header, 1.0, length not given
		01000000 28000000 0100 0000 00000000                                 interface: Ethernet, no snaplen
		0200 0400 65746830  0900 0100 09000000  0000 0000  28000000          if_name eth0, if_tsresol 10^-9, end
		06000000 2c000000 00000000 26c0180d 15cd5be3                         enhanced packet: interface 0, time
		05000000 40000000 0102030405 000000  00000000 2c000000               5 of 64 bytes, padded, opt_endofopt`)
	r := open(t, file)
	packets, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, []pcapfile.Packet{{
		Number: 1, Time: time.Unix(0, 0x0d18c026_e35bcd15).UTC(), Data: []byte{1, 2, 3, 4, 5}, WireLen: 64,
		LinkType: pcapfile.LinkEthernet,
	}}, packets)
	assert.Equal(t, []pcapfile.Interface{{Name: "eth0", LinkType: pcapfile.LinkEthernet}}, r.Interfaces())
	assert.EqualValues(t, len(file), r.Offset())
}

// Two sections of different byte order, every packet block there is, and blocks of no interest between them.
func TestPcapngSectionsAndBlocks(t *testing.T) {
	var file []byte
	for _, o := range orders {
		file = join(
			file,
			section(o),
			block(o, 10, enc(o, uint32(0x544c534b), uint32(8), "not used")), // decryption secrets
			iface(o, 1, 0, option(o, 2, "up"), option(o, 3, "to the spine")),
			iface(o, 101, 6, option(o, 2, "down")),
			block(o, 4, enc(o, uint16(1), uint16(8), "\x0a\x00\x00\x01a.b\x00", uint32(0))), // name resolution
			enhanced(o, 1, 1_000_000, 3, 9, "odd"),
			block(o, 5, enc(o, uint32(0), uint64(0))),                                                          // interface statistics
			block(o, 2, enc(o, uint16(0), uint16(0xffff), uint32(0), uint32(5), uint32(4), uint32(4), "old.")), // obsolete packet
			block(o, 3, enc(o, uint32(6), "simple\x00\x00")),
			block(o, 0x80000bad, nil),
		)
	}
	var want []pcapfile.Packet
	for s := range 2 {
		want = append(want, []pcapfile.Packet{
			{Time: time.Unix(1, 0).UTC(), Data: []byte("odd"), WireLen: 9, LinkType: pcapfile.LinkRaw, Interface: 2*s + 1},
			{Time: time.Unix(0, 5000).UTC(), Data: []byte("old."), WireLen: 4, LinkType: pcapfile.LinkEthernet, Interface: 2 * s},
			{Data: []byte("simple"), WireLen: 6, LinkType: pcapfile.LinkEthernet, Interface: 2 * s},
		}...)
	}
	for i := range want {
		want[i].Number = i + 1
	}
	for name, src := range map[string]io.Reader{
		"at once":     bytes.NewReader(file),
		"byte-wise":   iotest.OneByteReader(bytes.NewReader(file)),
		"end on data": iotest.DataErrReader(bytes.NewReader(file)),
		"gzip":        bytes.NewReader(zip(string(file))),
		"two gzips":   bytes.NewReader(join(zip(string(file[:50])), zip(string(file[50:])))),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := pcapfile.NewReader(src)
			require.NoError(t, err)
			packets, err := readAll(r)
			require.ErrorIs(t, err, io.EOF)
			assert.Equal(t, want, packets)
			up := pcapfile.Interface{Name: "up", Description: "to the spine", LinkType: pcapfile.LinkEthernet}
			down := pcapfile.Interface{Name: "down", LinkType: pcapfile.LinkRaw, SnapLen: 6}
			assert.Equal(t, []pcapfile.Interface{up, down, up, down}, r.Interfaces())
			assert.EqualValues(t, len(file), r.Offset())
		})
	}
}

func TestSimplePacketIsCutAtTheSnapLength(t *testing.T) {
	o := binary.LittleEndian
	packets, err := readAll(open(t, join(section(o), iface(o, 1, 5), block(o, 3, enc(o, uint32(60), "12345\x00\x00\x00")))))
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, []pcapfile.Packet{{Number: 1, Data: []byte("12345"), WireLen: 60, LinkType: 1}}, packets)
}

func TestWireLengthFitsAnyInt(t *testing.T) {
	o := binary.LittleEndian
	packets, err := readAll(open(t, join(section(o), iface(o, 1, 0), enhanced(o, 0, 0, 4, math.MaxUint32, "data"))))
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, packets, 1)
	assert.Equal(t, math.MaxInt32, packets[0].WireLen)
}

func TestInterfaceOptionsWithoutEnd(t *testing.T) {
	o := binary.BigEndian
	long := strings.Repeat("x", 2*pcapfile.MaxNameBytes)
	r := open(t, join(
		section(o), iface(o, 1, 0, option(o, 2, long), option(o, 3, long), option(o, 9999, long)),
		iface(o, 1, 0, enc(o, uint32(0)), "anything after opt_endofopt is padding."),
	))
	_, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, r.Interfaces(), 2)
	assert.Len(t, r.Interfaces()[0].Name, pcapfile.MaxNameBytes)
	assert.Len(t, r.Interfaces()[0].Description, pcapfile.MaxNameBytes)
}

func TestTimestamps(t *testing.T) {
	resol := func(v byte) []byte { return option(binary.LittleEndian, 9, string([]byte{v})) }
	offset := func(s int64) []byte { return option(binary.LittleEndian, 14, string(enc(binary.LittleEndian, s))) }
	for name, c := range map[string]struct {
		options []byte
		ts      uint64
		want    time.Time
	}{
		"microseconds unless said":  {nil, 1_500_000, time.Unix(1, 500_000_000)},
		"seconds":                   {resol(0), 7, time.Unix(7, 0)},
		"milliseconds":              {resol(3), 1_002, time.Unix(1, 2_000_000)},
		"nanoseconds of all 64 bit": {resol(9), math.MaxUint64, time.Unix(18446744073, 709551615)},
		"10^-19 s":                  {resol(19), 1<<64 - 1, time.Unix(1, 844674407)},
		"binary seconds":            {resol(0x80), 7, time.Unix(7, 0)},
		"2^-1 s":                    {resol(0x81), 3, time.Unix(1, 500_000_000)},
		"2^-32 s, as of NTP":        {resol(0x80 | 32), 5<<32 | 1<<30, time.Unix(5, 250_000_000)},
		"2^-63 s":                   {resol(0x80 | 63), 1<<63 | 1<<62, time.Unix(1, 500_000_000)},
		"offset ahead":              {offset(1_000_000_000), 1, time.Unix(1_000_000_000, 1000)},
		"offset before 1970":        {offset(-2), 500_000, time.Unix(-2, 500_000_000)},
		"last second of 9999":       {resol(0), 253402300799, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		"year 10000 is none":        {resol(0), 253402300800, time.Time{}},
		"far future is none":        {resol(0), math.MaxUint64, time.Time{}},
		"year 10000 by offset":      {join(resol(0), offset(1)), 253402300799, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want.UTC(), timeOf(t, c.options, c.ts))
		})
	}
	t.Run("against rational numbers", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, base := range []struct {
			of     int64
			flag   byte
			finest byte
		}{{10, 0, 19}, {2, 0x80, 63}} {
			for exp := range base.finest + 1 {
				perSecond := new(big.Int).Exp(big.NewInt(base.of), big.NewInt(int64(exp)), nil)
				for _, ts := range []uint64{0, 1, perSecond.Uint64() - 1, perSecond.Uint64(), math.MaxUint64, rng.Uint64(), rng.Uint64()} {
					sec, frac := new(big.Int).QuoRem(new(big.Int).SetUint64(ts), perSecond, new(big.Int))
					nanos := new(big.Int).Quo(frac.Mul(frac, big.NewInt(1e9)), perSecond)
					want := time.Time{}
					if sec.Cmp(big.NewInt(253402300799)) <= 0 {
						want = time.Unix(sec.Int64(), nanos.Int64()).UTC()
					}
					require.Equal(t, want, timeOf(t, resol(base.flag|exp), ts), "%d^-%d s, %d units", base.of, exp, ts)
				}
			}
		}
	})
}

// malformed are files that end in something wrong, after as many packets as good says.
func malformed() map[string]struct {
	file []byte
	good int
	want error
	text string
} {
	o := binary.LittleEndian
	pcap := func(rest ...any) []byte {
		return enc(o, append([]any{uint32(0xa1b2c3d4), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1)}, rest...)...)
	}
	ng := func(blocks ...[]byte) []byte {
		return join(append([][]byte{section(o), iface(o, 1, 0), enhanced(o, 0, 1, 4, 4, "good")}, blocks...)...)
	}
	return map[string]struct {
		file []byte
		good int
		want error
		text string
	}{
		"empty":                        {nil, 0, io.ErrUnexpectedEOF, "file header: 0 bytes, too few"},
		"three bytes":                  {[]byte("abc"), 0, io.ErrUnexpectedEOF, "3 bytes, too few"},
		"an ELF file":                  {[]byte("\x7fELF\x02\x01\x01"), 0, pcapfile.ErrFormat, "first bytes 7f454c46, want pcap"},
		"gzip of text":                 {zip("some text"), 0, pcapfile.ErrFormat, "first bytes 736f6d65"},
		"gzip in gzip":                 {zip(string(zip("some text"))), 0, pcapfile.ErrFormat, "first bytes 1f8b0800"},
		"gzip header with bad method":  {[]byte("\x1f\x8b\x01\x00\x00\x00\x00\x00\x00\x00"), 0, gzip.ErrHeader, "gzip header"},
		"gzip without its checksum":    {cutLast(zip(string(ng())), 8), 1, io.ErrUnexpectedEOF, "packet 2 at byte 84"},
		"gzip with a wrong checksum":   {join(cutLast(zip(string(ng())), 8), make([]byte, 8)), 1, gzip.ErrChecksum, "packet 2 at byte 84"},
		"gzip with trailing garbage":   {join(zip(string(ng())), []byte("no gzip header")), 1, gzip.ErrHeader, "packet 2 at byte 84"},
		"pcap header cut off":          {pcap()[:23], 0, io.ErrUnexpectedEOF, "file header"},
		"pcap version 2.3":             {enc(o, uint32(0xa1b2c3d4), uint16(2), uint16(3), uint64(0), uint64(0)), 0, pcapfile.ErrVersion, "pcap version 2.3"},
		"pcap version 1.4":             {enc(o, uint32(0xa1b2c3d4), uint16(1), uint16(4), uint64(0), uint64(0)), 0, pcapfile.ErrVersion, "pcap version 1.4"},
		"pcap captured length 1 MiB+1": {pcap(uint64(0), uint32(1<<20+1), uint32(0), make([]byte, 1<<20+1)), 0, pcapfile.ErrPacketTooLarge, "packet 1 at byte 24: captured length 1048577"},
		"pcap captured length -1":      {pcap(uint64(0), uint32(1), uint32(1), "x", uint64(0), uint32(math.MaxUint32), uint32(0)), 1, pcapfile.ErrPacketTooLarge, "packet 2 at byte 41: captured length 4294967295"},
		"pcap data cut off":            {pcap(uint64(0), uint32(1), uint32(1), "x", uint64(0), uint32(9), uint32(9), "12345678"), 1, io.ErrUnexpectedEOF, "packet 2 at byte 41"},
		"pcap data missing":            {pcap(uint64(0), uint32(9), uint32(9)), 0, io.ErrUnexpectedEOF, "packet 1 at byte 24"},

		"section of length 12":                {enc(o, uint32(0x0a0d0d0a), uint32(12), uint32(0x1a2b3c4d)), 0, pcapfile.ErrFormat, "length 12 is too short"},
		"section of length 24":                {block(o, 0x0a0d0d0a, enc(o, uint32(0x1a2b3c4d), uint16(1), uint16(0), uint32(0))), 0, pcapfile.ErrFormat, "length 24 is too short"},
		"section with a bad byte-order magic": {block(o, 0x0a0d0d0a, enc(o, uint32(0x1a2b3c4e), make([]byte, 12))), 0, pcapfile.ErrFormat, "byte-order magic 4e3c2b1a"},
		"section version 2.0":                 {block(o, 0x0a0d0d0a, enc(o, uint32(0x1a2b3c4d), uint16(2), uint16(0), uint64(0))), 0, pcapfile.ErrVersion, "pcapng version 2.0"},
		"second section version 1.1":          {ng(block(o, 0x0a0d0d0a, enc(o, uint32(0x1a2b3c4d), uint16(1), uint16(1), uint64(0)))), 1, pcapfile.ErrVersion, "pcapng version 1.1"},
		"second section's lengths in the first one's order": {
			ng(enc(o, uint32(0x0a0d0d0a), uint32(28)), enc(binary.BigEndian, uint32(0x1a2b3c4d), uint16(1), uint16(0), uint64(0)), enc(o, uint32(28))),
			1, pcapfile.ErrLimit, "length 469762048",
		},
		"interface of the section before": {ng(section(o), enhanced(o, 0, 1, 4, 4, "lost")), 1, pcapfile.ErrInterface, "packet 2 at byte 112: interface 0, section has 0"},

		"block length 0":                     {ng(enc(o, uint32(6), uint32(0), make([]byte, 40))), 1, pcapfile.ErrFormat, "packet 2 at byte 84: block type 0x6, length 0 is too short"},
		"block length 11":                    {ng(enc(o, uint32(99), uint32(11), make([]byte, 3))), 1, pcapfile.ErrFormat, "length 11 is not a multiple of 4"},
		"block length 8":                     {ng(enc(o, uint32(99), uint32(8))), 1, pcapfile.ErrFormat, "length 8 is too short"},
		"block length not a multiple of 4":   {ng(enc(o, uint32(6), uint32(33), make([]byte, 21), uint32(33))), 1, pcapfile.ErrFormat, "length 33 is not a multiple of 4"},
		"block lengths differ":               {ng(enc(o, uint32(99), uint32(16), uint32(0), uint32(20))), 1, pcapfile.ErrFormat, "length 16 at its start, 20 at its end"},
		"packet block lengths differ":        {ng(enc(o, uint32(3), uint32(20), "\x04\x00\x00\x00data", uint32(24))), 1, pcapfile.ErrFormat, "length 20 at its start, 24 at its end"},
		"skipped block over 16 MiB":          {ng(enc(o, uint32(99), uint32(16<<20+4))), 1, pcapfile.ErrLimit, "block type 0x63, length 16777220"},
		"packet block over 1 MiB":            {ng(enc(o, uint32(6), uint32(2<<20))), 1, pcapfile.ErrLimit, "block type 0x6, length 2097152"},
		"block header cut off":               {ng([]byte("\x06\x00\x00")), 1, io.ErrUnexpectedEOF, "packet 2 at byte 84"},
		"skipped block cut off":              {ng(enc(o, uint32(99), uint32(1<<20), "short")), 1, io.ErrUnexpectedEOF, "packet 2 at byte 84"},
		"enhanced packet too short":          {ng(block(o, 6, make([]byte, 16))), 1, pcapfile.ErrFormat, "block type 0x6, length 28 is too short"},
		"obsolete packet too short":          {ng(block(o, 2, make([]byte, 16))), 1, pcapfile.ErrFormat, "block type 0x2, length 28 is too short"},
		"simple packet too short":            {ng(block(o, 3, nil)), 1, pcapfile.ErrFormat, "block type 0x3, length 12 is too short"},
		"interface too short":                {ng(block(o, 1, make([]byte, 4))), 1, pcapfile.ErrFormat, "block type 0x1, length 16 is too short"},
		"enhanced packet past its block":     {ng(enhanced(o, 0, 1, 9, 9, "12345678")), 1, pcapfile.ErrFormat, "captured length 9, 8 bytes left"},
		"enhanced packet of length -1":       {ng(enhanced(o, 0, 1, math.MaxUint32, 0, "12345678")), 1, pcapfile.ErrFormat, "captured length 4294967295, 8 bytes"},
		"enhanced packet over 1 MiB":         {ng(enhanced(o, 0, 1, 1<<20+4, 0, string(make([]byte, 1<<20+4)))), 1, pcapfile.ErrPacketTooLarge, "captured length 1048580"},
		"obsolete packet past its block":     {ng(block(o, 2, enc(o, uint32(0), uint64(0), uint32(5), uint32(5), "1234"))), 1, pcapfile.ErrFormat, "captured length 5, 4 bytes left"},
		"simple packet past its block":       {ng(block(o, 3, enc(o, uint32(5), "1234"))), 1, pcapfile.ErrFormat, "captured length 5, 4 bytes left"},
		"enhanced packet on interface 1":     {ng(enhanced(o, 1, 1, 4, 4, "data")), 1, pcapfile.ErrInterface, "interface 1, section has 1"},
		"enhanced packet on interface -1":    {ng(enhanced(o, math.MaxUint32, 1, 4, 4, "data")), 1, pcapfile.ErrInterface, "interface 4294967295"},
		"obsolete packet on interface 65535": {ng(block(o, 2, enc(o, uint16(math.MaxUint16), uint16(0), uint64(0), uint64(0)))), 1, pcapfile.ErrInterface, "interface 65535"},
		"simple packet without an interface": {join(section(o), block(o, 3, enc(o, uint32(4), "data"))), 0, pcapfile.ErrInterface, "interface 0, section has 0"},

		"option past its block":    {ng(iface(o, 1, 0, enc(o, uint16(2), uint16(5), "name"))), 1, pcapfile.ErrFormat, "option 2 of length 5, 4 bytes left"},
		"option of length 65535":   {ng(iface(o, 1, 0, enc(o, uint16(2), uint16(65535)))), 1, pcapfile.ErrFormat, "option 2 of length 65535, 0 bytes left"},
		"if_tsresol of length 0":   {ng(iface(o, 1, 0, option(o, 9, ""))), 1, pcapfile.ErrFormat, "if_tsresol of 0 bytes"},
		"if_tsresol of length 4":   {ng(iface(o, 1, 0, option(o, 9, "\x06\x00\x00\x00"))), 1, pcapfile.ErrFormat, "if_tsresol of 4 bytes"},
		"if_tsresol of 10^-20":     {ng(iface(o, 1, 0, option(o, 9, "\x14"))), 1, pcapfile.ErrLimit, "if_tsresol of 10^-20 s"},
		"if_tsresol of 10^-64":     {ng(iface(o, 1, 0, option(o, 9, "\x40"))), 1, pcapfile.ErrLimit, "if_tsresol of 10^-64 s"},
		"if_tsresol of 2^-64":      {ng(iface(o, 1, 0, option(o, 9, "\xc0"))), 1, pcapfile.ErrLimit, "if_tsresol of 2^-64 s"},
		"if_tsresol of 2^-127":     {ng(iface(o, 1, 0, option(o, 9, "\xff"))), 1, pcapfile.ErrLimit, "if_tsresol of 2^-127 s"},
		"if_tsoffset of length 7":  {ng(iface(o, 1, 0, option(o, 14, "1234567"))), 1, pcapfile.ErrFormat, "if_tsoffset of 7 bytes"},
		"if_tsoffset at its limit": {ng(iface(o, 1, 0, option(o, 14, string(enc(o, int64(math.MinInt64)))))), 1, pcapfile.ErrLimit, "if_tsoffset of -9223372036854775808 s"},
		"16385 interfaces":         {ng(bytes.Repeat(iface(o, 1, 0), 16384)), 1, pcapfile.ErrLimit, "interface description after 16384 others"},
	}
}

func TestMalformed(t *testing.T) {
	for name, c := range malformed() {
		t.Run(name, func(t *testing.T) {
			r, err := pcapfile.NewReader(bytes.NewReader(c.file))
			if err == nil {
				var packets []pcapfile.Packet
				packets, err = readAll(r)
				assert.Len(t, packets, c.good, "packets before the fault")
				_, again := r.Next()
				assert.Equal(t, err, again, "an error stays")
			} else {
				assert.Zero(t, c.good, "NewReader failed already")
			}
			require.ErrorIs(t, err, c.want)
			assert.ErrorContains(t, err, c.text)
			assert.NotErrorIs(t, err, io.EOF)
			assert.Equal(t, 1, strings.Count(err.Error(), "pcapfile: "))
		})
	}
}

// Whatever lengths a file claims, reading it takes the buffers and one packet's room.
func TestMalformedMemory(t *testing.T) {
	for name, c := range malformed() {
		bound := uint64(4 << 20)
		if name == "16385 interfaces" {
			bound = 16 << 20
		}
		assert.Less(t, bytesAllocated(func() { readThrough(c.file) }), bound, name)
	}
}

// readThrough reads a file to whatever end it comes to, keeping nothing.
func readThrough(file []byte) {
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	for err == nil {
		_, err = r.Next()
	}
}

// A file may end after its header and after each packet, or block; anywhere else it was cut.
func TestCutOffAnywhere(t *testing.T) {
	o := binary.BigEndian
	type part struct {
		bytes   []byte
		packets int // complete at the end of this part
	}
	for name, parts := range map[string][]part{
		"pcap": {
			{enc(o, uint32(0xa1b2c3d4), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1)), 0},
			{enc(o, uint64(0), uint32(3), uint32(3), "one"), 1},
			{enc(o, uint64(0), uint32(0), uint32(0)), 2},
			{enc(o, uint64(0), uint32(5), uint32(5), "three"), 3},
		},
		"pcapng": {
			{section(o), 0},
			{iface(o, 1, 0), 0},
			{enhanced(o, 0, 0, 3, 3, "one"), 1},
			{block(o, 99, make([]byte, 8)), 1},
			{block(o, 3, enc(o, uint32(0))), 2},
			{enhanced(o, 0, 0, 5, 5, "three"), 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var file []byte
			before := 0
			for _, p := range parts {
				for n := range p.bytes {
					packets, err := readCut(append(file, p.bytes[:n]...))
					want := io.ErrUnexpectedEOF
					if n == 0 && len(file) > 0 {
						want = io.EOF
					}
					require.ErrorIs(t, err, want, "cut at %d", len(file)+n)
					require.Len(t, packets, before, "cut at %d", len(file)+n)
				}
				file, before = append(file, p.bytes...), p.packets
			}
			packets, err := readCut(file)
			require.ErrorIs(t, err, io.EOF)
			require.Len(t, packets, 3)
		})
	}
}

func readCut(file []byte) ([]pcapfile.Packet, error) {
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	return readAll(r)
}

func TestReadErrorIsPassedOn(t *testing.T) {
	o := binary.LittleEndian
	broken := errors.New("cable pulled")
	_, err := pcapfile.NewReader(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)

	good := join(section(o), iface(o, 1, 0), enhanced(o, 0, 0, 4, 4, "data"))
	r, err := pcapfile.NewReader(io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)))
	require.NoError(t, err)
	packets, err := readAll(r)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "packet 2 at byte 84")
	assert.Len(t, packets, 1)
}

// A live capture arrives through a pipe: the writer here waits for each packet to be delivered before it sends the next
// one, so a reader that wanted a byte more would hang.
func TestPacketIsDeliveredWhenItsLastByteArrives(t *testing.T) {
	o := binary.LittleEndian
	for name, c := range map[string]struct{ header, packet []byte }{
		"pcap": {
			enc(o, uint32(0xa1b2c3d4), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1)),
			enc(o, uint64(0), uint32(4), uint32(4), "data"),
		},
		"pcapng": {join(section(o), iface(o, 1, 0)), enhanced(o, 0, 0, 4, 4, "data")},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := io.Pipe()
			delivered := make(chan int)
			go func() {
				_, _ = out.Write(c.header)
				for range 3 {
					_, _ = out.Write(c.packet)
					<-delivered
				}
				_ = out.Close()
			}()
			r, err := pcapfile.NewReader(in)
			require.NoError(t, err)
			for i := range 3 {
				p, err := r.Next()
				require.NoError(t, err)
				require.Equal(t, "data", string(p.Data))
				delivered <- i
			}
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// The buffer of a long packet serves a short one after it, without a byte left over.
func TestShortPacketAfterLongOne(t *testing.T) {
	o := binary.LittleEndian
	long := strings.Repeat("long", 1<<18) // 1 MiB, the most there may be
	r := open(t, join(section(o), iface(o, 1, 0), enhanced(o, 0, 0, 1<<20, 1<<20, long), enhanced(o, 0, 0, 2, 2, "ab")))
	p, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, long, string(p.Data))
	p, err = r.Next()
	require.NoError(t, err)
	assert.Equal(t, "ab", string(p.Data))
	assert.Equal(t, 2, cap(p.Data), "an append must not run into the reader's buffer")
}

func TestNextDoesNotAllocate(t *testing.T) {
	o := binary.BigEndian
	const runs = 1000
	packet := strings.Repeat("x", 1400)
	for name, file := range map[string][]byte{
		"pcap": join(
			enc(o, uint32(0xa1b23c4d), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1)),
			bytes.Repeat(enc(o, uint64(0), uint32(1400), uint32(1400), packet), runs+10),
		),
		"pcapng": join(
			section(o), iface(o, 1, 0, option(o, 9, "\xbf")),
			bytes.Repeat(join(block(o, 99, make([]byte, 100)), enhanced(o, 0, math.MaxUint64, 1400, 1400, packet, option(o, 1, "a comment"))), runs+10),
		),
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, file)
			_, err := r.Next()
			require.NoError(t, err)
			n := testing.AllocsPerRun(runs, func() {
				if _, err := r.Next(); err != nil {
					t.Error(err)
				}
			})
			assert.Zero(t, n)
		})
	}
}

func TestLinkTypeNames(t *testing.T) {
	for link, want := range map[pcapfile.LinkType]string{
		0: "NULL", 1: "EN10MB", 101: "RAW", 108: "LOOP", 113: "LINUX_SLL", 228: "IPV4", 229: "IPV6", 276: "LINUX_SLL2",
		105: "LINKTYPE 105",
	} {
		assert.Equal(t, want, link.String())
	}
}

func BenchmarkNext(b *testing.B) {
	o := binary.LittleEndian
	file := join(section(o), iface(o, 1, 0), bytes.Repeat(enhanced(o, 0, 1, 1400, 1400, strings.Repeat("x", 1400)), 1000))
	b.SetBytes(int64(len(file)) / 1000)
	b.ReportAllocs()
	var r *pcapfile.Reader
	for i := range b.N {
		if i%1000 == 0 {
			r = open(b, file)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// timeOf reads one packet of timestamp ts from an interface with the given options, all little-endian.
func timeOf(t *testing.T, options []byte, ts uint64) time.Time {
	t.Helper()
	o := binary.LittleEndian
	packets, err := readAll(open(t, join(section(o), iface(o, 1, 0, options), enhanced(o, 0, ts, 0, 0, ""))))
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, packets, 1)
	return packets[0].Time
}

func open(t testing.TB, file []byte) *pcapfile.Reader {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	return r
}

// readAll returns copies of all packets and the error that ended them.
func readAll(r *pcapfile.Reader) ([]pcapfile.Packet, error) {
	var packets []pcapfile.Packet
	for {
		p, err := r.Next()
		if err != nil {
			return packets, err
		}
		p.Data = append([]byte{}, p.Data...)
		packets = append(packets, p)
	}
}

// unhex reads hex digits; what follows three spaces on a line is a remark.
func unhex(text string) []byte {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "   ")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		panic(err)
	}
	return b
}

// enc lays out values in the given byte order, strings and byte slices as they are.
func enc(o binary.ByteOrder, values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			var err error
			if b, err = binary.Append(b, o, v); err != nil {
				panic(err)
			}
		}
	}
	return b
}

func cutLast(b []byte, n int) []byte { return b[:len(b)-n] }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// block is a general block, section 3.1 of the pcapng draft.
func block(o binary.ByteOrder, kind uint32, body []byte) []byte {
	length := uint32(len(body) + 12)
	return enc(o, kind, length, body, length)
}

// section is a section header block without options, section 4.1.
func section(o binary.ByteOrder) []byte {
	return block(o, 0x0a0d0d0a, enc(o, uint32(0x1a2b3c4d), uint16(1), uint16(0), int64(-1)))
}

// iface is an interface description block, section 4.2.
func iface(o binary.ByteOrder, link uint16, snapLen uint32, options ...any) []byte {
	return block(o, 1, pad(enc(o, link, uint16(0), snapLen, enc(o, options...))))
}

// enhanced is an enhanced packet block, section 4.3.
func enhanced(o binary.ByteOrder, id uint32, ts uint64, captured, wire uint32, data string, options ...any) []byte {
	return block(o, 6, enc(o, id, uint32(ts>>32), uint32(ts), captured, wire, pad([]byte(data)), enc(o, options...)))
}

// option is an option of section 3.5.
func option(o binary.ByteOrder, code uint16, value string) []byte {
	return enc(o, code, uint16(len(value)), pad([]byte(value)))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func zip(s string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, s) // a bytes.Buffer does not fail
	_ = z.Close()
	return out.Bytes()
}

// bytesAllocated returns what f allocates on the heap, freed or not.
func bytesAllocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
