package desk

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// socket is the daemon's.
func socket(h *e2etest.Home) string { return filepath.Join(h.Runtime(), "netjail", "daemon.sock") }

// mode is a file's type and permissions.
func mode(t *testing.T, name string) os.FileMode {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode()
}

// TestModes looks at what the daemon keeps, whatever the umask is.
func TestModes(t *testing.T) {
	h := e2etest.NewHome(t)
	cmd := h.Command("rules", "add", "curl", "allow", "127.0.0.1:1")
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `umask 0; exec "$@"`, "sh"}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	wantResult(t, "rules add", h.Finish(cmd), 0)
	for name, want := range map[string]os.FileMode{
		socket(h):                             os.ModeSocket | 0o600,
		filepath.Dir(socket(h)):               os.ModeDir | 0o700,
		filepath.Join(h.Rules(), "curl.toml"): 0o600,
		h.Rules():                             os.ModeDir | 0o700,
	} {
		if got := mode(t, name); got != want {
			t.Errorf("%s: mode %v, want %v", name, got, want)
		}
	}
}

// TestOtherUser connects as somebody else, with every directory and the socket
// opened up.
func TestOtherUser(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	daemon(t, h)
	talk := func(uid uint32) string {
		cmd := exec.Command("python3", "-c", talkToDaemon, socket(h))
		if uid != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("python3 as %d: %v\n%s", uid, err, out)
		}
		return string(out)
	}
	if out := talk(0); !strings.Contains(out, `"pid"`) {
		t.Errorf("the user's own process gets %q", out)
	}
	if os.Getuid() != 0 {
		t.Log("only root can be somebody else")
		return
	}
	const nobody = 65534
	os.Chmod(h.Dir, 0o755) // os.MkdirTemp closes it
	if out := talk(nobody); !strings.Contains(out, "PermissionError") {
		t.Errorf("another user gets %q through a closed directory", out)
	}
	for _, name := range []string{h.Runtime(), filepath.Dir(socket(h)), socket(h)} {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if out := talk(nobody); !strings.Contains(out, "user 65534 is not served here") || strings.Contains(out, `"pid"`) {
		t.Errorf("another user gets %q through an open directory", out)
	}
	os.Chmod(filepath.Dir(socket(h)), 0o700)
}

// talkToDaemon asks for the status and prints what it gets.
const talkToDaemon = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
try:
    s.connect(sys.argv[1])
    s.sendall(b'{"v":1,"id":1,"op":"status"}\n')
    print(s.recv(65536).decode())
except OSError as e:
    print(type(e).__name__, e)
