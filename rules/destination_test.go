package rules

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func mustDest(t testing.TB, s string) Destination {
	t.Helper()
	d, err := ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseDestination(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"example.org", "example.org"},
		{"Example.ORG.", "example.org"},
		{"TCP://Example.org:443", "tcp://example.org:443"},
		{"nas", "nas"},
		{"_dmarc.example.org", "_dmarc.example.org"},
		{"*.example.org", "*.example.org"},
		{"*.local", "*.local"},
		{".LAN:22", ".lan:22"},
		{".example.org:443", ".example.org:443"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"bücher.example:443", "xn--bcher-kva.example:443"},
		{"*.BÜCHER.example", "*.xn--bcher-kva.example"},
		{".bücher。example", ".xn--bcher-kva.example"},
		{"192.0.2.7", "192.0.2.7"},
		{"192.0.2.7.:80", "192.0.2.7:80"},
		{"2001:DB8::1", "2001:db8::1"},
		{"2001:db8::1:443", "2001:db8::1:443"},
		{"[2001:db8::1]", "2001:db8::1"},
		{"udp://[2001:db8::1]:53", "udp://[2001:db8::1]:53"},
		{"fe80::1%Eth0", "fe80::1%Eth0"},
		{"[fe80::1%eth0]:22", "[fe80::1%eth0]:22"},
		{"::ffff:192.0.2.7", "192.0.2.7"},
		{"[::ffff:192.0.2.7]:80", "192.0.2.7:80"},
		{"0.0.0.0:80", "127.0.0.1:80"},
		{"[::]:80", "[::1]:80"},
		{"::ffff:0.0.0.0", "127.0.0.1"},
		{"192.0.2.77/24", "192.0.2.0/24"},
		{"192.0.2.7/32", "192.0.2.7"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"10.0.0.0/8:80", "10.0.0.0/8:80"},
		{"2001:db8::1/64", "2001:db8::/64"},
		{"[2001:db8::]/64", "2001:db8::/64"},
		{"[2001:db8::]/64:443", "[2001:db8::/64]:443"},
		{"[2001:db8::/64]:443", "[2001:db8::/64]:443"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"::/0", "::/0"},
		{"@Any", "@any"},
		{"@localhost:8080", "@localhost:8080"},
		{"tcp://@lan:22,443", "tcp://@lan:22,443"},
		{"@internet", "@internet"},
		{"@multicast", "@multicast"},
		{"icmp://@any", "icmp://@any"},
		{"example.org:443,80,81", "example.org:80-81,443"},
		{"example.org:6000-6010,6005-6020", "example.org:6000-6020"},
		{"example.org:1-65535", "example.org:1-65535"},
		{"listen://:8080", "listen://@any:8080"},
		{"listen://", "listen://@any"},
		{"listen+udp://*:53", "listen+udp://@any:53"},
		{"listen+tcp://127.0.0.1:8080", "listen+tcp://127.0.0.1:8080"},
		{"listen://0.0.0.0:80", "listen://0.0.0.0:80"},
		{"listen://[::]:80", "listen://[::]:80"},
		{"listen://192.0.2.0/24", "listen://192.0.2.0/24"},
		{"unix:/run/x.sock", "unix:/run/x.sock"},
		{"UNIX:/Run/X", "unix:/Run/X"},
		{"unix:@abstract", "unix:@abstract"},
		{"unix:@a%00b", "unix:@a%00b"},
		{"unix:/a b,c%25", "unix:/a%20b%2Cc%25"},
		{"unix:/é%ff", "unix:/é%FF"},
	} {
		d, err := ParseDestination(tc.in)
		if err != nil {
			t.Errorf("ParseDestination(%q): %v", tc.in, err)
			continue
		}
		if got := d.String(); got != tc.want {
			t.Errorf("ParseDestination(%q) = %q, want %q", tc.in, got, tc.want)
		}
		again, err := ParseDestination(d.String())
		if err != nil || !again.Equal(d) {
			t.Errorf("ParseDestination(%q) = %#v, %v, want %#v", d.String(), again, err, d)
		}
	}
}

// growing returns a destination of 512 bytes whose canonical text has 513.
func growing() string {
	s := "[::]:300"
	for port := 10001; len(s) < maxDestination; port += 2 {
		s += "," + strconv.Itoa(port)
	}
	return s
}

func TestParseDestinationErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "empty"},
		{"*", "@any"},
		{"*:443", "@any"},
		{"*.com", "top-level"},
		{".org", "top-level"},
		{"tcp://", "no host"},
		{":443", "no host"},
		{"@nowhere", "class"},
		{"sctp://example.org", `"sctp"`},
		{"https://example.org", ":443"},
		{"http://example.org", ":80"},
		{"listen+sctp://:1", "protocol"},
		{"example.org/path", "no path"},
		{"b\xfccher.example", "UTF-8"},
		{"-\u00fc.example", "not a name"},
		{"exa mple.org", "space"},
		{"example.org\n", "control"},
		{"a..org", "empty label"},
		{"example.org..", "empty label"},
		{".", "no"},
		{"a.*.org", "stands only"},
		{"*foo.org", "stands only"},
		{"foo!.org", "host name"},
		{"user@example.org", "host name"},
		{strings.Repeat("a", 64) + ".org", "longer than 63"},
		{strings.Repeat("a.", 130) + "org", "at most 253"},
		{strings.Repeat("a", 513), "longer than 512"},
		{growing(), "longer than 512"},
		{"127.1", "IPv4"},
		{"2130706433", "IPv4"},
		{"0x7f.1", "IPv4"},
		{"0x7f000001", "IPv4"},
		{"192.0.2.256", "IPv4"},
		{"192.0.2.07", "IPv4"},
		{"8080", "IPv4"},
		{"2001:db8::g", "IPv6"},
		{"example.org:80:90", "IPv6"},
		{"[2001:db8::1", "no ]"},
		{"[192.0.2.7]:80", "brackets"},
		{"[2001:db8::1]443", "not a port"},
		{"[2001:db8::/64]/64", "not a port"},
		{"fe80::1%eth/0", "prefix"},
		{"fe80::1%a,b", "zone"},
		{"192.0.2.0/33", "at most /32"},
		{"192.0.2.0/", "prefix"},
		{"fe80::%eth0/64", "prefix"},
		{"example.org:", "no port"},
		{"example.org:0", "1-65535"},
		{"example.org:65536", "1-65535"},
		{"example.org:99999999999999999999", "1-65535"},
		{"example.org:90-80", "reversed"},
		{"example.org:80,", "missing"},
		{"example.org:80-", "missing"},
		{"example.org:-80", "missing"},
		{"example.org:+80", "number"},
		{"example.org:https", "number"},
		{"icmp://example.org:80", "icmp"},
		{"listen://example.org:80", "local address"},
		{"unix:", "unix:/path"},
		{"unix:relative", "unix:/path"},
		{"unix://run/x", "unix:/path"},
		{"unix:/", "unix:/path"},
		{"unix:/a%0", "hexadecimal"},
		{"unix:/a%zz", "hexadecimal"},
		{"unix:/a%00", "NUL"},
		{"unix:/a\x01", "printable"},
		{"unix:/a\xff", "printable"},
		{"unix:/a\u202eb", "printable"},
		{"unix:/" + strings.Repeat("a", 108), "at most 108"},
	} {
		d, err := ParseDestination(tc.in)
		if err == nil {
			t.Errorf("ParseDestination(%q) = %q, want an error about %q", tc.in, d, tc.want)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseDestination(%q): got error %q, want one about %q", tc.in, err, tc.want)
		}
		if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x01\u202e") {
			t.Errorf("ParseDestination(%.20q): error is long or not printable: %q", tc.in, err)
		}
		if !d.IsZero() {
			t.Errorf("ParseDestination(%q) = %q with an error, want zero", tc.in, d)
		}
	}
}

