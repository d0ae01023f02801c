package rulefile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// context is how many lines a diff shows around a change.
const context = 3

// Diff returns the changes between two texts as a unified diff, and nothing if
// they are equal.
func Diff(oldName, newName string, old, text []byte) string {
	if bytes.Equal(old, text) {
		return ""
	}
	a, b := diffLines(old), diffLines(text)
	edits := changes(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", oldName, newName)
	for len(edits) > 0 {
		// Changes that are close together are shown together.
		n := 1
		for n < len(edits) && edits[n].a-edits[n-1].aEnd <= 2*context {
			n++
		}
		hunk(&out, a, b, edits[:n])
		edits = edits[n:]
	}
	return out.String()
}

// diffLines splits a text; a last line without an end is not one with it.
func diffLines(text []byte) []string {
	var list []string
	for line := range bytes.Lines(text) {
		s := string(line)
		if !strings.HasSuffix(s, "\n") {
			s += "\n\\ No newline at end of file\n"
		}
		list = append(list, s)
	}
	return list
}

// edit is lines a to aEnd that lines b to bEnd take the place of.
type edit struct{ a, aEnd, b, bEnd int }

func hunk(out *strings.Builder, a, b []string, edits []edit) {
	first, last := edits[0], edits[len(edits)-1]
	from, to := max(first.a-context, 0), min(last.aEnd+context, len(a))
	fromB, toB := first.b-(first.a-from), last.bEnd+(to-last.aEnd)
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(from, to), span(fromB, toB))
	at := from
	for _, e := range edits {
		show(out, " ", a[at:e.a])
		show(out, "-", a[e.a:e.aEnd])
		show(out, "+", b[e.b:e.bEnd])
		at = e.aEnd
	}
	show(out, " ", a[at:to])
}

// span is where a hunk stands: an empty one names the line before it.
func span(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func show(out *strings.Builder, mark string, lines []string) {
	for _, line := range lines {
		out.WriteString(mark + line)
	}
}

// maxEdits bounds the search for a short diff: beyond it, what differs in the
// middle is shown as replaced.
const maxEdits = 500

// changes returns what has to change from a to b (Myers 1986).
func changes(a, b []string) []edit {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	x, y := a[start:len(a)-end], b[start:len(b)-end]
	var edits []edit
	i, j := 0, 0
	for _, same := range append(common(x, y), [2]int{len(x), len(y)}) {
		if same[0] > i || same[1] > j {
			edits = append(edits, edit{start + i, start + same[0], start + j, start + same[1]})
		}
		i, j = same[0]+1, same[1]+1
	}
	return edits
}

// common returns the lines that x and y have in common, in order, as pairs of
// their numbers.
func common(x, y []string) [][2]int {
	most := min(len(x)+len(y), maxEdits)
	at := make([]int, 2*most+2) // how far in x each diagonal has come
	var trail [][]int
	for d := 0; d <= most; d++ {
		trail = append(trail, slices.Clone(at))
		for k := -d; k <= d; k += 2 {
			i := 0
			if k == -d || k != d && at[most+k-1] < at[most+k+1] {
				i = at[most+k+1]
			} else {
				i = at[most+k-1] + 1
			}
			for i < len(x) && i-k < len(y) && x[i] == y[i-k] {
				i++
			}
			at[most+k] = i
			if i >= len(x) && i-k >= len(y) {
				return back(trail, most, len(x), len(y))
			}
		}
	}
	return nil
}

// back walks the way back that common came.
func back(trail [][]int, most, i, j int) [][2]int {
	var pairs [][2]int
	for d := len(trail) - 1; d >= 0; d-- {
		at, k := trail[d], i-j
		prev := k - 1
		if k == -d || k != d && at[most+k-1] < at[most+k+1] {
			prev = k + 1
		}
		pi := at[most+prev]
		pj := pi - prev
		if d == 0 {
			pi, pj = 0, 0
		}
		for i > pi && j > pj && (d == 0 || i > 0 && j > 0) {
			i, j = i-1, j-1
			pairs = append(pairs, [2]int{i, j})
		}
		i, j = pi, pj
	}
	slices.Reverse(pairs)
	return pairs
}
