package shell

// Arithmetic: the interpreter knows only decimal numbers, and neither SECONDS nor RANDOM.

import (
	"regexp"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// arithmetic rewrites the operands of a node that has some.
func (r *rewriter) arithmetic(n syntax.Node) {
	switch n := n.(type) {
	case *syntax.ArithmExp:
		operand(n.X)
	case *syntax.ArithmCmd:
		operand(n.X)
	case *syntax.ParenArithm:
		operand(n.X)
	case *syntax.UnaryArithm:
		if n.Op == syntax.Inc || n.Op == syntax.Dec {
			r.unassignable(n.X)
			return
		}
		operand(n.X)
	case *syntax.BinaryArithm:
		r.binary(n)
	case *syntax.CStyleLoop:
		operand(n.Init)
		operand(n.Cond)
		operand(n.Post)
	case *syntax.LetClause:
		for _, e := range n.Exprs {
			operand(e)
		}
	case *syntax.ParamExp:
		if n.Slice != nil {
			operand(n.Slice.Offset)
			operand(n.Slice.Length)
		}
	}
}

// binary rewrites the operands of an operator. What an assignment is to is no operand.
func (r *rewriter) binary(n *syntax.BinaryArithm) {
	operand(n.Y)
	switch n.Op {
	case syntax.Assgn:
		if name(n.X) == seconds {
			n.X, n.Y = word(lit(n.X.Pos(), epoch)), since(n.Y)
		}
	case syntax.AddAssgn, syntax.SubAssgn, syntax.MulAssgn, syntax.QuoAssgn, syntax.RemAssgn, syntax.AndAssgn, syntax.OrAssgn,
		syntax.XorAssgn, syntax.ShlAssgn, syntax.ShrAssgn:
		r.unassignable(n.X)
	default:
		operand(n.X)
	}
}

// unassignable refuses changes of SECONDS other than plain assignments.
func (r *rewriter) unassignable(e syntax.ArithmExpr) {
	if name(e) == seconds {
		r.refuse(e.Pos(), "an assignment to SECONDS other than =")
	}
}

// Variables that are computed, and the one that has the time at which SECONDS was 0.
const (
	seconds = "SECONDS"
	random  = "RANDOM"
	epoch   = "__lab_epoch"
)

// since returns the expression for the time at which SECONDS was 0 if it is e now.
func since(e syntax.ArithmExpr) syntax.ArithmExpr {
	pos := e.Pos()
	return &syntax.BinaryArithm{
		OpPos: pos, Op: syntax.Sub, X: word(substitution(pos, call(pos, "__lab_now"))),
		Y: &syntax.ParenArithm{Lparen: pos, Rparen: pos, X: e},
	}
}

// assign rewrites SECONDS=VALUE.
func (r *rewriter) assign(a *syntax.Assign) {
	if a.Name == nil || a.Name.Value != seconds || a.Naked {
		return
	}
	if a.Append || a.Value == nil || a.Index != nil {
		r.refuse(a.Pos(), "an assignment to SECONDS other than =")
		return
	}
	pos := a.Value.Pos()
	a.Name.Value, a.Value = epoch, word(&syntax.ArithmExp{Left: pos, Right: pos, X: since(a.Value)})
}

// name returns the variable that an expression is, "" if it is none.
func name(e syntax.ArithmExpr) string {
	w, ok := e.(*syntax.Word)
	if !ok {
		return ""
	}
	return w.Lit()
}

// operand rewrites a word of arithmetic that is a computed variable, or a number that is not decimal.
func operand(e syntax.ArithmExpr) {
	w, ok := e.(*syntax.Word)
	if !ok || len(w.Parts) == 0 {
		return
	}
	start, ok := w.Parts[0].(*syntax.Lit)
	switch {
	case !ok:
	case w.Lit() == seconds || w.Lit() == random:
		w.Parts = []syntax.WordPart{substitution(w.Pos(), call(w.Pos(), "__lab_"+strings.ToLower(w.Lit())))}
	case otherBase.MatchString(start.Value):
		number(w, start)
	}
}

// number makes a number decimal: at once if it is a constant.
func number(w *syntax.Word, start *syntax.Lit) {
	if len(w.Parts) > 1 {
		quoted := &syntax.Word{Parts: []syntax.WordPart{&syntax.DblQuoted{Left: w.Pos(), Right: w.Pos(), Parts: w.Parts}}}
		s := call(w.Pos(), "__lab_number")
		c := s.Cmd.(*syntax.CallExpr)
		c.Args = append(c.Args, quoted)
		w.Parts = []syntax.WordPart{substitution(w.Pos(), s)}
	} else if n, err := parseNumber(start.Value); err == nil {
		start.Value = strconv.FormatInt(n, 10)
	}
}

// otherBase finds how numbers begin that are hexadecimal, octal, or of the base that they name: 0x1f, 017, 2#101.
var otherBase = regexp.MustCompile(`^(0[0-9xX]|[0-9]+#|0$)`)

// parseNumber reads a number as bash does in arithmetic.
func parseNumber(s string) (int64, error) {
	if base, digits, ok := strings.Cut(s, "#"); ok {
		b, err := strconv.Atoi(base)
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(digits, b, 64)
	}
	lower := strings.ToLower(s)
	if digits, ok := strings.CutPrefix(lower, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 64)
		return int64(n), err
	}
	if strings.HasPrefix(s, "0") {
		return strconv.ParseInt(s, 8, 64)
	}
	return strconv.ParseInt(s, 10, 64)
}
