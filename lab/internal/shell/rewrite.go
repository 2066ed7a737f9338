package shell

// What the interpreter would do with goroutines of its own is rewritten, before it runs, into words of ours (they begin with
// "__lab_") that the scheduler understands:
//
//	X &       { { __lab_job; ( X ) </dev/null || __lab_exit $?; __lab_exit 0; } & __lab_spawn 'X'; }
//	X | Y     { ( X ) >/dev/lab/pipe/N || __lab_failed N $?; ( Y ) </dev/lab/pipe/N || __lab_failed …; __lab_piped N; }
//	<( X )    $( ( X ) | __lab_file )
//	( X )     ( __lab_enter; X )
//	time X    { __lab_time; X; __lab_timed $?; }
//	$((0x$a)) $(($(__lab_number "0x$a"))), and constants become decimal: the interpreter knows no other numbers
//	exec >F   { what follows it in the list } >F, for the interpreter gives up every later redirection too
//	> FILE    > /dev/lab/line/N:FILE, for the message if FILE cannot be opened
//	SECONDS=N __lab_epoch=$(($(__lab_now) - (N)))
//	( X )     with 'return' or 'local' in a function: ( __lab_body() { X; }; __lab_body "$@" )
//	( X )     with 'trap': ( X; exit )
//	$!        $__lab_bang
//	$RANDOM   $(__lab_random), and likewise $SECONDS; $$ and $PPID are constants
//
// So a stage of a pipeline runs to its end before the next one begins, and a job is a goroutine of the interpreter that waits for
// the baton before it does anything, and reports its end. Text that is parsed only when it runs (eval, source, trap, sh -c) comes
// through here then.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// What stands for process numbers that nobody should depend on.
const (
	shellPID  = "1000"
	parentPID = "999"
)

// pipeDir is where the files between the stages of pipelines seem to be; lineDir is what the names of files begin with that are
// opened for redirections: then comes the line, and a colon.
const (
	pipeDir = "/dev/lab/pipe/"
	lineDir = "/dev/lab/line/"
)

// rewriter rewrites one text.
type rewriter struct {
	file  string
	pipes *int // how many pipelines there are so far, in all texts of a run
	errs  []error

	texts     map[*syntax.Stmt]string // of background jobs, as they were
	functions int                     // declarations of functions around the node that is rewritten
}

// rewrite changes a parsed text in place.
func rewrite(f *syntax.File, pipes *int) error {
	r := &rewriter{file: f.Name, pipes: pipes, texts: map[*syntax.Stmt]string{}}
	syntax.Walk(f, r.describe)
	syntax.Walk(f, r.conditions)
	syntax.Walk(f, redirections)
	var path []syntax.Node
	syntax.Walk(f, func(n syntax.Node) bool {
		if n != nil {
			path = append(path, n)
			r.functions += isFunction(n)
			return true
		}
		last := path[len(path)-1]
		path = path[:len(path)-1]
		r.functions -= isFunction(last)
		r.node(last)
		return true
	})
	if len(r.errs) > 0 {
		return r.errs[0]
	}
	return nil
}

// withCall returns the statements of a loop, with a command before them if there is none in all of the loop: without one, nothing
// could end it.
func withCall(do, all []*syntax.Stmt) []*syntax.Stmt {
	found := false
	for _, s := range all {
		syntax.Walk(s, func(n syntax.Node) bool {
			c, ok := n.(*syntax.CallExpr)
			found = found || ok && len(c.Args) > 0
			return !found
		})
	}
	if found || len(do) == 0 {
		return do
	}
	return append([]*syntax.Stmt{call(do[0].Pos(), ":")}, do...)
}

// isFunction is 1 for a function's declaration, else 0.
func isFunction(n syntax.Node) int {
	if _, ok := n.(*syntax.FuncDecl); ok {
		return 1
	}
	return 0
}

// describe keeps what jobs will show of each background job, before that is rewritten.
func (r *rewriter) describe(n syntax.Node) bool {
	if s, ok := n.(*syntax.Stmt); ok && s.Background {
		job := *s
		job.Background, job.Comments = false, nil
		r.texts[s] = text(&job)
	}
	return true
}

