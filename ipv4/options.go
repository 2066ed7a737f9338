package ipv4

// Options: the list behind the fixed header, walked one at a time (RFC 791 section 3.1).

// Option types (IANA) that culvert knows by name.
const (
	OptionEnd         uint8 = 0
	OptionNop         uint8 = 1
	OptionRecordRoute uint8 = 7
	OptionTimestamp   uint8 = 68
	OptionSecurity    uint8 = 130
	OptionLooseRoute  uint8 = 131
	OptionStrictRoute uint8 = 137
	OptionRouterAlert uint8 = 148
)

// Options is the raw option list of a header, 0 to 40 bytes.
type Options []byte

// Option is one option.
type Option struct {
	Type uint8
	Data []byte // without type and length; nil for the end and no-operation options
}

// Options returns the header's options, which alias the packet.
func (h Header) Options() Options { return Options(h.b[HeaderLen:]) }

// Next returns the first option of o and the options behind it: none behind [OptionEnd]. It returns [ErrOption], and
// nothing behind, if the option's length is below 2 or runs over the end of o.
//
//	for o := h.Options(); len(o) > 0; {
//		var opt ipv4.Option
//		if opt, o, err = o.Next(); err != nil { … }
//	}
func (o Options) Next() (Option, Options, error) {
	if len(o) == 0 {
		return Option{}, nil, nil
	}
	switch o[0] {
	case OptionEnd:
		return Option{Type: OptionEnd}, nil, nil
	case OptionNop:
		return Option{Type: OptionNop}, o[1:], nil
	}
	if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
		return Option{Type: o[0]}, nil, ErrOption
	}
	n := int(o[1])
	return Option{Type: o[0], Data: o[2:n:n]}, o[n:], nil
}

// Check walks the options and returns [ErrOption] if one of them is malformed.
func (o Options) Check() error {
	for len(o) > 0 {
		var err error
		if _, o, err = o.Next(); err != nil {
			return err
		}
	}
	return nil
}