`

// TestSocketFromJail tries to reach the daemon from a jail, by every name of
// its socket.
func TestSocketFromJail(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	daemon(t, h)
	sym, hard := filepath.Join(h.Dir, "sym"), filepath.Join(h.Dir, "hard")
	if err := os.Symlink(socket(h), sym); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(socket(h), hard); err != nil {
		t.Fatal(err)
	}
	wantResult(t, "a rule that allows it", h.Run("rules", "add", "python3", "allow", "unix:"+socket(h)), 0)
	for _, name := range []string{socket(h), sym, hard, "./hard", filepath.Join("/proc/self/root", socket(h))} {
		out, err := func() ([]byte, error) {
			cmd := exec.Command("python3", "-c", talkToDaemon, name)
			cmd.Dir = h.Dir
			return cmd.CombinedOutput()
		}()
		if err != nil || !strings.Contains(string(out), `"pid"`) {
			t.Errorf("%s: outside the jail: %s, %v", name, out, err)
		}
		r := h.Run("python3", "-c", talkToDaemon, name)
		if strings.HasPrefix(name, "/proc/") {
			// No way through such links, whatever is at their end.
			if !strings.Contains(r.Stdout, "Error") || strings.Contains(r.Stdout, `"pid"`) {
				t.Errorf("%s: inside the jail: %+v", name, r)
			}
			continue
		}
		if !strings.Contains(r.Stdout, "PermissionError") && !strings.Contains(r.Stdout, "ConnectionRefused") {
			t.Errorf("%s: inside the jail: %+v", name, r)
		}
		if !strings.Contains(r.Stderr, "netjail keeps programs from this socket") {
			t.Errorf("%s: nothing says why: %q", name, r.Stderr)
		}
	}
	r := h.Run("--as", "nested", "sh", "-c", e2etest.Bin(t)+" rules add nested allow @any")
	if r.Code == 0 {
		t.Errorf("a jail has made rules: %+v", r)
	}
	wantRules(t, h, "allow unix:"+socket(h))
}

// TestIdle leaves the daemon alone until it leaves.
func TestIdle(t *testing.T) {
	const idle = 3 * time.Second // a slow machine starts a run within it
	h := e2etest.NewHome(t)
	srv := listen(t)
	cmd := h.Command("daemon", "--idle", idle.String())
	background(t, cmd)
	// Not by asking: that would keep it.
	e2etest.WaitFor(t, "the daemon serves", func() bool { return h.DaemonPID() == cmd.Process.Pid })
	busy := later(h, h.Command("--allow", srv.Addr(), "sh", "-c",
		"touch begun; until [ -e go ]; do sleep 0.02; done; exec curl -s "+srv.url()))
	e2etest.WaitFor(t, "the run begins", func() bool {
		_, err := os.Stat(filepath.Join(h.Dir, "begun"))
		return err == nil
	})
	time.Sleep(idle + idle/2) // to see that nothing happens
	if pid := h.DaemonPID(); pid != cmd.Process.Pid || !alive(pid) {
		t.Errorf("the daemon %d left while a jail ran", cmd.Process.Pid)
	}
	writeFile(t, filepath.Join(h.Dir, "go"), "")
	wantResult(t, "a run longer than that", <-busy, 0)
	e2etest.WaitFor(t, "the daemon leaves", func() bool { return !alive(cmd.Process.Pid) })
	if r := h.Run("status"); r.Code != 1 || !strings.Contains(r.Stdout, "no daemon is running") {
		t.Errorf("status: %+v", r)
	}
	wantResult(t, "the next run", h.Run("--allow", srv.Addr(), "curl", "-s", srv.url()), 0)
	srv.wantReached(t, "in the end", 2)
}

// shellOnPipe starts a shell in a jail that runs what is written to it.
func shellOnPipe(t *testing.T, h *e2etest.Home, flags ...string) (io.Writer, string) {
	t.Helper()
	cmd := h.Command(append(flags, "--as", "job", "sh")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(h.Dir, "out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout = f
	background(t, cmd)
	t.Cleanup(func() { in.Close() })
	return in, out
}

// in runs one line in the shell and returns the exit code that it shows.
func in(t *testing.T, w io.Writer, out, line string) string {
	t.Helper()
	if err := os.Truncate(out, 0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "%s > /dev/null 2>&1; echo code=$? > %s\n", line, out)
	var text string
	e2etest.WaitFor(t, line, func() bool {
		b, _ := os.ReadFile(out)
		text = strings.TrimSpace(string(b))
		return strings.HasPrefix(text, "code=")
	})
	return strings.TrimPrefix(text, "code=")
}

// TestDaemonKilled kills the daemon below a running jail.
func TestDaemonKilled(t *testing.T) {
	h := e2etest.NewHome(t)
	good, bad, unknown := listen(t), listen(t), listen(t)
	wantResult(t, "add", h.Run("rules", "add", "job", "allow", good.Addr()), 0)
	wantResult(t, "add", h.Run("rules", "add", "job", "deny", bad.Addr()), 0)
	w, out := shellOnPipe(t, h)
	curl := func(srv *server) string { return in(t, w, out, "curl -s "+srv.url()) }
	if a, b := curl(good), curl(bad); a != "0" || b != "7" {
		t.Fatalf("before: exit codes %s and %s, want 0 and 7", a, b)
	}
	first := h.DaemonPID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e2etest.WaitFor(t, "the daemon is gone", func() bool { return !alive(first) })
	if a, b := curl(good), curl(bad); a != "0" || b != "7" {
		t.Errorf("without a daemon: exit codes %s and %s, want 0 and 7", a, b)
	}
	if c := curl(unknown); c != "7" {
		t.Errorf("unknown: exit code %s, want 7", c)
	}
	second := h.DaemonPID()
	if second == first || !alive(second) {
		t.Fatalf("no new daemon: process %d after %d", second, first)
	}
	if s := statusOf(t, h); len(s.Jails) != 1 || s.Jails[0].App != "job" {
		t.Errorf("the new daemon does not know the jail: %+v", s)
	}
	wantResult(t, "add", h.Run("rules", "add", "job", "allow", unknown.Addr()), 0)
	// The daemon does not wait for its supervisors to have the rule.
	e2etest.WaitFor(t, "the rule added at the new daemon holds", func() bool { return curl(unknown) == "0" })
	good.wantReached(t, "good", 2)
	bad.wantReached(t, "bad", 0)
	unknown.wantReached(t, "unknown", 1)
}

// TestKilledBelowTheIdle kills the daemon below a jail that asks nothing. Rules that
// are changed at the next one hold there too.
func TestKilledBelowTheIdle(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	wantResult(t, "add", h.Run("rules", "add", "job", "allow", srv.Addr()), 0)
	w, out := shellOnPipe(t, h)
	if c := in(t, w, out, "curl -s "+srv.url()); c != "0" {
		t.Fatalf("before: exit code %s, want 0", c)
	}
	first := h.DaemonPID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e2etest.WaitFor(t, "the daemon is gone", func() bool { return !alive(first) })
	wantResult(t, "add", h.Run("rules", "add", "job", "deny", srv.Addr()), 0)
	e2etest.WaitFor(t, "the new daemon knows the jail", func() bool { return len(statusOf(t, h).Jails) == 1 })
	if c := in(t, w, out, "curl -s "+srv.url()); c != "7" {
		t.Errorf("what was denied at the new daemon: exit code %s, want 7", c)
	}
	srv.wantReached(t, "in the end", 1)
}

// TestTwoDaemons starts a second daemon.
func TestTwoDaemons(t *testing.T) {
	h := e2etest.NewHome(t)
	var codes [2]e2etest.Result
	var cmds [2]*exec.Cmd
	var wg sync.WaitGroup
	for i := range cmds {
		cmds[i] = h.Command("daemon", "--idle", "5s") // both start within it
		wg.Go(func() { codes[i] = h.Finish(cmds[i]) })
	}
	wg.Wait()
	won, lost := codes[0], codes[1]
	if won.Code != 0 {
		won, lost = lost, won
	}
	wantResult(t, "the first", won, 0, "listening")
	wantResult(t, "the second", lost, 2, "netjail: error: a daemon is running already (process ")
}

// TestStaleSocket leaves a socket that nobody listens on, as a machine that
// lost its power does.
func TestStaleSocket(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	cmd := daemon(t, h)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e2etest.WaitFor(t, "the daemon is gone", func() bool { return !alive(cmd.Process.Pid) })
	if m := mode(t, socket(h)); m&os.ModeSocket == 0 {
		t.Fatalf("%s: %v, want a socket", socket(h), m)
	}
	wantResult(t, "status", h.Run("status"), 1)
	wantResult(t, "run", h.Run("--allow", srv.Addr(), "curl", "-s", srv.url()), 0)
	srv.wantReached(t, "after the run", 1)
}

// TestManyFirstRuns starts ten runs when there is no daemon. One is enough for
// all.
func TestManyFirstRuns(t *testing.T) {
	h := e2etest.NewHome(t)
	srv, other := listen(t), listen(t)
	const runs = 10
	var results []<-chan e2etest.Result
	for range runs {
		results = append(results, later(h, h.Command("--allow", srv.Addr(), "sh", "-c",
			"curl -s "+srv.url()+"; curl -s "+other.url()+"; echo $?; until [ -e go ]; do sleep 0.02; done")))
	}
	e2etest.WaitFor(t, "all runs are known to one daemon", func() bool { return len(statusOf(t, h).Jails) == runs })
	writeFile(t, filepath.Join(h.Dir, "go"), "")
	for i, c := range results {
		r := <-c
		wantResult(t, fmt.Sprintf("run %d", i), r, 0)
		if r.Stdout != "hello\n7\n" {
			t.Errorf("run %d printed %q", i, r.Stdout)
		}
	}
	srv.wantReached(t, "allowed", runs)
	other.wantReached(t, "not allowed", 0)
}
