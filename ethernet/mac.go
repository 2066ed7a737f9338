package ethernet

// MAC addresses: parsing, printing and classes (IEEE Std 802-2014, section 8.2).

import "errors"

// MACLen is the length of a MAC address in bytes.
const MACLen = 6

// MAC is a 48-bit MAC address in transmission order. It is comparable and a map key; the zero value is the
// all-zero address, which no station may have.
type MAC [MACLen]byte

// Broadcast is the address of all stations, ff:ff:ff:ff:ff:ff.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ErrMAC reports text that is not a MAC address.
var ErrMAC = errors.New("ethernet: malformed MAC address: want six hexadecimal bytes such as 0a:58:0a:f4:01:01")

// ParseMAC reads a MAC address written as 0a:58:0a:f4:01:01, 0a-58-0a-f4-01-01 or 0a58.0af4.0101, in either case.
// It returns [ErrMAC] for anything else.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if !m.parse(s) {
		return MAC{}, ErrMAC
	}
	return m, nil
}

// MustParseMAC is [ParseMAC] for constants in tests and examples; it panics on malformed text.
func MustParseMAC(s string) MAC {
	m, err := ParseMAC(s)
	if err != nil {
		panic(err.Error() + ": " + s)
	}
	return m
}

// parse fills m from s, and reports whether s is well formed.
func (m *MAC) parse(s string) bool {
	group := 1 // bytes between separators
	switch len(s) {
	case len("00:00:00:00:00:00"):
		if s[2] != ':' && s[2] != '-' {
			return false
		}
	case len("0000.0000.0000"):
		if s[4] != '.' {
			return false
		}
		group = 2
	default:
		return false
	}
	separator, at := s[2*group], 0
	for i := range m {
		if i > 0 && i%group == 0 {
			if s[at] != separator {
				return false
			}
			at++
		}
		hi, lo := nibble(s[at]), nibble(s[at+1])
		if hi > 0xf || lo > 0xf {
			return false
		}
		m[i] = hi<<4 | lo
		at += 2
	}
	return true
}

// nibble returns the value of a hexadecimal digit, or 0xff.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// String returns m as 0a:58:0a:f4:01:01.
func (m MAC) String() string {
	return string(m.AppendTo(make([]byte, 0, len("00:00:00:00:00:00"))))
}

// AppendTo appends the text of [MAC.String] to b.
func (m MAC) AppendTo(b []byte) []byte {
	const digits = "0123456789abcdef"
	for i, v := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&0xf])
	}
	return b
}

// AppendText implements [encoding.TextAppender] with the text of [MAC.String].
func (m MAC) AppendText(b []byte) ([]byte, error) { return m.AppendTo(b), nil }

// MarshalText implements [encoding.TextMarshaler] with the text of [MAC.String].
func (m MAC) MarshalText() ([]byte, error) { return m.AppendTo(nil), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; it takes what [ParseMAC] takes, and no text for the zero address, and
// leaves m alone on error.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MAC{}
		return nil
	}
	parsed, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

// IsZero reports whether m is 00:00:00:00:00:00.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports whether m is a group address, the broadcast address included.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// IsBroadcast reports whether m is ff:ff:ff:ff:ff:ff.
func (m MAC) IsBroadcast() bool { return m == Broadcast }

// IsLocal reports whether m is locally administered rather than assigned from a vendor's block.
func (m MAC) IsLocal() bool { return m[0]&2 != 0 }

// IsStation reports whether m can be the address of one station: neither a group address nor zero.
func (m MAC) IsStation() bool { return !m.IsMulticast() && !m.IsZero() }
