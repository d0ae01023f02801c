package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestPipes uses a program as a part of pipelines.
func TestPipes(t *testing.T) {
	big := strings.Repeat("a line of some length\n", 100000)
	tests := []struct{ name, script, stdin, want string }{
		{"through", `"$NETJAIL_BIN" --no-prompt cat`, big, big},
		{"two", `"$NETJAIL_BIN" --no-prompt cat | "$NETJAIL_BIN" --no-prompt wc -l`, big, "100000\n"},
		{"stdout and stderr", `"$NETJAIL_BIN" --no-prompt sh -c 'echo out; echo err >&2' 2>/dev/null`, "", "out\n"},
		{"the rest of stdin", `"$NETJAIL_BIN" --no-prompt head -c 3 >/dev/null; cat`, "onetwo", "two"},
		{"a reader that leaves", `exec 3>&1; { "$NETJAIL_BIN" --no-prompt yes; echo $? >&3; } | head -n 1 >/dev/null`, "", "141\n"},
		{"a loop", `for i in 1 2 3 4 5; do "$NETJAIL_BIN" --no-prompt echo $i; done`, "", "1\n2\n3\n4\n5\n"},
		{"at once", `for i in 1 2 3 4 5 6 7 8; do "$NETJAIL_BIN" --no-prompt echo x & done; wait`, "", strings.Repeat("x\n", 8)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			cmd := shell(t, h, tt.script)
			cmd.Stdin = strings.NewReader(tt.stdin)
			if tt.name == "the rest of stdin" {
				cmd.Stdin = fileOf(t, tt.stdin)
			}
			if r := h.Finish(cmd); r.Stdout != tt.want || r.Code != 0 || r.Stderr != "" {
				t.Errorf("code %d, %d bytes on stdout, want %d; stderr %q", r.Code, len(r.Stdout), len(tt.want), r.Stderr)
			}
		})
	}
}

func fileOf(t *testing.T, content string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestCommandSubstitution reads a program's output to its end, which comes
// when nobody holds the pipe any more: neither the supervisor of what is left
// behind nor the daemon, which the first run starts, is to hold it.
func TestCommandSubstitution(t *testing.T) {
	for _, tt := range []struct {
		name, inner string
		left        int
	}{
		{"nothing left behind", `echo started`, 0},
		{"one left behind", `sleep 1000 >/dev/null 2>&1 & echo started`, 1},
		{"a session of its own", `(setsid sh -c "echo started; exec sleep 1000 >/dev/null 2>&1" &)`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			t.Cleanup(func() { endSleepers(h) })
			start := time.Now()
			r := h.Finish(shell(t, h, `x=$("$NETJAIL_BIN" --no-prompt sh -c '`+tt.inner+`' 2>&1); echo "got $x"`))
			if took := time.Since(start); r.Stdout != "got started\n" || took > atOnce {
				t.Errorf("%+v after %v, want started within %v", r, took, atOnce)
			}
			e2etest.WaitFor(t, fmt.Sprintf("%d left behind", tt.left), func() bool { return len(sleepers(h)) == tt.left })
		})
	}
}
