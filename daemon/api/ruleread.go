package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// UnmarshalJSON reads a list, brief or not.
func (l *RuleList) UnmarshalJSON(data []byte) error {
	if l.decode(data) {
		return nil
	}
	return l.unmarshal(data)
}

// unmarshal is UnmarshalJSON for a list that others wrote.
func (l *RuleList) unmarshal(data []byte) error {
	type plain RuleList // without this method
	var in struct {
		*plain
		Brief []json.RawMessage `json:"brief"`
	}
	in.plain = (*plain)(l)
	if err := json.Unmarshal(data, &in); err != nil || in.Brief == nil {
		return err
	}
	l.Rules = make([]Rule, len(in.Brief))
	var last Rule
	for i, text := range in.Brief {
		if err := json.Unmarshal(text, last.unshare()); err != nil {
			return err
		}
		l.Rules[i] = last
	}
	return nil
}

// unshare makes a copy's times and use its own, and returns it.
func (r *Rule) unshare() *Rule {
	own := func(t **time.Time) {
		if *t != nil {
			c := **t
			*t = &c
		}
	}
	own(&r.Expires)
	own(&r.Created)
	if r.Use != nil {
		use := *r.Use
		own(&use.Last)
		r.Use = &use
	}
	return r
}

// decode reads what encode wrote, and says whether it was that. Fields in another
// order, and those of a later version, are for encoding/json, which takes ten
// times as long.
func (l *RuleList) decode(data []byte) bool {
	r := ruleReader{text: string(data)}
	brief := r.next(`{"brief":[`)
	size := briefBytes
	if !brief {
		r.must(`{"rules":[`)
		size = ruleBytes
	}
	out := RuleList{Rules: make([]Rule, 0, len(data)/size)}
	var rule Rule
	for r.more(len(out.Rules) == 0) {
		if !brief {
			rule = Rule{}
		}
		r.rule(&rule)
		out.Rules = append(out.Rules, rule)
	}
	if r.next(`,"differs":[`) {
		out.Differs = []string{}
		for r.more(len(out.Differs) == 0) {
			out.Differs = append(out.Differs, r.string())
		}
	}
	r.must("}")
	if r.failed || r.text != "" {
		return false
	}
	*l = out
	return true
}

// ruleReader reads what a ruleWriter wrote in one line.
type ruleReader struct {
	text   string // still to read; the strings are parts of it
	begun  bool   // an object, with a field
	failed bool
}

// rule reads those fields of a Rule that there are, in their order. What it
// points to may be of another rule, too, and is not changed.
func (r *ruleReader) rule(out *Rule) {
	r.open()
	r.textOf(`"id":`, &out.ID)
	r.textOf(`"app":`, &out.App)
	if r.field(`"verdict":`) {
		r.check(out.Verdict.UnmarshalText([]byte(r.string())))
	}
	if r.field(`"destination":`) {
		out.Dest = rules.Destination{}
		if text := r.string(); text != "" {
			d, err := rules.ParseDestination(text)
			r.check(err)
			out.Dest = d
		}
	}
	r.textOf(`"exe":`, &out.Exe)
	r.textOf(`"lifetime":`, &out.Lifetime)
	r.time(`"expires":`, &out.Expires)
	r.textOf(`"jail":`, &out.Jail)
	r.bool(`"enabled":`, &out.Enabled)
	r.bool(`"local":`, &out.Local)
	r.bool(`"refuse":`, &out.Refuse)
	r.textOf(`"note":`, &out.Note)
	r.textOf(`"by":`, &out.By)
	r.time(`"created":`, &out.Created)
	r.textOf(`"file":`, &out.File)
	if r.field(`"line":`) {
		out.Line = int(r.number())
	}
	if r.field(`"use":`) {
		out.Use = r.use(out.Use)
	}
	r.textOf(`"shadowed_by":`, &out.Shadowed)
	r.must("}")
}

func (r *ruleReader) use(last *RuleUse) *RuleUse {
	if r.next("null") {
		return nil
	}
	out := &RuleUse{}
	if last != nil {
		*out = *last
	}
	r.open()
	if r.field(`"hits":`) {
		out.Hits = r.number()
	}
	r.time(`"last":`, &out.Last)
	r.must("}")
	r.begun = true
	return out
}

// next skips text if it comes next.
func (r *ruleReader) next(text string) bool {
	rest, found := strings.CutPrefix(r.text, text)
	r.text = rest
	return found
}

func (r *ruleReader) must(text string) {
	if !r.next(text) {
		r.failed = true
	}
}

func (r *ruleReader) check(err error) {
	if err != nil {
		r.failed = true
	}
}

// open begins an object.
func (r *ruleReader) open() {
	r.must("{")
	r.begun = false
}

// field skips the key of a field, and the comma in front, if that comes next.
func (r *ruleReader) field(key string) bool {
	rest := r.text
	if r.begun {
		var found bool
		if rest, found = strings.CutPrefix(rest, ","); !found {
			return false
		}
	}
	rest, found := strings.CutPrefix(rest, key)
	if found {
		r.text, r.begun = rest, true
	}
	return found
}

// more says whether another element of an array follows, and skips what is in
// front of it, or behind the last one.
func (r *ruleReader) more(first bool) bool {
	if r.failed || r.next("]") {
		return false
	}
	if !first {
		r.must(",")
	}
	return !r.failed
}

// string reads a string. What has escapes, or is not ASCII, is read by
// encoding/json.
func (r *ruleReader) string() string {
	r.must(`"`)
	plain := strings.IndexByte(r.text, '"')
	if plain >= 0 && isPlain(r.text[:plain]) {
		s := r.text[:plain]
		r.text = r.text[plain+1:]
		return s
	}
	for i := 0; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case '"':
			var s string
			r.check(json.Unmarshal([]byte(`"`+r.text[:i+1]), &s))
			r.text = r.text[i+1:]
			return s
		}
	}
	r.failed = true
	return ""
}

func (r *ruleReader) textOf(key string, out *string) {
	if r.field(key) {
		*out = r.string()
	}
}

func (r *ruleReader) bool(key string, out *bool) {
	if !r.field(key) {
		return
	}
	if *out = r.next("true"); !*out {
		r.must("false")
	}
}

func (r *ruleReader) time(key string, out **time.Time) {
	if !r.field(key) {
		return
	}
	if *out = nil; r.next("null") {
		return
	}
	r.must(`"`)
	text, rest, found := strings.Cut(r.text, `"`)
	t := new(time.Time)
	if err := t.UnmarshalText([]byte(text)); err != nil || !found {
		r.failed = true
	}
	*out, r.text = t, rest
}

// number reads a number that is not negative.
func (r *ruleReader) number() int64 {
	end := strings.IndexFunc(r.text, func(c rune) bool { return c < '0' || c > '9' })
	if end < 1 || end > 1 && r.text[0] == '0' {
		r.failed = true
		return 0
	}
	n, err := strconv.ParseInt(r.text[:end], 10, 64)
	r.check(err)
	r.text = r.text[end:]
	return n
}
