package rules

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestWords(t *testing.T) {
	type all struct {
		V []Verdict
		P []Proto
		O []Op
		K []LifetimeKind
		C []Class
	}
	in := all{
		[]Verdict{Deny, Allow, Ask}, []Proto{AnyProto, TCP, UDP, ICMP}, []Op{Connect, Send, Listen},
		[]LifetimeKind{Once, UntilExit, For, Always}, []Class{NoClass, Localhost, LAN, Internet, Multicast},
	}
	want := `{"V":["deny","allow","ask"],"P":["any","tcp","udp","icmp"],"O":["connect","send","listen"],` +
		`"K":["once","exit","for","always"],"C":["none","localhost","lan","internet","multicast"]}`
	got, err := json.Marshal(in)
	if err != nil || string(got) != want {
		t.Fatalf("got %s, %v, want %s", got, err, want)
	}
	var out all
	if err := json.Unmarshal(got, &out); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(out); err != nil || string(again) != want {
		t.Errorf("read back: got %s, %v, want %s", again, err, want)
	}
}

func TestUnknownWords(t *testing.T) {
	if got := Verdict(9).String(); got != "9" {
		t.Errorf("got %q, want 9", got)
	}
	for _, v := range []any{Verdict(9), Proto(9), Op(9), LifetimeKind(9), Class(9), Lifetime{Kind: For}, Lifetime{Kind: 9}} {
		if got, err := json.Marshal(v); err == nil {
			t.Errorf("%T: got %s, want an error", v, got)
		}
	}
	v := Allow
	if err := v.UnmarshalText([]byte("Allow")); err == nil || v != Allow {
		t.Errorf("got %v, %v, want an error and no change", v, err)
	}
	if v, err := ParseVerdict("maybe"); err == nil || v != Deny {
		t.Errorf("got %v, %v, want deny and an error", v, err)
	}
}

func TestLifetime(t *testing.T) {
	for _, tc := range []struct {
		in, out string
		want    Lifetime
	}{
		{"once", "once", Lifetime{}},
		{"exit", "exit", Lifetime{Kind: UntilExit}},
		{"always", "always", Lifetime{Kind: Always}},
		{"1h", "1h", Lifetime{For, time.Hour}},
		{"30m", "30m", Lifetime{For, 30 * time.Minute}},
		{"90s", "1m30s", Lifetime{For, 90 * time.Second}},
		{"10s", "10s", Lifetime{For, 10 * time.Second}},
		{"20m", "20m", Lifetime{For, 20 * time.Minute}},
		{"7d", "7d", Lifetime{For, 7 * day}},
		{"2w", "14d", Lifetime{For, 14 * day}},
		{"1w1d12h", "204h", Lifetime{For, 8*day + 12*time.Hour}},
		{"36500d", "36500d", Lifetime{For, maxLifetime}},
	} {
		got, err := ParseLifetime(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("ParseLifetime(%q) = %v, %v, want %v", tc.in, got, err, tc.want)
			continue
		}
		text, err := got.MarshalText()
		if err != nil || string(text) != tc.out {
			t.Errorf("%q: got text %q, %v, want %q", tc.in, text, err, tc.out)
		}
		var again Lifetime
		if err := again.UnmarshalText(text); err != nil || again != got {
			t.Errorf("%q: reads back as %v, %v, want %v", text, again, err, got)
		}
	}
	for _, in := range []string{"", "for", "0s", "-1h", "1", "d", "1x", "1d1d", "1d1w", "-1d", "1d-1h", "36501d",
		"999999999w", "4294967295d", "1000000h", strings.Repeat("1", 40) + "h"} {
		if got, err := ParseLifetime(in); err == nil {
			t.Errorf("ParseLifetime(%q) = %v, want an error", in, got)
		}
	}
}

func TestPorts(t *testing.T) {
	p, err := NewPorts(PortRange{6000, 6010}, PortRange{80, 80}, PortRange{81, 90}, PortRange{85, 86}, PortRange{65535, 65535})
	if err != nil || p.String() != "80-90,6000-6010,65535" {
		t.Fatalf("got %q, %v", p, err)
	}
	if got, want := p.Count(), 11+11+1; got != want {
		t.Errorf("Count: got %d, want %d", got, want)
	}
	for port, want := range map[uint16]bool{0: false, 79: false, 80: true, 90: true, 91: false, 6005: true, 65534: false, 65535: true} {
		if got := p.Has(port); got != want {
			t.Errorf("Has(%d): got %v, want %v", port, got, want)
		}
	}
	for _, r := range []PortRange{{0, 5}, {5, 4}} {
		if p, err := NewPorts(r); err == nil {
			t.Errorf("NewPorts(%v) = %q, want an error", r, p)
		}
	}
	if all := (Ports{}); !all.All() || !all.Has(0) || !all.Has(1) || OnePort(0) != all {
		t.Error("the zero value is not every port")
	}
}

