package terminal

import (
	"strings"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

const (
	defaultWidth = 80
	minWidth     = 20

	bold  = "\x1b[1m"
	reset = "\x1b[0m"

	cursor = "> "
)

// render draws a question for a terminal of that many columns. The cursor's
// line comes below it.
func render(q notifier.Question, width int, color bool, now time.Time) string {
	width = max(width, minWidth)
	var b strings.Builder
	b.WriteString("\n")
	for _, line := range wrap("netjail: "+q.Headline(), width) {
		if color {
			line = bold + line + reset
		}
		b.WriteString(line + "\n")
	}
	for _, line := range body(q, width, now) {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// body returns the lines below the headline. Only what programs can make long
// is cut; the destination, the rules and the keys are wrapped.
func body(q notifier.Question, width int, now time.Time) []string {
	lines := []string{}
	about := "  " + q.Where() + " · " + q.Who()
	if columns(about) > width {
		lines = append(lines, wrap("  "+q.Where(), width)...)
		about = "  " + q.Who()
	}
	lines = append(lines, cut(about, width))
	if background := q.Background(); background != "" {
		lines = append(lines, cut("  "+background, width))
	}
	if q.Waiting > 1 {
		lines = append(lines, cut("  "+q.Calls(), width))
	}
	if rows := wide(q, now); fits(rows, width) {
		return append(lines, rows...)
	}
	rows := medium(q, now)
	if !fits(rows[:2], width) {
		rows = narrow(q, now)
	}
	for _, row := range rows {
		lines = append(lines, wrap(row, width)...)
	}
	return lines
}

// wide lays the choices out in two aligned rows.
func wide(q notifier.Question, now time.Time) []string {
	allow, deny := keyed(q)
	allow[len(allow)-1] += ": " + q.RuleText(rules.Allow)
	return align(allow, append(deny, q.Countdown(now)))
}

// medium has the rule and the countdown below the two rows.
func medium(q notifier.Question, now time.Time) []string {
	return append(align(keyed(q)),
		"  always writes: "+q.RuleText(rules.Allow)+" (or deny)",
		"  "+q.Countdown(now))
}

// narrow has one choice a line.
func narrow(q notifier.Question, now time.Time) []string {
	allow, deny := keyed(q)
	allow = append(append(allow, deny...),
		"always writes: "+q.RuleText(rules.Allow)+" (or deny)", q.Countdown(now))
	for i := range allow {
		allow[i] = "  " + allow[i]
	}
	return allow
}

// offers are the answers that have a key.
var offers = []offer{
	{'a', rules.Allow, notifier.Host, rules.Lifetime{Kind: rules.Once}},
	{'e', rules.Allow, notifier.Host, rules.Lifetime{Kind: rules.UntilExit}},
	{'A', rules.Allow, notifier.Host, rules.Lifetime{Kind: rules.Always}},
	{'d', rules.Deny, notifier.Host, rules.Lifetime{Kind: rules.Once}},
	{'D', rules.Deny, notifier.Host, rules.Lifetime{Kind: rules.Always}},
	{'w', rules.Allow, notifier.Domain, rules.Lifetime{Kind: rules.Always}},
}

type offer struct {
	key     byte
	verdict rules.Verdict
	scope   notifier.Scope
	life    rules.Lifetime
}

func (o offer) choice(q notifier.Question) (notifier.Choice, bool) {
	return q.Choose(o.verdict, o.scope, o.life)
}

// keyed returns the labels of the choices with their keys, those that allow
// and those that deny, the one that lasts last. Behind the latter is more room,
// where the one about a whole domain goes.
func keyed(q notifier.Question) (allow, deny []string) {
	for _, o := range offers {
		c, ok := o.choice(q)
		if !ok {
			continue
		}
		label := "[" + string(o.key) + "] " + c.Label
		if c.Answer.Verdict == rules.Allow && c.Scope == notifier.Host {
			allow = append(allow, label)
		} else {
			deny = append(deny, label)
		}
	}
	return allow, deny
}

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
