package rules

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestShadowedNeverDecides: what is called shadowed decides nothing, whatever is
// asked, now or later.
func TestShadowedNeverDecides(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	dests := randomDestinations(t)
	const sets, requests = 1500, 60
	claimed, decided := 0, 0
	for n := range sets {
		list := make([]Rule, r.IntN(300))
		for i := range list {
			list[i] = randomRule(r, dests)
		}
		s := NewSet(list)
		shadowed := map[*Rule]*Rule{}
		for _, sh := range Shadowed(s.rules, epoch) {
			shadowed[sh.Rule] = sh.By
			claimed++
		}
		for range requests {
			q := randomRequest(r)
			now := epoch.Add(time.Duration(r.IntN(3)))
			d := s.Decide(q, now)
			if d.Rule != nil {
				decided++
			}
			if by := shadowed[d.Rule]; by != nil {
				t.Fatalf("set %d, %+v: decided by %s, said to be shadowed by %s", n, q, show(d.Rule), show(by))
			}
		}
	}
	if claimed < sets/2 || decided < sets {
		t.Errorf("%d rules shadowed, %d decisions: the test is too thin", claimed, decided)
	}
}

func TestShadowed(t *testing.T) {
	set := func(list ...Rule) string {
		got := ""
		for _, s := range Shadowed(list, epoch) {
			got += s.Rule.Verdict.String() + " " + s.Rule.Dest.String() + " by " + s.By.Verdict.String() + " " + s.By.Dest.String() + "; "
		}
		return got
	}
	local := func(r *Rule) { r.Local = true }
	ends := func(r *Rule) { r.Expires = epoch.Add(time.Hour) }
	off := func(r *Rule) { r.Disabled = true }
	for _, tc := range []struct{ got, want string }{
		{set(rule(t, Allow, "a.org:443"), rule(t, Deny, "a.org:443")), "allow a.org:443 by deny a.org:443; "},
		{set(rule(t, Allow, "*.a.org"), rule(t, Deny, ".a.org")), "allow *.a.org by deny .a.org; "},
		{set(rule(t, Allow, "fe80::1%eth0"), rule(t, Deny, "fe80::1")), "allow fe80::1%eth0 by deny fe80::1; "},
		{set(rule(t, Allow, ".a.org"), rule(t, Deny, "*.a.org")), ""},
		{set(rule(t, Allow, "a.org:443"), rule(t, Deny, "a.org")), ""},
		{set(rule(t, Allow, "a.org"), rule(t, Deny, "@any")), ""},
		{set(rule(t, Allow, "a.org", everyApp), rule(t, Deny, "a.org")), ""},
		{set(rule(t, Allow, "a.org"), rule(t, Deny, "a.org", ends)), ""},
		{set(rule(t, Allow, "a.org"), rule(t, Deny, "a.org", off)), ""},
		{set(rule(t, Allow, "a.org", ends), rule(t, Deny, "a.org")), "allow a.org by deny a.org; "},
		{set(rule(t, Allow, "a.org"), rule(t, Allow, "a.org", local)), ""},
		{set(rule(t, Allow, "a.org", local), rule(t, Allow, "a.org")), "allow a.org by allow a.org; "},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
