package notifier

import (
	"testing"

	"github.com/netjail/netjail/rules"
)

func TestIDN(t *testing.T) {
	const lookAlike = " (look-alike letters)"
	cases := []struct{ letters, name, want string }{
		{"", "example.org", ""},
		{"", "192.0.2.7", ""},
		{"", "", ""},
		{"", "xn--", ""},
		{"", "xn--.", ""},
		{"", "xn--\xff\u202e.example", ""},
		{"", "xn--999999999.example", ""},
		{"bücher.example", "xn--bcher-kva.example", " (bücher.example)"},
		{"việt.vn", "xn--vit-5kz.vn", " (việt.vn)"},
		{"пример.рф", "xn--e1afmkfd.xn--p1ai", " (пример.рф)"},
		{"сахар.рф", "xn--80aa2cbv.xn--p1ai", " (сахар.рф)"},
		{"сахар.com", "xn--80aa2cbv.com", lookAlike},
		{"аррӏе.com", "xn--80ak6aa92e.com", lookAlike},
		{"pаypal.com", "xn--pypal-4ve.com", lookAlike},
		{"pаypal.com", "www.XN--pypal-4ve.com", lookAlike},
		{"ɡoogle.com", "xn--oogle-qmc.com", lookAlike},
		{"paypaı.com", "xn--paypa-r4a.com", lookAlike},
		{"ορο.gr", "xn--0xaaf.gr", lookAlike},
		{"ελλάδα.gr", "xn--hxakic4aa.gr", " (ελλάδα.gr)"},
		{"日本語.jp", "xn--wgv71a119e.jp", " (日本語.jp)"},
		{"한국.kr", "xn--3e0b707e.kr", " (한국.kr)"},
		{"日本go.jp", "xn--go-5t7du0c.jp", ""},
		{"שלום.il", "xn--9dbne9b.il", ""},
	}
	for _, c := range cases {
		if got := idn(c.name); got != c.want {
			t.Errorf("%s, %s: got %q, want %q", c.name, c.letters, got, c.want)
		}
	}
}

// TestIDNShown shows a name in punycode first, wherever there is one; the rule
// has nothing else.
func TestIDNShown(t *testing.T) {
	q := question(t, "curl", "tcp://xn--pypal-4ve.com:443")
	q.Names = []string{"xn--bcher-kva.example"}
	if got, want := q.Headline(), "curl wants to connect to xn--pypal-4ve.com (look-alike letters) port 443 (https, tcp)"; got != want {
		t.Errorf("headline: got %q, want %q", got, want)
	}
	if got, want := q.Where(), "looked up by curl · also known as xn--bcher-kva.example (bücher.example)"; got != want {
		t.Errorf("where: got %q, want %q", got, want)
	}
	if got, want := q.RuleText(rules.Deny), "netjail rules add curl deny tcp://xn--pypal-4ve.com:443"; got != want {
		t.Errorf("rule: got %q, want %q", got, want)
	}
}

func FuzzIDN(f *testing.F) {
	f.Add("xn--bcher-kva.example")
	f.Add("xn--.xn--p1ai.")
	f.Fuzz(func(t *testing.T, name string) {
		if got := idn(name); got != Clean(got, len(got)+1) {
			t.Errorf("idn(%q) = %q", name, got)
		}
	})
}
