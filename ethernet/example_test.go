package ethernet_test

import (
	"fmt"
	"log"

	"github.com/culvert-net/culvert/ethernet"
)

// Parsing finds the payload behind any number of VLAN tags, and copies nothing.
func Example() {
	frame := []byte{
		0xb6, 0x72, 0xae, 0x36, 0x7b, 0x6c, // to
		0xfe, 0x90, 0xc4, 0x18, 0x69, 0xa7, // from
		0x88, 0xa8, 0x00, 0xc8, // service tag
		0x81, 0x00, 0x60, 0x64, // customer tag
		0x08, 0x00, // IPv4
		0x45, // …
	}
	h, payload, err := ethernet.Parse(frame)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(h.Src(), "to", h.Dst())
	for i := range h.Tags() {
		tag := h.Tag(i)
		fmt.Printf("%#04x: VLAN %d, priority %d\n", tag.TPID, tag.TCI.VLAN(), tag.TCI.Priority())
	}
	fmt.Printf("%#04x, payload %x\n", h.EtherType(), payload)
	// Output:
	// fe:90:c4:18:69:a7 to b6:72:ae:36:7b:6c
	// 0x88a8: VLAN 200, priority 0
	// 0x8100: VLAN 100, priority 3
	// 0x0800, payload 45
}

// A frame is built by appending its parts.
func ExampleFields_Append() {
	tci, err := ethernet.NewTCI(100, 3, false)
	if err != nil {
		log.Fatal(err)
	}
	frame, err := ethernet.Fields{
		Dst:       ethernet.MustParseMAC("b6:72:ae:36:7b:6c"),
		Src:       ethernet.MustParseMAC("fe:90:c4:18:69:a7"),
		Tags:      []ethernet.Tag{{TPID: ethernet.TypeVLAN, TCI: tci}},
		EtherType: ethernet.TypeIPv4,
	}.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	frame = append(frame, "payload"...)
	fmt.Printf("% x\n", frame[:18])
	// Output: b6 72 ae 36 7b 6c fe 90 c4 18 69 a7 81 00 60 64 08 00
}

// All three usual forms are read, in either case.
func ExampleParseMAC() {
	for _, s := range []string{"0A:58:0A:F4:01:01", "0a-58-0a-f4-01-01", "0a58.0af4.0101", "0a:58"} {
		fmt.Println(ethernet.ParseMAC(s))
	}
	// Output:
	// 0a:58:0a:f4:01:01 <nil>
	// 0a:58:0a:f4:01:01 <nil>
	// 0a:58:0a:f4:01:01 <nil>
	// 00:00:00:00:00:00 ethernet: malformed MAC address: want six hexadecimal bytes such as 0a:58:0a:f4:01:01
}
