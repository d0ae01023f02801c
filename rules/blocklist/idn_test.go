package blocklist

import "testing"

func TestInternationalNames(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"names", "bücher.example\nxn--bcher-kva.example\nBÜCHER.example\n", "xn--bcher-kva.example xn--bcher-kva.example xn--bcher-kva.example"},
		{"another dot", "bücher。example", "xn--bcher-kva.example"},
		{"hosts", "0.0.0.0 bücher.example", "xn--bcher-kva.example"},
		{"adblock", "||bücher.example^", "xn--bcher-kva.example"},
		{"decomposed", "bu\u0308cher.example", "xn--bcher-kva.example"},
		{"not a name", "\u200b.example\nads.example", "ads.example -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := read(tc.text)
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	if got, err := ParseName("straße.example"); got != "xn--strae-oqa.example" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
