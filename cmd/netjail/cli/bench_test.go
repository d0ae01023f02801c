package cli_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// BenchmarkRulesList is netjail rules list as people wait for it: a process of
// its own, which asks a daemon that has read 10,000 rules of 40 apps.
func BenchmarkRulesList(b *testing.B) {
	home := b.TempDir()
	b.Setenv("HOME", home)
	b.Setenv("XDG_RUNTIME_DIR", home)
	b.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	b.Setenv("XDG_STATE_HOME", filepath.Join(home, ".local", "state"))
	for app := range 40 {
		saveRules(b, filepath.Join(home, ".config", "netjail", "rules"), fmt.Sprintf("app%d", app), 250)
	}
	b.Cleanup(func() {
		if err := stopDaemon(home); err != nil {
			b.Error(err)
		}
	})
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"list", "--verdict", "deny"}} {
		b.Run(fmt.Sprint(args), func(b *testing.B) {
			for b.Loop() {
				c := exec.Command("/proc/self/exe", append([]string{"rules"}, args...)...)
				c.Args[0] = "netjail" // see TestMain
				if err := c.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func saveRules(b *testing.B, dir, app string, n int) {
	b.Helper()
	var list []rules.Rule
	for i := range n {
		d, err := rules.ParseDestination(fmt.Sprintf("tcp://host%d.%s.example.org:443", i, app))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, rules.Rule{App: app, Verdict: rules.Allow, Dest: d, By: "import", Created: time.Unix(1e9, 0)})
	}
	f, err := rulefile.Parse(filepath.Join(dir, rulefile.FileName(app)), app, nil)
	if err == nil {
		f, err = f.Append(list...)
	}
	if err == nil {
		err = rulefile.Save(dir, f)
	}
	if err != nil {
		b.Fatal(err)
	}
}
