package cli

import (
	"bufio"
	"io"
	"unicode/utf8"
)

// table is lines of cells, printed in columns as text/tabwriter does with a
// padding of two spaces. It is for long tables: a tabwriter takes lines apart
// that were just put together, and keeps each cell by itself.
type table struct {
	widths []int  // of the columns, in runes
	text   []byte // of all cells, one after the other
	ends   []int  // of the cells, in text
}

// newTable returns a table with a head, which says how many columns it has, and
// room for as many lines.
func newTable(lines int, head ...string) *table {
	const column = 16 // about as wide as one is
	t := &table{
		widths: make([]int, len(head)),
		text:   make([]byte, 0, (lines+1)*len(head)*column),
		ends:   make([]int, 0, (lines+1)*len(head)),
	}
	for _, s := range head {
		t.cell(s)
	}
	return t
}

// cell adds a cell.
func (t *table) cell(s string) {
	t.text = append(t.text, s...)
	t.end()
}

// end ends a cell that was appended to text.
func (t *table) end() {
	start, column := 0, len(t.ends)%len(t.widths)
	if n := len(t.ends); n > 0 {
		start = t.ends[n-1]
	}
	t.ends = append(t.ends, len(t.text))
	t.widths[column] = max(t.widths[column], utf8.RuneCount(t.text[start:]))
}

// print writes the table.
func (t *table) print(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	start := 0
	for i, end := range t.ends {
		cell := t.text[start:end]
		start = end
		_, _ = out.Write(cell)
		column := i % len(t.widths)
		if column == len(t.widths)-1 {
			_ = out.WriteByte('\n')
			continue
		}
		for range t.widths[column] + 2 - utf8.RuneCount(cell) {
			_ = out.WriteByte(' ')
		}
	}
	return out.Flush()
}
