package rulefile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/netjail/netjail/rules"
)

// errEdit is what an edit fails with that did not give the rules it should
// have: the text is left as it was.
var errEdit = errors.New("editing the file would change other rules: this is a bug, please report it")

// Add returns a file with the rule. If the file has a rule for the same
// destination and executable, that one takes the new verdict and lifetime
// where it stands, keeping its spelling, its comments, and its note if the new
// one has none; further such rules go. Otherwise the rule is appended.
//
// A rule of another app, or for one jail or run only, is an error.
func (f *File) Add(r rules.Rule) (*File, error) {
	r, err := f.storable(r)
	if err != nil {
		return nil, fmt.Errorf("add to %s: %w", f.name, err)
	}
	same := f.find(func(o *rules.Rule) bool { return o.Dest == r.Dest && o.Exe == r.Exe })
	if len(same) == 0 {
		return f.edited(f.appended(slices.Clone(f.data), &r), append(f.Rules(), r))
	}
	text, want := f.without(same[1:])
	i := same[0]
	want[i] = merged(f.rules[i], r)
	return f.edited(f.blocks[i].replaced(text, &f.rules[i], &want[i]), want)
}

// Append returns a file with the rules at its end, whatever else it has.
func (f *File) Append(list ...rules.Rule) (*File, error) {
	text, want := slices.Clone(f.data), f.Rules()
	for _, r := range list {
		r, err := f.storable(r)
		if err != nil {
			return nil, fmt.Errorf("add to %s: %w", f.name, err)
		}
		text, want = f.appended(text, &r), append(want, r)
	}
	return f.edited(text, want)
}

// Enable returns a file in which the rules that have this ID are enabled, or
// disabled, and whether there are any. Nothing else changes.
func (f *File) Enable(id string, on bool) (*File, bool, error) {
	found := f.find(func(r *rules.Rule) bool { return r.ID() == id })
	text, want := slices.Clone(f.data), f.Rules()
	// From the last to the first: what stands before a change does not move.
	for _, i := range slices.Backward(found) {
		want[i].Disabled = !on
		text = f.blocks[i].replaced(text, &f.rules[i], &want[i])
	}
	if len(found) == 0 {
		return f, false, nil
	}
	g, err := f.edited(text, want)
	return g, true, err
}

// Remove returns a file without the rules that have this ID, and whether there
// were any. Comments stay, except those inside the rule's own lines.
func (f *File) Remove(id string) (*File, bool, error) {
	gone := f.find(func(r *rules.Rule) bool { return r.ID() == id })
	if len(gone) == 0 {
		return f, false, nil
	}
	g, err := f.edited(f.without(gone))
	if err != nil {
		return nil, false, err
	}
	return g, true, nil
}

// find returns the indexes of the rules that match.
func (f *File) find(match func(*rules.Rule) bool) []int {
	var found []int
	for i := range f.rules {
		if match(&f.rules[i]) {
			found = append(found, i)
		}
	}
	return found
}

// edited parses the text of an edit, which must hold exactly the rules wanted.
func (f *File) edited(text []byte, want []rules.Rule) (*File, error) {
	g, err := Parse(f.name, f.app, text)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(g.rules, want, sameRule) {
		return nil, &Error{File: f.name, Err: errEdit}
	}
	return g, nil
}

// sameRule compares everything but where the rules stand.
func sameRule(a, b rules.Rule) bool {
	if !a.Created.Equal(b.Created) || !a.Expires.Equal(b.Expires) {
		return false
	}
	a.Source, a.Created, a.Expires = b.Source, b.Created, b.Expires
	return a == b
}

// storable returns the rule as a file can hold it.
func (f *File) storable(r rules.Rule) (rules.Rule, error) {
	if r.App != f.app {
		return r, fmt.Errorf("a rule of app %q does not belong into the file of %q", r.App, f.app)
	}
	if r.Jail != "" || r.Run {
		return r, errors.New("a rule of one run is not kept in a file")
	}
	if _, err := r.Verdict.MarshalText(); err != nil {
		return r, err
	}
	d, err := rules.ParseDestination(r.Dest.String())
	if err != nil {
		return r, err
	}
	if d != r.Dest {
		return r, fmt.Errorf("destination %q has no spelling", clip(r.Dest.String()))
	}
	if r.Exe != "" {
		if err := checkExe(r.Exe); err != nil {
			return r, fmt.Errorf("exe %q: %w", clip(r.Exe), err)
		}
	}
	if !utf8.ValidString(r.Exe) || !utf8.ValidString(r.Note) || !utf8.ValidString(r.By) {
		return r, errors.New("exe, note or by is not UTF-8")
	}
	r.Created, r.Expires = toSecond(r.Created), toSecond(r.Expires)
	r.Source = rules.Source{}
	return r, nil
}

func toSecond(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// merged is the rule that stands in the file after adding r over old.
func merged(old, r rules.Rule) rules.Rule {
	r.Note = cmp.Or(r.Note, old.Note)
	r.By = cmp.Or(r.By, old.By)
	if r.Created.IsZero() {
		r.Created = old.Created
	}
	return r
}

// appended returns the text, which it may change, with the rule at its end.
func (f *File) appended(text []byte, r *rules.Rule) []byte {
	if len(text) == 0 {
		who := cmp.Or(f.app, "every app")
		text = fmt.Appendf(text, "# Rules of %s. Edit freely: netjail keeps comments and order.\n", who)
	}
	eol := eolOf(text)
	if text[len(text)-1] != '\n' {
		text = append(text, eol...)
	}
	if !blankBefore(text, len(text)) {
		text = append(text, eol...)
	}
	return append(text, strings.Join(append([]string{"[[rule]]"}, lines(r)...), eol)+eol...)
}

// lines returns a rule as netjail writes it, without its header.
func lines(r *rules.Rule) []string {
	list := []string{r.Verdict.String() + " = " + quoted(r.Dest.String())}
	for _, k := range fields {
		if v := k.value(r); v != "" {
			list = append(list, k.name+" = "+v)
		}
	}
	return list
}

// without returns the text and the rules without those at the indexes.
func (f *File) without(gone []int) ([]byte, []rules.Rule) {
	text, left := slices.Clone(f.data), f.Rules()
	// From the last to the first: what stands before a cut does not move.
	for _, i := range slices.Backward(gone) {
		text = f.blocks[i].cut(text)
		left = slices.Delete(left, i, i+1)
	}
	return text, left
}

// field is an optional key as netjail writes it.
type field struct {
	name  string
	value func(*rules.Rule) string // as TOML, "" for a key that is left out
}

var fields = []field{
	{"exe", func(r *rules.Rule) string { return quotedOr(r.Exe) }},
	{"local", func(r *rules.Rule) string {
		if r.Local {
			return "true"
		}
		return ""
	}},
	{"answer", func(r *rules.Rule) string {
		if r.Refuse {
			return quoted("refused")
		}
		return ""
	}},
	{"note", func(r *rules.Rule) string { return quotedOr(r.Note) }},
	{"by", func(r *rules.Rule) string { return quotedOr(r.By) }},
	{"created", func(r *rules.Rule) string { return timeText(r.Created) }},
	{"expires", func(r *rules.Rule) string { return timeText(r.Expires) }},
	{"enabled", func(r *rules.Rule) string {
		if r.Disabled {
			return "false"
		}
		return ""
	}},
}

func quotedOr(s string) string {
	if s == "" {
		return ""
	}
	return quoted(s)
}

// quoted writes a TOML basic string. Everything but printable text is escaped:
// a note may come from what a jailed program says of itself.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func eolOf(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
