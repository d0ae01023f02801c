package interpose

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is how many calls wait at once.
const crowd = 1000

func init() { victims["supervisor"] = supervise }

// crowdScript connects to the first address, and then to the second from many
// threads at once, in a child that outlives it. Each thread writes what it got.
const crowdScript = `
import os, socket, sys, threading
def go(a):
    host, port = a.rsplit(":", 1)
    s = socket.socket()
    try:
        s.connect((host, int(port)))
        return 0
    except OSError as e:
        return e.errno
def waiter(a):
    r = go(a)
    os.write(2, b"%d\n" % r)
os.write(2, b"first %d\n" % go(sys.argv[1]))
if os.fork():
    os.wait()
    os._exit(0)
threading.stack_size(65536)
for _ in range(int(sys.argv[3])):
    threading.Thread(target=waiter, args=(sys.argv[2],)).start()
`

// supervise is a supervisor to be killed: it allows the first address, and
// never answers about another.
func supervise() {
	var asked atomic.Int64
	p := policy{check: func(c *Call) Verdict {
		if c.Addr.String() == os.Args[1] {
			return Allow
		}
		return Wait
	}, decide: func(ctx context.Context, _ *Call) Verdict {
		if asked.Add(1) == crowd {
			fmt.Println("all wait")
		}
		<-ctx.Done()
		return Deny
	}}
	proc, err := start(&Command{
		Path: python, Args: []string{python, "-c", crowdScript, os.Args[1], os.Args[2], strconv.Itoa(crowd)}, Env: os.Environ(),
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { _ = NewSupervisor(proc.TakeListener(), p, nil).Serve(context.Background()) }()
	_, _ = proc.Wait()
}

// TestSupervisorKilled kills a supervisor while a thousand calls wait for it:
// they all fail, and nothing gets out.
func TestSupervisorKilled(t *testing.T) {
	allowed, arrived := server(t)
	denied, leaked := server(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, allowed, denied)
	cmd.Env = append(os.Environ(), "NETJAIL_VICTIM=supervisor")
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewReader(r)
	if line, err := lines.ReadString('\n'); line != "first 0\n" {
		t.Fatalf("the allowed connection: %q, %v", line, err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "all wait\n" {
		t.Fatalf("the supervisor said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	rest, err := io.ReadAll(lines) // until the last process of the jail ends
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(rest), fmt.Sprintln(int(unix.ENOSYS))); n != crowd {
		t.Errorf("%d calls failed with ENOSYS, want %d:\n%.500s", n, crowd, rest)
	}
	if n := arrived(); n != 1 {
		t.Errorf("%d arrived at the allowed destination, want 1", n)
	}
	if n := leaked(); n != 0 {
		t.Errorf("%d arrived at the other destination, want none", n)
	}
}

// TestKilledWhileWaiting kills a program while a thousand of its calls wait:
// nothing is left of them, and answers that come too late have no effect.
func TestKilledWhileWaiting(t *testing.T) {
	allowed, arrived := server(t)
	denied, leaked := server(t)
	before := runtime.NumGoroutine()
	var asked sync.WaitGroup
	asked.Add(crowd)
	var kill sync.Once
	p := policy{check: func(c *Call) Verdict {
		if c.Addr.String() == allowed {
			return Allow
		}
		return Wait
	}, decide: func(ctx context.Context, c *Call) Verdict {
		asked.Done()
		pid := c.PID()
		kill.Do(func() {
			go func() { asked.Wait(); unix.Kill(pid, unix.SIGKILL) }()
		})
		<-ctx.Done()
		return Allow // too late
	}}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	saved, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	unix.Dup2(int(w.Fd()), 2)
	w.Close()
	_, _ = run(t, p, python, "-c", crowdScript, allowed, denied, strconv.Itoa(crowd))
	unix.Dup2(saved, 2)
	unix.Close(saved)
	if out, _ := io.ReadAll(r); string(out) != "first 0\n" {
		t.Errorf("the program saw %.100q, want only the allowed connection", out)
	}
	if n := arrived(); n != 1 {
		t.Errorf("%d arrived at the allowed destination, want 1", n)
	}
	if n := leaked(); n != 0 {
		t.Errorf("%d arrived at the other destination, want none", n)
	}
	waitUntil(t, "the goroutines of the calls to end", func() bool { return runtime.NumGoroutine() <= before+4 })
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestExecBeside executes a program while another thread's call waits. That
// call is gone; the new program's calls are answered.
func TestExecBeside(t *testing.T) {
	waiting, leaked := server(t)
	allowed, arrived := server(t)
	asked, ended := make(chan struct{}), make(chan error, 1)
	p := policy{check: func(c *Call) Verdict {
		if c.Addr.String() == allowed {
			return Allow
		}
		return Wait
	}, decide: func(ctx context.Context, _ *Call) Verdict {
		close(asked)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return Allow // too late
	}}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; w.WriteString("\n"); w.Close() }()
	out, _ := runWith(t, r, p, python, "-c", `
import os, socket, sys, threading
def go(a):
    host, port = a.rsplit(":", 1)
    socket.create_connection((host, int(port)))
threading.Thread(target=go, args=(sys.argv[1],)).start()
sys.stdin.readline()
os.execv(sys.executable, [sys.executable, "-c", sys.argv[3], sys.argv[2]])
`, waiting, allowed, connectAll)
	if out != "connected\n" {
		t.Errorf("printed %q, want connected", out)
	}
	// The exec kills the thread: that may be seen as the signal, as the end of
	// the call, or as the end of the jail.
	if err := <-ended; err != errInterrupted && err != errCallerGone && err != context.Canceled {
		t.Errorf("the question ended with %v", err)
	}
	if n := leaked(); n != 0 {
		t.Errorf("%d connections of the thread that is gone", n)
	}
	if n := arrived(); n != 1 {
		t.Errorf("%d connections of the new program, want 1", n)
	}
}

// freezers stop a process, and let it go on.
var freezers = map[string]func(*testing.T) (freeze, thaw func(pid int) error){
	"signal": func(*testing.T) (freeze, thaw func(pid int) error) {
		return func(pid int) error { return unix.Kill(pid, unix.SIGSTOP) },
			func(pid int) error { return unix.Kill(pid, unix.SIGCONT) }
	},
	"cgroup": cgroupFreezer,
}

// cgroupFreezer makes a cgroup with a freezer, of version 2 or 1.
func cgroupFreezer(t *testing.T) (freeze, thaw func(pid int) error) {
	if os.Getuid() != 0 {
		t.Skip("only root may make a cgroup here; the signal's case runs")
	}
	for _, c := range []struct{ dir, file, frozen, thawed string }{
		{"/sys/fs/cgroup", "cgroup.freeze", "1", "0"},
		{"/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0"},
		{"/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED"},
	} {
		dir := filepath.Join(c.dir, fmt.Sprintf("netjail-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		file := filepath.Join(dir, c.file)
		if _, err := os.Stat(file); err != nil {
			os.Remove(dir)
			continue
		}
		t.Cleanup(func() { waitUntil(t, "the cgroup to be empty", func() bool { return os.Remove(dir) == nil }) })
		return func(pid int) error {
				if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
					return err
				}
				return os.WriteFile(file, []byte(c.frozen), 0)
			}, func(int) error {
				return os.WriteFile(file, []byte(c.thawed), 0)
			}
	}
	if os.Getenv("NETJAIL_TEST_REQUIRE") != "" {
		t.Fatal("no cgroup with a freezer can be made")
	}
	t.Skip("no cgroup with a freezer can be made")
	return nil, nil
}

// TestFrozen answers a call while its caller is frozen: it is performed once,
// and its caller sees the result when it goes on.
func TestFrozen(t *testing.T) {
	for name, freezer := range freezers {
		for _, verdict := range []Verdict{Allow, Deny} {
			t.Run(fmt.Sprintf("%s/%v", name, verdict == Allow), func(t *testing.T) {
				addr, count := server(t)
				freeze, thaw := freezer(t)
				var asked atomic.Int64
				p := policy{check: func(*Call) Verdict { return Wait }, decide: func(_ context.Context, c *Call) Verdict {
					asked.Add(1)
					pid := c.PID()
					if err := freeze(pid); err != nil {
						t.Error(err)
					}
					// Looks at waiting calls happen meanwhile, some two.
					time.AfterFunc(3*watchEvery, func() {
						if err := thaw(pid); err != nil {
							t.Error(err)
						}
					})
					return verdict
				}}
				out, _ := run(t, p, python, "-c", connectAll, addr)
				want := map[Verdict]string{Allow: "connected\n", Deny: "13\n"}[verdict]
				if out != want {
					t.Errorf("printed %q, want %q", out, want)
				}
				if n, want := count(), map[Verdict]int{Allow: 1}[verdict]; n != want {
					t.Errorf("%d connections, want %d", n, want)
				}
				if n := asked.Load(); n != 1 {
					t.Errorf("asked %d times, want once", n)
				}
			})
		}
	}
}

// TestListenerNotInJail: no process of a jail holds the listener, from its
// first instruction on. The supervisor does.
func TestListenerNotInJail(t *testing.T) {
	var seen atomic.Bool
	p := policy{check: func(*Call) Verdict {
		list, _ := os.ReadDir("/proc/self/fd")
		for _, e := range list {
			if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "seccomp") {
				seen.Store(true)
			}
		}
		return Allow
	}}
	addr, _ := server(t)
	out, _ := run(t, p, python, "-c", `
import os, socket, sys
def held():
    for fd in os.listdir("/proc/self/fd"):
        try:
            print(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
held()
host, port = sys.argv[1].rsplit(":", 1)
socket.create_connection((host, int(port)))
if not os.fork():
    held()
    os.execv("/bin/ls", ["ls", "-l", "/proc/self/fd"])
os.wait()
`, addr)
	if !seen.Load() {
		t.Error("the supervisor does not hold a seccomp listener, so the test cannot see one")
	}
	if strings.Contains(out, "seccomp") || !strings.Contains(out, "pipe:") {
		t.Errorf("the jail holds:\n%s", out)
	}
}

// TestPrivateTable connects from a thread with a descriptor table of its own:
// what is decided about is that thread's descriptor, or nothing.
func TestPrivateTable(t *testing.T) {
	allowed, arrived := server(t)
	p := policy{check: func(c *Call) Verdict { return Allow }}
	out, _ := run(t, p, python, "-c", `
import ctypes, os, socket, sys, threading
host, port = sys.argv[1].rsplit(":", 1)
decoy = socket.socket()
def go():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x400):
        print("unshare", ctypes.get_errno())
    s = socket.socket()
    os.dup2(s.fileno(), decoy.fileno())
    try:
        socket.socket(fileno=os.dup(decoy.fileno())).connect((host, int(port)))
        print("connected")
    except OSError as e:
        print(e.errno)
t = threading.Thread(target=go)
t.start()
t.join()
try:
    decoy.getpeername()
    print("the other table's socket is connected")
except OSError:
    pass
`, allowed)
	want := "connected\n"
	if !pidfdThread() {
		want = "13\n" // refused where the thread's table cannot be reached
	}
	if out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if n := arrived(); n != strings.Count(want, "connected") {
		t.Errorf("%d connections", n)
	}
}

// TestStopBesideWaiting stops a process of which one thread waits in a call and
// another takes the signal. It stops, and goes on as if nothing had been.
func TestStopBesideWaiting(t *testing.T) {
	addr, count := server(t)
	var stopped atomic.Bool
	p := policy{check: func(*Call) Verdict { return Wait }, decide: func(ctx context.Context, c *Call) Verdict {
		pid := c.PID()
		if stopped.Swap(true) {
			return Allow
		}
		// The first thread takes it: it is the one that does not wait.
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Error(err)
		}
		go func() {
			defer unix.Kill(pid, unix.SIGCONT)
			waitUntil(t, "all threads to stop", func() bool {
				list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
				for _, e := range list {
					tid, _ := strconv.Atoi(e.Name())
					if st, err := readStatus(tid); err != nil || !st.stopped {
						return false
					}
				}
				return err == nil
			})
		}()
		<-ctx.Done()
		return Deny // interrupted: it has no effect
	}}
	out, _ := run(t, p, python, "-c", `
import socket, sys, threading
def go():
    host, port = sys.argv[1].rsplit(":", 1)
    socket.create_connection((host, int(port)))
    print("connected")
t = threading.Thread(target=go)
t.start()
t.join()
`, addr)
	if out != "connected\n" {
		t.Errorf("printed %q, want connected", out)
	}
	if n := count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
