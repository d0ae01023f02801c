package programs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

func TestExitCode(t *testing.T) {
	h := e2etest.NewHome(t)
	file := func(name, content string, mode os.FileMode) string {
		name = filepath.Join(h.Dir, name)
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	plain := file("plain", "#!/bin/sh\n", 0o644)
	orphan := file("orphan", "#!/no/such/interpreter\n", 0o755)
	junk := file("junk", "\x7fELF and nothing else", 0o755)
	tests := []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"true"}, 0},
		{"failure", []string{"false"}, 1},
		{"its own", []string{"sh", "-c", "exit 42"}, 42},
		{"the largest", []string{"sh", "-c", "exit 255"}, 255},
		{"SIGTERM", []string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{"SIGKILL", []string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
		{"SIGSEGV", []string{"sh", "-c", "ulimit -c 0; kill -SEGV $$"}, 128 + 11},
		{"a flag of the program's", []string{"sh", "-c", "exit 3", "--no-such-flag"}, 3},
		{"after --", []string{"--", "sh", "-c", "exit 4"}, 4},
		{"no command", nil, 125},
		{"a bad flag", []string{"--no-such-flag", "true"}, 125},
		{"a bad destination", []string{"--allow", "exa mple", "true"}, 125},
		{"a bad port", []string{"--allow", "127.0.0.1:70000", "true"}, 125},
		{"a bad time", []string{"--timeout", "soon", "true"}, 125},
		{"no time", []string{"--timeout", "0", "true"}, 125},
		{"a standard descriptor", []string{"--keep-fd", "2", "true"}, 125},
		{"a descriptor that is not open", []string{"--keep-fd", "77", "true"}, 125},
		{"not executable", []string{plain}, 126},
		{"a directory", []string{h.Dir}, 126},
		{"not a program", []string{junk}, 126},
		{"no such program", []string{"no-such-program"}, 127},
		{"no such file", []string{"/no/such/program"}, 127},
		{"no interpreter", []string{orphan}, 127},
		{"--timeout", []string{"--timeout", "200ms", "sleep", "1000"}, 124},
		{"--timeout not reached", []string{"--timeout", "60", "sh", "-c", "exit 5"}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := h.Run(append([]string{"--no-prompt"}, tt.args...)...)
			if r.Code != tt.want {
				t.Errorf("code %d, want %d; stderr %q", r.Code, tt.want, r.Stderr)
			}
			ours := tt.want >= 125 && tt.want <= 127
			if said := strings.HasPrefix(r.Stderr, "netjail: error: "); said != ours {
				t.Errorf("stderr %q, netjail's own error: %v, want %v", r.Stderr, said, ours)
			}
		})
	}
}

// TestTimeout ends everything in the jail.
func TestTimeout(t *testing.T) {
	tests := []struct{ name, script string }{
		{"child", `sleep 1000 & echo started; wait`},
		{"grandchild", `sh -c 'sleep 1000 & echo started; wait' & wait`},
		{"session of its own", `setsid sh -c 'sleep 1000 & echo started; wait' & wait`},
		{"daemonised", `(setsid sh -c 'echo started; exec sleep 1000' &); sleep 1000`},
		{"stopped", `sleep 1000 & kill -STOP $!; echo started; wait`},
		{"grandchild without SIGTERM", `(trap '' TERM; exec sh -c 'echo started; exec sleep 1000') & wait`},
		{"without SIGTERM", `trap '' TERM; echo started; sleep 1000; sleep 1000`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := e2etest.NewHome(t)
			t.Cleanup(func() { endSleepers(h) })
			file := filepath.Join(h.Dir, "started")
			// A slow machine has started nothing in a second, and gets more.
			for limit := time.Second; ; limit *= 3 {
				start := time.Now()
				r := h.Run("--no-prompt", "--timeout", limit.String(), "sh", "-c", "exec >"+file+"; "+tt.script)
				if took := time.Since(start); r.Code != 124 || took < limit || took > limit+e2etest.Patience {
					t.Errorf("code %d after %v, want 124 after %v, or 5 s later", r.Code, took, limit)
				}
				e2etest.WaitFor(t, "the end of all in the jail", func() bool { return len(sleepers(h)) == 0 })
				b, err := os.ReadFile(file)
				if err == nil && len(b) > 0 {
					return
				}
				if limit > 20*time.Second {
					t.Fatalf("nothing was started: %v", err)
				}
			}
		})
	}
}

// sleepers lists the running sleep(1) processes that were started in h, in a
// jail or not.
func sleepers(h *e2etest.Home) []int {
	var list []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		if !strings.HasPrefix(string(line), "sleep\x00") {
			continue
		}
		env, _ := os.ReadFile(dir + "/environ") // of others it cannot be read
		if strings.Contains("\x00"+string(env), "\x00HOME="+h.Dir+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			list = append(list, pid)
		}
	}
	return list
}

func endSleepers(h *e2etest.Home) {
	for _, pid := range sleepers(h) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
