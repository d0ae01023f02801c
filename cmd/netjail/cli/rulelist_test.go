package cli

import (
	"bytes"
	"testing"

	"github.com/netjail/netjail/daemon/api"
)

// TestJSONRules: a list of rules is printed as all else is.
func TestJSONRules(t *testing.T) {
	for name, list := range map[string]api.RuleList{
		"none":    {Rules: []api.Rule{}},
		"rules":   {Rules: someRules(t, 3)},
		"differs": {Rules: someRules(t, 1), Differs: []string{"/a", "/<b>"}},
	} {
		var got, want bytes.Buffer
		fields := map[string]any{"rules": list.Rules}
		if list.Differs != nil {
			fields["differs"] = list.Differs
		}
		if err := (&app{out: &want}).json(fields); err != nil {
			t.Fatal(err)
		}
		if err := (&app{out: &got}).json(list); err != nil || got.String() != want.String() {
			t.Errorf("%s: got %s, %v\nwant %s", name, &got, err, &want)
		}
	}
}
