package desk

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// screen is a terminal with an interactive shell in it.
type screen struct {
	t     *testing.T
	sock  string
	env   []string
	asked int // for the terminal's modes
}

const tmuxConfig = `set -g default-terminal screen
set -g status off
set -s escape-time 0
set -g history-limit 5000
`

// newScreen starts a shell in a terminal of 100 columns. netjail is in its
// PATH.
func newScreen(t *testing.T, h *e2etest.Home) *screen {
	t.Helper()
	tmux := e2etest.Need(t, "tmux")
	bin := filepath.Join(h.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(e2etest.Bin(t), filepath.Join(bin, "netjail")); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(h.Dir, "tmux.conf")
	writeFile(t, conf, tmuxConfig)
	s := &screen{t: t, sock: filepath.Join(h.Dir, "tmux.sock")}
	s.env = append(append(s.env, h.Env...), "TERM=screen", "PATH="+bin+":"+os.Getenv("PATH"))
	cmd := exec.Command(tmux, "-S", s.sock, "-f", conf, "new-session", "-d", "-x", "100", "-y", "40",
		"exec bash --norc --noprofile -i")
	cmd.Env, cmd.Dir = s.env, h.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	server, _ := strconv.Atoi(strings.TrimSpace(s.tmux("display-message", "-p", "#{pid}")))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", s.text())
		}
		_ = exec.Command(tmux, "-S", s.sock, "kill-server").Run()
		if server > 0 {
			_ = syscall.Kill(server, syscall.SIGTERM)
			e2etest.WaitFor(t, "tmux ends", func() bool { return !alive(server) })
		}
	})
	s.wait(`[$#]$`)
	return s
}

func (s *screen) tmux(args ...string) string {
	cmd := exec.Command("tmux", append([]string{"-S", s.sock}, args...)...)
	cmd.Env = s.env
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// text returns what is on the screen and has scrolled off it, without blanks
// at the ends of lines.
func (s *screen) text() string {
	lines := strings.Split(s.tmux("capture-pane", "-p", "-J", "-S", "-"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// keys presses keys: single characters, or names as tmux has them.
func (s *screen) keys(keys ...string) {
	s.t.Helper()
	if out := s.tmux(append([]string{"send-keys"}, keys...)...); out != "" {
		s.t.Fatalf("tmux send-keys: %s", out)
	}
}

// enter types a command line.
func (s *screen) enter(line string) {
	s.t.Helper()
	s.tmux("send-keys", "-l", line)
	s.keys("Enter")
}

// wait waits until the screen shows what matches, and returns its groups.
func (s *screen) wait(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	var m []string
	e2etest.WaitFor(s.t, "the screen shows "+pattern, func() bool {
		m = re.FindStringSubmatch(s.text())
		return m != nil
	})
	return m
}

// forget empties the screen, with what has scrolled off it.
func (s *screen) forget() {
	s.t.Helper()
	s.enter("clear; tmux -S " + s.sock + " clear-history; echo empty")
	s.wait("\\Aempty\n.*[$#]$")
}

// question waits for a question that is ready for a key, and returns the
// process that asks. The daemon knows of it before the terminal shows it, and
// what is typed until then is thrown away.
func (s *screen) question(h *e2etest.Home) int {
	s.t.Helper()
	s.wait(`^>\z`)
	return waitQuestion(s.t, h)
}

// count returns how often text is on the screen.
func (s *screen) count(text string) int { return strings.Count(s.text(), text) }

// run types a command line whose exit code is shown as "name=code" at its end.
func (s *screen) run(name, line string) { s.enter(line + "; echo " + name + "=$?") }

// ended waits for the end of a line that run has typed.
func (s *screen) ended(name string, code int) {
	s.t.Helper()
	m := s.wait(name + `=(\d+)`) // what was typed has $? there
	if m[1] != strconv.Itoa(code) {
		s.t.Errorf("%s: exit code %s, want %d", name, m[1], code)
	}
}
