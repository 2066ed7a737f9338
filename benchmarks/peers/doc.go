// Package peers measures culvert's tables beside other Go libraries doing the same work. It is a module of its own, so
// that those libraries stay out of culvert's:
//
//	cd benchmarks/peers && go test -bench . -benchmem
//	make bench-peers      # interleaved runs, medians and ratios
//
// Names are those of package benchmarks, and end in who does the work.
package peers
