package names

import "testing"

func TestDomain(t *testing.T) {
	for _, c := range []struct {
		name, domain string
		suffix       bool
	}{
		{"www.example.org", "example.org", false},
		{"example.org", "example.org", false},
		{"a.b.example.co.uk", "example.co.uk", false},
		{"co.uk", "", true},
		{"org", "", true},
		{"x.github.io", "x.github.io", false},
		{"github.io", "", true},
		{"nas", "", false},
		{"nas.lan", "", false},
		{"printer.local", "", false},
		{"xn--bcher-kva.example", "", false},
		{"", "", false},
	} {
		domain, ok := Domain(c.name)
		if domain != c.domain || ok != (c.domain != "") {
			t.Errorf("Domain(%q) = %q, %v; want %q", c.name, domain, ok, c.domain)
		}
		if got := PublicSuffix(c.name); got != c.suffix {
			t.Errorf("PublicSuffix(%q) = %v, want %v", c.name, got, c.suffix)
		}
	}
}
