package interpose

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

var allowAll = policy{check: func(*Call) Verdict { return Allow }}

// TestSemantics runs one script bare and in a jail that allows everything: a
// program must not be able to tell the difference.
func TestSemantics(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETJAIL_VICTIM", "semantics")
	bare, err := exec.Command(self).Output()
	if err != nil {
		t.Fatalf("bare: %v", err)
	}
	jailed, ws := run(t, allowAll, self)
	if ws.ExitStatus() != 0 {
		t.Fatalf("jailed: status %d\n%s", ws.ExitStatus(), jailed)
	}
	want, got := strings.Split(string(bare), "\n"), strings.Split(jailed, "\n")
	if len(want) < 150 {
		t.Fatalf("only %d lines: the script did not run\n%s", len(want), bare)
	}
	t.Logf("%d results compared", len(want))
	for i := range max(len(want), len(got)) {
		w, g := line(want, i), line(got, i)
		if w != g {
			t.Errorf("line %d: bare %q, jailed %q", i+1, w, g)
		}
	}
}

func line(l []string, i int) string {
	if i < len(l) {
		return l[i]
	}
	return "(nothing)"
}
