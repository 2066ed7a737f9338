// Package benchmarks measures culvert's packet path beside its peers, in one run, doing the same work:
//
//	go test -bench . -benchmem ./benchmarks
//	make bench        # interleaved runs, medians and ratios
//	make bench-peers  # the tables beside other libraries, which package peers holds
//
// Names end in who does the work: culvert, or the peer. A number in a name is the inner frame's size in bytes, or how many
// entries a table has. Every
// benchmark checks that its result is right, once before and once after the loop, so that a fast failure cannot pass for
// speed.
package benchmarks
