package rules

import (
	"net/netip"
	"testing"
)

// TestPrefixes: of prefixes of every length the longest that holds an address is
// found, and behind it those around it.
func TestPrefixes(t *testing.T) {
	for _, text := range []string{"255.255.255.255", "0.0.0.0", "192.0.2.77", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::", "2001:db8:1:2:3:4:5:6"} {
		a := netip.MustParseAddr(text)
		var p prefixes
		for bits := range a.BitLen() {
			prefix, err := a.Prefix(bits)
			if err != nil {
				t.Fatal(err)
			}
			p = p.add(entry{order: bits, rule: &Rule{Dest: Destination{Host: Host{Kind: HostPrefix, Prefix: prefix}}}})
		}
		p = p.sort()
		for bits := range a.BitLen() {
			// An address that differs in this bit is in the prefixes up to there.
			b := a.AsSlice()
			b[bits/8] ^= 0x80 >> (bits % 8)
			other, _ := netip.AddrFromSlice(b)
			e := p.find(&Request{}, wideOf(other), epoch)
			if e == nil || e.order != bits {
				t.Errorf("%s: got %+v, want the one of %d bits of %s", other, e, bits, a)
			}
		}
	}
}
