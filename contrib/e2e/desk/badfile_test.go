package desk

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// noise is bytes that are no text, the same in every run.
func noise() string {
	var b strings.Builder
	for i := range 100 {
		sum := sha256.Sum256([]byte{byte(i)})
		b.Write(sum[:])
	}
	return b.String()
}

// broken are rule files that are not taken, and the lines that are at fault.
var broken = []struct {
	name, text string
	line       int
	says       string
}{
	{"unknown key", "[[rule]]\nallow = \"127.0.0.1:1\"\ncolour = \"red\"\n", 3, `unknown key`},
	{"bad port", "# a comment\n[[rule]]\nallow = \"127.0.0.1:99999\"\n", 3, `port "99999" is not in 1-65535`},
	{"binary", noise(), 1, "not"},
	{"half written", "[[rule]]\nallow = \"127.0.0.1:1\"\n\n[[rule]]\ndeny = \"127.0.", 5, "unterminated"},
	{"a line of a megabyte", "[[rule]]\nallow = \"" + strings.Repeat("a", 1<<20) + "\"\n", 2, "line longer than 64 KiB"},
}

// TestBrokenFile breaks a rule file below a daemon and a jail. The last good
// rules hold.
func TestBrokenFile(t *testing.T) {
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			allowed, denied := listen(t), listen(t)
			for _, app := range []string{"job", "curl"} {
				wantResult(t, "add", h.Run("rules", "add", app, "allow", allowed.Addr()), 0)
				wantResult(t, "add", h.Run("rules", "add", app, "deny", denied.Addr()), 0)
			}
			before := rulesOf(t, h)
			w, out := shellOnPipe(t, h)
			file := filepath.Join(h.Rules(), "job.toml")
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check := func(when string, n int) {
				t.Helper()
				for srv, want := range map[*server]string{allowed: "0", denied: "7"} {
					if got := in(t, w, out, "curl -s "+srv.url()); got != want {
						t.Errorf("%s, in the jail: exit code %s, want %s", when, got, want)
					}
					if r := h.Run("curl", "-s", srv.url()); fmt.Sprint(r.Code) != want {
						t.Errorf("%s, a new run: exit code %d, want %s\n%s", when, r.Code, want, r.Stderr)
					}
				}
				allowed.wantReached(t, when, n)
				denied.wantReached(t, when, 0)
				wantRules(t, h, before...)
			}
			check("before", 2)
			writeFile(t, file, tt.text)
			at := fmt.Sprintf("netjail: error: %s:%d: ", file, tt.line)
			wantResult(t, "rules check", h.Run("rules", "check"), 1, at, tt.says)
			check("broken and not taken", 4)
			wantResult(t, "rules reload", h.Run("rules", "reload"), 2, at, tt.says, "netjail: hint: correct it, then: ")
			check("after reload", 6)
			if s := statusOf(t, h); !strings.Contains(s.Problem, tt.says) {
				t.Errorf("status tells of no problem: %q", s.Problem)
			}
			if r := h.Run("rules", "add", "job", "allow", "127.0.0.1:1"); r.Code != 2 || !strings.Contains(r.Stderr, "changed on disk") {
				t.Errorf("add to a broken file: %+v", r)
			}
			if b, _ := os.ReadFile(file); string(b) != tt.text {
				t.Error("the broken file was overwritten")
			}

			// A fresh daemon has no last good rules.
			h.StopDaemon()
			ran := filepath.Join(h.Dir, "ran")
			wantResult(t, "a run with a fresh daemon", h.Run("--as", "curl", "touch", ran), 125, at, tt.says, "netjail: hint: ")
			if _, err := os.Stat(ran); err == nil {
				t.Error("the program was started")
			}
			writeFile(t, file, string(good))
			wantResult(t, "rules check", h.Run("rules", "check"), 0)
			wantResult(t, "rules reload", h.Run("rules", "reload"), 0)
			wantResult(t, "a run with good files", h.Run("--as", "curl", "touch", ran), 0)
			check("repaired", 8)
		})
	}
}

// TestBadDirectory puts something in the place of the rules' directory that
// netjail does not take.
func TestBadDirectory(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		spoil      func(dir string) error
	}{
		{"symbolic link", "a symbolic link: give the directory itself", func(dir string) error {
			if err := os.Rename(dir, dir+".real"); err != nil {
				return err
			}
			return os.Symlink(dir+".real", dir)
		}},
		{"writable by others", "", func(dir string) error { return os.Chmod(dir, 0o777) }},
		{"file", "not a directory", func(dir string) error {
			if err := os.Rename(dir, dir+".real"); err != nil {
				return err
			}
			return os.WriteFile(dir, nil, 0o600)
		}},
		{"file above it", "not a directory", func(dir string) error {
			if err := os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".real"); err != nil {
				return err
			}
			return os.WriteFile(filepath.Dir(dir), nil, 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv, other := listen(t), listen(t)
			wantResult(t, "add", h.Run("rules", "add", "curl", "allow", srv.Addr()), 0)
			good := rulesOf(t, h)
			wantResult(t, "before", h.Run("curl", "-s", srv.url()), 0)
			if err := tt.spoil(h.Rules()); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{
				{"rules", "reload"}, {"rules", "add", "curl", "allow", other.Addr()},
			} {
				wantResult(t, strings.Join(args, " "), h.Run(args...), 2, "netjail: error: ", h.Rules(), tt.says)
			}
			wantRules(t, h, good...)
			wantResult(t, "a new run", h.Run("curl", "-s", srv.url()), 0)
			wantResult(t, "elsewhere", h.Run("curl", "-s", other.url()), 7)
			h.StopDaemon()
			ran := filepath.Join(h.Dir, "ran")
			wantResult(t, "a run with a fresh daemon", h.Run("touch", ran), 125, "netjail: error: ", h.Rules(), tt.says)
			if _, err := os.Stat(ran); err == nil {
				t.Error("the program was started")
			}
			srv.wantReached(t, "in the end", 2)
			other.wantReached(t, "in the end", 0)
		})
	}
}
