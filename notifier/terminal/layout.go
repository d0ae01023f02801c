package terminal

import "strings"

// align sets the cells of two rows below one another.
func align(a, b []string) []string {
	first, second := "  ", "  "
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		w := max(columns(x), columns(y))
		first += x + strings.Repeat(" ", w-columns(x)) + "  "
		second += y + strings.Repeat(" ", w-columns(y)) + "  "
	}
	return []string{strings.TrimRight(first, " "), strings.TrimRight(second, " ")}
}

// pair sets two lists beside one another.
func pair(a, b []string) []string {
	w := 0
	for _, x := range a {
		w = max(w, columns(x))
	}
	rows := make([]string, len(a))
	for i, x := range a {
		rows[i] = "  " + x + strings.Repeat(" ", w-columns(x)) + "  " + b[i]
	}
	return rows
}

func fits(lines []string, width int) bool {
	for _, line := range lines {
		if columns(line) > width {
			return false
		}
	}
	return true
}

// columns is how wide s may get on the screen, at least as wide as it does.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if r < 0x1100 || r == '…' || r == '\ufffd' {
		return 1
	}
	return 2
}

// cut shortens s to the width.
func cut(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// wrap breaks s into lines of at most that width, at spaces where it can. The
// lines after the first are indented by four.
func wrap(s string, width int) []string {
	const indent = "    "
	var lines []string
	for columns(s) > width {
		at := breakAt(s, width)
		lines = append(lines, strings.TrimRight(s[:at], " "))
		s = indent + strings.TrimLeft(s[at:], " ")
	}
	return append(lines, s)
}

// breakAt is where the first line of s ends.
func breakAt(s string, width int) int {
	n, space := 0, 0
	text := false // something but the indent has been seen
	for i, r := range s {
		if r != ' ' {
			text = true
		} else if text {
			space = i
		}
		if n += columnsOf(r); n > width {
			if space > 0 {
				return space
			}
			return i
		}
	}
	return len(s)
}
