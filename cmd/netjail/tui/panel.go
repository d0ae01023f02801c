package tui

import (
	"github.com/netjail/netjail/notifier"
)

// panelLine is one line about the questions.
type panelLine struct {
	text     string
	right    string // at its end
	first    bool   // of a question
	bold     bool
	question string // that a click goes to
}

// headLines is how much room a long name gets.
const headLines = 3

// panel is what is shown of the questions, on at most max lines: the chosen one
// with what a person needs to decide, and that there are others.
func (m *model) panel(max int) []panelLine {
	q, ok := m.asking()
	if !ok {
		return nil
	}
	lines := m.headline(&q, min(headLines, max-1))
	lines[0].right = m.position()
	others := m.others(&q)
	room := max - len(lines) - len(others)
	if room < 2 {
		room, others = max-len(lines), nil
	}
	for _, text := range m.details(&q, room) {
		lines = append(lines, panelLine{text: text})
	}
	return append(lines, others...)
}

// headline says what is wanted, on at most so many lines.
func (m *model) headline(q *notifier.Question, most int) []panelLine {
	var lines []panelLine
	all := wrap(q.Headline(), m.width-indent-len("123 of 123 "))
	for i, text := range all[:min(most, len(all))] {
		if i == most-1 && len(all) > most {
			text += "…"
		}
		lines = append(lines, panelLine{text: text, first: i == 0, bold: true, question: q.ID})
	}
	return lines
}

// others is a line about the question behind the chosen one.
func (m *model) others(q *notifier.Question) []panelLine {
	if len(m.asked) < 2 {
		return nil
	}
	next := m.asked[(m.index()+1)%len(m.asked)]
	return []panelLine{{text: "n: " + next.Headline(), question: next.ID}}
}

// fact is something to be said of a question. Where there is not room for all,
// the one with the highest weight is left out first.
type fact struct {
	text   string
	weight int
	more   bool // of it follows
}

// facts are in the order in which they are shown.
type facts struct {
	list  []fact
	width int
}

// add adds a text, on as many lines as it needs, but for the rest of the last.
func (f *facts) add(weight, most int, text string) {
	lines := []string{text}
	switch {
	case text == "":
		return
	case most > 1:
		lines = wrap(text, f.width)
	}
	for i, line := range lines[:min(most, len(lines))] {
		f.list = append(f.list, fact{line, weight + i, i+1 < len(lines)})
	}
}

// details says of a question what there is room for. What an answer does comes
// before everything else.
func (m *model) details(q *notifier.Question, room int) []string {
	f := facts{width: m.width - indent - 1}
	if q.Summary() {
		for i, line := range q.List(max(1, room-3)) {
			f.add(10+i, 1, line)
		}
		f.add(1, 1, "an answer decides these, and nothing that comes later")
	} else {
		f.add(20, 2, q.Where())
		f.add(30, 1, q.Who())
		f.add(60, 1, q.Background())
		f.add(40, 1, q.Note)
		f.add(6, 1, m.scopeText(q))
		f.add(2, 4, m.ruleText(q))
	}
	if q.Waiting > max(1, len(q.Items)) {
		f.add(50, 1, q.Calls())
	}
	if m.answering[q.ID] {
		f.add(0, 1, "answering ...")
	} else {
		f.add(0, 1, q.Countdown(m.now))
	}
	return keep(f.list, room)
}

// keep returns the texts that there is room for, in their order.
func keep(facts []fact, room int) []string {
	for len(facts) > room {
		worst := 0
		for i := range facts {
			if facts[i].weight >= facts[worst].weight {
				worst = i
			}
		}
		facts = append(facts[:worst], facts[worst+1:]...)
	}
	texts := make([]string, len(facts))
	for i := range facts {
		texts[i] = facts[i].text
		if facts[i].more && (i+1 == len(facts) || facts[i+1].weight != facts[i].weight+1) {
			texts[i] += "…"
		}
	}
	return texts
}
