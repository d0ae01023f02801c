package notifier

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

// named is a question about a host below a domain.
func named(t testing.TB) Question {
	q := question(t, "curl", "tcp://www.example.org:443")
	q.Wider, q.Addr = dest(t, "tcp://.example.org:443"), netip.MustParseAddr("192.0.2.7")
	return q
}

func TestScopes(t *testing.T) {
	listen := question(t, "nc", "listen+tcp://0.0.0.0:80")
	listen.Op = rules.Listen
	for _, c := range []struct {
		q    Question
		want string
	}{
		{named(t), "address tcp://192.0.2.7:443, host tcp://www.example.org:443, domain tcp://.example.org:443, any @any"},
		{question(t, "curl", "tcp://192.0.2.7:443"), "host tcp://192.0.2.7:443, any @any"},
		{question(t, "curl", "unix:/run/x"), "host unix:/run/x"},
		{question(t, "curl", ".example.org"), "host .example.org"},
		{listen, "host listen+tcp://0.0.0.0:80, any listen://@any"},
		{Question{App: "x", Items: []Item{{Number: 1}}}, "all "},
	} {
		var got []string
		for _, s := range c.q.Scopes() {
			d, _ := c.q.Reach(s)
			got = append(got, string(s)+" "+d.String())
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.q.Dest, got, c.want)
		}
	}
}

// TestChoices: every choice says what it does, writes the rule that it shows,
// and is taken by the queue.
func TestChoices(t *testing.T) {
	q := named(t)
	var got []string
	for _, v := range []rules.Verdict{rules.Allow, rules.Deny} {
		for _, s := range q.Scopes() {
			for _, l := range q.Lifetimes() {
				c, ok := q.Choose(v, s, l)
				if !ok || c.Answer.Verdict != v || c.Answer.Lifetime != l {
					t.Fatalf("%v %v %v: got %+v, %v", v, s, l, c, ok)
				}
				if err := q.check(c.Answer); err != nil {
					t.Errorf("%s: %v", c.Label, err)
				}
				if v == rules.Allow || s == Host {
					got = append(got, c.Label+" | "+c.Rule)
				}
			}
		}
	}
	want := []string{
		"allow 192.0.2.7 once | ",
		"allow 192.0.2.7 until curl exits | ",
		"allow 192.0.2.7 for 1 hour | netjail rules add curl allow tcp://192.0.2.7:443 --for 1h",
		"allow 192.0.2.7 always | netjail rules add curl allow tcp://192.0.2.7:443",
		"allow once | ",
		"allow until curl exits | ",
		"allow for 1 hour | netjail rules add curl allow tcp://www.example.org:443 --for 1h",
		"allow always | netjail rules add curl allow tcp://www.example.org:443",
		"allow .example.org once | ",
		"allow .example.org until curl exits | ",
		"allow .example.org for 1 hour | netjail rules add curl allow tcp://.example.org:443 --for 1h",
		"allow .example.org always | netjail rules add curl allow tcp://.example.org:443",
		"allow anything once | ",
		"allow anything until curl exits | ",
		"allow anything for 1 hour | netjail rules add curl allow @any --for 1h",
		"allow anything always | netjail rules add curl allow @any",
		"deny once | ",
		"deny until curl exits | ",
		"deny for 1 hour | netjail rules add curl deny tcp://www.example.org:443 --for 1h",
		"deny always | netjail rules add curl deny tcp://www.example.org:443",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCheck: nothing but the scopes of a question can be answered.
func TestCheck(t *testing.T) {
	q := named(t)
	for _, d := range []string{"@lan", ".co.uk", "tcp://.example.org", "example.org:443", "tcp://192.0.2.7", "tcp://192.0.2.8:443"} {
		if err := q.check(Answer{Verdict: rules.Allow, Dest: dest(t, d)}); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%s: got %v, want %v", d, err, ErrBadAnswer)
		}
	}
	if err := q.check(Answer{Review: true, Dest: q.Dest}); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("review of one question: got %v", err)
	}
	sum := Question{App: "x", Items: []Item{{Number: 3}}}
	for name, a := range map[string]Answer{
		"a destination": {Verdict: rules.Allow, Dest: q.Dest, Through: 3},
		"for ever":      {Verdict: rules.Allow, Lifetime: always, Through: 3},
		"an hour":       {Verdict: rules.Deny, Lifetime: anHour, Through: 3},
		"unseen":        {Verdict: rules.Allow},
	} {
		if err := sum.check(a); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("summary, %s: got %v", name, err)
		}
	}
	if err := sum.check(Answer{Verdict: rules.Allow, Lifetime: untilEnd, Through: 3}); err != nil {
		t.Errorf("summary: %v", err)
	}
}

