package tui

import (
	"fmt"
	"slices"
	"strings"
)

// helpColumn is how wide one column of the help is.
const helpColumn = 40

// notes are what the keys do not say.
var notes = []string{
	"A click selects, folds, or presses a key of the last lines; the wheel scrolls.",
	"? behind an address: it has no name. ? for bytes: nobody counts them.",
}

// Keys describes every key, for a manual.
func Keys() string { return strings.Join(helpLines(), "\n") + "\n" }

// helpLines is the help as one column: the keys of each part under its name.
func helpLines() []string {
	var lines []string
	for _, part := range parts {
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, part)
		for _, b := range bindings() {
			if b.part == part {
				lines = append(lines, fmt.Sprintf("  %-11s %s", strings.ReplaceAll(b.keys, "Backtab", "Shift-Tab"), b.help))
			}
		}
	}
	return lines
}

// helpPage is the help as it is drawn: lines of one text, or of two beside each
// other where there is room.
func (m *model) helpPage() [][]string {
	lines := helpLines()
	var page [][]string
	each := len(lines)
	if m.width >= 2*helpColumn {
		each = (len(lines) + 1) / 2
	}
	for i := range each {
		page = append(page, []string{lines[i]})
		if i+each < len(lines) {
			page[i] = append(page[i], lines[i+each])
		}
	}
	for _, n := range notes {
		page = append(page, []string{n})
	}
	return page
}

// helpRows is how many lines of it there is room for.
func (m *model) helpRows() int { return m.height - 2 }

func (p *painter) help() {
	page, rows := p.m.helpPage(), p.m.helpRows()
	top := max(0, min(p.m.helpTop, len(page)-rows))
	for y, texts := range page[top:min(len(page), top+rows)] {
		for i, text := range texts {
			w := p.line(1 + y)
			w.x = 1 + i*helpColumn
			style := plain
			if slices.Contains(parts, text) {
				style = bold
			}
			w.write(text, style)
		}
	}
}
