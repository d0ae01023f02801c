package tui

import (
	"fmt"

	"github.com/gdamore/tcell/v2"
)

// indent is where what is said of a question begins.
const indent = 2

// painter draws a model, and notes what can be clicked on.
type painter struct {
	m     *model
	s     tcell.Screen
	frame frame
}

// draw draws m on a screen, which is as large as m says.
func draw(m *model, s tcell.Screen) frame {
	p := &painter{m: m, s: s}
	s.Clear()
	s.HideCursor()
	if m.small() {
		p.small()
		return nil
	}
	p.title()
	if m.mode == helping {
		p.help()
		p.footLine(m.height-1, helping)
		return p.frame
	}
	l := m.layout()
	p.panel(l.panel)
	p.tabs(l.tabs)
	p.list(&l)
	p.about(l.about)
	p.foot(l.foot)
	return p.frame
}

func (p *painter) line(y int) *pen { return &pen{p.s, 0, y, p.m.width} }

// right writes text at the end of a line, and returns where it begins.
func (p *painter) right(y int, text string, style tcell.Style) int {
	n := len([]rune(text))
	if text == "" || n >= p.m.width {
		return p.m.width
	}
	w := &pen{p.s, p.m.width - n, y, p.m.width}
	w.write(text, style)
	return p.m.width - n
}

func (p *painter) small() {
	text := fmt.Sprintf("netjail top needs a screen of %d x %d, this one has %d x %d; q quits", minWidth, minHeight, p.m.width, p.m.height)
	for y, line := range wrap(text, max(1, p.m.width)) {
		p.line(y).write(line, plain)
	}
}

func (p *painter) title() {
	m, w := p.m, p.line(0)
	w.write(" netjail top  ", reversed)
	if m.online {
		w.write(fmt.Sprintf("%s, %s, %s", plural(len(m.asked), "question"),
			plural(len(m.contents[Jails].Jails), "jail"), plural(len(m.contents[Connections].Flows), "connection")), reversed)
	} else {
		w.write("NOT CONNECTED: "+m.trouble, reversed)
	}
	w.fill(reversed)
}

func (p *painter) panel(lines []panelLine) {
	for i, l := range lines {
		y := 1 + i
		w := p.line(y)
		if l.right != "" {
			w.end = p.right(y, l.right+" ", plain) - 1
		}
		style := plain
		if l.bold {
			style = asks
		}
		if l.first {
			w.write("?", style)
		}
		w.x = indent
		w.write(l.text, style)
		if l.question != "" {
			p.frame = append(p.frame, zone{y: y, to: p.m.width, question: l.question})
		}
	}
}

func (p *painter) tabs(y int) {
	m, w := p.m, p.line(y)
	for v := range views {
		text, style := fmt.Sprintf(" %d %s ", v+1, v), plain
		if v == m.view {
			text, style = fmt.Sprintf("[%d %s]", v+1, v), reversed
		}
		from := w.x
		w.write(text, style)
		p.frame = append(p.frame, zone{y: y, from: from, to: w.x, key: string(rune('1' + v))})
	}
	if note := p.note(); note != "" {
		w.x++
		w.write(note, plain)
	}
}

// note says what is to be known about the list as a whole.
func (p *painter) note() string {
	m := p.m
	l := &m.lists[m.view]
	switch {
	case m.failed[m.view] != "" && m.loaded[m.view]:
		return "not up to date: " + m.failed[m.view]
	case l.filter != "":
		return fmt.Sprintf("%d of %d", l.shown, l.total)
	case m.contents[m.view].Note != "":
		return m.contents[m.view].Note
	case m.view == Connections && m.order != byApp:
		return "by " + orderNames[m.order]
	}
	return ""
}

func (p *painter) list(at *layout) {
	m := p.m
	l := &m.lists[m.view]
	columns, width := m.columns(), m.width
	for _, c := range columns {
		if c.from <= m.width {
			width -= c.width + 1
		}
	}
	w := p.line(at.head)
	w.x = 1
	p.cells(w, columns, heads(columns), width, bold)
	if len(l.rows) == 0 {
		w := p.line(at.list)
		w.x = indent
		w.write(m.empty(), plain)
	}
	for i := l.top; i < len(l.rows) && i < l.top+at.rows; i++ {
		y := at.list + i - l.top
		w := p.line(y)
		mark, style := " ", m.rowStyle(l.rows[i])
		if i == l.at {
			mark, style = ">", reversed
		}
		w.write(mark, style)
		p.cells(w, columns, m.cells(l.rows[i]), width, style)
		p.frame = append(p.frame, zone{y: y, to: m.width, row: l.rows[i].id})
	}
}

func (p *painter) cells(w *pen, columns []column, texts []string, rest int, style tcell.Style) {
	for i := range columns {
		c := columns[i]
		if c.from > p.m.width {
			continue
		}
		if c.width == 0 {
			c.width = rest
		}
		w.cell(&c, texts[i], style)
		w.write(" ", style)
	}
	w.fill(style)
}

func heads(columns []column) []string {
	texts := make([]string, len(columns))
	for i := range columns {
		texts[i] = columns[i].head
	}
	return texts
}

// rowStyle helps to find rows; what it says the row says in words.
func (m *model) rowStyle(r row) tcell.Style {
	verdict := ""
	switch m.view {
	case Connections:
		if r.head {
			return bold
		}
	case Rules:
		verdict = m.contents[Rules].Rules[r.at].Verdict
	case History:
		verdict = m.contents[History].Events[r.at].Verdict
	}
	switch verdict {
	case "allow":
		return good
	case "deny":
		return bad
	}
	return plain
}

// empty says why there are no rows.
func (m *model) empty() string {
	switch {
	case m.failed[m.view] != "":
		return m.failed[m.view]
	case m.lists[m.view].filter != "" && m.lists[m.view].total > 0:
		return "nothing has " + m.lists[m.view].filter + " in it; Esc shows all"
	case !m.loaded[m.view]:
		return ""
	}
	return [views]string{
		"no connections: nothing that netjail runs has one now",
		"no rules yet",
		"nothing has been decided yet",
		"no jails: netjail COMMAND starts one",
	}[m.view]
}

// about is the line above the keys.
func (p *painter) about(y int) {
	m, w := p.m, p.line(y)
	switch {
	case m.mode == confirming:
		w.write(m.confirm.text, bold)
	case m.mode == filtering:
		w.write("filter: "+m.lists[m.view].filter, bold)
		p.s.ShowCursor(min(w.x, m.width-1), y)
	case m.notice.text != "":
		w.write(m.notice.text, bold)
	default:
		w.write(m.about(), plain)
	}
}
