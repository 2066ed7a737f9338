package culvert_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's code is that of examples, which compile.
func TestReadmeCodeIsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	rest := string(readme)
	for _, file := range []string{"example_test.go", "driver/runner/example_linux_test.go"} {
		example, err := os.ReadFile(file)
		require.NoError(t, err)
		_, code, found := strings.Cut(rest, "```go\n")
		require.True(t, found, "README.md has no block of Go code from %s", file)
		code, rest, _ = strings.Cut(code, "```")
		var indented strings.Builder
		for line := range strings.Lines(code) {
			indented.WriteString("\t" + line)
		}
		require.Contains(t, string(example), indented.String())
	}
}
