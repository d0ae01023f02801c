package tui

import (
	"time"

	"github.com/netjail/netjail/notifier"
)

// How often views are looked at: the one on the screen and the jails; the
// history, which is long; and the connections when they are only counted.
const (
	lookEvery    = time.Second
	historyEvery = 3 * time.Second
	recountEvery = 5 * time.Second
)

// noticeFor is how long a notice stays.
const noticeFor = 8 * time.Second

// mode says what keys mean.
type mode uint8

const (
	normal    mode = iota
	filtering      // they are the filter
	confirming
	helping
	anyMode
)

// model is everything that is on the screen, and what is needed to say what a
// key does. It is changed by update alone, which has no other effects.
type model struct {
	now           time.Time
	width, height int
	frame         frame // what is on the screen

	online  bool
	trouble string // why it is not

	view     View
	lists    [views]list
	contents [views]Contents
	loaded   [views]bool   // there are contents
	failed   [views]string // why they are old
	looking  [views]bool
	looks    [views]time.Time // when they were begun
	groups   []group          // of connections
	order    order
	folded   map[string]bool // apps

	open      map[string]notifier.Question
	asked     []notifier.Question // those of open that are not in a summary, the oldest first
	chosen    string              // the id of one of them
	picked    bool                // by the person, not because another one went away
	scopes    map[string]notifier.Scope
	answering map[string]bool
	seen      seen

	mode    mode
	confirm confirmation
	helpTop int
	notice  notice
}

// confirmation is what is done when a person says yes.
type confirmation struct {
	text string
	then command
}

// notice is something to be read soon.
type notice struct {
	text  string
	until time.Time
}

func newModel(now time.Time) *model {
	m := &model{
		now: now, trouble: "connecting",
		folded: make(map[string]bool), open: make(map[string]notifier.Question),
		scopes: make(map[string]notifier.Scope), answering: make(map[string]bool),
	}
	m.lists[History].stick = true
	return m
}

// update changes m by what has happened at a time, and returns what is to be
// done about it.
func (m *model) update(now time.Time, ev event) (todo []command) {
	m.now = now
	switch ev := ev.(type) {
	case pressed:
		todo = m.press(ev.key)
	case pasted:
		m.paste(ev.text)
	case clicked:
		todo = m.click(ev.x, ev.y)
	case wheeled:
		m.move(ev.lines)
	case resized:
		m.width, m.height = ev.width, ev.height
	case ticked:
		todo = m.tick()
	case drawn:
		m.frame = ev.frame
		m.see()
	case connected:
		m.connect()
		todo = m.tick()
	case lost:
		m.online, m.trouble = false, ev.err.Error()
		m.looking = [views]bool{}
	case changed:
		m.change(ev.Change)
	case looked:
		m.put(ev)
	case done:
		todo = m.finish(ev)
	}
	m.arrange()
	return todo
}

// arrange brings what is selected onto the screen.
func (m *model) arrange() {
	l := &m.lists[m.view]
	l.scroll(max(1, m.layout().rows))
}

func (m *model) say(text string) {
	m.notice = notice{text, m.now.Add(noticeFor)}
}

// connect begins anew: whoever asks now tells of every question.
func (m *model) connect() {
	m.online, m.trouble = true, ""
	clear(m.open)
	clear(m.answering)
	m.looks = [views]time.Time{}
	m.ask()
}

// tick looks at what is due.
func (m *model) tick() (todo []command) {
	if m.now.After(m.notice.until) {
		m.notice = notice{}
	}
	for v := range views {
		every := lookEvery
		switch {
		case v == History:
			every = historyEvery
		case v == Connections && v != m.view:
			every = recountEvery
		}
		counted := v == m.view || v == Connections || v == Jails
		// Ticks are not on the dot.
		if counted && m.now.Sub(m.looks[v]) > every-lookEvery/2 {
			todo = append(todo, m.look(v)...)
		}
	}
	return todo
}

// look looks at a view, unless that is under way.
func (m *model) look(v View) []command {
	if !m.online || m.looking[v] {
		return nil
	}
	m.looking[v], m.looks[v] = true, m.now
	return []command{look{v}}
}

// put shows what was looked at.
func (m *model) put(ev looked) {
	m.looking[ev.view] = false
	if ev.err != nil {
		m.failed[ev.view] = ev.err.Error()
		return
	}
	m.loaded[ev.view], m.failed[ev.view], m.contents[ev.view] = true, "", ev.contents
	m.list(ev.view)
}

// finish tells how something ended. A question that was answered goes when the
// daemon says so.
func (m *model) finish(ev done) []command {
	if ev.err != nil {
		delete(m.answering, ev.question)
		m.say("failed: " + ev.err.Error())
	} else {
		m.say(ev.said)
	}
	return m.look(m.view)
}

// list makes the rows of a view.
func (m *model) list(v View) {
	l, c := &m.lists[v], &m.contents[v]
	match := l.matcher()
	var rows []row
	switch v {
	case Connections:
		m.groups = groupFlows(c.Flows, m.order, flowMatcher(l.filter))
		rows, l.total, l.shown = flowRows(c.Flows, m.groups, m.folded), len(c.Flows), 0
		for i := range m.groups {
			l.shown += len(m.groups[i].flows)
		}
	case Rules:
		rows, l.total = ruleRows(c.Rules, match), len(c.Rules)
	case History:
		rows, l.total = eventRows(c.Events, match), len(c.Events)
	case Jails:
		rows, l.total = jailRows(c.Jails, match), len(c.Jails)
	}
	if v != Connections {
		l.shown = len(rows)
	}
	l.set(rows)
}
