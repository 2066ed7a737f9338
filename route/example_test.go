package route_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/culvert-net/culvert/route"
)

// The routes of a Flannel node, and where a pod's packet goes.
func Example() {
	table, err := route.New(route.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	const eth0, flannel, cni0 = 2, 5, 6
	for _, r := range []route.Route{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []route.NextHop{{Gateway: netip.MustParseAddr("192.168.56.1"), Device: eth0}}},
		{Prefix: netip.MustParsePrefix("10.244.0.0/24"), Scope: route.ScopeLink, NextHops: []route.NextHop{{Device: cni0}}},
		{Prefix: netip.MustParsePrefix("10.244.1.0/24"), NextHops: []route.NextHop{
			{Gateway: netip.MustParseAddr("10.244.1.0"), Device: flannel, Onlink: true},
		}},
	} {
		if err := table.Add(r); err != nil {
			fmt.Println(err)
		}
	}
	for r := range table.All() {
		fmt.Println(r)
	}
	path := table.LookupAddr(netip.MustParseAddr("10.244.1.7"))
	fmt.Println(path.Type(), "via", path.Hop(0).Gateway)
	// Output:
	// default via 192.168.56.1 dev 2
	// 10.244.0.0/24 dev 6 scope link
	// 10.244.1.0/24 via 10.244.1.0 dev 5 onlink
	// unicast via 10.244.1.0
}

// Why does a packet go where it goes?
func ExampleTable_Get() {
	table, err := route.New(route.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	names := func(i uint32) string { return []string{"lo", "eth0", "eth1"}[i] }
	one := route.NextHop{Gateway: netip.MustParseAddr("192.0.2.1"), Device: 1}
	two := route.NextHop{Gateway: netip.MustParseAddr("198.51.100.1"), Device: 2, Weight: 3}
	for _, r := range []route.Route{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Type: route.Unreachable},
		{Prefix: netip.MustParsePrefix("10.244.0.0/16"), NextHops: []route.NextHop{one, two}},
		{Prefix: netip.MustParsePrefix("10.244.0.0/16"), Metric: 100, NextHops: []route.NextHop{one}},
	} {
		if err := table.Add(r); err != nil {
			fmt.Println(err)
		}
	}
	why, err := table.Get(netip.MustParseAddr("10.244.1.7"), 0x9e3779b9)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(why.Format(names))
	// Output:
	// 10.244.1.7: 10.244.0.0/16
	//    	nexthop via 192.0.2.1 dev eth0 weight 1
	//    	nexthop via 198.51.100.1 dev eth1 weight 3
	//   10.244.0.0/16 is the longest of 2 prefixes that match
	//   metric 0 is the least of 2 routes to it
	//   the flow is in slice 632 of 1024 and takes next hop 1
	//   without it: unreachable 10.0.0.0/8
}

// The destinations of a burst are looked up together, into a slice that is used for each burst.
func ExampleTable_LookupAll() {
	table, err := route.New(route.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for device, prefix := range []string{"10.244.0.0/16", "10.244.1.0/24", "10.244.1.7/32"} {
		r := route.Route{Prefix: netip.MustParsePrefix(prefix), NextHops: []route.NextHop{{Device: uint32(device + 1)}}}
		if err := table.Add(r); err != nil {
			fmt.Println(err)
		}
	}
	paths := make([]*route.Path, 64)
	burst := []uint32{0x0af40107, 0x0af40101, 0x0af40001, 0x0b000001} // 10.244.1.7, 10.244.1.1, 10.244.0.1, 11.0.0.1
	table.LookupAll(burst, paths)
	for i := range burst {
		if path := paths[i]; path != nil {
			fmt.Println("device", path.Hop(0).Device)
		} else {
			fmt.Println("no route")
		}
	}
	// Output:
	// device 3
	// device 2
	// device 1
	// no route
}

// Workers look up while an agent replaces all routes at once: each lookup sees the old table or the new one, never a hole.
func Example_readersBesideAWriter() {
	table, err := route.New(route.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	routes := func(device uint32) []route.Route {
		hops := []route.NextHop{{Device: device}}
		return []route.Route{
			{Prefix: netip.MustParsePrefix("10.244.1.0/24"), NextHops: hops},
			{Prefix: netip.MustParsePrefix("10.244.2.0/24"), NextHops: hops},
		}
	}
	if err := table.Swap(slices.Values(routes(1))); err != nil {
		fmt.Println(err)
		return
	}
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for range 10_000 {
				if table.Lookup(0x0af40207) == nil { // 10.244.2.7
					fmt.Println("a hole")
				}
			}
		})
	}
	for i := range uint32(20) {
		if err := table.Swap(slices.Values(routes(1 + i%2))); err != nil {
			fmt.Println(err)
		}
	}
	workers.Wait()
	fmt.Println(table.Len(), "routes")
	// Output: 2 routes
}
