package rules

import (
	"net/netip"
	"testing"
)

func TestMasks(t *testing.T) {
	for _, text := range []string{"255.255.255.255", "192.0.2.77", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:1:2:3:4:5:6"} {
		a := netip.MustParseAddr(text)
		for bits := range a.BitLen() + 1 {
			p, err := a.Prefix(bits)
			if err != nil {
				t.Fatal(err)
			}
			if a.Is4() {
				if got, want := mask4(bits4(a), bits), bits4(p.Addr()); got != want {
					t.Errorf("%s: got %x, want %x", p, got, want)
				}
			} else if got, want := mask6(bits6(a), bits), bits6(p.Addr()); got != want {
				t.Errorf("%s: got %x, want %x", p, got, want)
			}
		}
	}
}
