package desk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestCtrlC ends a program by the terminal's interrupt key.
func TestCtrlC(t *testing.T) {
	h := e2etest.NewHome(t)
	s := newScreen(t, h)
	s.run("sleep", "netjail sh -c 'echo begun; exec sleep 100'")
	s.wait("^begun$")
	s.keys("C-c")
	s.ended("sleep", 130)
	s.run("prompt", "true")
	s.ended("prompt", 0)
	s.sane()
}

// interrupted counts the SIGINTs that it gets until it is told to end.
const interrupted = `import os, signal, time
n = 0
def note(*_):
    global n
    n += 1
    open("got", "w").write(str(n))
signal.signal(signal.SIGINT, note)
print("ready", flush=True)
while not os.path.exists("enough"):
    time.sleep(0.02)
print("interrupts:", n)
`

// TestInterruptOnce presses Ctrl-C for a program that handles it. The terminal
// tells it, and netjail must not tell it again.
func TestInterruptOnce(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	s := newScreen(t, h)
	got := filepath.Join(h.Dir, "got")
	writeFile(t, filepath.Join(h.Dir, "count.py"), interrupted)
	s.run("count", "netjail python3 count.py")
	s.wait("^ready$")
	for n := 1; n <= 3; n++ {
		s.keys("C-c")
		e2etest.WaitFor(t, "the program notes the signal", func() bool {
			b, _ := os.ReadFile(got)
			return string(b) == strconv.Itoa(n)
		})
	}
	writeFile(t, filepath.Join(h.Dir, "enough"), "")
	s.ended("count", 0)
	s.wait("interrupts: 3$")

	s.run("keyboard", `netjail python3 -c 'import time; print("up", flush=True); time.sleep(100)'`)
	s.wait("^up$")
	s.keys("C-c")
	s.ended("keyboard", 130)
	s.wait("^KeyboardInterrupt$")
	if n := s.count("Traceback"); n != 1 {
		t.Errorf("%d tracebacks, want 1", n)
	}
}

// job is a program that is stopped and continued. It waits without starting
// others: dash does that by vfork(2), and is not stopped with a child that was
// stopped before it called execve(2), with netjail or without.
type job struct {
	*screen
	h       *e2etest.Home
	pid     int
	stopped int // how often the shell has said so
}

