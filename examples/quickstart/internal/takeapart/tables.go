package takeapart

// The tables at the end of the text report.

import (
	"fmt"
	"strconv"
	"text/tabwriter"
)

func (r *textReport) summary(t *tables) {
	flows := t.flows.sorted()
	if len(flows) > 0 {
		r.title("Tunnels and the flows inside")
		r.flows(t, flows)
	}
	if notes := t.notes.sorted(); len(notes) > 0 {
		r.title("Remarks")
		w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "WHAT\tWHY\tFRAMES\tFIRST")
		for _, n := range notes {
			fmt.Fprintf(w, "%s\t%s\t%d\t#%d\n", n.what, n.why, n.frames, n.first)
		}
		_ = w.Flush() // errors stick to the output
	}
	fmt.Fprintln(r.out, t.totals)
}

func (r *textReport) flows(t *tables, flows []*flowRow) {
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TUNNEL\tVNI\tENDS\tINNER FLOW\tPACKETS\tINNER BYTES")
	var more flowRow
	for i, row := range flows {
		if t.limit > 0 && i >= t.limit {
			more.packets += row.packets
			more.bytes += row.bytes
			continue
		}
		vni := "-"
		if row.kind == tunnelVXLAN {
			vni = strconv.FormatUint(uint64(row.vni), 10)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%d\t%d\n", row.kind, vni, row.ends(), row.inner, row.packets, row.bytes)
	}
	_ = w.Flush() // errors stick to the output
	if more.packets > 0 {
		fmt.Fprintf(r.out, "and %d flows more (-flows 0 prints all): %d packets, %d bytes\n",
			len(flows)-t.limit, more.packets, more.bytes)
	}
	if other := t.flows.other; other.packets > 0 {
		fmt.Fprintf(r.out, "and more than the %d flows that are told apart: %d packets, %d bytes\n",
			maxFlows, other.packets, other.bytes)
	}
}
