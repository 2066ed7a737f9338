package lab_test

import (
	"fmt"
	"os"

	"github.com/culvert-net/culvert/lab"
)

// A script makes a network, and the test of a program looks at it.
func Example() {
	l, err := lab.New(lab.Config{Seed: 1, Stdout: os.Stdout, Stderr: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := l.Run("two.sh", `
		ip netns add a
		ip link add eth0 type veth peer name eth0 netns a
		ip addr add 10.0.0.1/24 dev eth0
		ip link set eth0 up
		ip -n a addr add 10.0.0.2/24 dev eth0
		ip -n a link set eth0 up
		ip netns exec a ping -q -c 3 10.0.0.1 | grep transmitted`)
	fmt.Println(status, err, l.Network().Now())
	for _, n := range l.Network().Nodes() {
		fmt.Println(n.Name, n.E.Addrs("eth0")[0].Prefix)
	}
	fmt.Println(l.Close())
	// Output:
	// 3 packets transmitted, 3 received, 0% packet loss, time 2000ms
	// 0 <nil> 2s
	// default 10.0.0.1/24
	// a 10.0.0.2/24
	// <nil>
}
