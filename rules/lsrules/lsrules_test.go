package lsrules

import (
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	got, err := Read([]byte(`{
		"name": "ads", "description": "a few",
		"denied-remote-domains": ["ads.example", "Track.Example", "ads.example"],
		"denied-remote-hosts": "one.example, two.example",
		"denied-remote-addresses": "192.0.2.1",
		"rules": [
			{"action": "deny", "process": "any", "remote-domains": ["rule.example"], "notes": "x"},
			{"action": "deny", "remote-hosts": "host.example", "direction": "outgoing", "ports": "any"},
			{"action": "allow", "process": "any", "remote-domains": "good.example"},
			{"action": "deny", "process": "/bin/x", "remote-domains": "x.example"},
			{"action": "deny", "remote-domains": "p.example", "ports": "80"},
			{"action": "deny", "remote-domains": "v.example", "via": "/bin/sh"},
			{"action": "deny", "remote-addresses": "192.0.2.0/24"},
			{"action": "deny", "remote-domains": "off.example", "disabled": true},
			{"remote-domains": "none.example"},
			{"action": "deny", "remote-domains": ["192.0.2.9", "a b"]}
		]}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ads.example", "host.example", "one.example", "rule.example", "track.example", "two.example"}; !slices.Equal(got.Names, want) || got.Hosts != 3 {
		t.Errorf("got %q, %d hosts, want %q", got.Names, got.Hosts, want)
	}
	var refused []string
	for _, r := range got.Refused {
		refused = append(refused, r.What+": "+r.Why)
	}
	want := []string{
		"denied-remote-addresses: a blocklist is of names only", "rule 3: its action is not deny", "rule 4: for one program",
		"rule 5: for some traffic only", `rule 6: "via" is not known here`, "rule 7: not of names", "rule 8: disabled",
		"rule 9: its action is not deny", `rule 10: "192.0.2.9" is not a name`, "rule 10: destination",
	}
	for i := range max(len(want), len(refused)) {
		if i >= len(want) || i >= len(refused) || !strings.HasPrefix(refused[i], want[i]) {
			t.Fatalf("refused\n%s\nwant\n%s", strings.Join(refused, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, data := range []string{"", "[]", "0.0.0.0 ads.example"} {
		if _, err := Read([]byte(data)); err == nil {
			t.Errorf("%q is a rule group", data)
		}
	}
	if got, err := Read([]byte(`{"denied-remote-domains": 7, "rules": {}}`)); err != nil || len(got.Names) > 0 || len(got.Refused) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}
