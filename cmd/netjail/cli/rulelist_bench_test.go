package cli

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// someRules returns n rules.
func someRules(t testing.TB, n int) []api.Rule {
	t.Helper()
	now := time.Now()
	var list []rules.Rule
	for i := range n {
		d, err := rules.ParseDestination(fmt.Sprintf("tcp://host%d.zone%d.example.org:443", i, i%100))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rules.Rule{App: fmt.Sprintf("app%d", i%40), Verdict: rules.Allow, Dest: d, By: "prompt", Created: now, Source: rules.Source{File: "/home/me/.config/netjail/rules/app.toml", Line: i}})
	}
	return api.FromRules(list)
}

// BenchmarkTable prints 10,000 rules.
func BenchmarkTable(b *testing.B) {
	a := &app{out: io.Discard, err: io.Discard}
	list := someRules(b, 10000)
	for b.Loop() {
		a.tableOf(list, false)
	}
}

// BenchmarkPickAndSort picks and sorts them before.
func BenchmarkPickAndSort(b *testing.B) {
	list := someRules(b, 10000)
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
