package opensnitch

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

var (
	epoch = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	conf  = Config{UID: 1000, Now: epoch}
)

// op is one operator.
func op(kind, operand, data string) jsonOperator {
	return jsonOperator{Type: kind, Operand: operand, Data: data}
}

func path(p string) jsonOperator { return op("simple", "process.path", p) }

// all is a list of operators.
func all(list ...jsonOperator) jsonOperator {
	return jsonOperator{Type: "list", Operand: "list", List: list}
}

// file is a rule as OpenSnitch writes it.
func file(t testing.TB, name, action string, o jsonOperator, more ...func(*jsonRule)) File {
	t.Helper()
	j := jsonRule{
		Created: json.RawMessage(`"2026-01-02T10:00:00+01:00"`), Updated: json.RawMessage(`"2026-01-02T10:00:00+01:00"`),
		Name: name, Action: action, Duration: "always", Enabled: true, Operator: o,
	}
	for _, f := range more {
		f(&j)
	}
	data, err := json.Marshal(&j)
	if err != nil {
		t.Fatal(err)
	}
	return File{Name: name + ".json", Data: data}
}

func text(list []rules.Rule) string {
	var parts []string
	for _, r := range list {
		s := strings.TrimSpace(r.App + " " + r.Verdict.String() + " " + r.Dest.String())
		if r.Exe != "" {
			s += " exe=" + r.Exe
		}
		if r.Disabled {
			s += " disabled"
		}
		if !r.Expires.IsZero() {
			s += " until " + r.Expires.Format("15:04:05")
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// TestSamples are the samples of OpenSnitch's own.
func TestSamples(t *testing.T) {
	one := `{"created":"2026-01-02T10:00:00+01:00","updated":"2026-01-02T10:00:00+01:00","name":"allow-always-simple-usr-bin-curl","description":"","action":"allow","duration":"always","enabled":true,"precedence":false,"nolog":false,
 "operator":{"type":"simple","operand":"process.path","data":"/usr/bin/curl","sensitive":false,"list":[]}}`
	two := `{"created":"2026-01-02T10:00:00+01:00","updated":"2026-01-02T10:00:00+01:00","name":"deny-always-list-firefox-ads","description":"no ads","action":"deny","duration":"always","enabled":true,"precedence":true,"nolog":false,
 "operator":{"type":"list","operand":"list","data":"","sensitive":false,"list":[
  {"type":"simple","operand":"process.path","data":"/usr/lib/firefox/firefox","sensitive":false,"list":null},
  {"type":"regexp","operand":"dest.host","data":"^(|.*\\.)doubleclick\\.net$","sensitive":false,"list":null},
  {"type":"range","operand":"dest.port","data":"80-443","sensitive":false,"list":null}]}}`
	got := Convert([]File{{"1.json", []byte(one)}, {"2.json", []byte(two)}}, conf)
	if s := text(got[0].Rules); s != "curl allow @any exe=/usr/bin/curl" {
		t.Errorf("1: got %q, refused %q", s, got[0].Refused)
	}
	if r := got[0].Rules[0]; r.By != "import" || r.Note != "OpenSnitch: allow-always-simple-usr-bin-curl" || r.Created.Format(time.RFC3339) != "2026-01-02T09:00:00Z" {
		t.Errorf("1: got %+v", r)
	}
	if s := text(got[1].Rules); s != "firefox deny .doubleclick.net:80-443; deny .doubleclick.net:80-443 exe=/usr/lib/firefox/firefox" {
		t.Errorf("2: got %q, refused %q", s, got[1].Refused)
	}
	if n := got[1].Rules[0].Note; n != "no ads" {
		t.Errorf("2: got note %q", n)
	}
}

func TestConvert(t *testing.T) {
	host := func(data string) jsonOperator { return op("simple", "dest.host", data) }
	re := func(operand, data string) jsonOperator { return op("regexp", operand, data) }
	sensitive := func(o jsonOperator) jsonOperator { o.Sensitive = true; return o }
	old := func(data string) jsonOperator { return jsonOperator{Type: "list", Operand: "list", Data: data} }
	for _, tc := range []struct {
		o    jsonOperator
		want string // of an allow; "!" begins the reason it is refused for
	}{
		{op("simple", "true", ""), "allow @any"},
		{path("/usr/bin/python3.13"), "python3.13 allow @any exe=/usr/bin/python3.13"},
		{re("process.path", `^/usr/bin/curl$`), "curl allow @any exe=/usr/bin/curl"},
		{re("process.path", `^\/opt\/My-App\/run_it$`), "run_it allow @any exe=/opt/My-App/run_it"},
		{path(""), "!is not an absolute path"},
		{path("Kernel connection"), "!is not an absolute path"},

		{host("Example.org"), "allow example.org"},
		{sensitive(host("example.org")), "allow example.org"},
		{sensitive(host("Example.org")), "!capital letters"},
		{host("192.0.2.1"), "!is not a name"},
		{host("*.example.org"), "!is not a name"},
		{host("a b"), "!space"},
		{re("dest.host", `^example\.org$`), "allow example.org"},
		{re("dest.host", `^(|.*\.)example\.org$`), "allow .example.org"},
		{re("dest.host", `^(.*\.)?example\.org$`), "allow .example.org"},
		{re("dest.host", `^.*\.example\.org$`), "allow *.example.org"},
		{re("dest.host", `.*\.example\.org$`), "allow *.example.org"},
		{re("dest.host", `\.EXAMPLE\.org$`), "allow *.example.org"},
		{sensitive(re("dest.host", `^.*\.EXAMPLE\.org$`)), "!neither one name nor a domain"},
		{re("dest.host", `^(|.*\.)com$`), "!top-level domain"},
		{re("dest.host", `^example.org$`), "!neither one name nor a domain"},
		{re("dest.host", `^.*example\.org$`), "!neither one name nor a domain"},
		{re("dest.host", `^(a|b)\.example\.org$`), "!neither one name nor a domain"},
		{re("dest.host", `^(|.*\.)example\.org`), "!not anchored"},
		{re("dest.host", `.*`), "!not anchored"},

		{op("simple", "dest.ip", "192.0.2.7"), "allow 192.0.2.7"},
		{op("simple", "dest.ip", "2001:DB8::1"), "allow 2001:db8::1"},
		{op("simple", "dest.ip", "2001:db8:0::1"), "!as OpenSnitch writes it"},
		{op("simple", "dest.ip", "::ffff:192.0.2.7"), "!written as IPv6"},
		{op("simple", "dest.ip", "0.0.0.0"), "!unspecified address"},
		{op("network", "dest.network", "192.0.2.0/24"), "allow 192.0.2.0/24"},
		{op("network", "dest.network", "192.0.2.9/24"), "allow 192.0.2.0/24"},
		{op("network", "dest.network", "2001:db8::/32"), "allow 2001:db8::/32"},
		{op("network", "dest.network", "192.0.2.9/32"), "allow 192.0.2.9"},
		{op("network", "dest.network", "LAN"), "!kept in OpenSnitch's settings"},
		{op("network", "dest.ip", "192.0.2.0/24"), "!type of operator"},
		{op("simple", "dest.network", "192.0.2.0/24"), "!type of operator"},

		{op("simple", "dest.port", "443"), "allow @any:443"},
		{op("simple", "dest.port", "0443"), "!is not a port"},
		{op("simple", "dest.port", "0"), "!is not a port"},
		{op("range", "dest.port", " 8000 - 8010 "), "allow @any:8000-8010"},
		{op("range", "dest.port", "443"), "!range of ports"},
		{op("range", "dest.port", "90-80"), "!reversed"},
		{re("dest.port", `^443$`), "allow @any:443"},
		{re("dest.port", `^(80|443)$`), "allow @any:80,443"},
		{re("dest.port", `^80|443$`), "!is not a port"},
		{re("dest.port", `443`), "!not anchored"},

		{op("simple", "protocol", "tcp"), "allow tcp://0.0.0.0/0"},
		{op("simple", "protocol", "udp6"), "allow udp://::/0"},
		{re("protocol", `^tcp6?$`), "allow tcp://@any"},
		{op("simple", "protocol", "sctp"), "!is not tcp"},
		{re("protocol", `tcp`), "!is not tcp"},
		{all(op("simple", "protocol", "tcp"), op("simple", "dest.ip", "192.0.2.7")), "allow tcp://192.0.2.7"},
		{all(op("simple", "protocol", "tcp6"), op("simple", "dest.ip", "192.0.2.7")), "!never met"},
		{all(op("simple", "protocol", "tcp"), host("example.org")), "!IPv4 only"},
		{all(re("protocol", `^tcp6?$`), host("example.org")), "allow tcp://example.org"},
		{all(op("simple", "protocol", "icmp"), op("simple", "dest.port", "8")), "!no ports"},

		{op("simple", "user.id", "1000"), "allow @any"},
		{op("simple", "user.id", "0"), "!another user"},
		{all(path("/usr/bin/curl"), host("example.org"), op("simple", "dest.port", "443"), op("simple", "user.id", "1000")),
			"curl allow example.org:443 exe=/usr/bin/curl"},
		{all(host("example.org"), op("simple", "dest.ip", "192.0.2.7")), "!two conditions"},
		{all(host("example.org"), host("example.com")), "!given twice"},
		{all(all(host("example.org"))), "!a list in a list"},
		{all(), "!empty list"},
		{op("list", "process.path", "x"), "!operator of type"},
		{op("complex", "process.path", "/x"), "!type of operator"},

		// The members in the data, as they were once written.
		{old(`[{"type":"simple","operand":"process.path","data":"/usr/bin/curl"},{"type":"simple","operand":"dest.port","data":"443"}]`),
			"curl allow @any:443 exe=/usr/bin/curl"},
		{old(`[{"type":"simple","operand":"process.path","data":"/usr/bin/curl","other":1}]`), `!unknown field "other"`},
		{old(`{`), "!the list in its data"},
	} {
		got := Convert([]File{file(t, "x", "allow", tc.o)}, conf)[0]
		reason, refused := strings.CutPrefix(tc.want, "!")
		switch {
		case refused && (len(got.Rules) > 0 || !strings.Contains(got.Refused, reason)):
			t.Errorf("%+v: got %q, refused %q, want it refused for %q", tc.o, text(got.Rules), got.Refused, reason)
		case !refused && (text(got.Rules) != tc.want || got.Refused != ""):
			t.Errorf("%+v: got %q, refused %q, want %q", tc.o, text(got.Rules), got.Refused, tc.want)
		}
	}
}

// TestTraps are the eight of shared knowledge about these files.
func TestTraps(t *testing.T) {
	refused := func(o jsonOperator, why string) {
		t.Helper()
		got := Convert([]File{file(t, "x", "allow", o)}, conf)[0]
		if len(got.Rules) > 0 || !strings.Contains(got.Refused, why) {
			t.Errorf("%+v: got %q, refused %q, want %q", o, text(got.Rules), got.Refused, why)
		}
	}
	// 1. Patterns are put in small letters as text, with their classes.
	refused(op("regexp", "dest.host", `^\D+\.example\.org$`), `reads \D as \d`)
	// 2. Patterns are not anchored.
	refused(op("regexp", "dest.host", `github.com`), "not anchored at both ends")
	// 3. A checksum is met where there is none.
	refused(all(path("/usr/bin/curl"), op("simple", "process.hash.md5", "abc")), "met by every program")
	// 4. The empty host is an address without a name.
	refused(op("simple", "dest.host", ""), "no name of the address is known")
	refused(op("regexp", "dest.host", "^$"), "no name of the address is known")
	// 5. On port 53 the host is the name that is looked up.
	refused(all(op("simple", "dest.host", "example.org"), op("simple", "dest.port", "53")), "lookups of the name")
	denied := Convert([]File{file(t, "x", "deny", all(path("/usr/bin/curl"), op("simple", "dest.host", "example.org")))}, conf)[0]
	if d, _ := rules.NewSet(denied.Rules).Lookup("curl", "example.org", epoch); d.Verdict != rules.Deny {
		t.Errorf("a lookup of a name that is denied: got %v", d.Verdict)
	}
	// 6. Patterns of addresses are prefixes, if they are anchored.
	refused(op("regexp", "dest.ip", `192\.168\..*`), "not anchored")
	for pattern, want := range map[string]string{
		`^192\.168\..*`: "192.168.0.0/16", `^192\.168\..*$`: "192.168.0.0/16", `^10\.`: "10.0.0.0/8", `^192\.0\.2\..*`: "192.0.2.0/24", `^192\.0\.2\.7$`: "192.0.2.7",
	} {
		if got := Convert([]File{file(t, "x", "allow", op("regexp", "dest.ip", pattern))}, conf)[0]; text(got.Rules) != "allow "+want {
			t.Errorf("%s: got %q, refused %q", pattern, text(got.Rules), got.Refused)
		}
	}
	for _, pattern := range []string{`^192\.168.*`, `^192.168\..*`, `^300\.1\..*`, `^1\.2\.3\.4\..*`, `^192\.168\.$`, `^(10|11)\..*`, `^010\..*`} {
		refused(op("regexp", "dest.ip", pattern), "")
	}
	// 7. AppImages and snaps have other paths each time.
	refused(op("regexp", "process.path", `^/tmp/\.mount_XXXXXX[0-9A-Za-z]+\/.*bin$`), "AppImage")
	refused(op("regexp", "process.path", `^\/snap\/app\/[0-9]+\/path$`), "snap")
	// 8. What is not known is not left out.
	for _, operand := range []string{"process.command", "process.id", "process.parent.path", "process.env.X", "iface.out", "source.ip", "user.name", "lists.domains", "lists.ips", "new.thing"} {
		refused(all(path("/usr/bin/curl"), op("simple", operand, "x")), operand)
	}
	f := file(t, "x", "allow", path("/usr/bin/curl"))
	f.Data = []byte(strings.Replace(string(f.Data), `"enabled"`, `"scope":"host","enabled"`, 1))
	if got := Convert([]File{f}, conf)[0]; !strings.Contains(got.Refused, `unknown field "scope"`) {
		t.Errorf("an unknown key: got %q, refused %q", text(got.Rules), got.Refused)
	}
}

func TestLifetimes(t *testing.T) {
	life := func(s string) func(*jsonRule) { return func(j *jsonRule) { j.Duration = s } }
	off := func(j *jsonRule) { j.Enabled = false }
	for _, tc := range []struct {
		more func(*jsonRule)
		want string
	}{
		{life("always"), "allow @any"},
		{life("5m"), "allow @any until 10:05:00"},
		{life("12h"), "allow @any until 22:00:00"},
		{off, "allow @any disabled"},
		{life("once"), ""}, {life("until restart"), ""}, {life("-5m"), ""}, {life("1ms"), ""}, {life(""), ""},
		{func(j *jsonRule) { j.Action = "hide" }, ""},
		{func(j *jsonRule) { j.Name = "" }, ""},
	} {
		got := Convert([]File{file(t, "x", "allow", op("simple", "true", ""), tc.more)}, conf)[0]
		if text(got.Rules) != tc.want || (tc.want == "") != (got.Refused != "") {
			t.Errorf("got %q, refused %q, want %q", text(got.Rules), got.Refused, tc.want)
		}
	}
	if got := Convert([]File{file(t, "x", "reject", path("/bin/x"))}, conf)[0]; text(got.Rules) != "x deny @any; deny @any exe=/bin/x" {
		t.Errorf("reject: got %q, refused %q", text(got.Rules), got.Refused)
	}
}

// TestOrder: what OpenSnitch's order decides otherwise is refused.
func TestOrder(t *testing.T) {
	host := func(h string) jsonOperator { return op("simple", "dest.host", h) }
	port := func(p string) jsonOperator { return op("simple", "dest.port", p) }
	first := func(j *jsonRule) { j.Precedence = true }
	off := func(j *jsonRule) { j.Enabled = false }
	curl, wget := path("/usr/bin/curl"), path("/usr/bin/wget")
	domain := op("regexp", "dest.host", `^(|.*\.)example\.org$`)
	unknown := op("simple", "process.command", "x")
	for _, tc := range []struct {
		name         string
		allow, deny  jsonOperator
		first        bool // the allow has precedence and comes first
		allowed      bool // it is imported
		disabledDeny bool
	}{
		{"the deny is narrower", curl, all(curl, domain), false, true, false},
		{"the allow is narrower", all(curl, host("www.example.org")), all(curl, domain), false, false, false},
		{"and has precedence", all(curl, host("www.example.org")), all(curl, domain), true, true, false},
		{"the allow is wider and has precedence", curl, all(curl, domain), true, false, false},
		{"another program", all(curl, host("www.example.org")), all(wget, domain), false, true, false},
		{"letters of a path", all(curl, host("www.example.org")), all(path("/usr/bin/CURL"), domain), false, false, false},
		{"another name", all(curl, host("www.example.com")), all(curl, domain), false, true, false},
		{"another port", all(curl, port("443")), all(curl, port("80")), false, true, false},
		{"a deny for all", all(curl, host("example.org")), port("443"), false, false, false},
		{"a deny of one program", host("example.org"), all(curl, host("example.org")), false, true, false},
		{"the same", host("example.org"), host("example.org"), false, true, false},
		{"an address and a name", op("simple", "dest.ip", "192.0.2.7"), domain, false, false, false},
		{"a deny that is refused", all(curl, host("example.org")), all(curl, unknown), false, false, false},
		{"for another program", all(curl, host("example.org")), all(wget, unknown), false, true, false},
		{"of another host", all(curl, host("example.org")), all(unknown, host("example.com")), false, true, false},
		{"before which the allow comes", all(curl, host("example.org")), all(curl, unknown), true, true, false},
		{"of lookups", all(curl, host("example.org"), port("443")), all(host("example.org"), port("53")), false, false, false},
		{"a deny that is disabled", all(curl, host("www.example.org")), all(curl, domain), false, true, true},
	} {
		var allowMore, denyMore []func(*jsonRule)
		if tc.first {
			allowMore = append(allowMore, first)
		}
		if tc.disabledDeny {
			denyMore = append(denyMore, off)
		}
		got := Convert([]File{file(t, "a", "allow", tc.allow, allowMore...), file(t, "d", "deny", tc.deny, denyMore...)}, conf)
		if allowed := got[0].Refused == ""; allowed != tc.allowed {
			t.Errorf("%s: got %q, refused %q", tc.name, text(got[0].Rules), got[0].Refused)
		}
		if !tc.allowed && !strings.Contains(got[0].Refused, "d.json") {
			t.Errorf("%s: refused for %q, without the other file's name", tc.name, got[0].Refused)
		}
	}
	twice := Convert([]File{file(t, "x", "allow", curl), file(t, "x", "allow", wget)}, conf)
	if twice[0].Refused == "" || twice[1].Refused == "" {
		t.Errorf("two rules of one name: got %+v", twice)
	}
}

func TestBroken(t *testing.T) {
	for _, data := range []string{"", "{", "[]", `"x"`, "{} {}", strings.Repeat(" ", maxFile+1)} {
		got := Convert([]File{{"x.json", []byte(data)}}, conf)[0]
		if got.Refused == "" || len(got.Rules) > 0 {
			t.Errorf("%.20q: got %+v", data, got)
		}
	}
	// A name is not a path, and not text for a terminal.
	got := Convert([]File{file(t, "../../\x1b[2J", "allow", path("/bin/x"))}, conf)[0]
	if n := got.Rules[0].Note; strings.ContainsRune(n, 0x1b) {
		t.Errorf("note %q", n)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(file(f, "x", "allow", all(path("/usr/bin/curl"), op("regexp", "dest.host", `^(|.*\.)example\.org$`))).Data)
	f.Add([]byte(`{"name":"x","action":"deny","duration":"5m","enabled":true,"operator":{"type":"regexp","operand":"dest.ip","data":"^10\\..*"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range Convert([]File{{"x", data}}, conf) {
			if (r.Refused == "") != (len(r.Rules) > 0) {
				t.Fatalf("%+v", r)
			}
			for _, rule := range r.Rules {
				if d, err := rules.ParseDestination(rule.Dest.String()); err != nil || d != rule.Dest {
					t.Fatalf("%s reads back as %s, %v", rule.Dest, d, err)
				}
			}
		}
	})
}
