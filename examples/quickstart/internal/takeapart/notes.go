package takeapart

// The table of what was not read, not rebuilt or not right, and why; and the sums of the run.

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/culvert-net/culvert/ethernet"
)

// maxNotes bounds the table: link types and EtherTypes in hostile files would fill it.
const maxNotes = 1000

// note is one kind of remark.
type note struct{ what, why string }

// What notes say; they are part of the JSON output.
const (
	noteSkipped    = "not read"
	noteFault      = "broken"
	noteCut        = "cut short"
	noteFragment   = "fragment"
	noteSum        = "checksum"
	noteRejected   = "rejected"
	noteDropped    = "dropped by Linux"
	noteNotRebuilt = "not rebuilt"
	noteNotWritten = "not written"
)

// noteRow is a note's count.
type noteRow struct {
	note
	frames int
	first  int // number of the first frame
}

// noteTable counts notes.
type noteTable struct {
	rows map[note]*noteRow
}

func newNoteTable() *noteTable { return &noteTable{rows: map[note]*noteRow{}} }

// add counts a note about a frame.
func (t *noteTable) add(n note, number int) {
	row := t.rows[n]
	if row == nil {
		if len(t.rows) >= maxNotes {
			n = note{n.what, "other reasons"}
		}
		if row = t.rows[n]; row == nil {
			row = &noteRow{note: n, first: number}
			t.rows[n] = row
		}
	}
	row.frames++
}

// sorted returns the notes in the order of the frames that they were first about.
func (t *noteTable) sorted() []*noteRow {
	rows := make([]*noteRow, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *noteRow) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.what, b.what), cmp.Compare(a.why, b.why))
	})
	return rows
}

const cutWhy = "by the capture's snap length"

// notes returns what there is to say about a frame.
func (f *frame) notes() []note {
	var notes []note
	add := func(what, why string) {
		if n := (note{what, why}); !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	if f.link.skip != "" {
		add(noteSkipped, f.link.skip)
	}
	if f.fault != nil {
		add(noteFault, f.fault.Err.Error())
	}
	if f.short {
		add(noteCut, cutWhy)
	}
	levels := f.levels()
	for i := range levels {
		l := &levels[i]
		switch {
		case l.IsFragment():
			add(noteFragment, "not reassembled here, so no tunnel is looked for in it")
		case f.cut && l.Cut:
			add(noteCut, cutWhy)
		case l.Ethernet.IsValid() && l.Ethernet.Is8023():
			add(noteSkipped, "IEEE 802.3 with LLC")
		case l.Ethernet.IsValid() && l.Ethernet.EtherType() != ethernet.TypeIPv4 && l.Ethernet.EtherType() != ethernet.TypeARP:
			add(noteSkipped, payloadName(l.Ethernet.EtherType()))
		}
	}
	for _, s := range f.sums {
		switch {
		case s.partial:
			add(noteSum, s.layer.String()+": partial (offload)")
		case f.rejected:
			add(noteRejected, s.layer.String()+": wrong checksum")
		default:
			add(noteSum, s.layer.String()+": wrong")
		}
	}
	for i := range f.tunnels {
		t := &f.tunnels[i]
		switch {
		case t.dropped != nil:
			add(noteDropped, rootOf(t.dropped).Error())
		case !t.rebuilt:
			add(noteNotRebuilt, fmt.Sprintf("%s: %s", t.kind, t.why.what))
		}
	}
	return notes
}

// rootOf returns the innermost error: a sentinel, without the values that would make a table endless.
func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// totals are the sums of a run.
type totals struct {
	frames   int
	bytes    int64 // captured
	tunneled int   // frames with a tunnel
	rebuilt  int   // frames of which every tunnel was rebuilt
	rejected int
	written  int
}

// String returns the run in a line.
func (t totals) String() string {
	s := fmt.Sprintf("%d frames read, ", t.frames)
	if t.frames == 1 {
		s = "1 frame read, "
	}
	switch t.tunneled {
	case 0:
		s += "none with a tunnel"
	case t.frames:
		s += fmt.Sprintf("%d rebuilt byte for byte", t.rebuilt)
	default:
		s += fmt.Sprintf("%d with tunnels, %d rebuilt byte for byte", t.tunneled, t.rebuilt)
	}
	if t.rejected > 0 {
		s += fmt.Sprintf(", %d rejected", t.rejected)
	}
	if t.written > 0 {
		s += fmt.Sprintf(", %d inner frames written", t.written)
	}
	return s
}