func newJob(t *testing.T) *job {
	t.Helper()
	h := e2etest.NewHome(t)
	j := &job{screen: newScreen(t, h), h: h}
	if err := syscall.Mkfifo(filepath.Join(h.Dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	j.enter("netjail sh -c 'echo $$ > pid; echo begun; read x < go; echo over; exit 5'")
	j.wait("^begun$")
	j.pid = number(t, h, "pid")
	return j
}

// stop presses Ctrl-Z.
func (j *job) stop() {
	j.t.Helper()
	j.stopped++
	j.keys("C-z")
	e2etest.WaitFor(j.t, "the shell tells of a stopped job", func() bool { return j.count("Stopped") == j.stopped })
	e2etest.WaitFor(j.t, "the program is stopped", func() bool { return state(j.pid) == 'T' })
	j.sane()
}

// goOn types what continues the job.
func (j *job) goOn(line string) {
	j.t.Helper()
	j.enter(line)
	e2etest.WaitFor(j.t, "the program goes on", func() bool { return state(j.pid) != 'T' })
}

// end lets the program end in the foreground.
func (j *job) end() {
	j.t.Helper()
	e2etest.WaitFor(j.t, "the program reads", func() bool {
		f, err := os.OpenFile(filepath.Join(j.h.Dir, "go"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			f.Close()
		}
		return err == nil
	})
	j.ended("code", 5)
	j.wait("^over$")
	j.sane()
}

// TestCtrlZ stops a job, and continues it in the foreground and in the
// background.
func TestCtrlZ(t *testing.T) {
	t.Run("fg", func(t *testing.T) {
		j := newJob(t)
		j.stop()
		j.stopped++
		j.enter("jobs")
		e2etest.WaitFor(t, "jobs lists it", func() bool { return j.count("Stopped") == j.stopped })
		j.goOn("fg; echo code=$?")
		j.end()
	})
	t.Run("bg", func(t *testing.T) {
		j := newJob(t)
		j.stop()
		j.goOn("bg")
		j.enter("jobs")
		j.wait(`Running +netjail sh`)
		j.enter("fg; echo code=$?")
		j.wait(`^netjail sh -c .*exit 5'$`)
		j.end()
	})
	t.Run("again and again", func(t *testing.T) {
		j := newJob(t)
		for range 5 {
			j.stop()
			j.goOn("fg")
		}
		j.stop()
		j.goOn("fg; echo code=$?")
		j.end()
	})
}

// TestKillNetjail signals netjail as others do: by kill.
func TestKillNetjail(t *testing.T) {
	for _, tt := range []struct {
		sig  string
		code int
	}{{"TERM", 143}, {"HUP", 129}, {"KILL", 137}} {
		t.Run(tt.sig, func(t *testing.T) {
			h := e2etest.NewHome(t)
			s := newScreen(t, h)
			s.run("run", "netjail sh -c 'echo $$ > pid; echo begun; exec sleep 100'")
			s.wait("^begun$")
			pid := number(t, h, "pid")
			if !alive(pid) {
				t.Fatal("the program does not run")
			}
			e2etest.WaitFor(t, "the jail is known", func() bool { return len(statusOf(t, h).Jails) == 1 })
			netjail := statusOf(t, h).Jails[0].Supervisor
			s.tmux("run-shell", "-b", fmt.Sprintf("kill -%s %d", tt.sig, netjail))
			s.ended("run", tt.code)
			e2etest.WaitFor(t, "the program ends", func() bool { return !alive(pid) })
			e2etest.WaitFor(t, "the jail ends", func() bool { return len(statusOf(t, h).Jails) == 0 })
			s.sane()
		})
	}
}

// TestWindowSize makes the terminal narrower below a running program.
func TestWindowSize(t *testing.T) {
	h := e2etest.NewHome(t)
	s := newScreen(t, h)
	s.run("size", `netjail bash -c 'trap "stty size" WINCH; stty size; echo begun; until [ -e go ]; do sleep 0.02; done'`)
	s.wait("^40 100$")
	s.wait("^begun$")
	s.tmux("resize-window", "-x", "90", "-y", "30")
	s.wait("^30 90$")
	writeFile(t, filepath.Join(h.Dir, "go"), "")
	s.ended("size", 0)
}

// TestShellInJail runs a shell that controls jobs of its own.
func TestShellInJail(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.enter("netjail --allow " + srv.Addr() + " bash --norc --noprofile -i")
	s.enter("echo inside=$NETJAIL")
	s.wait("^inside=1$")
	s.enter("sleep 100")
	e2etest.WaitFor(t, "sleep runs", func() bool { return s.foreground() == "sleep" })
	s.keys("C-z")
	s.wait(`^\[1\]\+ +Stopped +sleep 100$`)
	s.enter("fg")
	e2etest.WaitFor(t, "sleep runs again", func() bool { return s.foreground() == "sleep" })
	s.keys("C-c")
	s.run("curl", "curl -s "+srv.url())
	s.ended("curl", 0)
	s.enter("exit 9")
	s.run("outer", "echo out=$NETJAIL")
	s.ended("outer", 0)
	s.wait("^out=$")
	srv.wantReached(t, "in the end", 1)
}

// TestCtrlCAtQuestion interrupts a program while its question is open.
func TestCtrlCAtQuestion(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("curl", "netjail curl -s "+srv.url())
	pid := s.question(h)
	s.keys("C-c")
	s.ended("curl", 130)
	if alive(pid) {
		t.Error("curl goes on")
	}
	waitNoQuestion(t, h)
	s.sane()
	srv.wantReached(t, "after the interrupt", 0)
	wantRules(t, h)
	s.run("again", "netjail curl -s "+srv.url())
	s.question(h)
	s.keys("a")
	s.ended("again", 0)
	srv.wantReached(t, "after an answer", 1)
}

// givesUp tries to connect until it is interrupted, and then does something
// else.
const givesUp = `import signal, socket, sys, os, time
def stop(*_): raise TimeoutError
signal.signal(signal.SIGINT, stop)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])))
except TimeoutError:
    print("gave up", flush=True)
while not os.path.exists("enough"):
    time.sleep(0.02)
`

// TestGiveUpAtQuestion interrupts a call, not the program. Its question is
// taken down, for nobody waits for the answer.
func TestGiveUpAtQuestion(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	writeFile(t, filepath.Join(h.Dir, "up.py"), givesUp)
	s.run("up", fmt.Sprintf("netjail python3 up.py %d", srv.Port()))
	s.question(h)
	s.keys("C-c")
	s.wait("gave up$")
	waitNoQuestion(t, h)
	writeFile(t, filepath.Join(h.Dir, "enough"), "")
	s.ended("up", 0)
	srv.wantReached(t, "in the end", 0)
}

// TestCtrlZAtQuestion stops a program while its question is open, works in the
// shell, and answers later.
func TestCtrlZAtQuestion(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.enter("netjail curl -s " + srv.url())
	s.question(h)
	s.keys("C-z")
	s.wait(`Stopped +netjail curl`)
	s.sane()
	s.forget()
	srv.wantReached(t, "while it is stopped", 0)
	s.enter("fg; echo code=$?")
	s.question(h)
	s.keys("a")
	s.ended("code", 0)
	s.wait("^hello$")
	srv.wantReached(t, "after the answer", 1)
	s.sane()
}

// sane fails unless the terminal reads and shows lines again.
func (s *screen) sane() {
	s.t.Helper()
	s.asked++
	s.enter(fmt.Sprintf(`stty -a | tr ' ;' '\n\n' | grep -xE -e '-?(icanon|echo|isig)' | sort | tr '\n' ' '; echo mo''des%d`, s.asked))
	if m := s.wait(fmt.Sprintf("^(.*)modes%d$", s.asked)); m[1] != "echo icanon isig " {
		s.t.Errorf("the terminal's modes are %q", m[1])
	}
}

// foreground is the command that tmux sees in the foreground.
func (s *screen) foreground() string {
	return strings.TrimSpace(s.tmux("display-message", "-p", "#{pane_current_command}"))
}

// state is a process's state as ps shows it.
func state(pid int) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return b[strings.LastIndexByte(string(b), ')')+2]
}

// number reads a number from a file in the home.
func number(t *testing.T, h *e2etest.Home, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || syscall.Kill(n, 0) != nil {
		t.Fatalf("%s: no process %q: %v", name, b, err)
	}
	return n
}
