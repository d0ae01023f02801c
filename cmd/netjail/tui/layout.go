package tui

import "slices"

// The smallest screen that anything can be read on.
const (
	minWidth  = 40
	minHeight = 10
)

// layout says on which lines what is, from the top: a title, questions, tabs, a
// heading, the list, a line about what is selected, and the keys.
type layout struct {
	panel []panelLine // from line 1 on
	tabs  int
	head  int
	list  int
	rows  int // of the list
	about int
	foot  int
}

func (m *model) small() bool { return m.width < minWidth || m.height < minHeight }

func (m *model) layout() layout {
	if m.small() {
		return layout{}
	}
	p := layout{panel: m.panel(m.height / 3)}
	foot := 1
	if len(m.asked) > 0 {
		foot = 2
	}
	p.foot = m.height - foot
	p.about = p.foot - 1
	p.tabs = 1 + len(p.panel)
	p.head = p.tabs + 1
	p.list = p.head + 1
	p.rows = p.about - p.list
	return p
}

// frame is where on the screen what can be clicked on is.
type frame []zone

// zone is a part of a line that does something.
type zone struct {
	y, from, to int    // columns: from ≤ x < to
	key         string // that a click stands for
	row         string // that it selects
	question    string // that it goes to
}

func (f frame) at(x, y int) (zone, bool) {
	for _, z := range f {
		if z.y == y && z.from <= x && x < z.to {
			return z, true
		}
	}
	return zone{}, false
}

// means reports whether a key does something by itself: a tab is no text for a
// filter.
func (m *model) means(key string) bool {
	return slices.ContainsFunc(bindings(), func(b binding) bool { return b.mode == m.mode && b.has(key) })
}

// click does what is where it is clicked.
func (m *model) click(x, y int) []command {
	z, ok := m.frame.at(x, y)
	switch l := &m.lists[m.view]; {
	case !ok:
	case z.key != "":
		if m.means(z.key) {
			return m.press(z.key)
		}
	case z.question != "":
		m.chosen, m.picked = z.question, true
	case l.id != z.row:
		l.find(z.row)
	default:
		if r, ok := l.selected(); ok && r.head {
			m.fold()
		}
	}
	return nil
}
