package bond

import (
	"fmt"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond/code"
)

// A Problem is one thing that is wrong with a configuration, or with what the node
// has for it.
type Problem struct {
	Code code.Code // which kind of problem
	Path string    // where in the configuration: "links[1].deviceID", "miimon"
	Text string    // what is wrong
	Hint string    // what to do about it; may be empty
}

// Kind returns the kind of the problem, for [code.Of].
func (p Problem) Kind() code.Code { return p.Code }

func (p Problem) Error() string {
	s := p.Text
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Problems collects all problems of one input, so that a user can fix all of them
// at once.
type Problems []Problem

// maxProblems bounds the problems that are reported for one input.
const maxProblems = 100

// Add appends a problem of a kind at path, unless it is there already. The hint may be
// empty. After a hundred problems Add appends one that says that there are more,
// and no others.
func (p *Problems) Add(kind code.Code, path, hint, format string, args ...any) {
	if len(*p) == maxProblems {
		*p = append(*p, Problem{Code: code.More, Text: "there are more problems"})
	}
	if len(*p) > maxProblems {
		return
	}
	one := Problem{Code: kind, Path: path, Text: fmt.Sprintf(format, args...), Hint: hint}
	if !slices.Contains(*p, one) {
		*p = append(*p, one)
	}
}

// Err returns nil if there is no problem. The error unwraps to each [Problem].
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) Error() string {
	s := make([]string, len(p))
	for i, one := range p {
		s[i] = one.Error()
	}
	return strings.Join(s, "; ")
}

// Texts returns each problem with its code, after prefix.
func (p Problems) Texts(prefix string) (texts []string) {
	for _, one := range p {
		texts = append(texts, prefix+code.Text(one))
	}
	return texts
}

// Unwrap lets errors.As find each Problem.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, one := range p {
		errs[i] = one
	}
	return errs
}

// Nearest returns the word that a user probably meant by typed, or "". Case,
// underscores and hyphens do not count. Up to two other letters may differ, in
// words of up to five letters one.
func Nearest(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		most := 2
		if len(w) <= 5 {
			most = 1
		}
		if d := distance(fold(typed), fold(w)); d <= most && d < least {
			best, least = w, d
		}
	}
	return best
}

// fold removes what does not count in a comparison: case, underscores, hyphens.
func fold(s string) string { return folding.Replace(strings.ToLower(s)) }

var folding = strings.NewReplacer("_", "", "-", "")

// distance returns the number of letters to insert, drop, replace or swap with
// their neighbour to get from a to b (optimal string alignment), or 3 if the
// lengths differ by more than 2.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
