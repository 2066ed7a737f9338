// The text forms of MAC addresses, and the classes of addresses.
package ethernet_test

import (
	"encoding"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/culvert-net/culvert/ethernet"
)

var (
	_ encoding.TextMarshaler   = ethernet.MAC{}
	_ encoding.TextAppender    = ethernet.MAC{}
	_ encoding.TextUnmarshaler = &ethernet.MAC{}
)

func TestParseMAC(t *testing.T) {
	for _, m := range []ethernet.MAC{
		{},
		ethernet.Broadcast,
		{0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
		{0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98},
	} {
		colons := m.String()
		digits := strings.ReplaceAll(colons, ":", "")
		for name, s := range map[string]string{
			"colons": colons,
			"dashes": strings.ReplaceAll(colons, ":", "-"),
			"dots":   digits[0:4] + "." + digits[4:8] + "." + digits[8:12],
		} {
			for _, s := range []string{s, strings.ToUpper(s)} {
				t.Run(name+"/"+s, func(t *testing.T) {
					got, err := ethernet.ParseMAC(s)
					require.NoError(t, err)
					assert.Equal(t, m, got)
					assert.Equal(t, m, ethernet.MustParseMAC(s))
				})
			}
		}
	}
}

func TestMACStringIsLowerCaseWithColons(t *testing.T) {
	assert.Equal(t, "0a:58:0a:f4:01:01", ethernet.MAC{0x0a, 0x58, 0x0a, 0xf4, 0x01, 0x01}.String())
	assert.Equal(t, "00:00:00:00:00:00", ethernet.MAC{}.String())
	assert.Equal(t, "ff:ff:ff:ff:ff:ff", ethernet.Broadcast.String())
}

// malformedMACs are texts that are no MAC address, by what is wrong with them.
var malformedMACs = map[string]string{
	"nothing":                  "",
	"one byte":                 "0a",
	"five bytes":               "0a:58:0a:f4:01",
	"a separator at the end":   "0a:58:0a:f4:01:",
	"one digit less":           "0a:58:0a:f4:01:1",
	"one digit more":           "0a:58:0a:f4:01:011",
	"seven bytes":              "0a:58:0a:f4:01:01:02",
	"eight bytes, an EUI-64":   "0a:58:0a:ff:fe:f4:01:01",
	"no separators":            "0a580af40101",
	"no separators, 17 digits": "0a580af4010100000",
	"no separators, 14 digits": "0a580af4010100",
	"colons, then a dash":      "0a:58:0a:f4:01-01",
	"a dash, then colons":      "0a-58:0a:f4:01:01",
	"other separators":         "0a_58_0a_f4_01_01",
	"spaces between":           "0a 58 0a f4 01 01",
	"dots between bytes":       "0a.58.0a.f4.01.01",
	"colons between pairs":     "0a58:0af4:0101",
	"dashes between pairs":     "0a58-0af4-0101",
	"dot, then colon":          "0a58.0af4:0101",
	"dot in the wrong place":   "0a580.af4.0101",
	"digit beyond f":           "0a:58:0a:f4:01:0g",
	"digit beyond F":           "0A:58:0A:F4:01:G0",
	"colon for a digit":        "0a:58:0a:f4:01::1",
	"slash for a digit":        "0a:58:0a:f4:01:/1",
	"sign for a digit":         "0a:58:0a:f4:01:+1",
	"not ASCII":                "0a:58:0a:f4:01:é",
	"zero byte for a digit":    "0a:58:0a:f4:01:0\x00",
	"space in front":           " 0a:58:0a:f4:01:1",
	"line feed behind":         "0a:58:0a:f4:01:01\n",
	"a prefix length":          "0a:58:0a:f4:01:01/48",
}

func TestParseMACMalformed(t *testing.T) {
	for name, s := range malformedMACs {
		t.Run(name, func(t *testing.T) {
			m, err := ethernet.ParseMAC(s)
			require.ErrorIs(t, err, ethernet.ErrMAC)
			assert.Zero(t, m, "half an address must not be returned")

			assert.PanicsWithValue(t, ethernet.ErrMAC.Error()+": "+s, func() { ethernet.MustParseMAC(s) })
			if s == "" {
				return // no text is the zero address to UnmarshalText, as it is to netip.Addr's
			}
			kept := ethernet.MAC{1, 2, 3, 4, 5, 6}
			require.ErrorIs(t, kept.UnmarshalText([]byte(s)), ethernet.ErrMAC)
			assert.Equal(t, ethernet.MAC{1, 2, 3, 4, 5, 6}, kept)
		})
	}
}

func TestUnmarshalNoText(t *testing.T) {
	m := ethernet.MAC{1, 2, 3, 4, 5, 6}
	require.NoError(t, m.UnmarshalText(nil))
	assert.Zero(t, m)
}

func TestMACAppend(t *testing.T) {
	m := ethernet.MustParseMAC("0a:58:0a:f4:01:01")
	assert.Equal(t, "mac=0a:58:0a:f4:01:01", string(m.AppendTo([]byte("mac="))))
	b, err := m.AppendText([]byte("mac="))
	require.NoError(t, err)
	assert.Equal(t, "mac=0a:58:0a:f4:01:01", string(b))
	b, err = m.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "0a:58:0a:f4:01:01", string(b))
}

