package programs

import (
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// lesson learns from a command, and has it run again under what was learned.
type lesson struct {
	h       *e2etest.Home
	args    []string
	file    string
	prepare func(*exec.Cmd)  // before each run
	check   func(*testing.T) // after each run
}

func (l *lesson) command(flags ...string) *exec.Cmd {
	cmd := l.h.Command(slices.Concat(flags, []string{"--"}, l.args)...)
	if l.prepare != nil {
		l.prepare(cmd)
	}
	return cmd
}

// run returns the text of the learned file.
func (l *lesson) run(t *testing.T) string {
	t.Helper()
	l.file = filepath.Join(l.h.Dir, "learned.toml")
	// What it can do when nothing is allowed it does not have to learn.
	r := l.h.Finish(l.command("--no-prompt"))
	if r.Code == 0 || !strings.Contains(r.Stderr, "netjail: denied: ") {
		t.Fatalf("with nothing allowed: code %d, stderr:\n%s", r.Code, r.Stderr)
	}
	for _, flags := range [][]string{{"learn", "-o", l.file}, {"--rules", l.file, "--no-prompt"}} {
		r := l.h.Finish(l.command(flags...))
		if r.Code != 0 || strings.Contains(r.Stderr, "netjail: denied: ") {
			t.Fatalf("netjail %v: code %d, stdout:\n%s\nstderr:\n%s", flags, r.Code, r.Stdout, r.Stderr)
		}
		l.check(t)
	}
	text, err := os.ReadFile(l.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// refuses wants another program's destination to be refused under what was
// learned, with the line that allows it.
func (l *lesson) refuses(t *testing.T) {
	t.Helper()
	e2etest.Need(t, "curl")
	srv := e2etest.Listen(t)
	app := filepath.Base(l.args[0])
	r := l.h.Run("--rules", l.file, "--no-prompt", "--as", app, "--", "curl", "-s", "http://"+srv.Addr()+"/")
	if n := srv.Settled(t); r.Code == 0 || n != 0 {
		t.Errorf("another host: code %d, %d arrived", r.Code, n)
	}
	wantHints(t, r.Stderr, app, "tcp://"+srv.Addr())
}

// wantRules wants a file to allow these, and nothing else.
func wantRules(t *testing.T, text string, dests ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(text) {
		if dest, ok := strings.CutPrefix(line, "allow = "); ok {
			got = append(got, strings.Trim(dest, "\"\n"))
		}
	}
	if !slices.Equal(got, dests) {
		t.Errorf("learned %q, want %q", got, dests)
	}
}

// cloned looks at a clone, and removes it.
func cloned(clone string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(clone, "file"))
		if err != nil || string(got) != "content\n" {
			t.Errorf("the clone has %q (%v), want content", got, err)
		}
		os.RemoveAll(clone)
	}
}

// TestLearnGit learns from a clone over HTTP, and from one over ssh.
func TestLearnGit(t *testing.T) {
	e2etest.Need(t, "git")
	t.Run("http", func(t *testing.T) {
		root := newRepository(t)
		srv := serveHTTP(t, &cgi.Handler{
			Path: filepath.Join(command(t, root, nil, "git", "--exec-path"), "git-http-backend"),
			Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
		})
		clone := filepath.Join(root, "clone")
		l := lesson{
			h: e2etest.NewHome(t), args: []string{"git", "clone", "-q", "http://" + srv.Addr() + "/repo.git", clone}, check: cloned(clone),
		}
		text := l.run(t)
		wantRules(t, text, "tcp://"+srv.Addr())
		if !strings.Contains(text, " by git-remote-http") {
			t.Errorf("the note does not name the program:\n%s", text)
		}
		l.refuses(t)
	})
	t.Run("ssh", func(t *testing.T) {
		e2etest.Need(t, "ssh")
		root := newRepository(t)
		srv := newSSHServer(t)
		args := srv.client(t, "")
		clone := filepath.Join(root, "clone")
		l := lesson{
			h: e2etest.NewHome(t), args: []string{"git", "clone", "-q", "127.0.0.1:" + filepath.Join(root, "repo.git"), clone}, check: cloned(clone),
			prepare: func(cmd *exec.Cmd) {
				cmd.Env = append(slices.Clone(cmd.Env), "GIT_SSH_COMMAND="+strings.Join(args[:len(args)-2], " "), "GIT_CONFIG_COUNT=1",
					"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
			},
		}
		text := l.run(t)
		wantRules(t, text, "tcp://"+srv.Addr())
		if !strings.Contains(text, " by ssh,") {
			t.Errorf("the note does not name the program:\n%s", text)
		}
		l.refuses(t)
	})
}

// TestLearnRegistries learns from what people run netjail for: packages that
// come from the registries that this machine's tools are configured with.
func TestLearnRegistries(t *testing.T) {
	t.Run("npm", func(t *testing.T) {
		dir := t.TempDir()
		ask := func(key string) string { return configured(t, "npm", "config", "get", key) }
		l := lesson{
			h: e2etest.NewHome(t), args: []string{"npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "is-number@7.0.0"},
			check: func(t *testing.T) {
				t.Helper()
				if _, err := os.Stat(filepath.Join(dir, "node_modules", "is-number", "package.json")); err != nil {
					t.Error(err)
				}
			},
		}
		env := []string{"npm_config_registry=" + ask("registry"), "npm_config_userconfig=" + ask("userconfig"), "npm_config_fetch_retries=0"}
		l.prepare = func(cmd *exec.Cmd) {
			empty(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"name":"x","version":"1.0.0","private":true}`), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd.Dir, cmd.Env = dir, slices.Concat(cmd.Env, env, []string{"npm_config_cache=" + filepath.Join(dir, "cache")})
		}
		l.reachable(t)
		l.run(t)
		l.refuses(t)
	})
	t.Run("go", func(t *testing.T) {
		dir := t.TempDir()
		var env []string
		for _, key := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE", "GOAUTH"} {
			env = append(env, key+"="+configured(t, "go", "env", key))
		}
		l := lesson{
			h: e2etest.NewHome(t), args: []string{"go", "mod", "download"},
			check: func(t *testing.T) {
				t.Helper()
				if _, err := os.Stat(filepath.Join(dir, "cache", "github.com", "google", "uuid@v1.6.0", "uuid.go")); err != nil {
					t.Error(err)
				}
			},
		}
		l.prepare = func(cmd *exec.Cmd) {
			empty(t, dir)
			mod := "module example.org/x\n\ngo 1.21\n\nrequire github.com/google/uuid v1.6.0\n"
			if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd.Dir = dir
			cmd.Env = slices.Concat(cmd.Env, env, []string{
				"GOMODCACHE=" + filepath.Join(dir, "cache"), "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local", "GOWORK=off", "GOPATH=" + filepath.Join(dir, "path")})
		}
		l.reachable(t)
		l.run(t)
		l.refuses(t)
	})
}

// configured returns what a tool is configured with.
func configured(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(e2etest.Need(t, args[0]), args[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// empty leaves a directory with nothing in it.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil {
			err = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reachable runs the command without netjail. Where that fails there is no
// registry to learn from.
func (l *lesson) reachable(t *testing.T) {
	t.Helper()
	cmd := native(l.h, l.args...)
	l.prepare(cmd)
	r := l.h.Finish(cmd)
	switch {
	case r.Code == 0:
		l.check(t)
	case e2etest.Required():
		t.Fatalf("%v fails without netjail: the registry that it is configured with is needed:\n%s", l.args, r.Stderr)
	default:
		t.Skipf("NOT TESTED: %v fails without netjail, there is no registry to learn from:\n%s", l.args, r.Stderr)
	}
}
