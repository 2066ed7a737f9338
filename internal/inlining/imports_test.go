package inlining_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestImports holds the packages to what they may import: a codec fits into any program, however small, and nothing but a
// driver talks to the operating system.
func TestImports(t *testing.T) {
	inCodecs := []string{"encoding/binary", "errors", "math/bits", "slices"}
	inTunnels := append([]string{
		"cmp", "fmt", "math", "math/rand/v2", "net/netip", "strconv", "sync", "sync/atomic",
	}, inCodecs...)
	for _, c := range []struct {
		packages []string
		allowed  []string // of the standard library, to be imported; and nothing but this module beside it
		unlinked []string // what must not come in through those, either
	}{
		{
			[]string{"checksum", "ethernet", "arp", "ipv4", "udp", "tcp", "icmp"},
			inCodecs,
			[]string{"fmt", "log", "net", "os", "syscall"},
		},
		{
			[]string{"vxlan", "ipip", "packet", "flow", "tunnel", "dissect"},
			inTunnels,
			[]string{"log", "net", "os/exec"}, // fmt brings os
		},
	} {
		for _, name := range c.packages {
			t.Run(name, func(t *testing.T) {
				const format = "{{.Standard}} {{.ImportPath}} {{.Imports}}"
				direct := 0
				for line := range strings.Lines(runGo(t, "list", "-deps", "-f", format, module+name)) {
					standard, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
					path, imports, _ := strings.Cut(rest, " ")
					if standard == "true" {
						assert.NotContains(t, c.unlinked, path, "%s is linked", path)
						continue
					}
					require.True(t, strings.HasPrefix(path, module), "%s is another module's", path)
					for i := range strings.FieldsSeq(strings.Trim(imports, "[]")) {
						direct++
						assert.True(t, slices.Contains(c.allowed, i) || strings.HasPrefix(i, module), "%s imports %s", path, i)
					}
				}
				assert.NotZero(t, direct, "the go command listed nothing, or nothing that is understood here")
			})
		}
	}
}