// condition lets no failure in the subshells of a condition end them under set -e: the interpreter knows that of the other parts.
func (r *rewriter) condition(stmts ...*syntax.Stmt) {
	for _, s := range stmts {
		switch c := s.Cmd.(type) {
		case *syntax.Subshell:
			c.Stmts = append([]*syntax.Stmt{call(s.Pos(), "set", "+e")}, c.Stmts...)
		case *syntax.Block:
			r.condition(c.Stmts...)
		case *syntax.BinaryCmd:
			r.condition(c.X, c.Y)
		}
	}
}

// conditions finds the conditions. It must be done before anything is rewritten.
func (r *rewriter) conditions(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.Stmt:
		if n.Negated {
			r.condition(&syntax.Stmt{Position: n.Position, Cmd: n.Cmd})
		}
	case *syntax.BinaryCmd:
		if n.Op == syntax.AndStmt || n.Op == syntax.OrStmt {
			r.condition(n.X)
		}
	case *syntax.IfClause:
		r.condition(n.Cond...)
	case *syntax.WhileClause:
		r.condition(n.Cond...)
	}
	return true
}

// redirections finds the lists of statements, and puts what follows an exec that only redirects into a block of these redirections.
func redirections(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.File:
		n.Stmts = redirected(n.Stmts)
	case *syntax.Block:
		n.Stmts = redirected(n.Stmts)
	case *syntax.Subshell:
		n.Stmts = redirected(n.Stmts)
	}
	return true
}

// redirected does so in one list. The lists in the block are found by the walk that goes on.
func redirected(stmts []*syntax.Stmt) []*syntax.Stmt {
	for i, s := range stmts {
		c, ok := s.Cmd.(*syntax.CallExpr)
		if !ok || len(c.Args) != 1 || c.Args[0].Lit() != "exec" || len(c.Assigns) > 0 || len(s.Redirs) == 0 || s.Negated || s.Background {
			continue
		}
		rest := stmts[i+1:]
		if len(rest) == 0 {
			rest = []*syntax.Stmt{call(s.Pos(), ":")}
		}
		wrapped := &syntax.Stmt{Position: s.Position, Cmd: block(rest...), Redirs: s.Redirs}
		return append(stmts[:i:i], wrapped)
	}
	return stmts
}

// node rewrites a node whose children are done.
func (r *rewriter) node(n syntax.Node) {
	switch n := n.(type) {
	case *syntax.Stmt:
		r.stmt(n)
	case *syntax.WhileClause:
		n.Do = withCall(n.Do, append(slices.Clone(n.Cond), n.Do...))
	case *syntax.ForClause:
		if _, ok := n.Loop.(*syntax.CStyleLoop); ok {
			n.Do = withCall(n.Do, n.Do)
		}
	case *syntax.Redirect:
		r.redirect(n)
	case *syntax.Word:
		n.Parts = r.parts(n.Parts)
	case *syntax.DblQuoted:
		n.Parts = r.parts(n.Parts)
	case *syntax.Assign:
		r.assign(n)
	case *syntax.CmdSubst:
		n.Stmts = r.body(n.Pos(), n.Stmts, false)
	}
	r.arithmetic(n)
}

func (r *rewriter) refuse(pos syntax.Pos, what string) {
	r.errs = append(r.errs, fmt.Errorf("%s: line %d: %s cannot be used in a lab", r.file, pos.Line(), what))
}

// stmt rewrites what a statement does, then how it does it.
func (r *rewriter) stmt(s *syntax.Stmt) {
	switch c := s.Cmd.(type) {
	case *syntax.BinaryCmd:
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			r.pipe(s, c)
		}
	case *syntax.Subshell:
		c.Stmts = r.body(s.Pos(), c.Stmts, true)
	case *syntax.TimeClause:
		inner := c.Stmt
		if inner == nil {
			inner = call(s.Pos(), ":")
		}
		s.Cmd = block(call(s.Pos(), "__lab_time"), inner, call(s.Pos(), "__lab_timed", "$?"))
	case *syntax.CoprocClause:
		r.refuse(s.Pos(), "coproc")
	}
	switch {
	case s.Coprocess || s.Disown:
		r.refuse(s.Pos(), "|& or &!")
	case s.Background:
		r.background(s)
	}
}

