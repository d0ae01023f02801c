package proposal

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/netjail/netjail/rules"
)

// enough is how many hosts of a domain make a rule for the domain.
const enough = 3

// collapsed puts a domain in the place of its hosts that were used alike, where
// there are enough of them.
func (s *Sight) collapsed(list []entry) []entry {
	if s.Domain == nil {
		return list
	}
	type group struct {
		domain string
		dest   rules.Destination // without its host
		local  bool
	}
	groups := make(map[group][]int)
	for i := range list {
		e := &list[i]
		domain, ok := s.Domain(e.dest.Host.Name)
		if e.dest.Host.Kind != rules.HostName || !ok {
			continue
		}
		g := group{domain, e.dest, e.local}
		g.dest.Host = rules.Host{}
		groups[g] = append(groups[g], i)
	}
	gone := make(map[int]bool)
	for _, g := range slices.SortedFunc(maps.Keys(groups), func(a, b group) int { return cmp.Compare(groups[a][0], groups[b][0]) }) {
		members := groups[g]
		if len(members) < enough {
			continue
		}
		d := g.dest
		d.Host = rules.Host{Kind: rules.HostSuffix, Name: g.domain, Apex: true}
		wide := entry{dest: d, local: g.local}
		for _, i := range members {
			gone[i] = true
			e := list[i].evidence
			e.hosts = []string{list[i].dest.Host.Name}
			wide.join(e)
		}
		list = append(list, wide)
	}
	kept := list[:0]
	for i := range list {
		if !gone[i] {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// lookups adds rules for the names that were found and used for nothing: where
// nobody is to be asked, a name that no rule speaks of is not looked up. Such a
// rule opens the port of name servers alone, which netjail's resolver answers.
func (s *Sight) lookups(entries []entry, now time.Time) []entry {
	var list []rules.Rule
	for i := range entries {
		list = append(list, rules.Rule{App: s.App, Verdict: rules.Allow, Dest: entries[i].dest, Local: entries[i].local})
	}
	set := rules.NewSet(slices.Concat(s.Have, list))
	var more []entry
	for _, l := range s.Found {
		h, err := rules.ParseHost(l.Name)
		if err != nil || h.Kind != rules.HostName || found(set, s.App, l.Name, now) {
			continue
		}
		d := rules.Destination{Proto: rules.UDP, Host: h, Ports: rules.OnePort(domainPort)}
		more = append(more, entry{dest: d, evidence: evidence{found: []Lookup{l}}})
	}
	return append(entries, s.collapsed(more)...)
}

// domainPort is the port of name servers.
const domainPort = 53
