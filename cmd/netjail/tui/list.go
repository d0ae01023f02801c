package tui

import (
	"slices"
	"strings"
)

// row is one line of a list. What is in it is looked up when it is drawn.
type row struct {
	id   string
	at   int  // index of what it shows, in the contents or among the groups
	head bool // of a group
}

// list is what a view lists, and where in it one is. A row is selected by what
// it is, not by where it is.
type list struct {
	rows   []row
	total  int    // rows without a filter, and without groups' heads
	shown  int    // of those, the ones that the filter lets through
	filter string // words that a row must all have
	id     string // of the selected row
	at     int    // its index
	top    int    // index of the first row on the screen
	stick  bool   // the top stays selected when rows come in above it
}

// set puts new rows in the place of the old ones. What was selected stays so,
// at its place on the screen; if it is gone, what has its place now.
func (l *list) set(rows []row) {
	from := l.at - l.top
	l.rows = rows
	if len(rows) == 0 {
		l.at, l.top = 0, 0
		return
	}
	at := -1
	if !l.stick || l.at > 0 {
		at = slices.IndexFunc(rows, func(r row) bool { return r.id == l.id })
	}
	if at < 0 {
		at = min(l.at, len(rows)-1)
	}
	l.pick(at)
	l.top = at - from
}

// pick selects a row.
func (l *list) pick(at int) {
	if len(l.rows) == 0 {
		return
	}
	l.at = max(0, min(at, len(l.rows)-1))
	l.id = l.rows[l.at].id
}

// find selects the row with an id.
func (l *list) find(id string) {
	if at := slices.IndexFunc(l.rows, func(r row) bool { return r.id == id }); at >= 0 {
		l.pick(at)
	}
}

// selected returns the selected row.
func (l *list) selected() (row, bool) {
	if l.at >= len(l.rows) {
		return row{}, false
	}
	return l.rows[l.at], true
}

// scroll brings the selected row onto a screen of so many rows.
func (l *list) scroll(height int) {
	l.top = min(l.top, l.at, len(l.rows)-height)
	l.top = max(l.top, l.at-height+1, 0)
}

// matcher returns what tells whether a row's texts have all words of the filter.
func (l *list) matcher() func(texts ...string) bool {
	words := strings.Fields(strings.ToLower(l.filter))
	return func(texts ...string) bool {
		for _, w := range words {
			if !slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), w) }) {
				return false
			}
		}
		return true
	}
}
