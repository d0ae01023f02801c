package rulefile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/netjail/netjail/rules"
)

// block is where one [[rule]] stands in the text.
type block struct {
	header int // offset of the key in [[rule]]
	keys   []keyval
}

// keyval is where one "key = value" stands in the text.
type keyval struct {
	name    string
	start   int // of the key
	keyEnd  int
	end     int  // of the value
	verdict bool // allow, deny or ask
}

// parser walks over the expressions of a rule file. go-toml reads the grammar;
// the few shapes and types that a rule file may have are checked here, because
// only here the place of every key is known.
type parser struct {
	name   string
	app    string
	mixed  bool // each rule says which app it is of
	data   []byte
	lines  []int // offsets of the lines' starts
	rules  []rules.Rule
	blocks []block
}

func newParser(name, app string, data []byte) *parser {
	p := &parser{name: name, app: app, data: data, lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	return p
}

// checkText refuses what no person wrote, before the parser sees it.
func checkText(name string, data []byte, most int) error {
	if len(data) > most {
		return &Error{File: name, Err: fmt.Errorf("larger than %d MiB", most>>20)}
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		switch {
		case len(line) > maxLine:
			return &Error{name, n, fmt.Errorf("line longer than %d KiB", maxLine>>10)}
		case bytes.IndexByte(line, 0) >= 0:
			return &Error{name, n, errors.New("a NUL byte: not a text file")}
		case !utf8.Valid(line):
			return &Error{name, n, errors.New("not UTF-8")}
		}
	}
	return nil
}

// errAt returns an error at an offset of the text.
func (p *parser) errAt(offset int, err error) error {
	return &Error{File: p.name, Line: p.line(offset), Err: err}
}

func (p *parser) line(offset int) int {
	return sort.SearchInts(p.lines, offset+1)
}

func (p *parser) parse() error {
	var u unstable.Parser
	u.Reset(p.data)
	for u.NextExpression() {
		if err := p.expression(u.Expression()); err != nil {
			return err
		}
	}
	if err := u.Error(); err != nil {
		return p.syntaxError(err)
	}
	return p.finish()
}

// syntaxError finds the place of go-toml's error: the highlight is a part of
// the text, so its capacity tells where it begins.
func (p *parser) syntaxError(err error) error {
	offset := len(p.data)
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok && perr.Highlight != nil {
		offset = min(max(cap(p.data)-cap(perr.Highlight), 0), len(p.data))
	}
	return p.errAt(offset, errors.New(err.Error()))
}

func (p *parser) expression(n *unstable.Node) error {
	switch n.Kind {
	case unstable.KeyValue:
		return p.keyValue(n)
	case unstable.ArrayTable, unstable.Table:
		return p.table(n)
	}
	return p.errAt(int(n.Raw.Offset), fmt.Errorf("unexpected %v", n.Kind))
}

func (p *parser) table(n *unstable.Node) error {
	key, start, _ := keyOf(n)
	if key != "rule" || n.Kind != unstable.ArrayTable {
		return p.errAt(start, fmt.Errorf("unknown table %q: a rule begins with [[rule]]", clip(key)))
	}
	if err := p.finish(); err != nil {
		return err
	}
	p.blocks = append(p.blocks, block{header: start})
	p.rules = append(p.rules, rules.Rule{
		App:    p.app,
		Source: rules.Source{File: p.name, Line: p.line(start)},
	})
	return nil
}

// finish checks the rule that ends here.
func (p *parser) finish() error {
	if len(p.blocks) == 0 {
		return nil
	}
	b := p.blocks[len(p.blocks)-1]
	if !slices.ContainsFunc(b.keys, func(k keyval) bool { return k.verdict }) {
		return p.errAt(b.header, errors.New("a rule without allow, deny or ask"))
	}
	if p.mixed && !slices.ContainsFunc(b.keys, func(k keyval) bool { return k.name == appKey }) {
		return p.errAt(b.header, errors.New("a rule without app"))
	}
	return nil
}

func (p *parser) keyValue(n *unstable.Node) error {
	key, start, keyEnd := keyOf(n)
	if len(p.blocks) == 0 {
		return p.errAt(start, fmt.Errorf("key %q before the first [[rule]]", clip(key)))
	}
	b := &p.blocks[len(p.blocks)-1]
	k := keyval{name: key, start: start, keyEnd: keyEnd, end: int(n.Raw.Offset + n.Raw.Length)}
	_, err := rules.ParseVerdict(key)
	k.verdict = err == nil
	for _, o := range b.keys {
		if o.name == key {
			return p.errAt(start, fmt.Errorf("duplicate key %q, first on line %d", clip(key), p.line(o.start)))
		}
		if o.verdict && k.verdict {
			return p.errAt(start, fmt.Errorf("%s and %s in one rule: write two", o.name, key))
		}
	}
	set := setField
	if p.mixed && key == appKey {
		set = setApp
	}
	if err := set(&p.rules[len(p.rules)-1], key, n.Value()); err != nil {
		return p.errAt(start, fmt.Errorf("key %q: %w", clip(key), err))
	}
	b.keys = append(b.keys, k)
	return nil
}

// keyOf returns a key with its parts joined by dots, and where it stands.
func keyOf(n *unstable.Node) (key string, start, end int) {
	var parts []string
	for it := n.Key(); it.Next(); {
		k := it.Node()
		if len(parts) == 0 {
			start = int(k.Raw.Offset)
		}
		end = int(k.Raw.Offset + k.Raw.Length)
		parts = append(parts, string(k.Data))
	}
	return strings.Join(parts, "."), start, end
}

// setField gives one key's value to the rule.
func setField(r *rules.Rule, key string, v *unstable.Node) (err error) {
	switch key {
	case "allow", "deny", "ask":
		return setDestination(r, key, v)
	case "exe":
		if r.Exe, err = stringOf(v); err == nil {
			err = checkExe(r.Exe)
		}
	case "note":
		r.Note, err = stringOf(v)
	case "by":
		r.By, err = stringOf(v)
	case "created":
		r.Created, err = timeOf(v)
	case "expires":
		r.Expires, err = timeOf(v)
	case "enabled":
		r.Disabled, err = boolOf(v)
		r.Disabled = !r.Disabled
	case "local":
		r.Local, err = boolOf(v)
	case "answer":
		var answer string
		if answer, err = stringOf(v); err == nil && answer != "nxdomain" && answer != "refused" {
			err = errors.New("want nxdomain or refused")
		}
		r.Refuse = answer == "refused"
	default:
		return errors.New("unknown key: a rule has allow, deny or ask, exe, local, answer, note, by, created, expires, enabled")
	}
	return err
}

func boolOf(v *unstable.Node) (bool, error) {
	if v.Kind != unstable.Bool {
		return false, errors.New("want true or false")
	}
	return string(v.Data) == "true", nil
}

func setDestination(r *rules.Rule, verdict string, v *unstable.Node) error {
	text, err := stringOf(v)
	if err != nil {
		return err
	}
	if r.Verdict, err = rules.ParseVerdict(verdict); err != nil {
		return err
	}
	r.Dest, err = rules.ParseDestination(text)
	return err
}

func checkExe(exe string) error {
	if !strings.HasPrefix(exe, "/") || strings.IndexByte(exe, 0) >= 0 {
		return errors.New("want an absolute path")
	}
	return nil
}

func stringOf(v *unstable.Node) (string, error) {
	if v.Kind != unstable.String {
		return "", errors.New(`want a string in quotes: "..."`)
	}
	return string(v.Data), nil
}

var errDate = errors.New("want a date with time and zone, such as 2026-12-31T00:00:00Z")

// timeOf reads a TOML offset date-time. A local one is refused: it would mean
// another moment on another machine. So is the zero time, which means "never".
func timeOf(v *unstable.Node) (time.Time, error) {
	if v.Kind != unstable.DateTime {
		return time.Time{}, errDate
	}
	text := strings.Replace(strings.ToUpper(string(v.Data)), " ", "T", 1)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04Z07:00", text)
	}
	if err != nil || t.UTC().IsZero() {
		return time.Time{}, errDate
	}
	return t.UTC(), nil
}

// clip bounds how much of the file an error repeats.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
