package rules

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// reference decides like Set, from its documentation, by looking at every rule.
func reference(list []Rule, q *Request, now time.Time) (Verdict, int) {
	if q.Unix != "" {
		if i := refBest(list, refSpeaking(list, q, "", now, false)); i >= 0 {
			return list[i].Verdict, i
		}
		return Allow, -1
	}
	names := q.Names
	if len(names) == 0 {
		names = []string{""}
	}
	verdict, by, first := Allow, -1, true
	for n, name := range names {
		i := refBest(list, refSpeaking(list, q, name, now, refForeign(q, n, name)))
		v := Ask
		if i >= 0 {
			v = list[i].Verdict
		}
		if q.Op != Listen && refMetadata(q.Addr.Addr()) && (i < 0 || list[i].Dest.Host.Kind != HostAddr) {
			v, i = Deny, -1
		}
		if first || refSeverity(v) > refSeverity(verdict) {
			verdict, by, first = v, i, false
		}
	}
	return verdict, by
}

func refMetadata(a netip.Addr) bool {
	return slices.Contains([]string{"169.254.169.254", "fd00:ec2::254"}, a.String())
}

func refSeverity(v Verdict) int { return map[Verdict]int{Allow: 0, Ask: 1, Deny: 2}[v] }

// refForeign: a public name at an address of this machine or its networks.
func refForeign(q *Request, n int, name string) bool {
	c := ClassOf(q.Addr.Addr())
	private := c == LAN || c == Localhost || c == Internet && refMetadata(q.Addr.Addr())
	return private && n >= q.Own && strings.Contains(name, ".") && !strings.HasSuffix(name, ".lan")
}

func refSpeaking(list []Rule, q *Request, name string, now time.Time, foreign bool) []int {
	var found []int
	for i := range list {
		r := &list[i]
		d := r.Dest
		ok := (r.App == "" || r.App == q.App) && (r.Exe == "" || r.Exe == q.Exe) &&
			!r.Disabled && (r.Expires.IsZero() || r.Expires.After(now)) &&
			d.Listen == (q.Op == Listen) && (d.Proto == AnyProto || d.Proto == q.Proto) &&
			(d.Ports == Ports{} || q.Proto != ICMP && slices.ContainsFunc(d.Ports.Ranges(), func(p PortRange) bool {
				return p.First <= q.Addr.Port() && q.Addr.Port() <= p.Last
			})) && refHost(d.Host, q, name) &&
			!(foreign && r.Verdict == Allow && !r.Local && (d.Host.Kind == HostName || d.Host.Kind == HostSuffix))
		if ok {
			found = append(found, i)
		}
	}
	return found
}

func refHost(h Host, q *Request, name string) bool {
	if q.Unix != "" || h.Kind == HostUnix {
		return h.Kind == HostUnix && h.Name == q.Unix
	}
	a := q.Addr.Addr()
	switch h.Kind {
	case HostAny:
		return true
	case HostClass:
		return !a.IsUnspecified() && ClassOf(a) == h.Class
	case HostPrefix:
		return !a.IsUnspecified() && h.Prefix.Contains(a.WithZone(""))
	case HostSuffix:
		return strings.HasSuffix(name, "."+h.Name) || h.Apex && name == h.Name
	case HostName:
		return name == h.Name
	case HostAddr:
		return a == h.Addr || a.WithZone("") == h.Addr
	}
	return false
}

// refBest finds the best prefix rule and the best wildcard rule by host first,
// then the best of what is left without looking at how narrow those two are.
func refBest(list []Rule, speaking []int) int {
	left := []int{}
	narrowest := map[HostKind]int{}
	for _, i := range speaking {
		k := list[i].Dest.Host.Kind
		if k != HostPrefix && k != HostSuffix {
			left = append(left, i)
			continue
		}
		if o, ok := narrowest[k]; !ok || refCompare(&list[i], &list[o], true) < 0 {
			narrowest[k] = i
		}
	}
	for _, i := range narrowest {
		left = append(left, i)
	}
	slices.Sort(left)
	best := -1
	for _, i := range left {
		if best < 0 || refCompare(&list[i], &list[best], false) < 0 {
			best = i
		}
	}
	return best
}

