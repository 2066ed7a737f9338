package takeapart

// One run: from the inputs through the inspector into the report, the tables and the -w file.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/culvert-net/culvert/examples/quickstart/internal/cli"
	"github.com/culvert-net/culvert/internal/pcapfile"
)

// session is one run of the command.
type session struct {
	opt    Options
	inputs []input
	stderr io.Writer

	text      *cli.Output // what the report is written to
	textName  string
	report    report
	inspector *inspector
	tables    tables
	progress  progress

	inner     *innerWriter // nil without -w
	innerFile cli.Created

	failed bool
}

// newSession opens all files. Nothing is created when the input cannot be read.
func newSession(opt Options, stdin io.Reader, stdout, stderr io.Writer) (*session, error) {
	s := &session{
		opt: opt, stderr: stderr,
		tables:   tables{flows: newFlowTable(), notes: newNoteTable(), limit: opt.Flows},
		progress: progress{out: stderr, now: time.Now, last: time.Now()},
	}
	var err error
	if s.inspector, err = newInspector(opt); err != nil {
		return nil, err
	}
	if err := s.open(stdin); err != nil {
		return nil, err
	}
	text := stdout
	s.textName = "standard output"
	if opt.Write == "-" {
		text, s.textName = stderr, "standard error"
	}
	s.text = cli.NewOutput(text)
	s.report = &textReport{out: s.text, quiet: opt.Quiet}
	if opt.JSON {
		s.report = newJSONReport(s.text, opt.Quiet)
	}
	if cli.IsTerminal(text) && !opt.Quiet { // frames rolling by show progress enough
		s.progress.out = nil
	}
	return s, s.create(stdin, stdout)
}

// open opens the inputs.
func (s *session) open(stdin io.Reader) (err error) {
	if s.opt.Read == Demo {
		s.inputs, err = embedded(s.opt.Captures)
		return err
	}
	if s.opt.Read == "-" && cli.IsTerminal(stdin) {
		return cli.UsageError{Text: "-r - reads a capture from standard input, which is a terminal: pipe one in"}
	}
	in, err := openInput(s.opt.Read, stdin)
	s.inputs = []input{in}
	return err
}

// create creates the -w file, unless it is the one being read.
func (s *session) create(stdin io.Reader, stdout io.Writer) (err error) {
	if s.opt.Write == "" {
		return nil
	}
	if s.opt.Write != "-" && sameFile(s.opt.Read, stdin, s.opt.Write) {
		return cli.UsageError{Text: fmt.Sprintf("-w %s would overwrite the file that -r reads", s.opt.Write)}
	}
	if s.innerFile, err = cli.Create(s.opt.Write, stdout); err != nil {
		return err
	}
	s.inner, err = newInnerWriter(s.innerFile)
	return err
}

// sameFile reports whether what is read, by name or as standard input, is the file to be written.
func sameFile(read string, stdin io.Reader, write string) bool {
	in, err := os.Stat(read)
	if f, ok := stdin.(*os.File); ok && read == "-" {
		in, err = f.Stat()
	}
	out, errOut := os.Stat(write)
	return err == nil && errOut == nil && os.SameFile(in, out)
}

// run reads everything and returns the exit code.
func (s *session) run(ctx context.Context) int {
	if s.opt.Read == Demo {
		s.intro()
	}
	for i := range s.inputs {
		s.read(ctx, &s.inputs[i])
	}
	if s.opt.Read == Demo && ctx.Err() == nil {
		s.demo()
	}
	s.report.summary(&s.tables)
	s.finish()
	if s.failed || s.tables.totals.rejected > 0 {
		return cli.Fault
	}
	return cli.OK
}

// fail reports an error and goes on.
func (s *session) fail(format string, args ...any) {
	s.failed = true
	s.text.Flush() // so that both outputs on one terminal are in order
	fmt.Fprintf(s.stderr, "quickstart: "+format+"\n", args...)
}

// read reads one input to its end, or to the first error.
func (s *session) read(ctx context.Context, in *input) {
	defer in.close() //nolint:errcheck // read only
	r, count, err := newReader(in)
	if err != nil {
		s.fail("%s: %v", in.name, err)
		return
	}
	s.report.heading(in.heading)
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			s.fail("%s: interrupted after frame %d", in.name, n)
			return
		}
		p, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.Is(err, io.ErrUnexpectedEOF):
			s.fail("%s: the file ends inside frame %d, those before it were read: %v", in.name, n+1, err)
			return
		case err != nil:
			s.fail("%s: cannot read on at frame %d: %v", in.name, n+1, err)
			return
		}
		s.one(p)
		if s.opt.Read == "-" {
			s.text.Flush() // somebody may be watching
		}
		s.progress.at(&s.tables.totals, in, count)
		if s.text.Err() != nil && s.inner == nil {
			return // nobody to read for
		}
	}
}

// one reads one frame.
func (s *session) one(p pcapfile.Packet) {
	t := &s.tables.totals
	t.frames++
	t.bytes += int64(len(p.Data))
	f := s.inspector.inspect(t.frames, p)
	for _, n := range f.notes() {
		s.tables.notes.add(n, f.number)
	}
	switch {
	case f.rejected:
		t.rejected++
	case len(f.tunnels) > 0:
		t.tunneled++
		if f.rebuilt() {
			t.rebuilt++
		}
	}
	s.tables.flows.add(f)
	s.report.frame(f)
	s.write(f)
}

// write writes the inner frame to the -w file.
func (s *session) write(f *frame) {
	if s.inner == nil {
		return
	}
	written, err := s.inner.write(f)
	switch {
	case errors.Is(err, errUnwritable):
		s.tables.notes.add(note{noteNotWritten, rootOf(errUnwritable).Error()}, f.number)
	case err != nil:
		s.outputFailed(s.innerFile.Name, err)
		s.inner = nil
	case written:
		s.tables.totals.written++
	}
}

// finish flushes and closes what was written.
func (s *session) finish() {
	if s.inner != nil {
		if err := s.inner.flush(); err != nil {
			s.outputFailed(s.innerFile.Name, err)
		}
	}
	if s.innerFile.Close != nil {
		if err := s.innerFile.Close(); err != nil {
			s.outputFailed(s.innerFile.Name, err)
		}
	}
	s.text.Flush()
	if err := s.text.Err(); err != nil {
		s.outputFailed(s.textName, err)
	}
}

// outputFailed reports an output that cannot be written; one that nobody reads any more is no fault.
func (s *session) outputFailed(name string, err error) {
	if !cli.Closed(err) {
		s.fail("writing %s: %v", name, err)
	}
}