func TestClassOf(t *testing.T) {
	for addr, want := range map[string]Class{
		"127.0.0.1": Localhost, "127.255.0.1": Localhost, "::1": Localhost, "::ffff:127.0.0.1": Localhost,
		"10.1.2.3": LAN, "172.16.0.1": LAN, "172.32.0.1": Internet, "192.168.1.1": LAN, "fd12::1": LAN,
		"169.254.1.1": LAN, "fe80::1%eth0": LAN, "100.64.0.1": LAN, "100.128.0.1": Internet, "::ffff:10.0.0.1": LAN,
		"224.0.0.251": Multicast, "ff02::fb%eth0": Multicast, "255.255.255.255": Multicast,
		"8.8.8.8": Internet, "2001:db8::1": Internet, "0.0.0.0": Internet, "::": Internet,
	} {
		if got := ClassOf(netip.MustParseAddr(addr)); got != want {
			t.Errorf("ClassOf(%s) = %v, want %v", addr, got, want)
		}
	}
	if got := ClassOf(netip.Addr{}); got != NoClass {
		t.Errorf("no address: got %v, want none", got)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7:80", "[::ffff:192.0.2.7]:80": "192.0.2.7:80", "0.0.0.0:80": "127.0.0.1:80",
		"[::]:80": "[::1]:80", "[::%eth0]:80": "[::1]:80", "[::ffff:0.0.0.0]:80": "127.0.0.1:80",
		"[fe80::1%eth0]:80": "[fe80::1%eth0]:80",
	} {
		got := Canonical(netip.MustParseAddrPort(in))
		if got != netip.MustParseAddrPort(want) {
			t.Errorf("Canonical(%s) = %s, want %s", in, got, want)
		}
	}
	if got := Canonical(netip.AddrPort{}); got.IsValid() {
		t.Errorf("no address: got %v", got)
	}
}

func TestAppName(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/firefox": "firefox", "./agent": "agent", "g++": "g++", "": "_", "/": "_", "..": "_.",
		".hidden": "_hidden", "-rf": "_rf", "a b/ü": "__", "/opt/x/": "x", "@all": "_all",
		"/x/" + strings.Repeat("a", 100): strings.Repeat("a", 64),
	} {
		got := AppName(in)
		if got != want {
			t.Errorf("AppName(%q) = %q, want %q", in, got, want)
		}
		if err := CheckAppName(got); err != nil {
			t.Errorf("CheckAppName(AppName(%q)): %v", in, err)
		}
	}
	for _, in := range []string{"", ".x", "-x", "a/b", "a b", "@all", "é", "a\x00", strings.Repeat("a", 65)} {
		if err := CheckAppName(in); err == nil {
			t.Errorf("CheckAppName(%q): got nil, want an error", in)
		}
	}
}

func TestRuleID(t *testing.T) {
	r := Rule{App: "curl", Verdict: Allow, Dest: mustDest(t, "tcp://192.0.2.7:443")}
	id := r.ID()
	if len(id) != 8 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("got %q, want eight hexadecimal digits", id)
	}
	same, other := r, r
	same.Note, same.Disabled, same.Expires = "x", true, epoch
	other.Verdict = Deny
	if same.ID() != id || other.ID() == id {
		t.Errorf("got %q for the same rule and %q for another, want %q and something else", same.ID(), other.ID(), id)
	}
}

func TestRuleActive(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		want bool
	}{
		{Rule{}, true},
		{Rule{Disabled: true}, false},
		{Rule{Expires: epoch.Add(1)}, true},
		{Rule{Expires: epoch}, false},
	} {
		if got := tc.rule.Active(epoch); got != tc.want {
			t.Errorf("%+v: got %v, want %v", tc.rule, got, tc.want)
		}
	}
	r := Rule{Jail: "a"}
	if !r.HoldsIn("a") || r.HoldsIn("b") || !(&Rule{}).HoldsIn("b") {
		t.Error("HoldsIn is wrong")
	}
}

func TestLifetimeKeepsItsValueOnError(t *testing.T) {
	l := Lifetime{Kind: Always}
	if err := l.UnmarshalText([]byte("never")); err == nil || l.Kind != Always {
		t.Errorf("got %v, %v, want an error and no change", l, err)
	}
}
