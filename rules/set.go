package rules

import (
	"slices"
	"time"
)

// Decision is the answer of a Set.
type Decision struct {
	Verdict Verdict
	Rule    *Rule  // the rule that decided, not to be changed; nil if none spoke
	Why     string // a short constant text
}

// Set is an immutable set of rules.
//
// The most specific rule decides. What makes a rule specific, the first
// difference counts:
//
//  1. the host: an exact address, name or AF_UNIX socket before a prefix or a
//     wildcard name, before a class, before @any. Of two prefixes the longer
//     comes first, of two wildcard names the one with more labels. A prefix
//     and a wildcard name tie: the best prefix rule and the best wildcard rule
//     are then compared by what follows;
//  2. the ports: one port before several, fewer before more, all ports last;
//  3. a protocol before any protocol;
//  4. an executable before none;
//  5. one app before all apps.
//
// A public name that has an address of this machine or its networks is not
// allowed by its name: whoever runs the name server would say what is reached
// there (DNS rebinding). A rule with Local allows it, and so do rules of the
// address. Names that are never public, such as nas.local, and the machine's
// own are none of these.
//
// Among equals a run's own rules come first, then Deny before Ask before
// Allow. Disabled and expired rules do not speak. Where none speaks the answer
// is Ask, and Allow for an AF_UNIX socket.
type Set struct {
	rules   []Rule
	indexes map[scope]*index // nil in a zero Set, which denies like a nil one
}

// What a Decision says when no rule's own verdict is the answer.
const (
	whyRule     = "rule"
	whyNoRule   = "no rule"
	whyLocal    = "local socket, no rule"
	whyMetadata = "cloud metadata needs a rule that names its address"
	whyNoSet    = "no rule set"
	whyBad      = "malformed request"
)

// NewSet returns the set of the rules. The caller leaves out rules that hold
// in another jail, see Rule.HoldsIn.
func NewSet(rules []Rule) *Set {
	s := &Set{rules: slices.Clone(rules), indexes: make(map[scope]*index)}
	for i := range s.rules {
		r := &s.rules[i]
		k := scope{r.App, r.Dest.Listen}
		x := s.indexes[k]
		if x == nil {
			x = newIndex()
			s.indexes[k] = x
		}
		x.add(entry{rankOf(r), i, r})
	}
	for _, x := range s.indexes {
		x.sort()
	}
	return s
}

// Rules returns a copy of the rules, in the order given to NewSet.
func (s *Set) Rules() []Rule {
	if s == nil {
		return nil
	}
	return slices.Clone(s.rules)
}

// Decide answers a request. It neither allocates nor formats. A nil Set and a
// malformed request are denied.
//
// When the address has several names each is decided by itself, with the
// address rules competing every time, and the answer that refuses most wins.
func (s *Set) Decide(r *Request, now time.Time) Decision {
	d, _ := s.decide(r, now)
	return d
}

// decide is Decide that also tells under which name the address was decided:
// its number, or unnamed.
func (s *Set) decide(r *Request, now time.Time) (Decision, int) {
	if s == nil || s.indexes == nil {
		return Decision{Deny, nil, whyNoSet}, unnamed
	}
	l := newLookup(s, r, now)
	if r.Unix != "" {
		return l.unix(), unnamed
	}
	if !l.addr.IsValid() || r.Proto == AnyProto || r.Proto > ICMP || r.Op > Listen {
		return Decision{Deny, nil, whyBad}, unnamed
	}
	l.exact = l.each(byAddr, "")
	if len(r.Names) == 0 {
		return l.decide(""), unnamed
	}
	worst, by := l.under(0), 0
	for i := range r.Names[1:] {
		if d := l.under(i + 1); severity(d.Verdict) > severity(worst.Verdict) {
			worst, by = d, i+1
		}
	}
	return worst, by
}

// unnamed is the number of no name.
const unnamed = -1
