package ipfrag_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/culvert-net/culvert/internal/ipfrag"
)

// rule is a sequence of fragments, and what comes out with each: "0-16+ → held".
type rule struct {
	name  string
	lines []string
}

// rules hold for the default configuration. They are played to the Linux kernel too, but for those marked "ours".
var rules = []rule{
	{"in order", []string{
		"0-16+          ->",
		"16-32+         ->",
		"32-37          -> merged 16-32, merged 32-37, whole 37",
	}},
	{"last first", []string{
		"32-37          ->",
		"16-32+         ->",
		"0-16+          -> merged 16-32, merged 32-37, whole 37",
	}},
	{"middle last", []string{
		"0-16+          ->",
		"32-37          ->",
		"16-32+         -> merged 16-32, merged 32-37, whole 37",
	}},
	{"one byte in the last", []string{
		"0-8+           ->",
		"8-9            -> merged 8-9, whole 9",
	}},
	{"two datagrams by id", []string{
		"0-8+ id=1      ->",
		"8-16 id=2      ->",
		"0-8+ id=2      -> merged 8-16, whole 16",
		"8-24 id=1      -> merged 8-24, whole 24",
	}},
	{"two datagrams by source", []string{
		"0-8+ src=2     ->",
		"8-16 src=3     ->",
		"0-8+ src=3     -> merged 8-16, whole 16",
		"8-24 src=2     -> merged 8-24, whole 24",
	}},
	{"two datagrams by destination", []string{
		"0-8+ dst=1     ->",
		"8-16 dst=9     ->",
		"0-8+ dst=9     -> merged 8-16, whole 16",
		"8-24 dst=1     -> merged 8-24, whole 24",
	}},
	{"two datagrams by protocol", []string{
		"0-8+ proto=253 ->",
		"8-16 proto=254 ->",
		"0-8+ proto=254 -> merged 8-16, whole 16",
		"8-24 proto=253 -> merged 8-24, whole 24",
	}},
	{"ours: two datagrams by domain", []string{
		"0-8+ domain=1  ->",
		"8-16 domain=2  ->",
		"0-8+ domain=2  -> merged 8-16, whole 16",
		"8-24 domain=1  -> merged 8-24, whole 24",
	}},
	{"padding behind the packet", []string{
		"0-8+ pad       ->",
		"8-12 pad       -> merged 8-12, whole 12",
	}},
	{"the same id again, after the datagram was whole", []string{
		"0-8+           ->",
		"8-12           -> merged 8-12, whole 12",
		"8-12           ->",
		"0-8+           -> merged 8-12, whole 12",
	}},

	{"duplicate", []string{
		"0-16+          ->",
		"0-16+          -> duplicate fragment 0-16",
		"16-20          -> merged 16-20, whole 20",
	}},
	{"duplicate with other bytes: the first ones count", []string{
		"0-16+          ->",
		"0-16+ other    -> duplicate fragment 0-16",
		"16-20          -> merged 16-20, whole 20",
	}},
	{"duplicate of the last", []string{
		"16-20          ->",
		"16-20          -> duplicate fragment 16-20",
		"0-16+          -> merged 16-20, whole 20",
	}},
	{"within one fragment", []string{
		"0-24+          ->",
		"8-16+          -> duplicate fragment 8-16",
		"24-25          -> merged 24-25, whole 25",
	}},
	{"within two that came in order", []string{
		"0-16+          ->",
		"16-32+         ->",
		"8-24+          -> duplicate fragment 8-24",
		"32-33          -> merged 16-32, merged 32-33, whole 33",
	}},
	{"all of two that came in order", []string{
		"0-16+          ->",
		"16-32+         ->",
		"0-32+          -> duplicate fragment 0-32",
		"32-33          -> merged 16-32, merged 32-33, whole 33",
	}},
	{"within two that came out of order", []string{
		"16-32+         ->",
		"0-16+          ->",
		"8-24+          -> overlapping fragments 0-16, overlapping fragments 16-32, overlapping fragments 8-24",
		"32-33          ->",
	}},
	{"a duplicate that says it is the last", []string{
		"0-16+          ->",
		"8-16           -> duplicate fragment 8-16",
		"16-20          -> fragments disagree on the end 0-16, fragments disagree on the end 16-20",
	}},
	{"a duplicate of the last that says there is more", []string{
		"8-16           ->",
		"8-16+          -> duplicate fragment 8-16",
		"0-8+           -> merged 8-16, whole 16",
	}},

	{"overlap at the start", []string{
		"0-16+          ->",
		"8-24+          -> overlapping fragments 0-16, overlapping fragments 8-24",
		"24-32          ->", // of a new datagram
	}},
	{"overlap at the end", []string{
		"16-32+         ->",
		"8-24+          -> overlapping fragments 16-32, overlapping fragments 8-24",
	}},
	{"overlap on both sides", []string{
		"8-16+          ->",
		"0-24+          -> overlapping fragments 8-16, overlapping fragments 0-24",
	}},
	{"overlap of a gap's both sides", []string{
		"0-16+          ->",
		"32-48+         ->",
		"8-40+          -> overlapping fragments 0-16, overlapping fragments 32-48, overlapping fragments 8-40",
	}},
	{"overlap by the last", []string{
		"0-16+          ->",
		"8-20           -> overlapping fragments 0-16, overlapping fragments 8-20",
	}},
	{"teardrop", []string{ // its second fragment lies within the first one
		"0-36+          ->",
		"24-28          -> fragments disagree on the end 0-36, fragments disagree on the end 24-28",
	}},
	{"overlap with the gap filled", []string{
		"0-8+           ->",
		"16-24+         ->",
		"8-24+          -> overlapping fragments 0-8, overlapping fragments 16-24, overlapping fragments 8-24",
	}},

	{"beyond the end", []string{
		"8-12           ->",
		"16-24+         -> fragments disagree on the end 8-12, fragments disagree on the end 16-24",
	}},
	{"an end before what arrived", []string{
		"16-24+         ->",
		"8-12           -> fragments disagree on the end 16-24, fragments disagree on the end 8-12",
	}},
	{"another end, later", []string{
		"8-12           ->",
		"8-16           -> fragments disagree on the end 8-12, fragments disagree on the end 8-16",
	}},
	{"another end, earlier", []string{
		"8-16           ->",
		"8-12           -> fragments disagree on the end 8-16, fragments disagree on the end 8-12",
	}},
	{"up to the end exactly, with more behind it", []string{
		"16-24          ->",
		"8-24+          -> overlapping fragments 16-24, overlapping fragments 8-24",
	}},

	{"no multiple of 8 in the first", []string{
		"0-13+          ->",
		"8-12           -> merged 8-12, whole 12",
	}},
	{"no multiple of 8, and the last does not fit", []string{
		"0-13+          ->",
		"16-20          ->",
		"8-16+          -> merged 8-16, merged 16-20, whole 20",
	}},
	{"a datagram shorter than its first fragment was", []string{
		"0-15+          ->",
		"8-9            -> merged 8-9, whole 9",
	}},
	{"fewer than 8 bytes though more follow", []string{
		"0-8+           ->",
		"8-15+          -> bad length of a fragment 0-8, bad length of a fragment 8-15", // Linux cuts it to nothing
	}},
	{"no payload", []string{
		"0-8+           ->",
		"8-8+           -> bad length of a fragment 0-8, bad length of a fragment 8-8",
		"8-12           ->",
	}},
	{"no payload in the last", []string{
		"0-8+           ->",
		"8-8            -> bad length of a fragment 0-8, bad length of a fragment 8-8",
	}},
	{"no payload, alone", []string{
		"0-0+           -> bad length of a fragment 0-0",
	}},

	{"ECN: all ECT(0)", []string{"0-8+ tos=2 ->", "8-12 tos=2 -> merged 8-12, whole 12 tos=2"}},
	{"ECN: all CE", []string{"0-8+ tos=3 ->", "8-12 tos=3 -> merged 8-12, whole 12 tos=3"}},
	{"ECN: ECT(0) and CE", []string{"0-8+ tos=186 ->", "8-12 tos=3 -> merged 8-12, whole 12 tos=187"}},
	{"ECN: CE and ECT(1)", []string{"0-8+ tos=3 ->", "8-12 tos=1 -> merged 8-12, whole 12 tos=3"}},
	{"ECN: both ECT", []string{"0-8+ tos=1 ->", "8-12 tos=2 -> merged 8-12, whole 12 tos=1"}},
	{"ECN: both ECT, and CE", []string{"0-8+ tos=1 ->", "8-16+ tos=3 ->", "16-20 tos=2 -> merged 8-16, merged 16-20, whole 20 tos=3"}},
	{"ECN: Not-ECT and CE", []string{
		"0-8+ tos=0 ->",
		"8-12 tos=3 -> fragments disagree on ECN capability 0-8, fragments disagree on ECN capability 8-12",
	}},
	{"ECN: ECT(0) and Not-ECT", []string{
		"0-8+ tos=2 ->",
		"8-12 tos=0 -> fragments disagree on ECN capability 0-8, fragments disagree on ECN capability 8-12",
	}},
	{"ECN: of a duplicate does not count", []string{
		"0-8+ tos=2 ->",
		"0-8+ tos=0 -> duplicate fragment 0-8",
		"8-12 tos=2 -> merged 8-12, whole 12 tos=2",
	}},

	{"TOS, TTL and options of the first", []string{
		"8-12 tos=4 ttl=9 ->",
		"0-8+ tos=16 ttl=7 options -> merged 8-12, whole 12 tos=16 ttl=7 options",
	}},
	{"options of the second are dropped", []string{
		"8-12 options ->",
		"0-8+ -> merged 8-12, whole 12",
	}},
	{"DF in all", []string{"0-16+ df ->", "16-20 df -> merged 16-20, whole 20 df"}},
	{"DF in the largest", []string{"0-16+ df ->", "16-20 -> merged 16-20, whole 20 df"}},
	{"DF in the smaller", []string{"0-16+ ->", "16-20 df -> merged 16-20, whole 20"}},
	{"DF in the largest, by its options", []string{"8-16 df options ->", "0-8+ -> merged 8-16, whole 16 df"}},
	{"DF in one of two of a size", []string{"0-8+ ->", "8-16 df -> merged 8-16, whole 16 df"}},
	{"the reserved bit is lost", []string{"0-8+ evil ->", "8-16 evil -> merged 8-16, whole 16"}},

	{"ours: a fragment that ends beyond 65535", []string{
		"0-8+           ->",
		"65528-65540    -> fragments exceed 65535 bytes 0-8, fragments exceed 65535 bytes 65528-65540",
	}},
	{"ours: no room for a header", []string{
		"65512-65516    -> fragments exceed 65535 bytes 65512-65516",
	}},

	{"ours: expired, and come again", []string{
		"8-16+          ->",
		"0-8+ at=29s    ->",
		"16-20 at=30s   -> reassembly timed out 8-16, reassembly timed out, first fragment 0-8",
		"8-16+ at=59s   ->",
		"0-8+ at=59999ms -> merged 8-16, merged 16-20, whole 20",
	}},
	{"ours: time does not go back", []string{
		"8-16+ at=10s   ->",
		"16-20 at=5s    ->",
		"0-8+ at=39s    -> merged 8-16, merged 16-20, whole 20",
	}},
}

// TestRules plays the rules.
func TestRules(t *testing.T) {
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t, ipfrag.Config{})
			play(t, k, c.lines)
			k.close()
		})
	}
}

func play(t *testing.T, k *kit, lines []string) {
	t.Helper()
	for _, line := range lines {
		text, want, _ := strings.Cut(line, "->")
		assert.Equal(t, strings.TrimSpace(want), k.send(parsePart(text)), line)
	}
}
