package rules

import (
	"net/netip"
	"testing"
	"time"
)

// rule makes a rule from a short text: verdict and destination.
func rule(t testing.TB, v Verdict, dest string, more ...func(*Rule)) Rule {
	t.Helper()
	r := Rule{App: "app", Verdict: v, Dest: mustDest(t, dest)}
	for _, f := range more {
		f(&r)
	}
	return r
}

func everyApp(r *Rule) { r.App = "" }
func withExe(r *Rule)  { r.Exe = "/bin/x" }
func ofRun(r *Rule)    { r.Run = true }
func disabled(r *Rule) { r.Disabled = true }
func expired(r *Rule)  { r.Expires = epoch }
func living(r *Rule)   { r.Expires = epoch.Add(time.Second) }

func request(op Op, proto Proto, addr string, names ...string) *Request {
	return &Request{App: "app", Op: op, Proto: proto, Addr: netip.MustParseAddrPort(addr), Names: names, Exe: "/bin/x"}
}

// Every rule of the ladder is more specific than those below it; all speak of
// one request. Rules of one rung tie as hosts and differ only in verdict.
func TestSpecificityLadder(t *testing.T) {
	q := request(Connect, TCP, "10.1.2.3:443", "www.a.example.org")
	q.Own = 1
	ladder := []struct {
		dest string
		more []func(*Rule)
	}{
		{"tcp://10.1.2.3:443", []func(*Rule){withExe, ofRun}},
		{"tcp://10.1.2.3:443", []func(*Rule){withExe}},
		{"tcp://www.a.example.org:443", []func(*Rule){withExe, everyApp}},
		{"tcp://10.1.2.3:443", []func(*Rule){ofRun}},
		{"tcp://www.a.example.org:443", nil},
		{"tcp://10.1.2.3:443", []func(*Rule){everyApp, ofRun}},
		{"tcp://10.1.2.3:443", []func(*Rule){everyApp}},
		{"www.a.example.org:443", nil},
		{"tcp://10.1.2.3:80,443", nil},
		{"tcp://www.a.example.org:400-500", nil},
		{"10.1.2.3:1-65535", nil},
		{"tcp://10.1.2.3", nil},
		{"www.a.example.org", nil},
		{"tcp://10.1.2.0/24:443", nil},
		{"10.1.2.0/24", []func(*Rule){everyApp}},
		{"tcp://10.0.0.0/8:443", []func(*Rule){withExe, ofRun}},
		{"tcp://@lan:443", []func(*Rule){withExe, ofRun}},
		{"@lan:443", nil},
		{"tcp://@lan", nil},
		{"@lan", nil},
		{"tcp://@any:443", []func(*Rule){withExe, ofRun}},
		{"@any", nil},
		{"@any", []func(*Rule){everyApp}},
	}
	for i := range ladder {
		for j := i + 1; j < len(ladder); j++ {
			top := rule(t, Allow, ladder[i].dest, ladder[i].more...)
			low := rule(t, Deny, ladder[j].dest, ladder[j].more...)
			for _, list := range [][]Rule{{top, low}, {low, top}} {
				if got := NewSet(list).Decide(q, epoch); got.Verdict != Allow || got.Why != whyRule {
					t.Errorf("%d %+v against %d %+v: got %v, want the first", i, ladder[i].dest, j, ladder[j].dest, got)
				}
			}
		}
	}
}