func TestParseAnswer(t *testing.T) {
	q := named(t)
	for _, c := range []struct{ words, want string }{
		{"allow", "allow once"},
		{"deny always", "deny always"},
		{"allow host always", "allow always"},
		{"always domain allow", "allow .example.org always"},
		{"ALLOW Any 2h", "allow anything for 2h"},
		{"deny address exit", "deny 192.0.2.7 until curl exits"},
		{"", "allow or deny?"},
		{"allow deny", "not both"},
		{"allow perhaps", `"perhaps" is neither`},
		{"allow all", "only about: address, host, domain, any"},
		{"review", "no list to review"},
	} {
		got, err := q.ParseAnswer(strings.Fields(c.words))
		if err != nil {
			if !errors.Is(err, ErrBadAnswer) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: got %v, want %s", c.words, err, c.want)
			}
			continue
		}
		if got.Label != c.want {
			t.Errorf("%q: got %q, want %q", c.words, got.Label, c.want)
		}
	}
	sum := Question{App: "x", Items: []Item{{Number: 3}}}
	if c, err := sum.ParseAnswer([]string{"allow", "exit"}); err != nil || c.Label != "allow all until x exits" || c.Answer.Through != 3 {
		t.Errorf("summary: got %+v, %v", c, err)
	}
	if c, err := sum.ParseAnswer([]string{"review"}); err != nil || !c.Answer.Review {
		t.Errorf("summary: got %+v, %v", c, err)
	}
	if _, err := sum.ParseAnswer([]string{"allow", "always"}); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("summary, always: got %v", err)
	}
}

// TestCovers: an answer decides other questions just as its rule would.
func TestCovers(t *testing.T) {
	asked := func(to string, names ...string) Question {
		q := question(t, "curl", to)
		q.Names, q.Addr = names, netip.MustParseAddr("192.0.2.7")
		return q
	}
	inside := asked("tcp://10.0.0.1:443", "www.example.org")
	inside.Addr = netip.MustParseAddr("10.0.0.1")
	meta := asked("tcp://169.254.169.254:80")
	meta.Addr = netip.Addr{}
	for _, c := range []struct {
		name  string
		about string
		v     rules.Verdict
		q     Question
		want  bool
	}{
		{"the same", "tcp://a.example.org:443", rules.Allow, asked("tcp://a.example.org:443", "a.example.org"), true},
		{"below the domain", "tcp://.example.org:443", rules.Allow, asked("tcp://b.example.org:443", "b.example.org"), true},
		{"another port", "tcp://.example.org:443", rules.Allow, asked("tcp://b.example.org:80", "b.example.org"), false},
		{"another domain", "tcp://.example.org:443", rules.Allow, asked("tcp://example.com:443", "example.com"), false},
		{"a second name", "tcp://.example.org:443", rules.Allow, asked("tcp://b.example.org:443", "b.example.org", "evil.example.com"), false},
		{"a second name, denied", "tcp://.example.org:443", rules.Deny, asked("tcp://b.example.org:443", "b.example.org", "evil.example.com"), true},
		{"its address", "tcp://192.0.2.7:443", rules.Allow, asked("tcp://b.example.org:443", "b.example.org"), true},
		{"anything", "@any", rules.Allow, asked("udp://198.51.100.9:1"), true},
		{"anything, a listener", "@any", rules.Allow, Question{App: "curl", Op: rules.Listen, Dest: dest(t, "listen+tcp://0.0.0.0:80")}, false},
		{"anything, a local socket", "@any", rules.Allow, asked("unix:/run/x"), false},
		{"anything, metadata", "@any", rules.Allow, meta, false},
		{"a public name that leads inside", ".example.org", rules.Allow, inside, false},
	} {
		if got := c.q.covers(Answer{Verdict: c.v, Dest: dest(t, c.about)}, time.Now()); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
