package tui

import (
	"strings"

	"github.com/gdamore/tcell/v2"

	"github.com/netjail/netjail/notifier"
)

// The styles. Nothing is said by a colour alone.
var (
	plain    = tcell.StyleDefault
	bold     = plain.Bold(true)
	reversed = plain.Reverse(true)
	good     = plain.Foreground(tcell.ColorGreen)
	bad      = plain.Foreground(tcell.ColorRed)
	asks     = bold.Foreground(tcell.ColorYellow)
)

// pen writes on one line, up to where it ends.
type pen struct {
	s         tcell.Screen
	x, y, end int
}

// write writes what there is room for; what is cut off ends in "…". It is here
// that all text is made fit to be shown, wherever that is from.
func (p *pen) write(text string, style tcell.Style) {
	text = notifier.Clean(text, len(text))
	for from := p.x; text != "" && p.x < p.end; {
		rest, width := p.s.Put(p.x, p.y, text, style)
		if width == 0 { // nothing to be seen, or not on the screen
			return
		}
		if p.x+width > p.end || rest != "" && p.x+width == p.end {
			p.s.Put(max(from, p.end-1), p.y, "…", style)
			p.x = p.end
			return
		}
		p.x += width
		text = rest
	}
}

// fill writes spaces to the end.
func (p *pen) fill(style tcell.Style) {
	for ; p.x < p.end; p.x++ {
		p.s.Put(p.x, p.y, " ", style)
	}
}

// cell writes a column's text, and spaces to its width.
func (p *pen) cell(c *column, text string, style tcell.Style) {
	q := pen{p.s, p.x, p.y, min(p.x+c.width, p.end)}
	if n, ok := ascii(text); ok {
		switch {
		case c.name && n > c.width:
			rest := strings.TrimLeft(text, " ")
			q.write(text[:n-len(rest)]+"…", style)
			text = text[min(n, n-(c.width-n+len(rest)-1)):]
		case c.right:
			gap := pen{p.s, p.x, p.y, min(p.x+max(0, c.width-n), q.end)}
			gap.fill(style)
			q.x = gap.end
		}
	}
	q.write(text, style)
	q.fill(style)
	p.x = q.end
}

// ascii returns how long a text is, if each of its bytes is a character.
func ascii(s string) (int, bool) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return 0, false
		}
	}
	return len(s), true
}