func TestDecide(t *testing.T) {
	tcp443 := func(names ...string) *Request { return request(Connect, TCP, "192.0.2.7:443", names...) }
	listen := func(addr string) *Request { return request(Listen, TCP, addr) }
	unix := func(name string) *Request { return &Request{App: "app", Unix: name} }
	meta := func(names ...string) *Request { return request(Connect, TCP, "169.254.169.254:80", names...) }
	for _, tc := range []struct {
		name  string
		rules []Rule
		q     *Request
		want  Verdict
		by    int // index of the rule, -1 for none
		why   string
	}{
		{"no rule", nil, tcp443(), Ask, -1, whyNoRule},
		{"another app's rule", []Rule{{App: "other", Verdict: Allow, Dest: mustDest(t, "@any")}}, tcp443(), Ask, -1, whyNoRule},
		{"every app", []Rule{rule(t, Allow, "@any", everyApp)}, tcp443(), Allow, 0, whyRule},
		{"zero rule", []Rule{{}}, tcp443(), Ask, -1, whyNoRule},
		{"disabled", []Rule{rule(t, Allow, "192.0.2.7", disabled), rule(t, Deny, "@any")}, tcp443(), Deny, 1, whyRule},
		{"expired", []Rule{rule(t, Allow, "192.0.2.7", expired)}, tcp443(), Ask, -1, whyNoRule},
		{"not yet expired", []Rule{rule(t, Allow, "192.0.2.7", living)}, tcp443(), Allow, 0, whyRule},
		{"other port", []Rule{rule(t, Allow, "192.0.2.7:80")}, tcp443(), Ask, -1, whyNoRule},
		{"other protocol", []Rule{rule(t, Allow, "udp://192.0.2.7:443")}, tcp443(), Ask, -1, whyNoRule},
		{"other executable", []Rule{rule(t, Allow, "192.0.2.7", func(r *Rule) { r.Exe = "/bin/y" })}, tcp443(), Ask, -1, whyNoRule},
		{"deny wins", []Rule{rule(t, Ask, "192.0.2.7"), rule(t, Allow, "192.0.2.7"), rule(t, Deny, "192.0.2.7")}, tcp443(), Deny, 2, whyRule},
		{"ask beats allow", []Rule{rule(t, Allow, "192.0.2.7"), rule(t, Ask, "192.0.2.7")}, tcp443(), Ask, 1, whyRule},
		{"run beats deny", []Rule{rule(t, Deny, "192.0.2.7"), rule(t, Allow, "192.0.2.7", ofRun)}, tcp443(), Allow, 1, whyRule},
		{"first of the same", []Rule{rule(t, Deny, "192.0.2.7"), rule(t, Deny, "192.0.2.7")}, tcp443(), Deny, 0, whyRule},
		{"unknown verdict denies", []Rule{rule(t, 9, "192.0.2.7"), rule(t, Allow, "192.0.2.7")}, tcp443(), Deny, 0, whyRule},

		{"name and address tie", []Rule{rule(t, Allow, "192.0.2.7"), rule(t, Deny, "a.org")}, tcp443("a.org"), Deny, 1, whyRule},
		{"wildcard below", []Rule{rule(t, Allow, "*.a.org")}, tcp443("x.y.a.org"), Allow, 0, whyRule},
		{"wildcard not itself", []Rule{rule(t, Allow, "*.a.org")}, tcp443("a.org"), Ask, -1, whyNoRule},
		{"wildcard not a mere suffix", []Rule{rule(t, Allow, "*.a.org")}, tcp443("xa.org"), Ask, -1, whyNoRule},
		{"dot itself", []Rule{rule(t, Allow, ".a.org")}, tcp443("a.org"), Allow, 0, whyRule},
		{"dot below", []Rule{rule(t, Allow, ".a.org")}, tcp443("x.a.org"), Allow, 0, whyRule},
		{"more labels", []Rule{rule(t, Deny, "*.a.org:443"), rule(t, Allow, "*.x.a.org")}, tcp443("y.x.a.org"), Allow, 1, whyRule},
		{"prefix and wildcard tie", []Rule{rule(t, Allow, "192.0.2.0/24"), rule(t, Deny, "*.a.org")}, tcp443("x.a.org"), Deny, 1, whyRule},
		{"prefix with port beats wildcard", []Rule{rule(t, Allow, "192.0.2.0/24:443"), rule(t, Deny, "*.x.a.org")}, tcp443("y.x.a.org"), Allow, 0, whyRule},
		{"wildcard with port beats prefix", []Rule{rule(t, Deny, "192.0.2.0/30"), rule(t, Allow, "*.a.org:443")}, tcp443("y.a.org"), Allow, 1, whyRule},
		{"every name allowed", []Rule{rule(t, Allow, "a.org"), rule(t, Allow, "b.org")}, tcp443("a.org", "b.org"), Allow, 0, whyRule},
		{"one name unknown", []Rule{rule(t, Allow, "a.org")}, tcp443("a.org", "b.org"), Ask, -1, whyNoRule},
		{"one name denied", []Rule{rule(t, Allow, "a.org"), rule(t, Deny, "c.org")}, tcp443("a.org", "b.org", "c.org"), Deny, 1, whyRule},
		{"address decides for each name", []Rule{rule(t, Allow, "a.org"), rule(t, Allow, "192.0.2.0/24")}, tcp443("a.org", "b.org"), Allow, 0, whyRule},
		{"no name, name rule silent", []Rule{rule(t, Allow, "a.org")}, tcp443(), Ask, -1, whyNoRule},

		{"v4-mapped request", []Rule{rule(t, Deny, "192.0.2.7")}, request(Connect, TCP, "[::ffff:192.0.2.7]:443"), Deny, 0, whyRule},
		{"unspecified is localhost", []Rule{rule(t, Allow, "@localhost")}, request(Connect, TCP, "0.0.0.0:443"), Allow, 0, whyRule},
		{"rule without zone", []Rule{rule(t, Deny, "fe80::1")}, request(Connect, TCP, "[fe80::1%eth0]:443"), Deny, 0, whyRule},
		{"rule with the zone", []Rule{rule(t, Deny, "fe80::1%eth0")}, request(Connect, TCP, "[fe80::1%eth0]:443"), Deny, 0, whyRule},
		{"rule with another zone", []Rule{rule(t, Deny, "fe80::1%eth1")}, request(Connect, TCP, "[fe80::1%eth0]:443"), Ask, -1, whyNoRule},
		{"prefix and zone", []Rule{rule(t, Deny, "fe80::/10")}, request(Connect, TCP, "[fe80::1%eth0]:443"), Deny, 0, whyRule},
		{"v6 prefix is not for v4", []Rule{rule(t, Deny, "::/0")}, tcp443(), Ask, -1, whyNoRule},
		{"icmp", []Rule{rule(t, Allow, "icmp://@internet")}, request(Send, ICMP, "192.0.2.7:0"), Allow, 0, whyRule},
		{"icmp has no port", []Rule{rule(t, Allow, "192.0.2.7:8")}, request(Send, ICMP, "192.0.2.7:8"), Ask, -1, whyNoRule},

		{"listen", []Rule{rule(t, Allow, "listen://127.0.0.1:80")}, listen("127.0.0.1:80"), Allow, 0, whyRule},
		{"listen is not connect", []Rule{rule(t, Allow, "@any")}, listen("127.0.0.1:80"), Ask, -1, whyNoRule},
		{"connect is not listen", []Rule{rule(t, Allow, "listen://")}, tcp443(), Ask, -1, whyNoRule},
		{"everywhere is not localhost", []Rule{rule(t, Allow, "listen://@localhost"), rule(t, Allow, "listen://127.0.0.1")}, listen("0.0.0.0:80"), Ask, -1, whyNoRule},
		{"everywhere is no class", []Rule{rule(t, Allow, "listen://@internet"), rule(t, Allow, "listen://::/0")}, listen("[::]:80"), Ask, -1, whyNoRule},
		{"everywhere itself", []Rule{rule(t, Allow, "listen://0.0.0.0")}, listen("0.0.0.0:80"), Allow, 0, whyRule},
		{"everywhere v6", []Rule{rule(t, Allow, "listen://0.0.0.0")}, listen("[::]:80"), Ask, -1, whyNoRule},
		{"everywhere any", []Rule{rule(t, Allow, "listen://:80")}, listen("[::]:80"), Allow, 0, whyRule},
		{"listen on the metadata address", []Rule{rule(t, Allow, "listen://@lan")}, listen("169.254.169.254:80"), Allow, 0, whyRule},

		{"unix, no rule", []Rule{rule(t, Deny, "@any")}, unix("/run/x"), Allow, -1, whyLocal},
		{"unix", []Rule{rule(t, Deny, "unix:/run/x")}, unix("/run/x"), Deny, 0, whyRule},
		{"unix abstract", []Rule{rule(t, Deny, "unix:@x")}, unix("@x"), Deny, 0, whyRule},
		{"unix exe", []Rule{rule(t, Deny, "unix:/run/x", withExe)}, unix("/run/x"), Allow, -1, whyLocal},

		{"metadata, no rule", nil, meta(), Deny, -1, whyMetadata},
		{"metadata, any", []Rule{rule(t, Allow, "@any", ofRun)}, meta(), Deny, -1, whyMetadata},
		{"metadata, class", []Rule{rule(t, Allow, "@lan")}, meta(), Deny, -1, whyMetadata},
		{"metadata, prefix", []Rule{rule(t, Allow, "169.254.169.0/24")}, meta(), Deny, -1, whyMetadata},
		{"metadata, name", []Rule{rule(t, Allow, "metadata.google.internal")}, meta("metadata.google.internal"), Deny, -1, whyMetadata},
		{"metadata, mapped", []Rule{rule(t, Allow, "@any")}, request(Connect, TCP, "[::ffff:169.254.169.254]:80"), Deny, -1, whyMetadata},
		{"metadata, v6", []Rule{rule(t, Allow, "@any")}, request(Connect, TCP, "[fd00:ec2::254]:80"), Deny, -1, whyMetadata},
		{"metadata, zone", []Rule{rule(t, Allow, "@any")}, request(Connect, TCP, "[fd00:ec2::254%1]:80"), Deny, -1, whyMetadata},
		{"metadata, Alibaba", []Rule{rule(t, Allow, "@any")}, request(Connect, TCP, "100.100.100.200:80"), Deny, -1, whyMetadata},
		{"metadata, ECS", []Rule{rule(t, Allow, "@any")}, request(Connect, TCP, "169.254.170.2:80"), Deny, -1, whyMetadata},
		{"metadata, named", []Rule{rule(t, Allow, "169.254.169.254")}, meta(), Allow, 0, whyRule},
		{"metadata, named and denied name", []Rule{rule(t, Allow, "169.254.169.254"), rule(t, Deny, "x.org")}, meta("x.org"), Deny, -1, whyMetadata},

		{"no address", []Rule{rule(t, Allow, "@any")}, &Request{App: "app", Proto: TCP}, Deny, -1, whyBad},
		{"no protocol", []Rule{rule(t, Allow, "@any")}, request(Connect, AnyProto, "192.0.2.7:1"), Deny, -1, whyBad},
		{"unknown protocol", []Rule{rule(t, Allow, "@any")}, request(Connect, 9, "192.0.2.7:1"), Deny, -1, whyBad},
		{"unknown operation", []Rule{rule(t, Allow, "@any")}, request(9, TCP, "192.0.2.7:1"), Deny, -1, whyBad},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSet(tc.rules)
			got := s.Decide(tc.q, epoch)
			by := -1
			for i := range s.rules {
				if got.Rule == &s.rules[i] {
					by = i
				}
			}
			if got.Verdict != tc.want || by != tc.by || got.Why != tc.why {
				t.Errorf("got %v by rule %d (%s), want %v by %d (%s)", got.Verdict, by, got.Why, tc.want, tc.by, tc.why)
			}
		})
	}
}

func TestNilSetDenies(t *testing.T) {
	for _, s := range []*Set{nil, {}} {
		for _, q := range []*Request{request(Connect, TCP, "192.0.2.7:443"), {Unix: "/run/x"}} {
			if got := s.Decide(q, epoch); got.Verdict != Deny || got.Rule != nil || got.Why == "" {
				t.Errorf("%v: got %+v, want deny", s, got)
			}
		}
	}
	if got := (*Set)(nil).Rules(); got != nil {
		t.Errorf("got %v, want no rules", got)
	}
}

func TestSetIsACopy(t *testing.T) {
	list := []Rule{rule(t, Allow, "192.0.2.7")}
	s := NewSet(list)
	list[0].Verdict = Deny
	s.Rules()[0].Disabled = true
	if got := s.Decide(request(Connect, TCP, "192.0.2.7:443"), epoch); got.Verdict != Allow {
		t.Errorf("got %v, want allow: the set changed", got)
	}
}