// body returns what runs in a subshell instead of its statements. The interpreter does not know that it is in a function there, and
// runs no EXIT trap at its end: so statements with 'return' or 'local' become a function, and those with 'trap' end with an 'exit',
// which see to the trap.
func (r *rewriter) body(pos syntax.Pos, stmts []*syntax.Stmt, enter bool) []*syntax.Stmt {
	local, traps := uses(stmts)
	if local && r.functions > 0 {
		all := call(pos, bodyWord)
		c := all.Cmd.(*syntax.CallExpr)
		params := &syntax.ParamExp{Dollar: pos, Short: true, Param: lit(pos, "@")}
		c.Args = append(c.Args, word(&syntax.DblQuoted{Left: pos, Right: pos, Parts: []syntax.WordPart{params}}))
		declared := &syntax.FuncDecl{Position: pos, Parens: true, Name: lit(pos, bodyWord), Body: &syntax.Stmt{Position: pos, Cmd: block(stmts...)}}
		stmts = []*syntax.Stmt{{Position: pos, Cmd: declared}, all}
	}
	if traps {
		stmts = append(slices.Clone(stmts), call(pos, "exit"))
	}
	if enter || traps {
		stmts = append([]*syntax.Stmt{call(pos, "__lab_enter")}, stmts...)
	}
	return stmts
}

// bodyWord is the function that a subshell's statements become.
const bodyWord = "__lab_body"

// uses reports whether statements have words that are about the function or the shell that they run in; not those in further
// functions and subshells.
func uses(stmts []*syntax.Stmt) (local, traps bool) {
	for _, s := range stmts {
		syntax.Walk(s, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.FuncDecl, *syntax.Subshell, *syntax.CmdSubst:
				return false
			case *syntax.DeclClause:
				local = local || n.Variant.Value != "export" && n.Variant.Value != "readonly"
			case *syntax.CallExpr:
				if len(n.Args) > 0 {
					local = local || n.Args[0].Lit() == "return"
					traps = traps || n.Args[0].Lit() == "trap"
				}
			}
			return true
		})
	}
	return local, traps
}

// background rewrites X &.
func (r *rewriter) background(s *syntax.Stmt) {
	pos := s.Pos()
	job := *s
	job.Background, job.Comments = false, nil
	run := &syntax.Stmt{Position: pos, Cmd: r.subshell(pos, &job), Redirs: []*syntax.Redirect{redirect(syntax.RdrIn, pos, "/dev/null")}}
	body := &syntax.Stmt{
		Position: pos, Background: true,
		Cmd: block(call(pos, jobWord), or(run, call(pos, exitWord, "$?")), call(pos, exitWord, "0")),
	}
	*s = syntax.Stmt{Comments: s.Comments, Position: pos, Cmd: block(body, call(pos, "__lab_spawn", r.texts[s]))}
}

// pipe rewrites X | Y. The last stage's status counts, unless pipefail is set. A negated pipeline must not end the script under
// set -e, which the interpreter knows only of lists: hence "&& :".
func (r *rewriter) pipe(s *syntax.Stmt, c *syntax.BinaryCmd) {
	pos := s.Pos()
	*r.pipes++
	id := strconv.Itoa(*r.pipes)
	if c.Op == syntax.PipeAll { // X |& Y is X 2>&1 | Y
		both := redirect(syntax.DplOut, pos, "1")
		both.N = lit(pos, "2")
		c.X.Redirs = append(c.X.Redirs, both)
	}
	from := &syntax.Stmt{Position: pos, Cmd: r.subshell(pos, c.X), Redirs: []*syntax.Redirect{redirect(syntax.RdrOut, pos, pipeDir+id+readerLimit(c.Y))}}
	to := &syntax.Stmt{Position: pos, Cmd: r.subshell(pos, c.Y), Redirs: []*syntax.Redirect{redirect(syntax.RdrIn, pos, pipeDir+id)}}
	s.Cmd = block(or(from, call(pos, "__lab_failed", id, "$?")), or(to, call(pos, "__lab_failed", id, "$?", "last")), call(pos, "__lab_piped", id))
	if s.Negated {
		s.Cmd = &syntax.BinaryCmd{OpPos: pos, Op: syntax.AndStmt, X: &syntax.Stmt{Position: pos, Cmd: s.Cmd}, Y: call(pos, ":")}
	}
}

