package ipcmd

// ip -d link show: the details of a device; ip -s link show: its counters.

import (
	"fmt"
	"strconv"

	"github.com/culvert-net/culvert/engine"
)

// mtuRange returns the limits of a device's MTU, and how show prints them: 0 where there are none.
func (i *ip) mtuRange(name string) (lowest, highest, shownLowest, shownHighest int) {
	const headers = 20 // of an IPv4 header
	l, _ := i.node.E.Link(name)
	switch {
	case l.Kind == engine.KindLoopback || i.isOfKind("dummy", &l):
		return 0, 1<<31 - 1, 0, 0
	case l.IPIP != nil && i.node.Attrs(name).TunnelByIoctl:
		return minMTU, maxMTU - headers, minMTU, maxMTU - headers
	case l.IPIP != nil:
		return minMTU, maxMTU - headers, 0, 0
	}
	return minMTU, maxMTU, minMTU, maxMTU
}

func (i *ip) printDetails(f *filter, l engine.LinkInfo) {
	a, nl := i.node.Attrs(l.Name), i.newline()
	_, _, lowest, highest := i.mtuRange(l.Name)
	port := one(l.Master != "")
	i.p.Printf(" promiscuity %d  allmulti %d minmtu %d maxmtu %d ", port+one(l.Promisc), port+one(a.AllMulticast), lowest, highest)
	for _, k := range kinds() {
		if k.is(i, &l) {
			i.p.Printf("%s    %s ", nl, k.name)
			k.show(i, &l)
		}
	}
	if d := i.node.Device(l.Name); d != nil && d.Driver != nil {
		i.p.Printf("%s    %s %s ", nl, d.Kind, d.Driver.Link().Name)
	}
	if mode := a.AddrGenMode; f.isLink {
		if mode == "" {
			mode = "eui64"
		}
		i.p.Printf("addrgenmode %s ", mode)
	}
	i.p.Printf("numtxqueues %d numrxqueues %d ", max(a.TxQueues, 1), max(a.RxQueues, 1))
	i.p.Printf("gso_max_size 65536 gso_max_segs 65535 tso_max_size %d tso_max_segs 65535 gro_max_size 65536 ", i.tsoMaxSize(l))
}

// Sizes of what devices take in one piece in bytes (netif_set_tso_max_size, TSO_LEGACY_MAX_SIZE).
const (
	tsoVeth   = 524280
	tsoLegacy = 65536
)

func (i *ip) tsoMaxSize(l engine.LinkInfo) int {
	switch {
	case l.Kind == engine.KindLoopback, i.isOfKind("veth", &l):
		return tsoVeth
	case l.VXLAN != nil && l.VXLAN.Device != "":
		under, _ := i.node.E.Link(l.VXLAN.Device)
		return i.tsoMaxSize(under)
	case l.Bridge != nil && !l.Unknown:
		for _, p := range i.node.E.Links() {
			if p.Master == l.Name && i.tsoMaxSize(p) == tsoLegacy {
				return tsoLegacy
			}
		}
		return tsoVeth
	}
	return tsoLegacy
}

func one(on bool) int {
	if on {
		return 1
	}
	return 0
}

// printStats prints a device's counters (print_stats64).
func (i *ip) printStats(name string) {
	s, _ := i.node.Stats(name)
	rx := []uint64{s.RxBytes, s.RxPackets, s.RxErrors, s.RxDropped, 0, 0} // none of the devices counts frames to groups
	tx := []uint64{s.TxBytes, s.TxPackets, s.TxErrors, s.TxDropped, s.TxCarrier, s.Collisions}
	rxErrors, txErrors := make([]uint64, 6), make([]uint64, 6) // what they are made of is not known
	widths := []int{len("*X errors:"), len("packets"), len("errors"), len("dropped"), len("heartbt"), len("overrun"), len("compressed")}
	for _, row := range [][]uint64{rx, tx} {
		for n, v := range row {
			widths[n] = max(widths[n], len(strconv.FormatUint(v, 10)))
		}
	}
	nl := i.newline()
	i.statsTitle(widths, "RX:", "bytes", "packets", "errors", "dropped", "missed", "mcast", nl)
	i.statsRow(widths, rx)
	if i.stats > 1 {
		i.errorsTitle(widths, "RX errors:", "length", "crc", "frame", "fifo", "overrun", nl)
		i.errorsRow(widths, rxErrors)
	}
	i.p.Printf("%s", nl)
	i.statsTitle(widths, "TX:", "bytes", "packets", "errors", "dropped", "carrier", "collsns", nl)
	i.statsRow(widths, tx)
	if i.stats > 1 {
		i.errorsTitle(widths, "TX errors:", "aborted", "fifo", "window", "heartbt", "transns", nl)
		i.errorsRow(widths, txErrors)
	}
}

func (i *ip) statsTitle(w []int, title, c0, c1, c2, c3, c4, c5, nl string) {
	i.p.Printf("    %s %*s %*s %*s %*s %*s %*s %*s%s", title, w[0]-4, c0, w[1], c1, w[2], c2, w[3], c3, w[4], c4, w[5], c5, w[6], "", nl)
}

func (i *ip) statsRow(w []int, values []uint64) {
	i.p.Printf("    ")
	for n, v := range values {
		i.p.Printf("%s ", pad(w[n], v))
	}
}

func (i *ip) errorsTitle(w []int, title, c1, c2, c3, c4, c5, nl string) {
	i.p.Printf("%s    %s%*s %*s %*s %*s %*s %*s%s", nl, title, w[0]-10, "", w[1], c1, w[2], c2, w[3], c3, w[4], c4, w[5], c5, nl)
}

func (i *ip) errorsRow(w []int, values []uint64) {
	i.p.Printf("%*s", w[0]+5, "")
	for n, v := range values[1:] {
		i.p.Printf("%s ", pad(w[n+1], v))
	}
}

func pad(width int, v uint64) string { return fmt.Sprintf("%*d", width, v) }
