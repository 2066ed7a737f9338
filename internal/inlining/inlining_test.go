// Package inlining_test asks the Go tool what became of the packages: which functions the compiler inlines, and what a
// program links when it imports them.
package inlining_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	// So that go test runs these tests again, instead of remembering their result, when one of the packages changed.
	_ "github.com/culvert-net/culvert/arp"
	_ "github.com/culvert-net/culvert/checksum"
	_ "github.com/culvert-net/culvert/dissect"
	_ "github.com/culvert-net/culvert/ethernet"
	_ "github.com/culvert-net/culvert/flow"
	_ "github.com/culvert-net/culvert/icmp"
	_ "github.com/culvert-net/culvert/ipip"
	_ "github.com/culvert-net/culvert/ipv4"
	_ "github.com/culvert-net/culvert/packet"
	_ "github.com/culvert-net/culvert/tcp"
	_ "github.com/culvert-net/culvert/tunnel"
	_ "github.com/culvert-net/culvert/udp"
	_ "github.com/culvert-net/culvert/vxlan"
)

const module = "github.com/culvert-net/culvert/"

// inlined are the functions that a packet meets at every step, and that must not cost a call, by package. Not among them
// is what the compiler finds too large: mostly setters that bring a checksum in step, and what walks or sums bytes.
var inlined = map[string][]string{
	"checksum": {"Of", "Add", "Update", "Update32", "PseudoHeader"},
	"ethernet": {
		"Header.IsValid", "Header.Len", "Header.Bytes", "Header.Dst", "Header.Src", "Header.SetDst", "Header.SetSrc",
		"Header.EtherType", "Header.Is8023", "Header.Tags", "Header.Tag", "Header.SetTag", "Fields.Len",
		"NewTCI", "TCI.VLAN", "TCI.Priority", "TCI.DropEligible",
		"MAC.IsZero", "MAC.IsMulticast", "MAC.IsBroadcast", "MAC.IsLocal", "MAC.IsStation", "MAC.AppendTo",
	},
	"arp": {
		"Parse", "Packet.IsValid", "Packet.Bytes", "Packet.Op", "Packet.SenderMAC", "Packet.SenderIP",
		"Packet.TargetMAC", "Packet.TargetIP", "Packet.IsProbe", "Packet.IsAnnouncement",
		"FieldsOf", "WhoHas", "Announcement", "Probe", "ReplyTo",
	},
	"ipv4": {
		"Header.IsValid", "Header.Len", "Header.Bytes", "Header.TOS", "Header.DSCP", "Header.ECN", "Header.TotalLen",
		"Header.ID", "Header.Flags", "Header.DF", "Header.MF", "Header.FragmentOffset", "Header.IsFragment",
		"Header.TTL", "Header.Protocol", "Header.Checksum", "Header.Src", "Header.Dst", "Header.Options",
		"Header.SetSrc", "Header.SetDst", "Fields.Len",
	},
	"udp": {
		"Parse", "Header.IsValid", "Header.Bytes", "Header.SrcPort", "Header.DstPort", "Header.Length",
		"Header.Checksum", "Header.SetChecksum", "Header.SetSrcPort", "Header.SetDstPort",
		"NotZero", "FieldsOf", "Fields.Put",
	},
	"tcp": {
		"Parse", "Header.IsValid", "Header.Len", "Header.Bytes", "Header.SrcPort", "Header.DstPort", "Header.Seq",
		"Header.Ack", "Header.Flags", "Header.Window", "Header.Checksum", "Header.Urgent", "Header.Options",
	},
	"icmp": {
		"Parse", "Header.IsValid", "Header.Bytes", "Header.Type", "Header.Code", "Header.Checksum", "Header.Rest",
		"Header.IsEcho", "Header.IsError", "Header.ID", "Header.Seq", "Header.NextHopMTU", "Header.Extensions",
		"FieldsOf", "Echo", "EchoReply", "Unreachable", "FragmentationNeeded", "TimeExceeded", "ParameterProblem",
		"Redirect",
	},
	"vxlan": {
		"Parse", "Header.IsValid", "Header.Bytes", "Header.Flags", "Header.VNI", "Header.GBP", "Header.Reserved",
		"Info.VNI", "Info.GBP", "Info.Src", "Info.Dst",
	},
	"ipip": {"Info.Src", "Info.Dst"},
	"packet": {
		"(*Buffer).Reset", "(*Buffer).ClearMetadata", "(*Buffer).Bytes", "(*Buffer).Len", "(*Buffer).Headroom",
		"(*Buffer).Tailroom", "(*Buffer).Prepend", "(*Buffer).TrimFront", "(*Buffer).Truncate", "(*Buffer).Strip",
		"(*Buffer).Extend", "(*Buffer).Hash", "(*Buffer).SetHash", "(*Buffer).VLAN", "(*Buffer).HasVLAN",
		"(*Buffer).SetVLAN", "(*Buffer).Checksum", "(*Buffer).SetChecksumUnknown", "(*Buffer).SetChecksumVerified",
		"(*Buffer).PartialChecksum", "(*Buffer).GSO", "(*Buffer).SetGSO",
	},
	"flow":    {"Key.Reverse", "Hasher.IsZero"},
	"tunnel":  {"Profile.EncapECN", "DecapECN", "Ports.OrDefault", "Ports.Port"},
	"dissect": {"(*Stack).Levels", "(*Stack).Outer", "(*Stack).Inner", "(*Level).IsFragment"},
}

// TestInlining reads the compiler's remarks (-m), each under a line with its package's name.
func TestInlining(t *testing.T) {
	args := []string{"build", "-gcflags=-m"}
	for name := range inlined {
		args = append(args, module+name)
	}
	canInline := map[string]bool{}
	remark := regexp.MustCompile(`: can inline (\S+)`)
	pkg := ""
	for line := range strings.Lines(runGo(t, args...)) {
		if path, ok := strings.CutPrefix(line, "# "+module); ok {
			pkg = strings.TrimSpace(path)
		} else if m := remark.FindStringSubmatch(line); m != nil {
			canInline[pkg+"."+m[1]] = true
		}
	}
	require.NotEmpty(t, canInline, "the compiler said nothing, or nothing that is understood here")
	for name, functions := range inlined {
		for _, f := range functions {
			assert.True(t, canInline[name+"."+f], "%s.%s is no longer inlined, or is gone", name, f)
		}
	}
}

// runGo runs the go command that runs the test, which go test puts first on the path, and returns all that it says.
func runGo(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
	return string(out)
}
