package rules

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"time"
)

// Shadow is a rule that never decides, and the one that always comes before it.
type Shadow struct {
	Rule, By *Rule
}

// Shadowed returns the rules that can never decide, because one other rule
// speaks of every request that they speak of, comes before them, and lasts as
// long: in the order of a Set of these rules. It claims only what is certain: a
// rule that several others cover together is not found. Disabled and expired
// rules are neither.
func Shadowed(rules []Rule, now time.Time) []Shadow {
	// Sorted by a hash of their extents, rules of the same extent stand beside
	// each other. A map of keys as large as extents takes three times as long.
	type place struct {
		hash uint64 // of the extent
		i    int    // in rules
	}
	seed := maphash.MakeSeed()
	places := make([]place, 0, len(rules))
	for i := range rules {
		if rules[i].Active(now) {
			places = append(places, place{maphash.Comparable(seed, extentOf(&rules[i])), i})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.hash, b.hash), a.i-b.i) })
	by := make(map[int]int)
	for len(places) > 0 {
		n := 1
		for n < len(places) && places[n].hash == places[0].hash {
			n++
		}
		for _, p := range places[:n] {
			for _, o := range places[:n] {
				if o.i != p.i && shadows(rules, o.i, p.i) {
					by[p.i] = o.i
					break
				}
			}
		}
		places = places[n:]
	}
	var list []Shadow
	for _, i := range slices.Sorted(maps.Keys(by)) {
		list = append(list, Shadow{&rules[i], &rules[by[i]]})
	}
	return list
}

// shadows says whether the rule with the number o is always before the one with
// the number i.
func shadows(rules []Rule, o, i int) bool {
	before, after := &rules[o], &rules[i]
	e := entry{rankOf(after), i, after}
	return extentOf(before) == extentOf(after) && (&entry{rankOf(before), o, before}).before(&e) && before.hides(after)
}

// extent is what two rules have in common of which one may be in front of the
// other everywhere: a narrower host leaves something over, and a wider one comes
// after.
type extent struct {
	scope scope
	host  Host // up to its spelling
	ports Ports
	proto Proto
	exe   string
}

func extentOf(r *Rule) extent {
	return extent{scope{r.App, r.Dest.Listen}, alike(r.Dest.Host), r.Dest.Ports, r.Dest.Proto, r.Exe}
}

// alike is the host that two hosts have in common of which one may cover the
// other and be as narrow.
func alike(h Host) Host {
	h.Apex = false
	if h.Kind == HostAddr {
		h.Addr = h.Addr.WithZone("")
	}
	return h
}

// hides says whether o speaks whenever r does, where their hosts are alike and
// all else but the verdict is equal.
func (o *Rule) hides(r *Rule) bool {
	a, b := o.Dest.Host, r.Dest.Host
	switch {
	case a != b && !(a.Kind == HostSuffix && a.Apex) && !(a.Kind == HostAddr && a.Addr.Zone() == ""):
		return false
	case !o.Expires.IsZero() && (r.Expires.IsZero() || o.Expires.Before(r.Expires)):
		return false
	case o.Jail != "" && o.Jail != r.Jail:
		return false
	}
	// An allow of a public name does not speak inside unless it is local.
	return o.Verdict != Allow || o.Local || !r.Local && r.Verdict == Allow
}
