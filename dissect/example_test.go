package dissect_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log"

	"github.com/culvert-net/culvert/dissect"
	"github.com/culvert-net/culvert/vxlan"
)

// ping is a ping between two pods on two nodes of a Flannel cluster, as it was captured on the sending node's interface.
const ping = "00505693633b005056936a3a08004500008675860000" + // Ethernet, IPv4
	"4011e3f4ac106465ac1064669e90211800720000" + // UDP
	"0800000000000100" + // VXLAN
	"b672ae367b6cfe90c41869a7080045000054230540003f01ffa20af4010c0af4020e" + // inner Ethernet, IPv4
	"0800847d0c47044e0d1e55cf" + // ICMP
	"0000000000000000000000000000000000000000000000000000" +
	"0000000000000000000000000000000000000000000000000000"

// One call reads the whole stack: who talks to whom, in which virtual network, between which nodes.
func Example() {
	frame, err := hex.DecodeString(ping)
	if err != nil {
		log.Fatal(err)
	}
	walker, err := dissect.New(dissect.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var stack dissect.Stack // kept and reused: no walk allocates
	if err := walker.Ethernet(&stack, frame); err != nil {
		log.Fatal(err)
	}
	outer, inner := stack.Outer(), stack.Inner()
	fmt.Println("VNI:  ", outer.VXLAN.VNI())
	fmt.Println("VTEPs:", outer.IPv4.Src(), "to", outer.IPv4.Dst())
	fmt.Println("flow: ", inner.Flow())
	fmt.Println("echo: ", inner.ICMP.Type(), "sequence", inner.ICMP.Seq())
	// Output:
	// VNI:   1
	// VTEPs: [172 16 100 101] to [172 16 100 102]
	// flow:  10.244.1.12 > 10.244.2.14 proto 1
	// echo:  8 sequence 1102
}

// An error says which header of which level is wrong; what was read before it is there all the same.
func ExampleError() {
	frame, err := hex.DecodeString(ping)
	if err != nil {
		log.Fatal(err)
	}
	frame[42] = 0 // VXLAN without its I flag
	walker, err := dissect.New(dissect.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var stack dissect.Stack
	err = walker.Ethernet(&stack, frame)
	fmt.Println(err)
	fmt.Println(errors.Is(err, vxlan.ErrNoVNI), stack.Outer().Flow())
	// Output:
	// vxlan: I flag is not set, so there is no VNI (vxlan header at byte 42)
	// true 172.16.100.101:40592 > 172.16.100.102:8472 proto 17
}

// A collector of mirrored traffic gets frames that were cut to a snap length: with Partial, what is there is read.
func ExampleConfig_partial() {
	frame, err := hex.DecodeString(ping)
	if err != nil {
		log.Fatal(err)
	}
	walker, err := dissect.New(dissect.Config{Partial: true, VXLANPorts: []uint16{8472}})
	if err != nil {
		log.Fatal(err)
	}
	var stack dissect.Stack
	for _, snap := range []int{84, 48} {
		if err := walker.Ethernet(&stack, frame[:snap]); err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(stack.Levels()), "levels, cut:", stack.Inner().Cut, stack.Inner().Flow())
	}
	// Output:
	// 2 levels, cut: true 10.244.1.12 > 10.244.2.14 proto 1
	// 1 levels, cut: true 172.16.100.101:40592 > 172.16.100.102:8472 proto 17
}
