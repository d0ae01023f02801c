package desk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestChanged allows a program once, and replaces it: the next question says
// so, unless the new one is the same.
func TestChanged(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	curl, err := os.ReadFile(e2etest.Need(t, "curl"))
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(h.Dir, "mine")
	become := func(text string) {
		writeFile(t, mine+".new", string(curl)+text)
		if err := os.Chmod(mine+".new", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(mine+".new", mine); err != nil {
			t.Fatal(err)
		}
	}
	journal := func() string {
		text, err := os.ReadFile(filepath.Join(h.Dir, ".local/state/netjail/executables.json"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	s := newScreen(t, h)
	reached := 0
	for _, step := range []struct {
		name, text, key string
		changed         bool
	}{
		{"first", "", "a", false},
		{"same", "", "d", false},
		{"another", "x", "d", true},
		{"still", "x", "a", true},
		{"known", "x", "d", false},
	} {
		become(step.text)
		s.run(step.name, "netjail "+mine+" -s "+srv.url())
		s.question(h)
		var last status
		e2etest.WaitFor(t, step.name+": where the program is from", func() bool {
			last = statusOf(t, h)
			return last.Questions[0].Origin == "home" && last.Questions[0].Changed.IsZero() != step.changed
		})
		t.Logf("the screen:\n%s", s.text())
		before := journal()
		s.keys(step.key)
		s.wait("^" + step.name + `=\d`)
		s.forget()
		if step.key == "a" {
			reached++
			e2etest.WaitFor(t, step.name+": it is remembered", func() bool { return journal() != before })
		}
	}
	srv.wantReached(t, "in the end", reached)
}
