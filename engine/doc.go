// Package engine does with packets what the kernel of a Kubernetes node does: it bridges, routes, answers ARP, and carries
// frames in VXLAN and packets in IPIP, in memory, and can tell why each packet went where it went.
//
//	port ─▶ receive ─┬─▶ bridge ─┬─▶ transmit (a port)
//	                 │     ▲     ├─▶ flood ─▶ each port
//	                 │     │     └─▶ up (the bridge's own MAC address) ─▶ host
//	                 └─▶ host ─┬─▶ ARP ─▶ answer, learn, proxy
//	                           └─▶ IPv4 ─▶ route ─┬─▶ local ─┬─▶ VXLAN: decapsulate ─▶ receive (the VXLAN device)
//	                                              │          ├─▶ IPIP: decapsulate ─▶ receive (the tunnel)
//	                                              │          └─▶ ICMP echo, Config.Local
//	                                              └─▶ forward ─▶ output ─▶ neighbour ─▶ transmit
//	transmit ─┬─▶ port: Output
//	          ├─▶ bridge, pair: inside
//	          ├─▶ VXLAN: FDB ─▶ encapsulate ─▶ the way to the VTEP ─▶ transmit
//	          └─▶ IPIP: encapsulate ─▶ the way to the remote end ─▶ transmit          every box may ─▶ drop (Reason)
//
// That is the way of one packet. Usual packets that come in a burst by [Engine.Process] go the same way together, each lookup for all
// of them, which takes a fraction of the time and has the same results. Where somebody watches, as [Engine.Tap] and [Engine.Trace]
// let him, they go one by one.
//
// An [Engine] is one node. It has no goroutines, sockets or clock of its own: [Engine.Process] takes what a port has received and
// gives what is to be sent to [Config].Output, [Engine.Tick] does what is due, and both are told the time. So the same engine runs
// on real devices, and in tests and simulations with a time of their own, where equal calls have equal results. Control calls have
// the time of the last Process or Tick: call Tick first where that matters.
//
// Devices, addresses, routes, neighbours, FDB entries and switches have the names and the meaning that they have on Linux, one call
// for what is a line of iproute2 there, beside traffic at any time. [Engine.SetPeer] is all that Flannel or Calico program for a
// remote node, in one piece.
//
// Where Linux and the RFCs differ, [Config].Profile chooses. Deliberate differences from Linux are:
//
//   - IPIP tunnels with any remote end accept packets from known peers only (CVE-2020-10136), see [IPIP];
//   - ICMP redirects are off, see [Conf];
//   - a frame that misses in the FDB of a VXLAN device with L2Miss waits for the agent's answer, where Linux drops it;
//   - frames from a bridge's own MAC address are dropped, where Linux only warns;
//   - source routes are not followed, and not turned round for an answer; security labels (CIPSO) are not looked at; what an error
//     quotes of a packet in which the route or the time was recorded has a right header checksum, where Linux's is the old one;
//   - timestamps do not count from midnight unless [Config].TimeOfDay says when that was;
//   - of a fragmented packet's options, later fragments leave out those that are not copied, where Linux writes no-operations.
//
// # Concurrency
//
// All methods of an Engine may be called at any time, but for Process, Tick, Send and SendPacket, which belong to the engine's first
// [Worker]: one goroutine at a time. [Engine.NewWorker] makes more, for as many goroutines; they share tables and take no lock for
// known stations, neighbours and routes. Callbacks are called by the worker's goroutine, without any lock held.
//
// # Packets
//
// Buffers given to Process or Send are the engine's, those given to Output or taken by Local the callback's. No packet is ever lost
// from the count: [Stats.Check]. Nothing on a packet's way allocates memory, ICMP errors and drops included; buffers that the engine
// needs come from [Config].Pool, and when it is empty, copies and answers are not made, and counted as [DropNoBuffer].
//
// # Superframes
//
// Packets may come in as devices with offloads hand them over: with a VLAN tag beside the frame, a transport checksum that is yet to
// be computed, or as superframes of up to 64 KiB that stand for many segments ([packet.Buffer]). They go through bridges, routes and
// tunnels as they are, for the price of one packet; it is the length of their segments that MTUs limit and that ICMP errors quote.
// When they leave, what the port does not take ([Port].Offloads) is put into the bytes: superframes are cut, or, those of TCP in VXLAN
// for a port that takes UDP superframes, made such. Before that they are cut where each segment goes its own way: into IPv4
// fragments, to several ports or VTEPs at once, to [Config].Local, or into a tunnel whose headers would make them longer than 64 KiB.
// [Port].Coalesce is the way back. A superframe counts as one packet until it is cut, also in the counters of devices.
package engine
