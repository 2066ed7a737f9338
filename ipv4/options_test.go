// Walking options: every shape they come in, and every way in which their lengths lie.
package ipv4_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ipv4"
)

func TestOptions(t *testing.T) {
	const (
		alert  = "\x94\x04\x00\x00"                 // router alert (RFC 2113)
		record = "\x07\x07\x04\x00\x00\x00\x00"     // record route, one free
		stamp  = "\x44\x08\x05\x00\x00\xbc\x61\x4e" // timestamp, one of them
	)
	nop := ipv4.Option{Type: ipv4.OptionNop}
	end := ipv4.Option{Type: ipv4.OptionEnd}
	routerAlert := ipv4.Option{Type: ipv4.OptionRouterAlert, Data: []byte{0, 0}}
	for _, c := range []struct {
		name string
		list string
		want []ipv4.Option
		err  error // of the last of them
	}{
		{name: "none"},
		{name: "one", list: alert, want: []ipv4.Option{routerAlert}},
		{name: "two", list: alert + stamp, want: []ipv4.Option{
			routerAlert, {Type: ipv4.OptionTimestamp, Data: []byte(stamp[2:])},
		}},
		{name: "one, filled up with an end", list: record + "\x00", want: []ipv4.Option{
			{Type: ipv4.OptionRecordRoute, Data: []byte(record[2:])}, end,
		}},
		{name: "no-operations", list: "\x01\x01\x01\x01", want: []ipv4.Option{nop, nop, nop, nop}},
		{name: "no-operation between", list: alert + "\x01" + record, want: []ipv4.Option{
			routerAlert, nop, {Type: ipv4.OptionRecordRoute, Data: []byte(record[2:])},
		}},
		{name: "an end at once", list: "\x00\x00\x00\x00", want: []ipv4.Option{end}},
		{name: "an end, and what would be malformed behind it", list: "\x00\x07\x01\x07", want: []ipv4.Option{end}},
		{name: "no data", list: "\x1e\x02\x01\x00", want: []ipv4.Option{{Type: 30, Data: []byte{}}, nop, end}},
		{name: "no data, at the very end", list: "\x01\x01\x1e\x02", want: []ipv4.Option{nop, nop, {Type: 30, Data: []byte{}}}},
		{name: "40 bytes in one", list: "\x1e\x28" + strings.Repeat("x", 38), want: []ipv4.Option{
			{Type: 30, Data: []byte(strings.Repeat("x", 38))},
		}},
		{
			name: "length 0", list: "\x07\x00\x04\x00",
			want: []ipv4.Option{{Type: 7}}, err: ipv4.ErrOption,
		},
		{
			name: "length 1", list: "\x07\x01\x04\x00",
			want: []ipv4.Option{{Type: 7}}, err: ipv4.ErrOption,
		},
		{
			name: "length one byte beyond the end", list: "\x07\x05\x04\x00",
			want: []ipv4.Option{{Type: 7}}, err: ipv4.ErrOption,
		},
		{
			name: "length far beyond the end", list: "\x07\xff\x04\x00",
			want: []ipv4.Option{{Type: 7}}, err: ipv4.ErrOption,
		},
		{
			name: "type without length", list: "\x01\x01\x01\x07",
			want: []ipv4.Option{nop, nop, nop, {Type: 7}}, err: ipv4.ErrOption,
		},
		{
			name: "malformed behind a good one", list: alert + "\x44\x08\x05\x00",
			want: []ipv4.Option{routerAlert, {Type: ipv4.OptionTimestamp}}, err: ipv4.ErrOption,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []ipv4.Option
			var opt ipv4.Option
			var err error
			for o := ipv4.Options(c.list); len(o) > 0 && err == nil; {
				before := len(o)
				opt, o, err = o.Next()
				got = append(got, opt)
				require.Less(t, len(o), before, "the walk does not end")
				assert.Equal(t, len(opt.Data), cap(opt.Data), "an append to the data must not write into the next option")
				if err != nil {
					assert.Empty(t, o, "there is nothing behind a malformed option")
				}
			}
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.want, got)
			assert.ErrorIs(t, ipv4.Options(c.list).Check(), c.err)

			if len(c.list)%4 != 0 {
				return
			}
			header, err := ipv4.Fields{Options: []byte(c.list)}.Append(nil, 0)
			require.NoError(t, err)
			assert.Equal(t, c.list, string(parsed(t, header).Options()))
		})
	}
}

// TestOptionTypes holds the names against IANA's list of IP options.
func TestOptionTypes(t *testing.T) {
	assert.Equal(t, []uint8{0, 1, 7, 68, 130, 131, 137, 148}, []uint8{
		ipv4.OptionEnd, ipv4.OptionNop, ipv4.OptionRecordRoute, ipv4.OptionTimestamp,
		ipv4.OptionSecurity, ipv4.OptionLooseRoute, ipv4.OptionStrictRoute, ipv4.OptionRouterAlert,
	})
}

func TestNextOfNothing(t *testing.T) {
	opt, rest, err := ipv4.Options(nil).Next()
	require.NoError(t, err)
	assert.Zero(t, opt)
	assert.Empty(t, rest)
}
