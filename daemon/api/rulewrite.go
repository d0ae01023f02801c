package api

import (
	"encoding"
	"encoding/json"
	"strconv"
	"time"
)

// OneLine is the depth of what is not indented.
const OneLine = -1

// About what a rule takes in a list, or a little less.
const (
	ruleBytes  = 256
	briefBytes = 64
)

// AppendRules appends what json.Marshal makes of list, or, from depth 0 on, what
// json.MarshalIndent does with two spaces for a list at this depth.
//
// Ten thousand rules are the longest answer there is, and people wait for it:
// encoding/json takes ten times as long to write them.
func AppendRules(b []byte, list []Rule, depth int) ([]byte, error) {
	if list == nil {
		return append(b, "null"...), nil
	}
	var zero Rule
	w := ruleWriter{b: withRoom(b, 2*ruleBytes*len(list)), depth: depth}
	w.open('[')
	for i := range list {
		w.next()
		w.rule(&list[i], &zero, true)
	}
	w.close(']')
	return w.b, w.err
}

// appendBrief appends a list in which each rule has only those fields that are
// not as in the one before, and the first one those that are not zero.
func appendBrief(b []byte, list []Rule) ([]byte, error) {
	w := ruleWriter{b: withRoom(b, 2*briefBytes*len(list)), depth: OneLine}
	w.open('[')
	last := &Rule{}
	for i := range list {
		w.next()
		w.rule(&list[i], last, false)
		last = &list[i]
	}
	w.close(']')
	return w.b, w.err
}

// encode returns what json.Marshal makes of the list, unless it is brief.
func (l *RuleList) encode() (b []byte, err error) {
	if l.Brief {
		b, err = appendBrief([]byte(`{"brief":`), l.Rules)
	} else {
		b, err = AppendRules([]byte(`{"rules":`), l.Rules, OneLine)
	}
	if err == nil && len(l.Differs) > 0 {
		var differs []byte
		differs, err = json.Marshal(l.Differs)
		b = append(append(b, `,"differs":`...), differs...)
	}
	return append(b, '}'), err
}

// ruleWriter writes JSON as encoding/json does.
type ruleWriter struct {
	b     []byte
	depth int
	err   error
}

// rule writes the fields of a Rule in their order: those that are not as in
// last, and if it is to be whole those that every rule has.
func (w *ruleWriter) rule(r, last *Rule, whole bool) {
	w.open('{')
	w.text("id", r.ID, last.ID, whole)
	w.text("app", r.App, last.App, whole)
	if whole || r.Verdict != last.Verdict {
		text, err := r.Verdict.MarshalText()
		w.fail(err)
		w.text("verdict", string(text), "", true)
	}
	if whole || r.Dest != last.Dest {
		w.appended("destination", &r.Dest)
	}
	w.text("exe", r.Exe, last.Exe, false)
	w.text("lifetime", r.Lifetime, last.Lifetime, whole)
	w.time("expires", r.Expires, last.Expires)
	w.text("jail", r.Jail, last.Jail, false)
	w.bool("enabled", r.Enabled, last.Enabled, whole)
	w.bool("local", r.Local, last.Local, false)
	w.bool("refuse", r.Refuse, last.Refuse, false)
	w.text("note", r.Note, last.Note, false)
	w.text("by", r.By, last.By, false)
	w.time("created", r.Created, last.Created)
	w.text("file", r.File, last.File, false)
	w.number("line", int64(r.Line), int64(last.Line), false)
	w.use(r.Use, last.Use)
	w.text("shadowed_by", r.Shadowed, last.Shadowed, false)
	w.close('}')
}

func (w *ruleWriter) use(u, last *RuleUse) {
	switch {
	case u == nil && last == nil, u != nil && last != nil && u.Hits == last.Hits && same(u.Last, last.Last):
		return
	case u == nil:
		w.key("use")
		w.b = append(w.b, "null"...)
		return
	case last == nil:
		last = &RuleUse{}
	}
	w.key("use")
	w.open('{')
	w.number("hits", u.Hits, 0, true)
	w.time("last", u.Last, last.Last)
	w.close('}')
}

func (w *ruleWriter) open(bracket byte) {
	w.b = append(w.b, bracket)
	if w.depth >= 0 {
		w.depth++
	}
}

func (w *ruleWriter) close(bracket byte) {
	if w.depth > 0 {
		w.depth--
	}
	if w.b[len(w.b)-1] != bracket-2 { // in ASCII [ and ], { and } are two apart
		w.line()
	}
	w.b = append(w.b, bracket)
}

// next begins an element or a field.
func (w *ruleWriter) next() {
	if c := w.b[len(w.b)-1]; c != '[' && c != '{' {
		w.b = append(w.b, ',')
	}
	w.line()
}

func (w *ruleWriter) line() {
	if w.depth < 0 {
		return
	}
	w.b = append(w.b, '\n')
	for range w.depth {
		w.b = append(w.b, "  "...)
	}
}

func (w *ruleWriter) key(name string) {
	w.next()
	w.b = append(append(append(w.b, '"'), name...), `":`...)
	if w.depth >= 0 {
		w.b = append(w.b, ' ')
	}
}

func (w *ruleWriter) text(key, s, last string, always bool) {
	if s == last && !always {
		return
	}
	w.key(key)
	w.b = append(append(w.b, '"'), s...)
	w.quote(len(s))
}

// quote ends a string of JSON, of which the last n bytes are to be the text.
func (w *ruleWriter) quote(n int) {
	start := len(w.b) - n
	if isPlain(w.b[start:]) {
		w.b = append(w.b, '"')
		return
	}
	text, err := json.Marshal(string(w.b[start:]))
	w.fail(err)
	w.b = append(w.b[:start-1], text...)
}

func (w *ruleWriter) bool(key string, v, last, always bool) {
	if v != last || always {
		w.key(key)
		w.b = strconv.AppendBool(w.b, v)
	}
}

func (w *ruleWriter) number(key string, n, last int64, always bool) {
	if n != last || always {
		w.key(key)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *ruleWriter) time(key string, t, last *time.Time) {
	switch {
	case same(t, last):
	case t == nil:
		w.key(key)
		w.b = append(w.b, "null"...)
	default:
		w.appended(key, t)
	}
}

func (w *ruleWriter) appended(key string, v encoding.TextAppender) {
	w.key(key)
	w.b = append(w.b, '"')
	start := len(w.b)
	b, err := v.AppendText(w.b)
	if err != nil {
		w.fail(err)
		return
	}
	w.b = b
	w.quote(len(b) - start)
}

func (w *ruleWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// same says whether two times are written alike: equal ones may have zones.
func same(t, o *time.Time) bool { return t == o || t != nil && o != nil && *t == *o }

// isPlain says whether a text is the same in JSON: for what is not encoding/json
// knows an escape, or what is wrong with it.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
