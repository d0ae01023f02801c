package rules

import "time"

// Shadow is a rule that never decides, and the one that always comes before it.
type Shadow struct {
	Rule, By *Rule
}

// Shadowed returns the rules that can never decide, because one other rule
// speaks of every request that they speak of, comes before them, and lasts as
// long: in the order of a Set of these rules. It claims only what is certain: a rule that several others cover
// together is not found. Disabled and expired rules are neither.
func Shadowed(rules []Rule, now time.Time) []Shadow {
	// Only a rule of the same host, up to its spelling, is in front of another
	// everywhere: a narrower host leaves something over, and a wider one comes
	// after.
	type key struct {
		scope scope
		host  Host
		ports Ports
		proto Proto
		exe   string
	}
	keyOf := func(r *Rule) key {
		return key{scope{r.App, r.Dest.Listen}, alike(r.Dest.Host), r.Dest.Ports, r.Dest.Proto, r.Exe}
	}
	same := make(map[key][]int, len(rules))
	for i := range rules {
		if rules[i].Active(now) {
			k := keyOf(&rules[i])
			same[k] = append(same[k], i)
		}
	}
	var list []Shadow
	for i := range rules {
		r := &rules[i]
		e := entry{rankOf(r), i, r}
		if !r.Active(now) {
			continue
		}
		for _, j := range same[keyOf(r)] {
			o := entry{rankOf(&rules[j]), j, &rules[j]}
			if j != i && o.before(&e) && o.rule.hides(r) {
				list = append(list, Shadow{r, o.rule})
				break
			}
		}
	}
	return list
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
