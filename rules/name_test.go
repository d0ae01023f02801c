package rules

import "testing"

func TestLookup(t *testing.T) {
	type list = []Rule
	deny := func(dest string, more ...func(*Rule)) Rule { return rule(t, Deny, dest, more...) }
	allow := func(dest string, more ...func(*Rule)) Rule { return rule(t, Allow, dest, more...) }
	expired := func(r *Rule) { r.Expires = epoch }
	for _, c := range []struct {
		name      string
		rules     list
		want      Verdict
		addressed bool
	}{
		{"no rule", nil, Ask, false},
		{"denied", list{deny("www.example.org")}, Deny, false},
		{"denied for every app", list{deny("www.example.org", everyApp)}, Deny, false},
		{"denied below", list{deny("*.example.org")}, Deny, false},
		{"its parent is denied", list{deny("example.org")}, Ask, false},
		{"denied for one port", list{deny("www.example.org:80")}, Ask, false},
		{"denied for one protocol", list{deny("udp://www.example.org")}, Ask, false},
		{"denied for one executable", list{deny("www.example.org", withExe)}, Ask, false},
		{"no longer denied", list{deny("www.example.org", expired)}, Ask, false},
		{"denied, but for a port", list{deny("www.example.org"), allow("www.example.org:443")}, Allow, false},
		{"denied below, but for it", list{deny(".example.org"), allow("www.example.org")}, Allow, false},
		{"allowed below, but for it", list{allow(".example.org"), deny("www.example.org")}, Deny, false},
		{"allowed", list{allow("www.example.org:443")}, Allow, false},
		{"asked", list{rule(t, Ask, "www.example.org:443"), deny("*.example.org")}, Allow, false},
		{"allowed to listen there", list{allow("listen://192.0.2.1:80")}, Ask, false},
		{"an address is allowed", list{allow("192.0.2.1:443")}, Ask, true},
		{"no longer", list{allow("192.0.2.1:443", expired)}, Ask, false},
		{"this machine is allowed", list{allow("@localhost"), allow("127.0.0.0/8"), allow("[::1]")}, Ask, false},
		{"the LAN is allowed", list{allow("@lan:443", everyApp)}, Ask, true},
		{"all is allowed", list{allow("@any")}, Ask, true},
		{"all but it is allowed", list{allow("@any"), deny("www.example.org")}, Deny, true},
		{"all is denied", list{deny("@any")}, Deny, false},
		{"all is denied but it", list{deny("@any"), allow("www.example.org:443")}, Allow, false},
		{"all is denied but an address", list{deny("@any"), allow("192.0.2.1")}, Ask, true},
	} {
		got, addressed := NewSet(c.rules).Lookup("app", "www.example.org", epoch)
		if got.Verdict != c.want || addressed != c.addressed {
			t.Errorf("%s: got %v, %v; want %v, %v", c.name, got, addressed, c.want, c.addressed)
		}
	}
	var none *Set
	if got, _ := none.Lookup("app", "www.example.org", epoch); got.Verdict != Deny {
		t.Errorf("without a set: got %v, want a denial", got)
	}
}

// TestRebinding: whoever serves a public name does not say what it reaches on
// this machine and its networks.
func TestRebinding(t *testing.T) {
	local := func(r *Rule) { r.Local = true }
	for _, c := range []struct {
		name, addr string
		own        int
		rule       Rule
		want       Verdict
	}{
		{"www.example.org", "192.0.2.1:443", 0, rule(t, Allow, "www.example.org"), Allow},
		{"www.example.org", "127.0.0.1:443", 0, rule(t, Allow, "www.example.org"), Ask},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Allow, ".example.org:443"), Ask},
		{"www.example.org", "[fe80::1]:443", 0, rule(t, Allow, "*.example.org"), Ask},
		{"www.example.org", "169.254.169.254:80", 0, rule(t, Allow, "www.example.org", local), Deny},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Allow, "www.example.org", local), Allow},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Allow, "*.example.org", local), Allow},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Allow, "10.0.0.1"), Allow},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Allow, "@lan"), Allow},
		{"www.example.org", "10.0.0.1:443", 0, rule(t, Deny, "www.example.org"), Deny},
		{"www.example.org", "10.0.0.1:443", 1, rule(t, Allow, "www.example.org"), Allow},
		{"nas.local", "10.0.0.1:443", 0, rule(t, Allow, "nas.local"), Allow},
		{"nas", "10.0.0.1:443", 0, rule(t, Allow, "nas"), Allow},
		{"localhost", "127.0.0.1:443", 0, rule(t, Allow, "localhost"), Allow},
		{"evillocal.org", "127.0.0.1:443", 0, rule(t, Allow, "evillocal.org"), Ask},
		{"evillan", "127.0.0.1:443", 0, rule(t, Allow, "evillan"), Allow},
		{"x.evillan", "127.0.0.1:443", 0, rule(t, Allow, "x.evillan"), Ask},
	} {
		q := request(Connect, TCP, c.addr, c.name)
		q.Own = c.own
		if got := NewSet([]Rule{c.rule}).Decide(q, epoch); got.Verdict != c.want {
			t.Errorf("%s at %s, %d own, %v: got %v, want %v", c.name, c.addr, c.own, c.rule.Dest, got, c.want)
		}
	}
}

// TestSelf: what this machine calls itself does not matter.
func TestSelf(t *testing.T) {
	q := request(Connect, TCP, "192.168.1.5:80")
	for _, c := range []struct {
		self bool
		dest string
		want Verdict
	}{
		{false, "@lan", Allow}, {true, "@lan", Ask}, {true, "@localhost", Allow}, {false, "@localhost", Ask},
		{true, "192.168.1.5", Allow}, {true, "192.168.0.0/16", Allow},
	} {
		q.Self = c.self
		if got := NewSet([]Rule{rule(t, Allow, c.dest)}).Decide(q, epoch); got.Verdict != c.want {
			t.Errorf("self %v, %s: got %v, want %v", c.self, c.dest, got, c.want)
		}
	}
}
