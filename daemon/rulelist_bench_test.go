package daemon

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/history"
	"github.com/netjail/netjail/rules"
)

// BenchmarkRulesList is what the daemon does for rules list: 10,000 rules of 40
// apps, in files, compared with the disk, encoded.
func BenchmarkRulesList(b *testing.B) {
	s := &server{
		store: newStore(filepath.Join(b.TempDir(), "rules")), place: newPlace(""),
		history: history.New(history.Config{Path: filepath.Join(b.TempDir(), "history.db")}),
	}
	defer s.history.Close()
	if err := s.store.load(); err != nil {
		b.Fatal(err)
	}
	var list []rules.Rule
	for i := range 10000 {
		d, err := rules.ParseDestination(fmt.Sprintf("tcp://host%d.zone%d.example.org:443", i, i%100))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, rules.Rule{App: fmt.Sprintf("app%d", i%40), Verdict: rules.Allow, Dest: d, By: "import", Created: time.Unix(1e9, 0)})
	}
	if _, _, _, err := s.store.take(list, false); err != nil {
		b.Fatal(err)
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			out, err := s.rulesList(b.Context(), &api.Message{Data: []byte(`{"brief":true}`)})
			if err != nil {
				b.Fatal(err)
			}
			if data, err := api.Encode(out); err != nil || len(out.(api.RuleList).Rules) != len(list) || len(data) > api.MaxLine {
				b.Fatal(len(data), err)
			}
		}
	})
	b.Run("explain", func(b *testing.B) {
		s.lists = newBlocklists("", "")
		s.lists.loaded.Store(true)
		in, err := json.Marshal(api.ExplainRequest{App: "app7", Dest: list[7].Dest})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := s.explain(&api.Message{Data: in}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
