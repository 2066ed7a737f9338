package shell_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mvdan.cc/sh/v3/syntax"

	"github.com/culvert-net/culvert/lab/internal/shell"
	"github.com/culvert-net/culvert/lab/network"
	"github.com/culvert-net/culvert/lab/proc"
)

func shells(tb testing.TB) *shell.Shells {
	tb.Helper()
	net, err := network.New(network.Config{})
	require.NoError(tb, err)
	return shell.New(&proc.System{Net: net, Sched: proc.NewScheduler(net)})
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing to do", `echo "$1" >&2`, `echo "$1" >&2`},
		{"background", "sleep 1 &", `{ { __lab_job; (__lab_enter; sleep 1) < /dev/null || __lab_exit $?; __lab_exit 0; } & __lab_spawn 'sleep 1'; }`},
		{"pipeline", "a | b", "{ (__lab_enter; a) > /dev/lab/pipe/1 || __lab_failed 1 $?; (__lab_enter; b) < /dev/lab/pipe/1 || __lab_failed 1 $? last; __lab_piped 1; }"},
		{"negated pipeline", "! a | b", "! { (__lab_enter; a) > /dev/lab/pipe/1 || __lab_failed 1 $?; (__lab_enter; b) < /dev/lab/pipe/1 || __lab_failed 1 $? last; __lab_piped 1; } && :"},
		{"subshell", "(a)", "(__lab_enter; a)"},
		{"condition", "if (a); then b; fi", "if (__lab_enter; set +e; a); then b; fi"},
		{"parameters", `echo $! $$ $RANDOM "$SECONDS" $((RANDOM % 2))`, `echo ${__lab_bang} 1000 $(__lab_random) "$(__lab_seconds)" $(($(__lab_random) % 2))`},
		{"redirections", "a > f 2>> $g", "a > /dev/lab/line/1:f 2>> /dev/lab/line/1:$g"},
		{"home directory", "a < ~/f", "a < ~/f"},
		{"exec", "a; exec 2>&1; b; exec > f; c", "a; { b; { c; } > /dev/lab/line/1:f; } 2>&1"},
		{"exec at the end", "exec 2>&1", "{ :; } 2>&1"},
		{"exec of a command", "exec a 2>&1; b", "exec a 2>&1; b"},
		{"numbers", "echo $((0x1f + 017 - 2#101 + 10 + 0)) $((0x$a * 1))", `echo $((31 + 15 - 5 + 10 + 0)) $(($(__lab_number "0x$a") * 1))`},
		{"variables of arithmetic", "echo RANDOM $((RANDOM + SECONDS))", "echo RANDOM $(($(__lab_random) + $(__lab_seconds)))"},
		{"SECONDS is set", "SECONDS=$a; ((SECONDS = 0))", "__lab_epoch=$(($(__lab_now) - ($a))); ((__lab_epoch = $(__lab_now) - (0)))"},
		{"return in a function's subshell", "f() { (return 3); }", `f() { (__lab_enter; __lab_body() { return 3; }; __lab_body "$@"); }`},
		{"return in a subshell", "(return 3)", "(__lab_enter; return 3)"},
		{"trap in a subshell", "(trap a EXIT; b)", "(__lab_enter; trap a EXIT; b; exit)"},
		{"trap in a substitution", "echo $(trap a EXIT; b)", "echo $(__lab_enter; trap a EXIT; b; exit)"},
		{"what jobs shows", "(a | b) &", `{ { __lab_job; (__lab_enter; (__lab_enter; { (__lab_enter; a) > /dev/lab/pipe/1 || __lab_failed 1 $?; (__lab_enter; b) < /dev/lab/pipe/1 || __lab_failed 1 $? last; __lab_piped 1; })) < /dev/null || __lab_exit $?; __lab_exit 0; } & __lab_spawn '(a | b)'; }`},
		{"time", "time a", "{ __lab_time; a; __lab_timed $?; }"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := shells(t).Reparse("test", c.text)
			require.NoError(t, err)
			assert.Equal(t, c.want, oneLine(t, got))
		})
	}
}

// oneLine writes a text as one line, however the rewritten one was cut.
func oneLine(t *testing.T, text string) string {
	t.Helper()
	f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, syntax.NewPrinter(syntax.SingleLine(true), syntax.SpaceRedirects(true)).Print(&b, f))
	return strings.TrimSpace(b.String())
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "a\nif", "x.sh: line 2: syntax error"},
		{"coproc", "coproc a", "x.sh: line 1: coproc cannot be used in a lab"},
		{"substitution into a process", "a >(b)", "x.sh: line 1: >( ) cannot"},
		{"file descriptor", "\na 3> f", "x.sh: line 2: file descriptor 3 cannot"},
		{"duplicate of another", "a >&4", "x.sh: line 1: the redirection >&4 cannot"},
		{"read and write", "a <> f", "x.sh: line 1: the redirection <> cannot"},
		{"SECONDS counted up", "((SECONDS++))", "x.sh: line 1: an assignment to SECONDS other than = cannot"},
		{"SECONDS appended to", "SECONDS+=1", "x.sh: line 1: an assignment to SECONDS other than = cannot"},
		{"statuses of stages", "echo ${PIPESTATUS[0]}", "x.sh: line 1: PIPESTATUS cannot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := shells(t).Reparse("x.sh", c.text)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// FuzzRewrite: whatever can be parsed, and parsed again once it was printed, can be rewritten, and then be parsed again.
func FuzzRewrite(f *testing.F) {
	files, err := filepath.Glob("../../*/*.sh")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(b))
	}
	f.Add("! a |& b & time { (c) <(d | e) & } >f 2>&1 | g ${!x} ${a[RANDOM]:-$!}")
	s := shells(f)
	f.Fuzz(func(t *testing.T, text string) {
		if !printable(text) { // some texts are not, by faults of the printer
			return
		}
		got, err := s.Reparse("fuzz", text)
		if err != nil {
			return
		}
		_, err = syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(got), "again")
		require.NoError(t, err, "%q", got)
	})
}

func printable(text string) bool {
	parser := syntax.NewParser(syntax.Variant(syntax.LangBash))
	f, err := parser.Parse(strings.NewReader(text), "")
	if err != nil {
		return false
	}
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, f); err != nil {
		return false
	}
	_, err = parser.Parse(strings.NewReader(b.String()), "")
	return err == nil
}