func TestMACInJSON(t *testing.T) {
	type table struct {
		Own     ethernet.MAC
		Entries map[ethernet.MAC]string
	}
	given := table{
		Own: ethernet.MustParseMAC("fe:90:c4:18:69:a7"),
		Entries: map[ethernet.MAC]string{
			ethernet.MustParseMAC("b6:72:ae:36:7b:6c"): "172.16.100.102",
			ethernet.MustParseMAC("6e:f8:85:d7:09:17"): "172.16.100.100",
		},
	}
	const text = `{"Own":"fe:90:c4:18:69:a7",` +
		`"Entries":{"6e:f8:85:d7:09:17":"172.16.100.100","b6:72:ae:36:7b:6c":"172.16.100.102"}}`
	b, err := json.Marshal(given)
	require.NoError(t, err)
	assert.Equal(t, text, string(b))

	var got table
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, given, got)

	require.NoError(t, json.Unmarshal([]byte(`{"Own":"FE90.C418.69A7"}`), &got))
	assert.Equal(t, given.Own, got.Own)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"Own":"fe:90"}`), &got), ethernet.ErrMAC)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"Entries":{"fe:90":""}}`), &got), ethernet.ErrMAC)
}

func TestMACClasses(t *testing.T) {
	type classes struct{ zero, multicast, broadcast, local, station bool }
	for _, c := range []struct {
		name, mac string
		want      classes
	}{
		{"zero", "00:00:00:00:00:00", classes{zero: true}},
		{"all but zero", "00:00:00:00:00:01", classes{station: true}},
		{"vendor's", "00:50:56:93:6a:3a", classes{station: true}},
		{"locally administered", "0a:58:0a:f4:01:01", classes{local: true, station: true}},
		{"Calico's port", "ee:ee:ee:ee:ee:ee", classes{local: true, station: true}},
		{"bridge group", "01:80:c2:00:00:00", classes{multicast: true}},
		{"IPv4 multicast", "01:00:5e:00:00:fb", classes{multicast: true}},
		{"IPv6 multicast", "33:33:00:00:00:01", classes{multicast: true, local: true}},
		{"broadcast", "ff:ff:ff:ff:ff:ff", classes{multicast: true, broadcast: true, local: true}},
		{"broadcast but for the last bit", "ff:ff:ff:ff:ff:fe", classes{multicast: true, local: true}},
		{"station but for the group bit", "fe:ff:ff:ff:ff:ff", classes{local: true, station: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ethernet.MustParseMAC(c.mac)
			assert.Equal(t, c.want, classes{m.IsZero(), m.IsMulticast(), m.IsBroadcast(), m.IsLocal(), m.IsStation()})
		})
	}
}

func TestMACNoAllocs(t *testing.T) {
	b := make([]byte, 0, 32)
	text, malformed := []byte("0a58.0af4.0101"), []byte("0a58.0af4.01")
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		m, _ := ethernet.ParseMAC("0a:58:0a:f4:01:01")
		_, _ = ethernet.ParseMAC("0a:58:0a:f4:01")
		_ = m.AppendTo(b)
		_, _ = m.AppendText(b)
		_ = m.UnmarshalText(text)
		_ = m.UnmarshalText(malformed)
		_ = m.IsStation() || m.IsBroadcast() || m.IsLocal()
	}))
}
