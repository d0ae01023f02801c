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
	compareLines(t, string(bare), jailed, 150)
}

// compareLines wants a script to have printed the same twice, and no less than
// some lines.
func compareLines(t *testing.T, bare, jailed string, least int) {
	t.Helper()
	want, got := strings.Split(bare, "\n"), strings.Split(jailed, "\n")
	if len(want) < least {
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
