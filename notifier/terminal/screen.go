package terminal

import (
	"strings"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

const (
	minWidth  = 20
	minHeight = 6

	bold  = "\x1b[1m"
	reset = "\x1b[0m"

	cursor = "> "

	help = "a key answers; nothing is answered by Enter, which shows the question again"
)

// view is how a question is looked at.
type view struct {
	size
	color bool
	scope notifier.Scope // that the keys are about
	help  bool
	now   time.Time
}

// render draws a question. The cursor's line comes below it.
func (v view) render(q notifier.Question) string {
	v.width, v.height = max(v.width, minWidth), max(v.height, minHeight)
	head := wrap("netjail: "+q.Headline(), v.width)
	lines := v.question(q)
	if q.Summary() {
		lines = v.summary(q, len(head))
	}
	var b strings.Builder
	b.WriteString("\n")
	for _, line := range head {
		if v.color {
			line = bold + line + reset
		}
		b.WriteString(line + "\n")
	}
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// question returns the lines below the headline of one question. Only what
// programs can make long is cut; the destination, the rules and the keys are
// wrapped.
func (v view) question(q notifier.Question) []string {
	var lines []string
	about := "  " + q.Where() + " · " + q.Who()
	if columns(about) > v.width {
		lines = v.wrapped("  " + q.Where())
		about = "  " + q.Who()
	}
	lines = append(lines, cut(about, v.width))
	if background := q.Background(); background != "" {
		lines = append(lines, cut("  "+background, v.width))
	}
	if q.Note != "" {
		lines = append(lines, v.wrapped("  "+notifier.Clean(q.Note, maxNote))...)
	}
	if q.Waiting > 1 {
		lines = append(lines, cut("  "+q.Calls(), v.width))
	}
	return append(lines, v.answers(q, "")...)
}

// maxNote is how much is shown of what else there is to say.
const maxNote = 200

// summary returns the lines below the headline of a summary. Its list takes
// what the rest leaves of the height.
func (v view) summary(q notifier.Question, above int) []string {
	rest := v.answers(q, "["+string(keyReview)+"] review one by one")
	if q.Waiting > len(q.Items) {
		rest = append([]string{cut("  "+q.Calls(), v.width)}, rest...)
	}
	room := v.height - above - len(rest) - 1 // for the cursor
	var list []string
	for n := len(q.Items); n > 0; n-- {
		list = nil
		for _, line := range q.List(n) {
			list = append(list, v.wrapped("  "+line)...)
		}
		if len(list) <= room {
			break
		}
	}
	return append(list, rest...)
}

// answers returns the lines about keys, what they do, and what no key does.
func (v view) answers(q notifier.Question, more string) []string {
	lines, timed := v.matrix(q)
	if more != "" {
		lines = append(lines, v.wrapped("  "+more)...)
	}
	lines = append(append(lines, v.about(q)...), v.rule(q)...)
	if !timed {
		lines = append(lines, v.wrapped("  "+q.Countdown(v.now))...)
	}
	if v.help {
		lines = append(lines, v.wrapped("  "+help)...)
	}
	return lines
}

// matrix lays out the keys that answer: in two rows, with the countdown behind
// the second where it fits, else in two columns, else one a line.
func (v view) matrix(q notifier.Question) (lines []string, timed bool) {
	allow, deny := v.labels(q, rules.Allow, true), v.labels(q, rules.Deny, true)
	if rows := align(allow, append(deny, " "+q.Countdown(v.now))); fits(rows, v.width) {
		return rows, true
	}
	if rows := align(allow, deny); fits(rows, v.width) {
		return rows, false
	}
	if rows := pair(allow, deny); fits(rows, v.width) {
		return rows, false
	}
	for _, label := range append(v.labels(q, rules.Allow, false), v.labels(q, rules.Deny, false)...) {
		lines = append(lines, v.wrapped("  "+label)...)
	}
	return lines, false
}

// labels returns the keys of a verdict with what they do. Short ones name the
// verdict only once, if there is just one question.
func (v view) labels(q notifier.Question, verdict rules.Verdict, short bool) []string {
	var list []string
	for i, o := range offers(q, verdict, firstScope(q)) { // what they are about has a line of its own
		label := o.choice.Label
		if short && i > 0 && !q.Summary() {
			label = strings.TrimPrefix(strings.TrimPrefix(label, verdict.String()+" "), "for ")
		}
		list = append(list, "["+string(o.key)+"] "+label)
	}
	return list
}

// about returns the line that says what answers are about, where that can be
// changed. The scope that they have is in parentheses.
func (v view) about(q notifier.Question) []string {
	list := scopes(q)
	if len(list) < 2 {
		return nil
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = q.ScopeName(s)
		if s == v.scope {
			names[i] = "(" + names[i] + ")"
		}
	}
	key := "  [" + string(keyScope) + "] about: "
	if line := key + strings.Join(names, "  "); columns(line) <= v.width {
		return []string{line}
	}
	lines := []string{strings.TrimRight(key, " ")}
	for _, name := range names {
		lines = append(lines, v.wrapped("    "+name)...)
	}
	return lines
}

// rule returns what says which rule is written.
func (v view) rule(q notifier.Question) []string {
	c, ok := q.Choose(rules.Allow, v.scope, rules.Lifetime{Kind: rules.Always})
	if !ok || q.Summary() {
		return nil
	}
	const or = "(or deny; 1 hour: --for 1h)"
	line := "  always writes: " + c.Rule
	if columns(line+" "+or) <= v.width {
		return []string{line + " " + or}
	}
	return append(v.wrapped(line), v.wrapped("    "+or)...)
}

func (v view) wrapped(line string) []string { return wrap(line, v.width) }
