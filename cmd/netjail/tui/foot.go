package tui

import (
	"slices"
	"strings"
)

// foot writes the keys that do something now.
func (p *painter) foot(y int) {
	m := p.m
	if m.mode != normal {
		p.footLine(m.height-1, m.mode)
		return
	}
	if len(m.asked) > 0 {
		p.footLine(y, normal, partQuestion)
	}
	p.footLine(m.height-1, normal, partList, partElse)
}

// footLine writes those of a mode, of some parts of the help or of all.
func (p *painter) footLine(y int, in mode, parts ...string) {
	w := p.line(y)
	for _, k := range p.m.footKeys(in, parts...) {
		from := w.x
		w.write(k.key, reversed)
		w.write(" ", plain)
		if k.word != "" {
			w.write(k.word+"  ", plain)
		}
		p.frame = append(p.frame, zone{y: y, from: from, to: w.x, key: k.key})
	}
}

// footKey is a key in the footer. One without a word does as the next does.
type footKey struct{ key, word string }

func (m *model) footKeys(in mode, parts ...string) []footKey {
	var keys []footKey
	for _, b := range bindings() {
		if b.mode != in || b.foot == nil || b.off != nil && b.off(m) != "" || len(parts) > 0 && !slices.Contains(parts, b.part) {
			continue
		}
		k := footKey{strings.Fields(b.keys)[0], b.foot(m)}
		if k.word == "" {
			continue
		}
		if n := len(keys); n > 0 && keys[n-1].word == k.word {
			keys[n-1].word = ""
		}
		keys = append(keys, k)
	}
	return keys
}