func TestParseDestinations(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"example.org", "example.org"},
		{"example.org:80,443,other.org:22", "example.org:80,443 other.org:22"},
		{"example.org:80, 6000-6010 , @lan", "example.org:80,6000-6010 @lan"},
		{"[::1]:80,81,unix:/x", "[::1]:80-81 unix:/x"},
	} {
		list, err := ParseDestinations(tc.in)
		if err != nil {
			t.Errorf("ParseDestinations(%q): %v", tc.in, err)
			continue
		}
		var got []string
		for _, d := range list {
			got = append(got, d.String())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("ParseDestinations(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
	for _, in := range []string{"", ",", "a.org,", ",a.org", "80", "example.org,80", "a.org,,b.org", strings.Repeat("a", 70000)} {
		if list, err := ParseDestinations(in); err == nil {
			t.Errorf("ParseDestinations(%.20q) = %v, want an error", in, list)
		}
	}
}

func TestParseHost(t *testing.T) {
	h, err := ParseHost("*.example.org")
	if err != nil || h.String() != "*.example.org" {
		t.Errorf("got %v, %v", h, err)
	}
	for _, in := range []string{"", "tcp://a.org", "a.org:80", "listen://"} {
		if h, err := ParseHost(in); err == nil {
			t.Errorf("ParseHost(%q) = %v, want an error", in, h)
		}
	}
}

func TestDestinationJSON(t *testing.T) {
	for _, text := range []string{"", "tcp://example.org:443", "listen://@any:80", "unix:@x%00"} {
		var d, got Destination
		if text != "" {
			d = mustDest(t, text)
		}
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &got); err != nil || got != d {
			t.Errorf("%s: got %v, %v, want %v", data, got, err, d)
		}
	}
	d := mustDest(t, "a.org")
	if err := d.UnmarshalText([]byte("*")); err == nil || d.String() != "a.org" {
		t.Errorf("got %v, %v, want an error and no change", d, err)
	}
}

func TestRequestDestination(t *testing.T) {
	for _, tc := range []struct {
		op    Op
		proto Proto
		addr  string
		unix  string
		want  string
	}{
		{Connect, TCP, "192.0.2.7:443", "", "tcp://192.0.2.7:443"},
		{Send, UDP, "[2001:db8::1]:53", "", "udp://[2001:db8::1]:53"},
		{Connect, TCP, "[::ffff:192.0.2.7]:80", "", "tcp://192.0.2.7:80"},
		{Connect, TCP, "0.0.0.0:80", "", "tcp://127.0.0.1:80"},
		{Connect, TCP, "[fe80::1%eth0]:22", "", "tcp://[fe80::1%eth0]:22"},
		{Connect, TCP, "[fe80::1%a,b]:22", "", "tcp://[fe80::1]:22"},
		{Connect, UDP, "192.0.2.7:0", "", "udp://192.0.2.7"},
		{Send, ICMP, "192.0.2.7:8", "", "icmp://192.0.2.7"},
		{Listen, TCP, "127.0.0.1:8080", "", "listen+tcp://127.0.0.1:8080"},
		{Listen, TCP, "[::]:80", "", "listen+tcp://[::]:80"},
		{Listen, ICMP, "0.0.0.0:1", "", "listen+icmp://0.0.0.0"},
		{Connect, AnyProto, "", "/run/x", "unix:/run/x"},
		{Connect, AnyProto, "", "@a\x00,", "unix:@a%00%2C"},
	} {
		r := Request{Op: tc.op, Proto: tc.proto, Unix: tc.unix}
		if tc.addr != "" {
			r.Addr = netip.MustParseAddrPort(tc.addr)
		}
		d := r.Destination()
		if d.String() != tc.want {
			t.Errorf("%+v: got %q, want %q", r, d, tc.want)
		}
		if again, err := ParseDestination(d.String()); err != nil || again != d {
			t.Errorf("%q: reads back as %v, %v", d, again, err)
		}
		s := NewSet([]Rule{{Verdict: Deny, Dest: d}})
		if dec := s.Decide(&r, epoch); dec.Rule == nil {
			t.Errorf("%q does not cover the request it was made from", d)
		}
	}
	if d := (&Request{}).Destination(); d.String() != "" {
		t.Errorf("empty request: got %q, want no destination", d)
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{
		"tcp://192.0.2.7:443", "*.example.org", ".example.org:80,443", "[fe80::1%eth0]:22", "@any",
		"2001:db8::/32", "listen+udp://:53", "unix:@a%00b", "icmp://@lan", "a.org:1-2,3-4", "::ffff:0:0/96",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err != nil {
			return
		}
		again, err := ParseDestination(d.String())
		if err != nil || again != d {
			t.Fatalf("%q: %q reads back as %#v, %v, want %#v", s, d, again, err, d)
		}
		if len(d.String()) > maxDestination || d.IsZero() {
			t.Fatalf("%q: bad destination %q", s, d)
		}
		if list, err := ParseDestinations(d.String()); err != nil || len(list) != 1 || list[0] != d {
			t.Fatalf("%q: as a list %v, %v, want one %q", s, list, err, d)
		}
		_ = NewSet([]Rule{{Dest: d}}).Decide(&Request{Proto: TCP}, epoch)
	})
}
