package desk

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

func TestMain(m *testing.M) {
	// No shims of version managers: they start programs of their own.
	os.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/go/bin")
	os.Unsetenv("TMUX")
	os.Unsetenv("NO_COLOR")
	syscall.Umask(0o022)
	os.Exit(m.Run())
}

// server counts connections.
type server struct{ *e2etest.Server }

func listen(t *testing.T) *server { return &server{e2etest.Listen(t)} }

func (s *server) url() string { return "http://" + s.Addr() + "/" }

// wantReached fails unless so many connections have arrived.
func (s *server) wantReached(t *testing.T, when string, want int) {
	t.Helper()
	if got := s.Settled(t); got != want {
		t.Fatalf("%s: %d connections have reached the server, want %d", when, got, want)
	}
}

// status is what netjail status --json prints, as far as tests look at it.
type status struct {
	PID     int    `json:"pid"`
	Problem string `json:"problem"`
	Jails   []struct {
		App        string `json:"app"`
		Supervisor int    `json:"supervisor"`
	} `json:"jails"`
	Questions []struct {
		ID      string `json:"id"`
		PID     int    `json:"pid"`
		Waiting int    `json:"waiting"`

		Title   string    `json:"title"`
		Icon    string    `json:"icon"`
		Package string    `json:"package"`
		Origin  string    `json:"origin"`
		Changed time.Time `json:"changed"`
		Chain   []string  `json:"chain"`
	} `json:"questions"`
}

func statusOf(t *testing.T, h *e2etest.Home) status {
	t.Helper()
	r := h.Run("status", "--json")
	var s status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		t.Fatalf("status: %v\n%+v", err, r)
	}
	return s
}

// waitQuestion waits until one call waits for an answer, and returns the
// process that makes it. What is decided is decided after that.
func waitQuestion(t *testing.T, h *e2etest.Home) int {
	t.Helper()
	var s status
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's status, when one question was waited for: %+v", s)
		}
	})
	e2etest.WaitFor(t, "one question is open", func() bool {
		s = statusOf(t, h)
		return len(s.Questions) == 1 && s.Questions[0].Waiting == 1
	})
	return s.Questions[0].PID
}

func waitNoQuestion(t *testing.T, h *e2etest.Home) {
	t.Helper()
	e2etest.WaitFor(t, "no question is open", func() bool { return len(statusOf(t, h).Questions) == 0 })
}

// rulesOf returns "verdict destination" of each rule that netjail lists.
func rulesOf(t *testing.T, h *e2etest.Home) []string {
	t.Helper()
	r := h.Run("rules", "list", "--json")
	var list struct {
		Rules []struct {
			Verdict     string `json:"verdict"`
			Destination string `json:"destination"`
		} `json:"rules"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("rules list: %v\n%+v", err, r)
	}
	var all []string
	for _, r := range list.Rules {
		all = append(all, r.Verdict+" "+r.Destination)
	}
	return all
}

func wantRules(t *testing.T, h *e2etest.Home, want ...string) {
	t.Helper()
	if got := rulesOf(t, h); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rules: %q, want %q", got, want)
	}
}

// wantResult fails unless a command exited with code and printed text on
// standard error.
func wantResult(t *testing.T, what string, r e2etest.Result, code int, texts ...string) {
	t.Helper()
	if r.Code != code {
		t.Errorf("%s: exit code %d, want %d\nstdout: %s\nstderr: %s", what, r.Code, code, r.Stdout, r.Stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.Stderr, text) {
			t.Errorf("%s: standard error has no %q:\n%s", what, text, r.Stderr)
		}
	}
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	// A process whose first thread has ended may have others, which hold its
	// descriptors.
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
		if err != nil {
			continue
		}
		if state := b[strings.LastIndexByte(string(b), ')')+2]; state != 'Z' && state != 'X' {
			return true
		}
	}
	return false
}

// background starts a command that is ended with the test.
func background(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(cmd.Path)+".*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			if b, _ := os.ReadFile(log.Name()); len(b) > 0 {
				t.Logf("%v said:\n%s", cmd.Args, b)
			}
		}
	})
	return cmd
}

// later runs a command to its end in the background.
func later(h *e2etest.Home, cmd *exec.Cmd) <-chan e2etest.Result {
	c := make(chan e2etest.Result, 1)
	go func() { c <- h.Finish(cmd) }()
	return c
}

// daemon starts a daemon with flags and waits until it serves.
func daemon(t *testing.T, h *e2etest.Home, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := background(t, h.Command(append([]string{"daemon"}, flags...)...))
	e2etest.WaitFor(t, "the daemon serves", func() bool { return h.Run("status").Code == 0 })
	return cmd
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
