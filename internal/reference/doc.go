// Package reference is a forwarder to hold the engine against: one node with
// its devices, addresses, routes and neighbours, as slow and as plain as can
// be. Tables are maps and lists, every packet is a copy, every lookup looks at
// everything, and nothing is shared with the engine: not its code, not its
// tables, not even the codecs.
//
// It is written from the RFCs and from what Linux does, each place naming its
// source. A test gives the same configuration and the same frames to both and
// compares what comes out: see [Comparer].
//
// What no specification decides is left open: the identification of a packet
// that the node makes, and the source port of a tunnelled flow, are written
// as [AnyID] and [AnyPort]; a packet with several faults may be dropped for any
// of them.
//
// It does not know IPv6, neighbours' random reachable times (give them a base
// of hours), equal-cost paths, and the agent's answers to misses.
package reference
