package rules

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Explanation is a Decision, and what became of the rules that did not make it.
type Explanation struct {
	Decision
	Name string // of the request's names, the one that the address was decided under; "": it has none
	Lost []Lost // rules that spoke, the best first, then those that nearly did
}

// Lost is a rule that did not decide.
type Lost struct {
	Rule   *Rule
	Reason Reason
	To     *Rule // the rule that came before it; nil if none did
}

// Explain decides as Decide does, by the same lookup, and says why each other
// rule that speaks of the request, or nearly does, did not decide. A rule nearly
// speaks if it would with one thing changed that people mistake: it is disabled,
// say, or of another port. It is for people: it looks at every rule.
func (s *Set) Explain(q *Request, now time.Time) Explanation {
	d, by := s.decide(q, now)
	x := Explanation{Decision: d}
	if by != unnamed {
		x.Name = q.Names[by]
	}
	if s == nil || d.Why == whyNoSet || d.Why == whyBad {
		return x
	}
	for i := range s.rules {
		if r := &s.rules[i]; r != d.Rule {
			if l, ok := s.lost(q, r, i, by, &d, now); ok {
				x.Lost = append(x.Lost, l)
			}
		}
	}
	slices.SortStableFunc(x.Lost, func(a, b Lost) int {
		return cmp.Or(
			cmp.Compare(bit(a.Reason >= firstNear), bit(b.Reason >= firstNear)),
			cmp.Compare(rankOf(b.Rule), rankOf(a.Rule)),
		)
	})
	return x
}

// lost says why r, of this place in the set, did not decide. ok is false if it
// has nothing to do with the request.
func (s *Set) lost(q *Request, r *Rule, order, by int, d *Decision, now time.Time) (l Lost, ok bool) {
	l.Rule = r
	if !speaks(q, r, by, now) {
		l.Reason = near(q, r, by, now)
		return l, l.Reason != notNear
	}
	l.To = d.Rule
	switch {
	case d.Rule == nil:
		l.Reason = NotNamed // only a metadata address is decided with rules that speak, and by none
		return l, true
	case crosses(r, d.Rule):
		// Its host is compared with the best rule of its own kind, see Set.
		if best := s.bestOf(q, r.Dest.Host.Kind, by, now); best != nil && best.rule != r {
			l.To = best.rule
		}
	}
	l.Reason = behind(&entry{rankOf(l.To), s.order(l.To), l.To}, &entry{rankOf(r), order, r})
	return l, true
}

func (s *Set) order(r *Rule) int {
	for i := range s.rules {
		if &s.rules[i] == r {
			return i
		}
	}
	return len(s.rules)
}

// crosses says whether one rule is of a prefix and the other of a wildcard.
func crosses(a, b *Rule) bool {
	k, o := a.Dest.Host.Kind, b.Dest.Host.Kind
	return k == HostPrefix && o == HostSuffix || k == HostSuffix && o == HostPrefix
}

// bestOf finds the best rule of one kind of host.
func (s *Set) bestOf(q *Request, kind HostKind, by int, now time.Time) *entry {
	l := newLookup(s, q, now)
	name := l.name(by)
	if kind == HostPrefix {
		return l.each(byPrefix, "")
	}
	return l.each(bySuffix, name)
}

// speaks says whether the rule, alone in a set, would be the one to decide about
// the address under the name with this number.
func speaks(q *Request, r *Rule, by int, now time.Time) bool {
	if r.App != "" && r.App != q.App || r.Dest.Listen != (q.Op == Listen) {
		return false
	}
	x := newIndex()
	x.add(entry{rankOf(r), 0, r})
	l := newLookup(&Set{}, q, now)
	l.shared = x
	if q.Unix != "" {
		return l.each(byUnix, q.Unix) != nil
	}
	l.exact = l.each(byAddr, "")
	return l.best(l.name(by)) != nil
}

// near says what keeps a rule from speaking of a request: the first difference
// without which it would, taking every later one away too.
func near(q *Request, r *Rule, by int, now time.Time) Reason {
	c := *r
	c.App, c.Disabled, c.Expires, c.Dest.Proto, c.Dest.Ports, c.Exe, c.Local = q.App, false, time.Time{}, AnyProto, Ports{}, "", true
	if !speaks(q, &c, by, now) {
		return nearHost(q, &c, by, now)
	}
	switch {
	case r.App != "" && r.App != q.App:
		// Another app's rule is of interest if it says just what is asked for.
		if c = *r; hostTier(r.Dest.Host.Kind) < 3 {
			return notNear
		}
		if c.App = q.App; !speaks(q, &c, by, now) {
			return notNear
		}
		return OtherApp
	case r.Disabled:
		return IsDisabled
	case !r.Active(now):
		return IsExpired
	case r.Dest.Proto != AnyProto && r.Dest.Proto != q.Proto:
		return OtherProto
	case !r.Dest.Ports.All() && (q.Proto == ICMP || !r.Dest.Ports.Has(q.Addr.Port())):
		return OtherPort
	case r.Exe != "" && r.Exe != q.Exe:
		return OtherExe
	}
	return LeadsInside
}

// nearHost tells of hosts that people take for another: *.example.org does not
// cover example.org, nor example.org what is below it; and an address that has
// several names is decided under each of them.
func nearHost(q *Request, c *Rule, by int, now time.Time) Reason {
	for i := range q.Names {
		if i != by && speaks(q, c, i, now) {
			return OtherName
		}
	}
	h, name := c.Dest.Host, ""
	if by != unnamed {
		name = q.Names[by]
	}
	switch {
	case c.Dest.Listen || q.Op == Listen:
	case h.Kind == HostSuffix && h.Name == name:
		return OnlyBelow
	case h.Kind == HostName && strings.Contains(h.Name, ".") && strings.HasSuffix(name, "."+h.Name):
		return NotBelow
	}
	return notNear
}

// behind says by what a comes before b: the first difference of the list on Set.
func behind(a, b *entry) Reason {
	x, y := a.rank, b.rank
	if crosses(a.rule, b.rule) {
		x, y = x.withoutSub(), y.withoutSub()
	}
	differ := x ^ y
	switch {
	case differ>>rankSub != 0:
		return WiderHost
	case differ>>rankPorts != 0:
		return MorePorts
	case differ>>rankProto != 0:
		return AnyProtocol
	case differ>>rankExe != 0:
		return AnyExe
	case differ>>rankApp != 0:
		return EveryApp
	case differ>>rankRun != 0:
		return NotOfRun
	case differ != 0:
		return Milder
	}
	return Twice
}
