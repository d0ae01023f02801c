package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// decode reads what encode wrote, and says whether it was that. Fields in another
// order, and those of a later version, are for encoding/json, which takes ten
// times as long.
func (l *RuleList) decode(data []byte) bool {
	r := ruleReader{text: string(data)}
	out := RuleList{Rules: make([]Rule, 0, len(data)/ruleBytes)}
	r.must(`{"rules":[`)
	for r.more(len(out.Rules) == 0) {
		out.Rules = append(out.Rules, Rule{})
		r.rule(&out.Rules[len(out.Rules)-1])
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
	failed bool
}

// rule reads the fields of a Rule, in their order.
func (r *ruleReader) rule(out *Rule) {
	r.must(`{"id":`)
	out.ID = r.string()
	r.must(`,"app":`)
	out.App = r.string()
	r.must(`,"verdict":`)
	r.check(out.Verdict.UnmarshalText([]byte(r.string())))
	r.must(`,"destination":`)
	if dest := r.string(); dest != "" {
		d, err := rules.ParseDestination(dest)
		r.check(err)
		out.Dest = d
	}
	out.Exe = r.some(`,"exe":`)
	r.must(`,"lifetime":`)
	out.Lifetime = r.string()
	out.Expires = r.time(`,"expires":`)
	out.Jail = r.some(`,"jail":`)
	out.Enabled = r.next(`,"enabled":true`)
	if !out.Enabled {
		r.must(`,"enabled":false`)
	}
	out.Local = r.next(`,"local":true`)
	out.Refuse = r.next(`,"refuse":true`)
	out.Note = r.some(`,"note":`)
	out.By = r.some(`,"by":`)
	out.Created = r.time(`,"created":`)
	out.File = r.some(`,"file":`)
	if r.next(`,"line":`) {
		out.Line = int(r.number())
	}
	if r.next(`,"use":{"hits":`) {
		out.Use = &RuleUse{Hits: r.number(), Last: r.time(`,"last":`)}
		r.must("}")
	}
	out.Shadowed = r.some(`,"shadowed_by":`)
	r.must("}")
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

// some reads a field that may not be there.
func (r *ruleReader) some(key string) string {
	if !r.next(key) {
		return ""
	}
	return r.string()
}

func (r *ruleReader) time(key string) *time.Time {
	if !r.next(key) {
		return nil
	}
	r.must(`"`)
	text, rest, found := strings.Cut(r.text, `"`)
	t := new(time.Time)
	if err := t.UnmarshalText([]byte(text)); err != nil || !found {
		r.failed = true
	}
	r.text = rest
	return t
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
