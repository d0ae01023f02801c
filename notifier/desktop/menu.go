package desktop

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

const byDesktop = "desktop" // Answer.By

// page is one of those that a question is shown on. A person gets from the
// first to the others in this order.
type page int

const (
	front    page = iota // the most useful answers
	scopes               // what is it about?
	times                // for how long?
	verdicts             // allow or deny, and the rule
)

// menu is where a person is in the pages of a question. Its zero value is the
// front page.
type menu struct {
	page  page
	scope notifier.Scope // picked on scopes
	life  rules.Lifetime // picked on times
	from  int            // of the choices that do not fit on a page, the first one shown
}

// button is what a person can press. Equal ones do the same.
type button struct {
	label  string
	to     menu            // the page it opens, or
	final  bool            // it gives
	answer notifier.Answer // this answer
}

// room is what fits into the row of buttons of a notification. Its zero value
// is any number.
type room struct {
	buttons int // 3 or more
	letters int // of labels, with letterGap for each button
}

// letterGap is what is between two labels.
const letterGap = 4

// holds says how many of the buttons fit.
func (r room) holds(list []button) int {
	used := 0
	for i, b := range list {
		used += utf8.RuneCountInString(b.label) + letterGap
		if r.letters != 0 && used > r.letters || r.buttons != 0 && i == r.buttons {
			return i
		}
	}
	return len(list)
}

// view returns what is on a page: lines of text, none on the front page, and
// the buttons, as many as there is room for.
func (m menu) view(q notifier.Question, r room) (lines []string, buttons []button) {
	m = m.within(q)
	switch m.page {
	case scopes:
		lines = []string{"Pick what the answer is about."}
		for _, s := range q.Scopes() {
			buttons = append(buttons, button{label: tail(q.ScopeName(s)), to: menu{page: times, scope: s}})
		}
	case times:
		lines = []string{"Pick for how long the answer about " + q.ScopeName(m.scope) + " holds."}
		for _, l := range q.Lifetimes() {
			buttons = append(buttons, button{label: capital(howLong(q, l)), to: menu{page: verdicts, scope: m.scope, life: l}})
		}
	case verdicts:
		lines, buttons = m.last(q)
	default:
		return nil, frontButtons(q, r)
	}
	buttons = append(buttons, button{label: "Back", to: m.back(q)})
	return lines, m.fit(buttons, r)
}

// within leads back from a page that q does not have.
func (m menu) within(q notifier.Question) menu {
	_, ok := q.Reach(m.scope)
	switch {
	case q.Summary():
		return menu{}
	case m.page > scopes && !ok, m.page == scopes && len(q.Scopes()) == 1:
		return more(q)
	}
	return m
}

// more is the page that "More…" opens. Where there is one thing to pick, it is
// picked.
func more(q notifier.Question) menu {
	if list := q.Scopes(); len(list) == 1 {
		return menu{page: times, scope: list[0]}
	}
	return menu{page: scopes}
}

// back is the page before m.
func (m menu) back(q notifier.Question) menu {
	switch {
	case m.page == verdicts:
		return menu{page: times, scope: m.scope}
	case m.page == times && more(q).page == scopes:
		return menu{page: scopes}
	}
	return menu{}
}

// frontButtons are the answers that most people give. Only they fit into a
// notification.
func frontButtons(q notifier.Question, r room) []button {
	if q.Summary() {
		untilExit := rules.Lifetime{Kind: rules.UntilExit}
		return slices.Concat([]button{final("Review list", q.Review())},
			choose(q, "Allow all until exit", rules.Allow, notifier.Listed, untilExit),
			choose(q, "Deny all until exit", rules.Deny, notifier.Listed, untilExit))
	}
	once := choose(q, "Allow once", rules.Allow, notifier.Host, rules.Lifetime{Kind: rules.Once})
	if r.buttons == 3 {
		once = nil
	}
	return slices.Concat(
		choose(q, "Allow always", rules.Allow, notifier.Host, rules.Lifetime{Kind: rules.Always}), once,
		choose(q, "Deny", rules.Deny, notifier.Host, rules.Lifetime{Kind: rules.Once}),
		[]button{{label: "More…", to: more(q)}})
}

// last is the page that says what either answer does.
func (m menu) last(q notifier.Question) (lines []string, buttons []button) {
	lines = []string{q.ScopeName(m.scope) + ", " + howLong(q, m.life)}
	for _, v := range []rules.Verdict{rules.Allow, rules.Deny} {
		c, ok := q.Choose(v, m.scope, m.life)
		if !ok {
			continue
		}
		buttons = append(buttons, final(capital(v.String()), c))
		if c.Rule != "" {
			lines = append(lines, v.String()+" writes: "+c.Rule)
		}
	}
	if len(lines) == 1 {
		lines = append(lines, "no rule is written")
	}
	return lines, buttons
}

// choose returns the button of an answer that q has, or none.
func choose(q notifier.Question, label string, v rules.Verdict, s notifier.Scope, l rules.Lifetime) []button {
	c, ok := q.Choose(v, s, l)
	if !ok {
		return nil
	}
	return []button{final(label, c)}
}

func final(label string, c notifier.Choice) button {
	c.Answer.By = byDesktop
	return button{label: label, final: true, answer: c.Answer}
}

// fit returns those of the buttons that have room, the last of which leads to
// the rest. There is room for one and that at least.
func (m menu) fit(list []button, r room) []button {
	if m.from < 0 || m.from >= len(list) {
		m.from = 0
	}
	list = list[m.from:]
	if r.holds(list) == len(list) {
		return list
	}
	next := button{label: "Next…", to: m}
	n := 1
	for n < len(list) && r.holds(slices.Concat(list[:n+1], []button{next})) == n+2 {
		n++
	}
	next.to.from += n
	return append(slices.Clone(list[:n]), next)
}

// howLong says how long an answer holds: what is left of the label of one that
// names neither verdict nor destination.
func howLong(q notifier.Question, l rules.Lifetime) string {
	c, ok := q.Choose(rules.Allow, notifier.Host, l)
	if !ok {
		return l.String()
	}
	return strings.TrimPrefix(c.Label, rules.Allow.String()+" ")
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// maxLabel is how long a button is.
const maxLabel = 32

// tail shortens a name to a label. The end of a name says whose it is.
func tail(s string) string {
	if r := []rune(s); len(r) > maxLabel {
		return "…" + string(r[len(r)-maxLabel+1:])
	}
	return s
}

// text returns the lines of a notification's body, given those of its page.
// complaint says what is wrong with what a person typed.
func text(q notifier.Question, lines []string, complaint string, now time.Time) []string {
	if lines == nil {
		lines = q.Details()
	} else {
		lines = append(lines, q.Where(), q.Countdown(now))
	}
	if complaint != "" {
		lines = append([]string{complaint}, lines...)
	}
	return lines
}
