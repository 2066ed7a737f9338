package culvert_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's code is the Example's, which compiles and runs.
func TestReadmeCodeIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	example, err := os.ReadFile("example_test.go")
	require.NoError(t, err)

	_, code, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found, "README.md has no block of Go code")
	code, _, _ = strings.Cut(code, "```")
	var indented strings.Builder
	for line := range strings.Lines(code) {
		indented.WriteString("\t" + line)
	}
	require.Contains(t, string(example), indented.String())
}
