package proposal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// firstPassing is the first of the ports that the kernel chooses from by itself
// (ip_local_port_range): the next run has another one.
const firstPassing = 32768

// evidence is what speaks for a rule.
type evidence struct {
	seen  []*Observation
	found []Lookup // that was used for nothing

	hosts   []string // that a domain stands for
	at      []string // addresses on this machine's networks that a public name has
	unnamed bool     // an address that was used when it had no name
	passing bool     // a port of the kernel's choice
}

// join adds what else speaks for the same rule. One address may speak for
// several names of a domain.
func (e *evidence) join(o evidence) {
	e.seen = union(e.seen, o.seen)
	e.found = append(e.found, o.found...)
	e.hosts, e.at = union(e.hosts, o.hosts), union(e.at, o.at)
	e.unnamed, e.passing = e.unnamed || o.unnamed, e.passing || o.passing
}

func union[T comparable](to, from []T) []T {
	for _, v := range from {
		if !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	return to
}

// maxListed is how many hosts or programs a note names.
const maxListed = 4

// note says what a rule is made from.
func (e *evidence) note() string {
	var parts []string
	if len(e.hosts) > 0 {
		parts = append(parts, "for "+listed(e.hosts))
	}
	if len(e.at) > 0 {
		parts = append(parts, "a public name of "+listed(e.at))
	}
	if e.unnamed {
		parts = append(parts, "no name known")
	}
	if e.unnamed && len(e.seen) == 1 && e.seen[0].Count == 1 {
		parts = append(parts, "seen once")
	}
	if e.passing {
		parts = append(parts, "a port of the kernel's choice, another one next time")
	}
	return strings.Join(append(parts, e.what()), "; ")
}

// what says how often, by whom and when.
func (e *evidence) what() string {
	var calls [rules.Listen + 1]int
	var programs []string
	var when period
	for _, o := range e.seen {
		calls[o.Op] += o.Count
		programs = union(programs, o.Programs)
		when.extend(o.First, o.Last)
	}
	lookups := 0
	for _, l := range e.found {
		lookups += l.Count
		when.extend(l.First, l.Last)
	}
	var counts []string
	for op, n := range calls {
		if n > 0 {
			counts = append(counts, counted(n, rules.Op(op).String()))
		}
	}
	if lookups > 0 {
		counts = append(counts, "only looked up, "+counted(lookups, "time"))
	}
	text := strings.Join(counts, ", ")
	if len(programs) > 0 {
		text += " by " + listed(programs)
	}
	return text + ", " + when.String()
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// listed joins the first parts of a list, and says how many more there are. It
// sorts the list: what was seen first does not matter.
func listed(list []string) string {
	slices.Sort(list)
	if n := len(list) - maxListed; n > 0 {
		return strings.Join(list[:maxListed], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

// period is when something was first and last.
type period struct{ first, last time.Time }

func (p *period) extend(first, last time.Time) {
	if p.first.IsZero() || first.Before(p.first) {
		p.first = first
	}
	if last.After(p.last) {
		p.last = last
	}
}

func (p *period) String() string {
	const day, clock = "2 Jan 2006", "15:04"
	from := p.first.Format(day + " " + clock)
	switch to := p.last.Format(day + " " + clock); {
	case to == from:
		return from
	case p.first.Format(day) == p.last.Format(day):
		return from + " to " + p.last.Format(clock)
	default:
		return from + " to " + to
	}
}