// What a pipe's name says of its reader, behind a colon.
const (
	linesLimit = "lines="
	bytesLimit = "bytes="
)

// readerLimit returns how much the reader of a pipe reads, if that is head: then the writer is to end where it would on Linux.
func readerLimit(s *syntax.Stmt) string {
	c, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || len(c.Args) == 0 || len(c.Args) > 3 || c.Args[0].Lit() != "head" {
		return ""
	}
	unit, text := linesLimit, "10"
	for i, arg := range c.Args[1:] {
		option, isOption := strings.CutPrefix(arg.Lit(), "-")
		switch {
		case i == 0 && !isOption || i == 1 && text != "":
			return "" // a file
		case i == 1:
			text = arg.Lit()
		case strings.HasPrefix(option, "n"):
			text = option[1:]
		case strings.HasPrefix(option, "c"):
			unit, text = bytesLimit, option[1:]
		default:
			text = option
		}
	}
	if n, err := strconv.Atoi(text); err != nil || n < 0 {
		return ""
	}
	return ":" + unit + text
}

// redirect puts the line in front of the name of a file. What the interpreter would quietly not do is refused.
func (r *rewriter) redirect(d *syntax.Redirect) {
	if d.N != nil && d.N.Value != "0" && d.N.Value != "1" && d.N.Value != "2" {
		r.refuse(d.Pos(), "file descriptor "+d.N.Value)
	}
	switch d.Op {
	case syntax.RdrClob: // there is no noclobber
		d.Op = syntax.RdrOut
	case syntax.RdrIn, syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll:
	case syntax.DplOut, syntax.DplIn:
		r.duplicate(d)
		return
	case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return
	default:
		r.refuse(d.Pos(), "the redirection "+d.Op.String())
		return
	}
	if first, ok := d.Word.Parts[0].(*syntax.Lit); ok && strings.HasPrefix(first.Value, "~") {
		return // only at the beginning of a word is that the home directory
	}
	line := lit(d.Pos(), fmt.Sprintf("%s%d:", lineDir, d.Pos().Line()))
	d.Word.Parts = append([]syntax.WordPart{line}, d.Word.Parts...)
}

// duplicate lets only those duplications by that the interpreter knows.
func (r *rewriter) duplicate(d *syntax.Redirect) {
	switch to := d.Word.Lit(); {
	case to == "-" || d.Op == syntax.DplOut && (to == "1" || to == "2"):
	default:
		r.refuse(d.Pos(), "the redirection "+d.Op.String()+to)
	}
}

// parts rewrites the expansions of a word.
func (r *rewriter) parts(parts []syntax.WordPart) []syntax.WordPart {
	for i, part := range parts {
		switch p := part.(type) {
		case *syntax.ParamExp:
			parts[i] = r.param(p)
		case *syntax.ProcSubst:
			parts[i] = r.procSubst(p)
		}
	}
	return parts
}

