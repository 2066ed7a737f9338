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
	inTables := append([]string{"container/heap", "iter", "maps", "strings", "time"}, inTunnels...)
	for _, c := range []struct {
		packages []string
		allowed  []string // of the standard library, to be imported; and nothing but this module beside it
		unlinked []string // what must not come in through those, either
		modules  []string // other modules that may be linked
	}{
		{
			packages: []string{"checksum", "ethernet", "ipv4", "udp", "tcp", "icmp"},
			allowed:  inCodecs,
			unlinked: []string{"fmt", "log", "net", "os", "syscall"},
		},
		{
			packages: []string{"fdb", "arp", "route", "dissect"}, // the walk needs arp, where the neighbours are
			allowed:  inTables,
			unlinked: []string{"log", "net", "os/exec"},
			modules:  []string{"github.com/gaissmai/bart"},
		},
		{
			packages: []string{"engine"}, // pure: no sockets, files or processes
			allowed:  inTables,
			unlinked: []string{"log", "net", "os/exec"},
			modules:  []string{"github.com/gaissmai/bart"},
		},
		{
			packages: []string{"vxlan", "ipip", "packet", "flow", "tunnel", "gso"},
			allowed:  inTunnels,
			unlinked: []string{"log", "net", "os/exec"}, // fmt brings os
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
					if slices.ContainsFunc(c.modules, func(m string) bool { return strings.HasPrefix(path, m) }) {
						continue
					}
					require.True(t, strings.HasPrefix(path, module), "%s is another module's", path)
					for i := range strings.FieldsSeq(strings.Trim(imports, "[]")) {
						direct++
						assert.True(t, slices.Contains(c.allowed, i) || strings.HasPrefix(i, module) || slices.Contains(c.modules, i), "%s imports %s", path, i)
					}
				}
				assert.NotZero(t, direct, "the go command listed nothing, or nothing that is understood here")
			})
		}
	}
}
