package shell

// Files: those that the shell opens for redirections, and the machine's text tools.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/interp"

	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/proc"
)

// sourceDir is where rewritten texts seem to be that are sourced.
const sourceDir = "/dev/lab/source/"

// openFile is the interpreter's way to open a file.
func (sh *shell) openFile(ctx context.Context, path string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	at := proc.Position{File: sh.name}
	if rest, ok := strings.CutPrefix(path, lineDir); ok {
		var line string
		line, path, _ = strings.Cut(rest, ":")
		at.Line, _ = strconv.Atoi(line)
	}
	if rest, ok := strings.CutPrefix(path, pipeDir); ok {
		number, limit, _ := strings.Cut(rest, ":")
		if flag&os.O_WRONLY != 0 {
			at.Line = int(hc.Pos.Line())
			return sh.newPipe(number, limit, at)
		}
		return sh.readPipe(number)
	}
	if text, ok := sh.sources[path]; ok {
		return proc.TextFile(text), nil
	}
	p := sh.process(hc, "")
	f, ok, err := sh.sys.OpenVirtual(p, p.Path(path), flag)
	switch {
	case !ok:
		f, err = os.OpenFile(p.Path(path), flag, perm)
	case err == nil && flag&(os.O_WRONLY|os.O_RDWR) != 0:
		f = &checked{file: f}
	}
	if err != nil {
		return nil, &os.PathError{Op: at.String() + ":", Path: path, Err: errors.New(words.Strerror(err))}
	}
	return f, nil
}

// checked is a file of the lab's own that a command writes to. It may refuse what is written, which the command must say, but the
// interpreter's builtins do not; so it takes all at once, when the command has ended.
type checked struct {
	file io.ReadWriteCloser
	text bytes.Buffer
}

func (c *checked) Read(b []byte) (int, error)  { return c.file.Read(b) }
func (c *checked) Write(b []byte) (int, error) { return c.text.Write(b) }
func (c *checked) Close() error                { return errors.Join(c.flush(), c.file.Close()) }

// flush writes what there is.
func (c *checked) flush() error {
	if c.text.Len() == 0 {
		return nil
	}
	defer c.text.Reset()
	_, err := c.file.Write(c.text.Bytes())
	return err
}

// flushed ends what has been written to w, which may be a checked file.
func flushed(w io.Writer) error {
	if c, ok := w.(*checked); ok {
		return c.flush()
	}
	return nil
}

// stat is the interpreter's way to look whether a file exists.
func (sh *shell) stat(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
	if info, ok := sh.sys.StatVirtual(sh.proc, name); ok {
		return info, nil
	}
	if follow {
		return os.Stat(name)
	}
	return os.Lstat(name)
}

// readDir is the interpreter's way to find what * stands for.
func (sh *shell) readDir(_ context.Context, name string) ([]fs.DirEntry, error) {
	if entries, ok := sh.sys.ReadVirtualDir(sh.proc, name); ok {
		return entries, nil
	}
	return os.ReadDir(name)
}

// textTools are the machine's commands that scripts may use, beside the lab's own: they work on text and files, and know nothing
// of networks.
const textTools = " awk gawk mawk nawk sed sort grep egrep fgrep head tail cut tr paste uniq wc tac nl rev diff cmp comm join column " +
	"fmt fold expand unexpand od xxd hexdump md5sum sha1sum sha256sum cksum base64 basename dirname bc dc expr seq ls stat mkdir " +
	"rmdir rm cp mv ln touch chmod mktemp realpath readlink split tsort jq printenv "

// builtins are words of the shell that are commands too, for those who run one: ip netns exec, timeout, xargs.
const builtins = " [ echo false kill printf pwd test true "

// known reports whether external has a command. Of another script it is not asked before it is read.
func known(name string) bool {
	base := filepath.Base(name)
	if strings.Contains(builtins, " "+base+" ") || strings.Contains(name, "/") {
		return true
	}
	_, err := exec.LookPath(name)
	return err == nil && strings.Contains(textTools, " "+name+" ")
}

// external runs one of the machine's text tools. It takes no virtual time.
func (s *Shells) external(p *proc.Proc, args []string) int {
	name := args[0]
	switch filepath.Dir(name) {
	case "/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin":
		name = filepath.Base(name)
	}
	switch {
	case strings.Contains(builtins, " "+name+" "):
		return s.run(p, p.Pos.File, `"$@"`, nil, append([]string{name}, args[1:]...))
	case strings.Contains(name, "/"):
		return s.commandFile(p, args, nil) // another script
	case !strings.Contains(textTools, " "+name+" "):
		return s.notFound(p, name)
	}
	return s.tool(p, args)
}

// tool runs one of the machine's commands.
func (s *Shells) tool(p *proc.Proc, args []string) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return s.notFound(p, args[0])
	}
	real, names, err := s.realFiles(p, args)
	if err != nil {
		return p.Fail(1, "%s: %v", args[0], err)
	}
	cmd := exec.Cmd{Path: path, Args: real, Env: p.Envs(), Dir: p.Dir, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr}
	if len(names) > 0 {
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err = s.runTool(&cmd)
		told := strings.NewReplacer(names...)
		_, _ = told.WriteString(p.Stdout, stdout.String())
		_, _ = told.WriteString(p.Stderr, stderr.String())
	} else {
		err = s.runTool(&cmd)
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPIPE):
		return brokenPipe
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() & 0xff
	}
	return p.Fail(126, "%s: %s", args[0], words.Strerror(err))
}

// runTool runs one of the machine's commands until it ends, or the run is stopped.
func (s *Shells) runTool(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-s.sys.Sched.Stopped():
			_ = cmd.Process.Kill() // it may have ended by itself
		case <-ended:
		}
	}()
	defer close(ended)
	return cmd.Wait()
}

// notFound says what bash says.
func (s *Shells) notFound(p *proc.Proc, name string) int {
	fmt.Fprintf(p.Stderr, "%s: %s: command not found\n", p.Pos, name)
	return 127
}

// realFiles replaces names of the lab's own files and directories, such as those in /proc/sys, by real ones with their contents, so
// that 'grep . FILE' does not read the machine's. It returns pairs of a real name and the one that it stands for, too. Real names
// are in the order of those others, for ls.
func (s *Shells) realFiles(p *proc.Proc, args []string) (real, names []string, err error) {
	real = slices.Clone(args)
	s.files++
	root := filepath.Join(s.sys.TempDir, fmt.Sprintf("real%d", s.files))
	for i, arg := range args[1:] {
		path := p.Path(arg)
		name := filepath.Join(root, path)
		if entries, ok := s.sys.ReadVirtualDir(p, path); ok {
			err = realDir(name, entries)
		} else if f, ok, opened := s.sys.OpenVirtual(p, path, os.O_RDONLY); !ok {
			continue
		} else if opened != nil {
			return nil, nil, fmt.Errorf("%s: %s", arg, words.Strerror(opened))
		} else {
			err = realFile(name, f)
		}
		if err != nil {
			return nil, nil, err
		}
		real[i+1], names = name, append(names, name, arg)
	}
	return real, names, nil
}

// realFile makes a file with the same contents.
func realFile(name string, f io.Reader) error {
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

// realDir makes a directory with entries of these names, for ls.
func realDir(dir string, entries []fs.DirEntry) error {
	err := os.MkdirAll(dir, 0o700)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = errors.Join(err, os.MkdirAll(name, 0o700))
		} else {
			err = errors.Join(err, os.WriteFile(name, nil, 0o600))
		}
	}
	return err
}