// param rewrites the parameters that the interpreter would answer in its own way.
func (r *rewriter) param(p *syntax.ParamExp) syntax.WordPart {
	if p.Param == nil {
		return p
	}
	plain := !p.Length && !p.Excl && p.Slice == nil && p.Repl == nil && p.Exp == nil && p.Index == nil
	switch p.Param.Value {
	case "!":
		p.Param.Value, p.Short = "__lab_bang", false
	case "$":
		if plain {
			return lit(p.Pos(), shellPID)
		}
	case "PPID":
		if plain {
			return lit(p.Pos(), parentPID)
		}
	case "LINENO":
		return lit(p.Pos(), strconv.FormatUint(uint64(p.Pos().Line()), 10))
	case "RANDOM", "SRANDOM", "SECONDS":
		if plain {
			return substitution(p.Pos(), call(p.Pos(), "__lab_"+strings.ToLower(p.Param.Value)))
		}
	case "PIPESTATUS":
		r.refuse(p.Pos(), "PIPESTATUS")
	}
	return p
}

// procSubst rewrites <( X ); the other direction is refused.
func (r *rewriter) procSubst(p *syntax.ProcSubst) syntax.WordPart {
	if p.Op != syntax.CmdIn {
		r.refuse(p.Pos(), ">( )")
		return p
	}
	piped := &syntax.Stmt{Position: p.Pos(), Cmd: &syntax.BinaryCmd{
		OpPos: p.Pos(), Op: syntax.Pipe, X: &syntax.Stmt{Position: p.Pos(), Cmd: &syntax.Block{Lbrace: p.Pos(), Rbrace: p.Pos(), Stmts: p.Stmts}},
		Y: call(p.Pos(), "__lab_file"),
	}}
	r.stmt(piped)
	return substitution(p.Pos(), piped)
}

// ---- making nodes

func lit(pos syntax.Pos, s string) *syntax.Lit {
	return &syntax.Lit{ValuePos: pos, ValueEnd: pos, Value: s}
}

// call makes a simple command. "$?" as a word is the parameter, all others stand for themselves.
func call(pos syntax.Pos, words ...string) *syntax.Stmt {
	c := &syntax.CallExpr{}
	for _, w := range words {
		var part syntax.WordPart
		switch {
		case w == "$?":
			part = &syntax.ParamExp{Dollar: pos, Short: true, Param: lit(pos, "?")}
		case strings.ContainsFunc(w, func(r rune) bool { return !isPlain(r) }):
			part = &syntax.SglQuoted{Left: pos, Right: pos, Value: strings.ReplaceAll(w, "'", `"`)}
		default:
			part = lit(pos, w)
		}
		c.Args = append(c.Args, &syntax.Word{Parts: []syntax.WordPart{part}})
	}
	return &syntax.Stmt{Position: pos, Cmd: c}
}

func isPlain(r rune) bool {
	return r == '_' || r == ':' || r == '/' || r == '+' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func block(stmts ...*syntax.Stmt) *syntax.Block {
	return &syntax.Block{Lbrace: stmts[0].Pos(), Rbrace: stmts[0].Pos(), Stmts: stmts}
}

func (r *rewriter) subshell(pos syntax.Pos, s *syntax.Stmt) *syntax.Subshell {
	return &syntax.Subshell{Lparen: pos, Rparen: pos, Stmts: r.body(pos, []*syntax.Stmt{s}, true)}
}

func word(parts ...syntax.WordPart) *syntax.Word { return &syntax.Word{Parts: parts} }

func or(x, y *syntax.Stmt) *syntax.Stmt {
	return &syntax.Stmt{Position: x.Pos(), Cmd: &syntax.BinaryCmd{OpPos: x.Pos(), Op: syntax.OrStmt, X: x, Y: y}}
}

func redirect(op syntax.RedirOperator, pos syntax.Pos, file string) *syntax.Redirect {
	return &syntax.Redirect{OpPos: pos, Op: op, Word: &syntax.Word{Parts: []syntax.WordPart{lit(pos, file)}}}
}

func substitution(pos syntax.Pos, stmts ...*syntax.Stmt) *syntax.CmdSubst {
	return &syntax.CmdSubst{Left: pos, Right: pos, Stmts: slices.Clip(stmts)}
}

// text returns a statement as jobs shows it, on one line.
func text(s *syntax.Stmt) string {
	var b strings.Builder
	if err := syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, s); err != nil {
		return "?"
	}
	return strings.TrimSpace(b.String())
}
