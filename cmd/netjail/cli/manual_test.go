package cli

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/netjail/netjail/cmd/netjail/manual"
)

//go:generate go test -run ^TestManual$ . -update

var update = flag.Bool("update", false, "write the man pages")

// TestManual: the man pages that are checked in are those of the commands as
// they are. It stands here because the command table is known only here:
// nothing imports cmd, and the binary need not carry what prints it.
func TestManual(t *testing.T) {
	pages, err := manual.Pages((&app{}).root())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("..", "..", "..", "contrib", "man")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range pages {
		file := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the commands and its text say (%v): go generate ./cmd/netjail/cli", file, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := pages[f.Name()]; !ok {
			t.Errorf("%s has no text in cmd/netjail/manual/pages", f.Name())
		}
	}
}

// TestUsage: the help that is laid out by hand names the flags of a run.
func TestUsage(t *testing.T) {
	flags := (&app{}).root().LocalFlags()
	said := make(map[string]bool)
	_, list, _ := strings.Cut(usage, "Flags of a run:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`).FindAllStringSubmatch(list, -1) {
		said[m[1]] = true
		if flags.Lookup(m[1]) == nil {
			t.Errorf("--%s is no flag", m[1])
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && !said[f.Name] && f.Name != "help" && f.Name != "version" {
			t.Errorf("the help does not name --%s", f.Name)
		}
	})
}
