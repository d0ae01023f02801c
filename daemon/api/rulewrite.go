package api

import (
	"encoding"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// OneLine is the depth of what is not indented.
const OneLine = -1

// AppendRules appends what json.Marshal makes of list, or, from depth 0 on, what
// json.MarshalIndent does with two spaces for a list at this depth.
//
// Ten thousand rules are the longest answer there is, and people wait for it:
// encoding/json takes ten times as long to write them.
func AppendRules(b []byte, list []Rule, depth int) ([]byte, error) {
	if list == nil {
		return append(b, "null"...), nil
	}
	w := ruleWriter{b: slices.Grow(b, 2*ruleBytes*len(list)), depth: depth}
	w.open('[')
	for i := range list {
		w.next()
		w.rule(&list[i])
	}
	w.close(']')
	return w.b, w.err
}

// ruleBytes is about what a rule takes, or a little less.
const ruleBytes = 256

// encode returns what json.Marshal makes of the list.
func (l *RuleList) encode() ([]byte, error) {
	b, err := AppendRules([]byte(`{"rules":`), l.Rules, OneLine)
	if err != nil || len(l.Differs) == 0 {
		return append(b, '}'), err
	}
	differs, err := json.Marshal(l.Differs)
	b = append(append(b, `,"differs":`...), differs...)
	return append(b, '}'), err
}

// ruleWriter writes JSON as encoding/json does.
type ruleWriter struct {
	b     []byte
	depth int
	err   error
}

// rule writes the fields of a Rule, in their order.
func (w *ruleWriter) rule(r *Rule) {
	w.open('{')
	w.text("id", r.ID)
	w.text("app", r.App)
	verdict, err := r.Verdict.MarshalText()
	w.fail(err)
	w.text("verdict", string(verdict))
	w.appended("destination", &r.Dest)
	w.some("exe", r.Exe)
	w.text("lifetime", r.Lifetime)
	w.time("expires", r.Expires)
	w.some("jail", r.Jail)
	w.key("enabled")
	w.b = strconv.AppendBool(w.b, r.Enabled)
	w.set("local", r.Local)
	w.set("refuse", r.Refuse)
	w.some("note", r.Note)
	w.some("by", r.By)
	w.time("created", r.Created)
	w.some("file", r.File)
	if r.Line != 0 {
		w.number("line", int64(r.Line))
	}
	if r.Use != nil {
		w.key("use")
		w.open('{')
		w.number("hits", r.Use.Hits)
		w.time("last", r.Use.Last)
		w.close('}')
	}
	w.some("shadowed_by", r.Shadowed)
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

func (w *ruleWriter) text(key, s string) {
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

func (w *ruleWriter) some(key, s string) {
	if s != "" {
		w.text(key, s)
	}
}

func (w *ruleWriter) set(key string, v bool) {
	if v {
		w.key(key)
		w.b = append(w.b, "true"...)
	}
}

func (w *ruleWriter) number(key string, n int64) {
	w.key(key)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *ruleWriter) time(key string, t *time.Time) {
	if t != nil {
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
