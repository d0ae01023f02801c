package rules

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestExplainAgainstDecide: what is explained is what is decided, every rule
// that speaks has a reason for not deciding, and the reason is true.
func TestExplainAgainstDecide(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	dests := randomDestinations(t)
	const sets, requests = 1500, 8
	seen := map[Reason]int{}
	for n := range sets {
		list := make([]Rule, r.IntN(120))
		for i := range list {
			list[i] = randomRule(r, dests)
		}
		s := NewSet(list)
		for range requests {
			q := randomRequest(r)
			slices.Sort(q.Names)
			q.Names = slices.Compact(q.Names) // as a jail knows them
			d, x := s.Decide(q, epoch), s.Explain(q, epoch)
			if x.Decision != d {
				t.Fatalf("set %d, %+v: explained %v %s, decided %v %s", n, q, x.Verdict, show(x.Rule), d.Verdict, show(d.Rule))
			}
			by := unnamed
			for i, name := range q.Names {
				if name == x.Name {
					by = i
					break
				}
			}
			lost := map[*Rule]Lost{}
			for i, l := range x.Lost {
				seen[l.Reason]++
				lost[l.Rule] = l
				if i > 0 && l.Reason < firstNear && x.Lost[i-1].Reason >= firstNear {
					t.Fatalf("set %d, %+v: a rule that spoke comes after one that did not", n, q)
				}
				checkLost(t, s, q, &l, by)
			}
			name := ""
			if by != unnamed {
				name = q.Names[by]
			}
			for _, i := range refSpeaking(s.rules, q, name, epoch, by != unnamed && refForeign(q, by, name)) {
				rule := &s.rules[i]
				if l, ok := lost[rule]; rule != x.Rule && (!ok || l.Reason >= firstNear) {
					t.Fatalf("set %d, %+v: %s speaks, and is explained as %v", n, q, show(rule), l.Reason)
				}
			}
		}
	}
	for why := WiderHost; int(why) < len(reasonWords); why++ {
		if seen[why] == 0 && why != Blocked && why != Reserved { // those are not of rules alone
			t.Errorf("%v was never the reason: the test is too thin", why)
		}
	}
}

// checkLost takes the reason away, and looks whether the rule would have done
// better.
func checkLost(t *testing.T, s *Set, q *Request, l *Lost, by int) {
	t.Helper()
	c := *l.Rule
	switch l.Reason {
	case IsDisabled:
		c.Disabled = false
	case IsExpired:
		c.Expires = epoch.Add(1)
	case OtherApp:
		c.App = q.App
	case OtherProto:
		c.Dest.Proto = q.Proto
	case OtherPort:
		c.Dest.Ports = Ports{}
	case OtherExe:
		c.Exe = q.Exe
	case LeadsInside:
		c.Local = true
	case OtherName, OnlyBelow, NotBelow, NotNamed:
		return
	default:
		if l.To == nil || !l.To.speaksOf(q, epoch) {
			t.Fatalf("%s lost to %s, which does not speak of %+v", show(l.Rule), show(l.To), q)
		}
		k, o := rankOf(l.Rule), rankOf(l.To)
		if crosses(l.Rule, l.To) {
			k, o = k.withoutSub(), o.withoutSub()
		}
		if k > o {
			t.Fatalf("%s lost to %s, which is wider: %v", show(l.Rule), show(l.To), l.Reason)
		}
		return
	}
	if *l.Rule == c {
		t.Fatalf("%s: %v changes nothing", show(l.Rule), l.Reason)
	}
	if speaks(q, l.Rule, by, epoch) {
		t.Fatalf("%s speaks of %+v, and is explained as %v", show(l.Rule), q, l.Reason)
	}
}

func TestExplain(t *testing.T) {
	set := NewSet([]Rule{
		rule(t, Allow, "*.example.org:443"),
		rule(t, Deny, "example.org"),
		rule(t, Allow, "example.org:443,80"),
		rule(t, Allow, "tcp://example.org:22"),
		rule(t, Allow, "@any"),
		rule(t, Deny, "@any:443", everyApp),
		{App: "wget", Verdict: Allow, Dest: mustDest(t, "example.org:443")},
		{App: "wget", Verdict: Allow, Dest: mustDest(t, "@any:443")},
		{App: "app", Verdict: Deny, Dest: mustDest(t, "example.org:443,80")},
		{App: "app", Verdict: Deny, Dest: mustDest(t, "example.org:443"), Disabled: true},
		{App: "app", Verdict: Deny, Dest: mustDest(t, "udp://example.org:443")},
		{App: "app", Verdict: Deny, Dest: mustDest(t, "example.org:443"), Exe: "/bin/y"},
		{App: "app", Verdict: Deny, Dest: mustDest(t, "other.org:443")},
	})
	q := request(Connect, TCP, "192.0.2.7:443", "example.org")
	x := set.Explain(q, epoch)
	if x.Verdict != Deny || x.Rule == nil || x.Rule.Dest.String() != "example.org:80,443" || x.Name != "example.org" {
		t.Fatalf("got %v by %s under %q", x.Verdict, show(x.Rule), x.Name)
	}
	var got []string
	for _, l := range x.Lost {
		got = append(got, l.Rule.App+" "+l.Rule.Verdict.String()+" "+l.Rule.Dest.String()+": "+l.String())
	}
	want := []string{
		"app allow example.org:80,443: as narrow as deny example.org:80,443, and deny comes before allow",
		"app deny example.org: more ports than deny example.org:80,443",
		" deny @any:443: a wider host than deny example.org:80,443",
		"app allow @any: a wider host than deny example.org:80,443",
		"app deny udp://example.org:443: only for udp",
		"app allow tcp://example.org:22: only for port 22",
		"app deny example.org:443: only for /bin/y",
		"app deny example.org:443: disabled",
		"wget allow example.org:443: for wget",
		"app allow *.example.org:443: covers what is below example.org, not itself: .example.org covers both",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestExplainNothing(t *testing.T) {
	var none *Set
	if x := none.Explain(request(Connect, TCP, "192.0.2.7:443"), epoch); x.Verdict != Deny || x.Why != whyNoSet {
		t.Errorf("got %+v", x)
	}
	if x := bigSet(t).Explain(&Request{App: "app"}, epoch); x.Verdict != Deny || x.Why != whyBad {
		t.Errorf("got %+v", x)
	}
}

func BenchmarkExplain(b *testing.B) {
	s := bigSet(b)
	for b.Loop() {
		s.Explain(benchRequests[0].q, epoch)
	}
}
