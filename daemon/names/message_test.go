package names

import (
	"bytes"
	"errors"
	"testing"

	"github.com/miekg/dns"
)

func TestParseQuery(t *testing.T) {
	plain := query(t, "WWW.Example.org", dns.TypeAAAA)
	edit := func(f func([]byte) []byte) []byte { return f(bytes.Clone(plain)) }
	tests := []struct {
		name string
		raw  []byte
		want string
		err  error
	}{
		{"plain", plain, "www.example.org", nil},
		{"root", query(t, ".", dns.TypeNS), ".", nil},
		{"a dot within a label", query(t, `a\.b.example.org`, dns.TypeA), `a\.b.example.org`, nil},
		{"not a host's bytes", query(t, `\001b.example.org`, dns.TypeA), `\001b.example.org`, nil},
		{"with EDNS", query(t, "a.org", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, true) }), "a.org", nil},
		{"empty", nil, "", errNoQuery},
		{"short", plain[:11], "", errNoQuery},
		{"an answer", edit(func(b []byte) []byte { b[2] |= flagQR; return b }), "", errNoQuery},
		{"an update", edit(func(b []byte) []byte { b[2] |= 5 << 3; return b }), "", errOpcode},
		{"no question", edit(func(b []byte) []byte { b[5] = 0; return b }), "", errFormat},
		{"two questions", edit(func(b []byte) []byte { b[5] = 2; return b }), "", errFormat},
		{"cut in the name", plain[:20], "", errFormat},
		{"cut in the type", plain[:len(plain)-3], "", errFormat},
		{"a pointer in the name", edit(func(b []byte) []byte { b[12], b[13] = 0xc0, 30; return b }), "", errFormat},
		{"a pointer to the header", edit(func(b []byte) []byte { b[0], b[1], b[12], b[13] = 1, 'x', 0xc0, 0; b[2] = 0; return b }), "", errFormat},
		{"a label of another type", edit(func(b []byte) []byte { b[12] = 0x41; return b }), "", errFormat},
		{"a record that is not there", edit(func(b []byte) []byte { b[11] = 1; return b }), "", errFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, id, err := ParseQuery(tt.raw)
			if !errors.Is(err, tt.err) || q.Name != tt.want {
				t.Fatalf("got %q, %v, want %q, %v", q.Name, err, tt.want, tt.err)
			}
			if err == nil && id != uint16(tt.raw[0])<<8|uint16(tt.raw[1]) {
				t.Errorf("got id %d", id)
			}
			if raw := trouble(append(bytes.Clone(tt.raw), make([]byte, 12)...), err); err != nil && raw != nil {
				unpack(t, raw)
			}
		})
	}
}

func TestReply(t *testing.T) {
	raw := query(t, "wWw.example.org", dns.TypeTXT, func(m *dns.Msg) {
		m.SetEdns0(4096, true)
		m.CheckingDisabled = true
	})
	p, err := parseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	m := unpack(t, p.blocked(dns.RcodeNameError))
	if m.Id != p.id() || !m.Response || m.Authoritative || !m.RecursionAvailable || !m.RecursionDesired || !m.CheckingDisabled || m.Rcode != dns.RcodeNameError {
		t.Errorf("got header %+v", m.MsgHdr)
	}
	if len(m.Question) != 1 || m.Question[0].Name != "wWw.example.org." || m.Question[0].Qtype != dns.TypeTXT {
		t.Errorf("got question %v", m.Question)
	}
	opt := m.IsEdns0()
	if opt == nil || !opt.Do() || opt.UDPSize() != 1232 || len(opt.Option) != 1 {
		t.Fatalf("got EDNS %v", opt)
	}
	if ede, ok := opt.Option[0].(*dns.EDNS0_EDE); !ok || ede.InfoCode != dns.ExtendedErrorCodeBlocked || ede.ExtraText != "netjail" {
		t.Errorf("got option %v", opt.Option[0])
	}
	if p, err = parseQuery(query(t, "a.org", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	if m := unpack(t, p.fail()); m.IsEdns0() != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", m)
	}
}

func TestInvalid(t *testing.T) {
	raw := query(t, "secret.example.org", dns.TypeAAAA, func(m *dns.Msg) {
		m.SetEdns0(1400, true)
		o := m.IsEdns0()
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("secret")})
	})
	got := Invalid(raw)
	if bytes.Contains(got, []byte("secret")) {
		t.Errorf("it still says it: %q", got)
	}
	m := unpack(t, got)
	if m.Id != unpack(t, raw).Id || m.IsEdns0() != nil || m.Question[0] != (dns.Question{Name: "invalid.", Qtype: dns.TypeA, Qclass: dns.ClassINET}) {
		t.Errorf("got %v", m)
	}
	if got := Invalid(raw[:13]); got != nil {
		t.Errorf("got %x for what is no query", got)
	}
}

func TestAnswers(t *testing.T) {
	raw := query(t, "www.example.org", dns.TypeA)
	p, err := parseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	good := p.local([]byte{192, 0, 2, 1})
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	tests := []struct {
		name string
		raw  []byte
		want bool
	}{
		{"good", good, true},
		{"in another case", edit(func(b []byte) { b[13] = 'W' }), true},
		{"another id", edit(func(b []byte) { b[0]++ }), false},
		{"a query", edit(func(b []byte) { b[2] &^= flagQR }), false},
		{"another name", edit(func(b []byte) { b[13] = 'x' }), false},
		{"another type", edit(func(b []byte) { b[p.question-3] = 28 }), false},
		{"a type that differs by case", edit(func(b []byte) { b[p.question-3] = 0x21 }), false},
		{"short", good[:11], false},
		{"cut in the question", good[:p.question-1], false},
		{"no question but an error", edit(func(b []byte) { b[5], b[7], b[3] = 0, 0, dns.RcodeFormatError })[:12], true},
		{"no question but an answer", edit(func(b []byte) { b[5] = 0 }), false},
	}
	for _, tt := range tests {
		if got := answers(tt.raw, p.id(), p.asked()); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