// refCompare is negative if a comes before b.
func refCompare(a, b *Rule, narrow bool) int {
	tier := func(r *Rule) int {
		return map[HostKind]int{HostAny: 0, HostClass: 1, HostPrefix: 2, HostSuffix: 2, HostAddr: 3, HostName: 3, HostUnix: 3}[r.Dest.Host.Kind]
	}
	sub := func(r *Rule) int {
		if !narrow {
			return 0
		}
		return max(r.Dest.Host.Prefix.Bits(), 0) + strings.Count(r.Dest.Host.Name, ".")
	}
	ports := func(r *Rule) int {
		if r.Dest.Ports.All() {
			return 1 << 20
		}
		return r.Dest.Ports.Count()
	}
	given := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(tier(b), tier(a)),
		cmp.Compare(sub(b), sub(a)),
		cmp.Compare(ports(a), ports(b)),
		cmp.Compare(given(b.Dest.Proto != AnyProto), given(a.Dest.Proto != AnyProto)),
		cmp.Compare(given(b.Exe != ""), given(a.Exe != "")),
		cmp.Compare(given(b.App != ""), given(a.App != "")),
		cmp.Compare(given(b.Run), given(a.Run)),
		cmp.Compare(refSeverity(b.Verdict), refSeverity(a.Verdict)),
	)
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func randomRule(r *rand.Rand, dests []Destination) Rule {
	return Rule{
		App:      pick(r, "", "a", "a", "b"),
		Verdict:  pick(r, Deny, Allow, Ask),
		Dest:     pick(r, dests...),
		Exe:      pick(r, "", "", "/x", "/y"),
		Run:      r.IntN(4) == 0,
		Local:    r.IntN(3) == 0,
		Disabled: r.IntN(8) == 0,
		Expires:  pick(r, time.Time{}, time.Time{}, epoch.Add(-1), epoch, epoch.Add(1)),
	}
}

// randomDestinations returns every combination of a few hosts, protocols and
// ports, chosen so that many speak of the same request.
func randomDestinations(t *testing.T) []Destination {
	var dests []Destination
	hosts := []string{"10.1.2.3", "10.1.2.0/24", "10.0.0.0/8", "0.0.0.0/0", "@lan", "@any", "@localhost", "@multicast",
		"@internet", "127.0.0.1", "[::1]", "[fe80::1]", "[fe80::1%eth0]", "[fe80::/10]", "[::/0]", "169.254.169.254", "169.254.0.0/16",
		"[fd00:ec2::254]", "0.0.0.0", "[::]"}
	names := []string{"x.a.org", "a.org", "*.a.org", ".a.org", "*.x.a.org", ".x.a.org", "b.org", ".b.org"}
	for _, scheme := range []string{"", "tcp://", "udp://", "icmp://", "listen://", "listen+tcp://"} {
		for _, ports := range []string{"", ":443", ":80,443", ":400-500", ":1-65535"} {
			all := hosts
			if !strings.HasPrefix(scheme, "listen") {
				all = slices.Concat(hosts, names)
			}
			if scheme == "icmp://" && ports != "" {
				continue
			}
			for _, h := range all {
				dests = append(dests, mustDest(t, scheme+h+ports))
			}
		}
	}
	return append(dests, Destination{}, mustDest(t, "unix:/x"), mustDest(t, "unix:/x"), mustDest(t, "unix:@x"))
}

func randomRequest(r *rand.Rand) *Request {
	q := &Request{App: pick(r, "a", "b", "c", ""), Exe: pick(r, "/x", "/z"), Op: pick(r, Connect, Send, Listen), Proto: pick(r, TCP, TCP, UDP, ICMP)}
	if r.IntN(10) == 0 {
		q.Unix = pick(r, "/x", "/y", "@x")
		return q
	}
	addr := pick(r, "10.1.2.3", "10.1.2.4", "10.9.9.9", "127.0.0.1", "::1", "fe80::1%eth0", "fe80::1%eth1", "fe80::1", "2001:db8::1",
		"8.8.8.8", "169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.251")
	q.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), pick[uint16](r, 80, 443, 443, 450, 9999))
	if q.Op != Listen {
		q.Addr = Canonical(q.Addr)
	}
	for range r.IntN(4) {
		q.Names = append(q.Names, pick(r, "x.a.org", "a.org", "y.x.a.org", "b.org", "c.org"))
	}
	q.Own = r.IntN(2)
	return q
}

func TestDecideAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dests := randomDestinations(t)
	const sets, requests = 2500, 40
	spoken := 0
	for n := range sets {
		list := make([]Rule, r.IntN(250))
		for i := range list {
			list[i] = randomRule(r, dests)
		}
		s := NewSet(list)
		for range requests {
			q := randomRequest(r)
			want, by := reference(list, q, epoch)
			got := s.Decide(q, epoch)
			var wantRule *Rule
			if by >= 0 {
				wantRule = &s.rules[by]
				spoken++
			}
			if got.Verdict != want || got.Rule != wantRule {
				t.Fatalf("set %d, %+v:\ngot  %v %s\nwant %v %s", n, q, got.Verdict, show(got.Rule), want, show(wantRule))
			}
		}
	}
	if spoken < sets*requests/4 {
		t.Errorf("a rule spoke in %d of %d cases: the test is too thin", spoken, sets*requests)
	}
}

func show(r *Rule) string {
	if r == nil {
		return "no rule"
	}
	return fmt.Sprintf("%v %s app=%q exe=%q run=%v", r.Verdict, r.Dest, r.App, r.Exe, r.Run)
}
