package rulefile

import (
	"bytes"
	"slices"
	"strings"

	"github.com/netjail/netjail/rules"
)

// lineStart returns where the line of an offset begins.
func lineStart(text []byte, at int) int {
	return bytes.LastIndexByte(text[:at], '\n') + 1
}

// lineEnd returns where the line after that of an offset begins.
func lineEnd(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

func blank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }

// blankBefore says whether the line before a line's start is blank or missing.
func blankBefore(text []byte, start int) bool {
	return start == 0 || blank(text[lineStart(text, start-1):start])
}

// end returns where the last value of the block ends.
func (b *block) end() int { return b.keys[len(b.keys)-1].end }

// cut returns the text without the lines of the block, and without one of the
// two blank lines that would then meet.
func (b *block) cut(text []byte) []byte {
	start, end := lineStart(text, b.header), lineEnd(text, b.end())
	next := lineEnd(text, end)
	if blankBefore(text, start) && blank(text[end:next]) {
		if start > 0 {
			start = lineStart(text, start-1)
		} else {
			end = next
		}
	}
	return slices.Delete(text, start, end)
}

// change is one replacement in a text.
type change struct {
	start, end int
	text       string
}

// replaced returns the text with the block's verdict and optional keys changed
// from those of old to those of r. Values that stay keep their spelling.
func (b *block) replaced(text []byte, old, r *rules.Rule) []byte {
	var changes []change
	var added strings.Builder
	last := b.keys[len(b.keys)-1]
	eol := eolOf(text)
	indent := string(text[lineStart(text, last.start):last.start])
	for _, k := range b.keys {
		if k.verdict && old.Verdict != r.Verdict {
			changes = append(changes, change{k.start, k.keyEnd, r.Verdict.String()})
		}
	}
	for _, f := range fields {
		value := f.value(r)
		i := slices.IndexFunc(b.keys, func(k keyval) bool { return k.name == f.name })
		switch {
		case value == f.value(old):
		case i < 0:
			added.WriteString(indent + f.name + " = " + value + eol)
		case value == "":
			changes = append(changes, b.keys[i].removal(text))
		default:
			changes = append(changes, change{b.keys[i].start, b.keys[i].end, f.name + " = " + value})
		}
	}
	if added.Len() > 0 {
		at := lineEnd(text, last.end)
		if text[at-1] != '\n' {
			changes = append(changes, change{at, at, eol})
		}
		changes = append(changes, change{at, at, added.String()})
	}
	return apply(text, changes)
}

// removal takes a key away with its line, but keeps a comment on that line.
func (k *keyval) removal(text []byte) change {
	start, end := lineStart(text, k.start), lineEnd(text, k.end)
	if blank(text[k.end:end]) {
		return change{start, end, ""}
	}
	rest := text[k.end:end]
	return change{k.start, end - len(bytes.TrimLeft(rest, " \t")), ""}
}

// apply makes the changes, which do not overlap.
func apply(text []byte, changes []change) []byte {
	slices.SortStableFunc(changes, func(a, b change) int { return a.start - b.start })
	var out []byte
	at := 0
	for _, c := range changes {
		out = append(out, text[at:c.start]...)
		out = append(out, c.text...)
		at = c.end
	}
	return append(out, text[at:]...)
}
