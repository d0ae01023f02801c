// Package proposal writes the rules that allow what a run was seen to do: as
// few as can be, for people to read, and hardly wider than what was seen.
//
//	s := proposal.Sight{App: "npm", Seen: seen, Domain: names.Domain}
//	p := s.Propose(time.Now())
//	f, err := file.Append(p.Add...)
//
// A name stands for its addresses, and several ports of a host are one rule. The
// only thing that is wider than what was seen is a domain in place of three of
// its hosts or more that were used alike. Each rule's note says what it is made
// from. The package is pure: it looks nothing up, and writes no file.
package proposal

import (
	"net/netip"
	"slices"
	"time"

	"github.com/netjail/netjail/rules"
)

// Observation is a destination that a program was let through to.
type Observation struct {
	Op          rules.Op
	Proto       rules.Proto
	Addr        netip.AddrPort // as in a rules.Request
	Unix        string         // as in a rules.Request
	Names       []string       // of Addr, all that may count when it is used again
	Own         int            // how many of Names, from the first, are the machine's own
	Bare        bool           // a call was made when no name was known
	Self        bool           // as in a rules.Request
	Programs    []string       // that made the calls, fit to be shown
	Count       int            // of the calls
	First, Last time.Time      // in the zone that people read
}

// Lookup is a name that was looked up, and that there is something about.
type Lookup struct {
	Name        string
	Count       int
	First, Last time.Time
}

// Sight is what was seen of a run.
type Sight struct {
	App   string
	Seen  []Observation
	Found []Lookup

	// Domain returns the domain that somebody registered and that a name is
	// below; nil: no name is below any.
	Domain func(name string) (domain string, ok bool)

	// Have are rules that there are already, and that shall stay as they are.
	Have []rules.Rule
}

// Proposal is what a Sight comes to.
type Proposal struct {
	Add   []rules.Rule // sorted
	There int          // how many of the rules that there are were of use

	// Unmet are destinations that stay refused because a rule that there is
	// refuses them, or asks.
	Unmet []rules.Destination
}

// Propose returns the rules that are missing.
func (s *Sight) Propose(now time.Time) Proposal {
	seen := s.gathered()
	have := rules.NewSet(s.Have)
	used := make(map[rules.Destination]bool)
	var b builder
	for i := range seen {
		o := &seen[i]
		r := o.request(s.App)
		// A socket that no rule speaks of may be one that needs a rule.
		if d := have.Decide(&r, now); d.Verdict == rules.Allow && d.Rule != nil {
			used[d.Rule.Dest] = true
			if s.reaches(have, o, now) {
				continue
			}
		}
		b.add(s.App, o, now)
	}
	entries := s.collapsed(b.entries())
	entries = s.lookups(entries, now)
	p := Proposal{There: len(used), Add: s.missing(entries, now)}
	p.Unmet = s.unmet(seen, p.Add, now)
	return p
}

// reaches says whether the names of an observation can be looked up.
func (s *Sight) reaches(set *rules.Set, o *Observation, now time.Time) bool {
	if o.Op == rules.Listen || o.Unix != "" {
		return true
	}
	return !slices.ContainsFunc(o.Names[o.Own:], func(name string) bool { return !found(set, s.App, name, now) })
}

// found says whether a jail that asks nobody looks a name up.
func found(set *rules.Set, app, name string, now time.Time) bool {
	d, addressed := set.Lookup(app, name, now)
	return d.Verdict == rules.Allow || d.Verdict == rules.Ask && addressed
}

// request is what the program wanted.
func (o *Observation) request(app string) rules.Request {
	r := rules.Request{App: app, Op: o.Op, Proto: o.Proto, Addr: o.Addr, Unix: o.Unix}
	if o.Op != rules.Listen && o.Unix == "" {
		r.Names, r.Own, r.Self = o.Names, o.Own, o.Self
	}
	return r
}

// missing makes rules of the entries, without those that there are, and without
// those about which another rule says otherwise: it would go before them.
func (s *Sight) missing(entries []entry, now time.Time) (list []rules.Rule) {
	for i := range entries {
		e := &entries[i]
		r := rules.Rule{App: s.App, Verdict: rules.Allow, Dest: e.dest, Local: e.local, Note: e.note()}
		if !slices.ContainsFunc(s.Have, func(h rules.Rule) bool {
			return h.Dest == r.Dest && h.Exe == "" && h.Active(now) && (h.Verdict != rules.Allow || h.Local || !r.Local)
		}) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, order)
	return list
}

// unmet returns what is not allowed by the rules that there are and those added.
func (s *Sight) unmet(seen []Observation, add []rules.Rule, now time.Time) (list []rules.Destination) {
	set := rules.NewSet(slices.Concat(s.Have, add))
	for i := range seen {
		r := seen[i].request(s.App)
		if set.Decide(&r, now).Verdict == rules.Allow && s.reaches(set, &seen[i], now) {
			continue
		}
		d := r.Destination()
		if n := len(r.Names); n > 0 {
			r.Names, r.Own = r.Names[n-1:], 0
			if named, ok := r.NamedDestination(); ok {
				d = named
			}
		}
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}
