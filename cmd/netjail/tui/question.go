package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// glance is how long a question must have been on the screen before a key
// answers it, unless the person went to it: a key that was meant for another
// one may be on its way.
const glance = 700 * time.Millisecond

// seen is the chosen question as it is on the screen.
type seen struct {
	id      string
	through int // of a summary
	at      time.Time
}

// see takes note of what is on the screen now.
func (m *model) see() {
	q, ok := m.asking()
	if !ok {
		m.seen = seen{}
		return
	}
	if m.seen.id != q.ID {
		m.seen = seen{id: q.ID, at: m.now}
	}
	m.seen.through = q.Last()
}

// asking returns the chosen question.
func (m *model) asking() (notifier.Question, bool) {
	i := m.index()
	if i < 0 {
		return notifier.Question{}, false
	}
	return m.asked[i], true
}

func (m *model) index() int {
	return slices.IndexFunc(m.asked, func(q notifier.Question) bool { return q.ID == m.chosen })
}

// change takes in what has become of a question.
func (m *model) change(c Change) {
	id := c.Question.ID
	if c.Closed == "" {
		m.open[id] = c.Question
		m.ask()
		return
	}
	if m.open[id].Summarized == "" && !m.answering[id] {
		m.say(c.Question.Headline() + ": " + c.Closed)
	}
	delete(m.open, id)
	delete(m.scopes, id)
	delete(m.answering, id)
	m.ask()
}

// ask lists the questions anew. When the chosen one is gone the next is chosen,
// which the person has not looked at yet.
func (m *model) ask() {
	at := max(0, m.index())
	m.asked = m.asked[:0:0]
	for _, q := range m.open {
		if q.Summarized == "" {
			m.asked = append(m.asked, q)
		}
	}
	slices.SortFunc(m.asked, func(a, b notifier.Question) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
	switch {
	case len(m.asked) == 0:
		m.chosen, m.picked = "", false
	case m.index() < 0:
		m.chosen, m.picked = m.asked[min(at, len(m.asked)-1)].ID, false
	}
}

// choose goes to another question.
func (m *model) choose(step int) {
	at := (m.index() + step + len(m.asked)) % len(m.asked)
	m.chosen, m.picked = m.asked[at].ID, true
}

// scope is what an answer to q would be about.
func (m *model) scope(q *notifier.Question) notifier.Scope {
	if s, ok := m.scopes[q.ID]; ok && slices.Contains(q.Scopes(), s) {
		return s
	}
	if q.Summary() {
		return notifier.Listed
	}
	return notifier.Host
}

// rescope takes the next scope.
func (m *model) rescope() {
	q, _ := m.asking()
	all := q.Scopes()
	at := slices.Index(all, m.scope(&q))
	m.scopes[q.ID] = all[(at+1)%len(all)]
}

// noAnswer says why no question can be answered now, or "".
func (m *model) noAnswer() string {
	q, ok := m.asking()
	switch {
	case !ok:
		return "no question is open"
	case !m.online:
		return "the daemon is away: nothing can be answered"
	case m.answering[q.ID]:
		return "the answer is on its way"
	}
	return ""
}

// noticed says whether the person can have seen the chosen question.
func (m *model) noticed() bool {
	return m.seen.id == m.chosen && (m.picked || m.now.Sub(m.seen.at) >= glance)
}

// noLifetime says why the question cannot be answered for that long, or "".
func (m *model) noLifetime(l rules.Lifetime) string {
	if why := m.noAnswer(); why != "" {
		return why
	}
	if q, _ := m.asking(); !slices.Contains(q.Lifetimes(), l) {
		return "a whole list is answered once or until the app exits: r shows its questions one by one"
	}
	return ""
}

// reply answers the chosen question as it is on the screen.
func (m *model) reply(v rules.Verdict, l rules.Lifetime) []command {
	q, _ := m.asking()
	m.answering[q.ID] = true
	return []command{answer{Decision{ID: q.ID, Verdict: v, Lifetime: l, Scope: m.scope(&q), Through: m.seen.through}}}
}

// review has the questions of a summary asked one by one.
func (m *model) review() []command {
	q, _ := m.asking()
	m.answering[q.ID] = true
	return []command{answer{Decision{ID: q.ID, Scope: notifier.Listed, Through: m.seen.through, Review: true}}}
}

// ruleText says what "always" writes.
func (m *model) ruleText(q *notifier.Question) string {
	c, _ := q.Choose(rules.Allow, m.scope(q), rules.Lifetime{Kind: rules.Always})
	return "A writes: " + c.Rule
}

// scopeText lists the scopes of a question, with the chosen one in brackets.
func (m *model) scopeText(q *notifier.Question) string {
	var parts []string
	for _, s := range q.Scopes() {
		name := q.ScopeName(s)
		if s == m.scope(q) {
			name = "[" + name + "]"
		}
		parts = append(parts, name)
	}
	return "about: " + strings.Join(parts, ", ")
}

// position says which of how many questions is shown.
func (m *model) position() string {
	if len(m.asked) < 2 {
		return ""
	}
	return fmt.Sprintf("%d of %d", m.index()+1, len(m.asked))
}
