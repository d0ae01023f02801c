package cli

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// tenThousand is what a list of that many rules is made of.
func tenThousand(b *testing.B) []api.Rule {
	b.Helper()
	now := time.Now()
	var list []rules.Rule
	for i := range 10000 {
		d, err := rules.ParseDestination(fmt.Sprintf("tcp://host%d.zone%d.example.org:443", i, i%100))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, rules.Rule{App: fmt.Sprintf("app%d", i%40), Verdict: rules.Allow, Dest: d, By: "prompt", Created: now, Source: rules.Source{File: "/home/me/.config/netjail/rules/app.toml", Line: i}})
	}
	return api.FromRules(list)
}

// BenchmarkTable prints 10,000 rules.
func BenchmarkTable(b *testing.B) {
	a := &app{out: io.Discard, err: io.Discard}
	list := tenThousand(b)
	for b.Loop() {
		a.tableOf(list, false)
	}
}

// BenchmarkPickAndSort picks and sorts them before.
func BenchmarkPickAndSort(b *testing.B) {
	list := tenThousand(b)
	f := listFlags{host: "host7.zone7.example.org", sort: "dest"}
	for b.Loop() {
		pick, err := f.picker()
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for i := range list {
			if pick(&list[i]) {
				n++
			}
		}
		f.order(list)
		if n != 1 {
			b.Fatalf("%d picked, want 1", n)
		}
	}
}
