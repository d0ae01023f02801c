package tui

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxFilter bounds what can be typed, and pasted.
const maxFilter = 60

// show goes to a view.
func (m *model) show(v View) []command {
	m.view = v
	return m.look(v)
}

// move selects another row.
func (m *model) move(by int) {
	if m.mode == helping {
		m.helpTop = max(0, m.helpTop+by)
		return
	}
	l := &m.lists[m.view]
	l.pick(l.at + by)
}

// page is how many rows are on the screen.
func (m *model) page() int { return max(1, m.layout().rows-1) }

// flow returns the selected connection.
func (m *model) flow() (*Flow, bool) {
	r, ok := m.lists[Connections].selected()
	if !ok || r.head || m.view != Connections {
		return nil, false
	}
	return &m.contents[Connections].Flows[r.at], true
}

// fold hides or shows the connections of an app.
func (m *model) fold() {
	l := &m.lists[Connections]
	r, ok := l.selected()
	if !ok {
		return
	}
	app := ""
	if r.head {
		app = m.groups[r.at].app
	} else {
		app = m.contents[Connections].Flows[r.at].App
	}
	m.folded[app] = !m.folded[app]
	m.list(Connections)
	l.find("app " + app)
}

// sort takes the next order.
func (m *model) sort() {
	m.order = (m.order + 1) % orders
	m.list(Connections)
}

// setFilter shows what has the words of a text.
func (m *model) setFilter(text string) {
	m.lists[m.view].filter = text
	m.list(m.view)
}

func (m *model) typed(key string) {
	if key == "Space" {
		key = " "
	}
	text := m.lists[m.view].filter
	if utf8.RuneCountInString(key) == 1 && utf8.RuneCountInString(text) < maxFilter {
		m.setFilter(text + key)
	}
}

// untype takes the last character of the filter away.
func (m *model) untype() {
	text := m.lists[m.view].filter
	_, n := utf8.DecodeLastRuneInString(text)
	m.setFilter(text[:len(text)-n])
}

// paste takes text for a filter; it is never taken for keys.
func (m *model) paste(text string) {
	if m.mode != filtering {
		m.say("what is pasted does nothing, except in a filter: / first")
		return
	}
	text = m.lists[m.view].filter + strings.Join(strings.Fields(text), " ")
	for utf8.RuneCountInString(text) > maxFilter {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	m.setFilter(text)
}

// sure asks before something that cannot be undone.
func (m *model) sure(text string, then command) {
	m.mode, m.confirm = confirming, confirmation{text, then}
}

// noEnd says why there is nothing that x could end, or "".
func (m *model) noEnd() string {
	_, ok := m.lists[m.view].selected()
	switch {
	case m.view != Connections && m.view != Rules:
		return "it ends a connection, or removes a rule, and none is selected here"
	case !m.online:
		return "the daemon is away"
	case !ok:
		return "nothing is selected"
	case m.view == Rules:
		return ""
	}
	if _, ok := m.flow(); !ok {
		return "this is an app: select one of its connections, or stop it with K"
	}
	return ""
}

// endSelected ends a connection, or removes a rule, when the person is sure.
func (m *model) endSelected() {
	if m.view == Rules {
		r := m.contents[Rules].Rules[m.lists[Rules].rows[m.lists[Rules].at].at]
		m.sure(fmt.Sprintf("remove the rule %s %s %s?", r.App, r.Verdict, r.Dest), remove{r})
		return
	}
	f, _ := m.flow()
	m.sure(fmt.Sprintf("end the connection of %s (pid %d): %s?", f.App, f.PID, endpoint(f)), end{*f})
}

// jail returns the selected jail, or that of what is selected, or says why there
// is none.
func (m *model) jail() (j Jail, why string) {
	r, ok := m.lists[m.view].selected()
	if !m.online {
		return j, "the daemon is away"
	}
	if !ok || m.view != Connections && m.view != Jails {
		return j, "it stops the jail of what is selected, and none is here"
	}
	if m.view == Jails {
		return m.contents[Jails].Jails[r.at], ""
	}
	id := ""
	if r.head {
		g := &m.groups[r.at]
		if len(g.jails) > 1 {
			return j, "more than one jail runs it: select a connection, or one of the jails (4)"
		}
		id = g.jails[0]
	} else {
		id = m.contents[Connections].Flows[r.at].Jail
	}
	for _, j := range m.contents[Jails].Jails {
		if j.ID == id {
			return j, ""
		}
	}
	return j, "its jail is not listed"
}

// stopSelected stops a jail when the person is sure.
func (m *model) stopSelected() {
	j, _ := m.jail()
	m.sure(fmt.Sprintf("stop %s and everything it started: %s?", j.App, j.Command), stop{j})
}

// yes does what was asked about.
func (m *model) yes() []command {
	m.mode = normal
	return []command{m.confirm.then}
}

// back leaves whatever one is in.
func (m *model) back() {
	switch {
	case m.mode == filtering:
		m.mode = normal
		m.setFilter("")
	case m.mode != normal:
		m.mode, m.helpTop = normal, 0
	case m.notice.text != "":
		m.notice = notice{}
	default:
		m.setFilter("")
	}
}
