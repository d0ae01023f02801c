package desk

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// top starts netjail top in a terminal of 80 columns and 24 lines.
func top(t *testing.T, h *e2etest.Home, env string) *screen {
	t.Helper()
	s := newScreen(t, h)
	s.tmux("resize-window", "-x", "80", "-y", "24")
	s.enter(strings.TrimSpace(env + " netjail top"))
	s.wait(`^ netjail top +0 questions, 0 jails, 0 connections$`)
	return s
}

// quit ends top by a key, and has the shell back.
func quit(s *screen, key string) {
	s.t.Helper()
	s.keys(key)
	s.wait(`[$#]$`)
	s.enter("echo code=$?")
	s.wait(`^code=0$`)
}

// openQuestions returns how many there are.
func openQuestions(t *testing.T, h *e2etest.Home) int { return len(pendingOf(t, h).Open) }

// TestTopAnswers answers a program that has no terminal to ask on.
func TestTopAnswers(t *testing.T) {
	for _, env := range []string{"", "TERM=vt100", "TERM=xterm-256color NO_COLOR=1", "LC_ALL=C"} {
		t.Run(env, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			s := top(t, h, env)
			curl := later(h, h.Command("curl", "-s", srv.url()))
			s.wait(fmt.Sprintf(`^\? curl wants to connect to 127\.0\.0\.1 port %d \(tcp\)`, srv.Port()))
			s.wait(fmt.Sprintf(`^  A writes: netjail rules add curl allow tcp://127\.0\.0\.1:%d$`, srv.Port()))
			s.wait(`^a allow once  A always  e until exit  h 1 hour  d D E H deny likewise  s scope$`)
			srv.wantReached(t, "before the answer", 0)
			// A question that has just come takes no key.
			e2etest.WaitFor(t, "A answers", func() bool { s.keys("A"); return openQuestions(t, h) == 0 })
			wantResult(t, "curl", <-curl, 0)
			srv.wantReached(t, "after the answer", 1)
			wantRules(t, h, fmt.Sprintf("allow tcp://127.0.0.1:%d", srv.Port()))
			s.wait(`netjail top +0 questions`)

			press(s, "2", fmt.Sprintf(`^>curl +allow +tcp://127\.0\.0\.1:%d +always +`, srv.Port()))
			press(s, "3", fmt.Sprintf(`^>.* curl +allow +tcp://127\.0\.0\.1:%d +cli always`, srv.Port()))
			press(s, "2", `\[2 rules\]`)
			press(s, "x", `^remove the rule curl allow .*\?$`)
			wantRules(t, h, fmt.Sprintf("allow tcp://127.0.0.1:%d", srv.Port()))
			press(s, "y", `^  no rules yet$`)
			wantRules(t, h)
			quit(s, "q")
		})
	}
}

// press presses a key until it has done something: one that comes together with
// others is taken for a paste.
func press(s *screen, key, pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	e2etest.WaitFor(s.t, key+" shows "+pattern, func() bool {
		s.keys(key)
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if re.MatchString(s.text()) {
				return true
			}
		}
		return false
	})
}

// TestTopQuits leaves a question to others, if there are any.
func TestTopQuits(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone=%v", alone), func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			var other *frontEnd
			if !alone {
				daemon(t, h)
				other = newFrontEnd(t, h)
			}
			s := top(t, h, "")
			curl := later(h, h.Command("curl", "-s", srv.url()))
			s.wait(`^\? curl wants to connect`)
			quit(s, "q")
			srv.wantReached(t, "after quitting", 0)
			if alone {
				wantResult(t, "curl", <-curl, 7)
				wantMissed(t, h, "nobody")
				return
			}
			if n := openQuestions(t, h); n != 1 {
				t.Fatalf("%d questions are open, want the one that was", n)
			}
			other.wait("wants to connect")
			other.say("allow")
			wantResult(t, "curl", <-curl, 0)
			srv.wantReached(t, "after the answer", 1)
			wantRules(t, h)
		})
	}
}

// holder has a connection for as long as it is let.
const holder = "import socket, sys\n" +
	"c = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n" +
	"c.send(b'x' * 2000)\n" +
	"while c.recv(100): pass\n" +
	"print('ended', flush=True)\n" +
	"sys.stdin.read()\n"

// TestTopEnds ends a connection, and then what had it.
func TestTopEnds(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := e2etest.Serve(t, "127.0.0.1:0", func(c net.Conn) {
		defer c.Close()
		_, _ = io.Copy(io.Discard, c)
	})
	python := e2etest.Need(t, "python3")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := h.Command("--allow", "@localhost", "--as", "holder", python, "-c", holder, strconv.Itoa(srv.Port()))
	cmd.Stdin = r
	ended := later(h, cmd)
	e2etest.WaitFor(t, "it is connected", func() bool { return srv.Count() == 1 })
	s := newScreen(t, h)
	s.tmux("resize-window", "-x", "80", "-y", "24")
	s.enter("netjail top")
	s.wait(`^>- holder \(1\) +2.0 kB +0 B`)
	s.keys("/")
	s.wait(`^filter:$`)
	s.keys("nothing")
	s.wait(`0 of 1$`)
	s.keys("C-u")
	s.keys("Enter", "Down")
	s.wait(fmt.Sprintf(`^> .*:%d .*open +2.0 kB +0 B `, srv.Port()))
	s.keys("x")
	s.wait(`^end the connection of holder \(pid \d+\): .*\?$`)
	s.keys("n")
	s.keys("x", "y")
	s.wait(`^  no connections`)
	s.keys("4")
	s.wait(`^>holder `)
	s.keys("K")
	s.wait(`^stop holder and everything it started`)
	s.keys("y")
	s.wait(`^  no jails`)
	if r := <-ended; r.Code != 128+int(syscall.SIGTERM) || r.Stdout != "ended\n" {
		t.Errorf("the program: %+v", r)
	}
	quit(s, "q")
}

// TestTopComesBack stops top as a shell does, and ends the daemon under it.
func TestTopComesBack(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := top(t, h, "")
	s.keys("C-z")
	s.wait(`Stopped +netjail top`)
	s.enter("fg")
	s.wait(`netjail top +0 questions, 0 jails, 0 connections`)
	first := h.DaemonPID()
	h.StopDaemon()
	s.wait(`netjail top +NOT CONNECTED`)
	s.wait(`netjail top +0 questions`)
	if again := h.DaemonPID(); again == 0 || again == first {
		t.Errorf("daemon %d, and %d before", again, first)
	}
	curl := later(h, h.Command("curl", "-s", srv.url()))
	s.wait(`^\? curl wants to connect`)
	e2etest.WaitFor(t, "d answers", func() bool { s.keys("d"); return openQuestions(t, h) == 0 })
	wantResult(t, "curl", <-curl, 7)
	quit(s, "C-c")
}

// TestTopHangup ends with its terminal, and by a signal, and gives it back then.
func TestTopHangup(t *testing.T) {
	h := e2etest.NewHome(t)
	s := newScreen(t, h)
	start := func() int {
		s.enter("exec netjail top")
		s.wait(`^ netjail top +0 questions`)
		pid, err := strconv.Atoi(strings.TrimSpace(s.tmux("display-message", "-p", "#{pane_pid}")))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	s.tmux("set-option", "-g", "remain-on-exit", "on")
	pid := start()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait(`Pane is dead`)
	if n := s.count("netjail top "); n != 0 {
		t.Errorf("the screen is not given back:\n%s", s.text())
	}
	s.tmux("respawn-pane", "-k", "exec bash --norc --noprofile -i")
	s.wait(`[$#]$`)
	pid = start()
	s.tmux("kill-server")
	e2etest.WaitFor(t, "top ends with its terminal", func() bool { return !alive(pid) })
}

func TestTopNoTerminal(t *testing.T) {
	h := e2etest.NewHome(t)
	wantResult(t, "top", h.Run("top"), 2, "netjail: error: top needs a terminal", "netjail: hint: netjail status --json")
	if pid := h.DaemonPID(); pid != 0 {
		t.Errorf("daemon %d was started", pid)
	}
}
