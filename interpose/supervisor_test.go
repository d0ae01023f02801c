package interpose

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// policy is a Policy of two functions; a nil one answers with the zero value.
type policy struct {
	check  func(*Call) Verdict
	decide func(context.Context, *Call) Verdict
	origin func(local, peer netip.AddrPort) (netip.AddrPort, bool) // see Supervisor.Origin
}

func (p policy) Check(c *Call) Verdict { return p.check(c) }
func (p policy) Decide(ctx context.Context, c *Call) Verdict {
	if p.decide == nil {
		return Deny
	}
	return p.decide(ctx, c)
}

// start starts c at once.
func start(c *Command) (*Process, error) {
	s, err := Prepare(c)
	if err != nil {
		return nil, err
	}
	return s.Start()
}

// domain is what run starts programs in; a test may change it.
var domain Domain

// namespaces are what run has programs enter; a test may change them.
var namespaces *Namespaces

// inDomain changes it for the rest of a test.
func inDomain(t *testing.T, d Domain) {
	t.Helper()
	was := domain
	domain = d
	t.Cleanup(func() { domain = was })
}

// run runs a program under p and returns its standard output and status.
func run(t *testing.T, p Policy, argv ...string) (string, unix.WaitStatus) {
	t.Helper()
	return runWith(t, nil, p, argv...)
}

// runWith runs a program with stdin, which it closes.
func runWith(t *testing.T, stdin *os.File, p Policy, argv ...string) (string, unix.WaitStatus) {
	t.Helper()
	if stdin != nil {
		saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		unix.Dup2(int(stdin.Fd()), 0)
		stdin.Close()
		defer func() { unix.Dup2(saved, 0); unix.Close(saved) }()
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	saved, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	unix.Dup2(int(w.Fd()), 1)
	proc, err := start(&Command{Path: path, Args: argv, Env: os.Environ(), Landlock: domain, Namespaces: namespaces})
	unix.Dup2(saved, 1)
	unix.Close(saved)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	copied := make(chan struct{})
	go func() { io.Copy(&out, r); close(copied) }()
	served := make(chan error, 1)
	s := NewSupervisor(proc.TakeListener(), p, nil)
	if p, ok := p.(policy); ok {
		s.Origin = p.origin
	}
	go func() { served <- s.Serve(context.Background()) }()
	e, err := proc.Wait()
	if err != nil {
		t.Fatal(err)
	}
	ws := e.Status
	<-copied
	select {
	case err := <-served:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the supervisor does not see that its jail is empty")
	}
	return out.String(), ws
}

const python = "/usr/bin/python3"

// patience is how long a test waits for what must happen: machines are slow.
const patience = time.Minute

// server accepts connections on loopback and counts them.
func server(t *testing.T) (addr string, count func() int) { return serverOn(t, "127.0.0.1:0") }

func serverOn(t *testing.T, at string) (addr string, count func() int) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	total, own := 0, make(map[string]bool)
	seen := sync.NewCond(&mu)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if from := c.RemoteAddr().String(); own[from] {
				delete(own, from)
				seen.Broadcast()
			} else {
				total++
			}
			mu.Unlock()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), func() int {
		// One connection of our own comes behind all that are queued.
		mu.Lock()
		defer mu.Unlock()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		from := c.LocalAddr().String()
		own[from] = true
		late := time.AfterFunc(patience, func() { panic("the server does not count") })
		defer late.Stop()
		for own[from] {
			seen.Wait()
		}
		return total
	}
}

// connect is a python program that connects to its arguments, one after the
// other, and prints what came of each.
const connectAll = `
import socket, sys
for a in sys.argv[1:]:
    host, port = a.rsplit(":", 1)
    s = socket.socket()
    try:
        s.connect((host, int(port)))
        print("connected")
    except OSError as e:
        print(e.errno)
    s.close()
`

func TestVerdicts(t *testing.T) {
	addr, count := server(t)
	for _, c := range []struct {
		name    string
		verdict Verdict
		want    string
		arrived int
	}{{"denied", Deny, "13\n", 0}, {"allowed", Allow, "connected\n", 1}} {
		t.Run(c.name, func(t *testing.T) {
			verdicts := map[string]Verdict{addr: c.verdict}
			p := policy{check: func(c *Call) Verdict { return verdicts[c.Addr.String()] }}
			before := count()
			if out, _ := run(t, p, python, "-c", connectAll, addr); out != c.want {
				t.Errorf("printed %q, want %q", out, c.want)
			}
			if n := count() - before; n != c.arrived {
				t.Errorf("%d connections arrived, want %d", n, c.arrived)
			}
		})
	}
}

// TestZeroPolicy: a policy that forgets to answer denies.
func TestZeroPolicy(t *testing.T) {
	addr, count := server(t)
	var zero Verdict
	if out, _ := run(t, policy{check: func(*Call) Verdict { return zero }}, python, "-c", connectAll, addr); out != "13\n" {
		t.Errorf("printed %q, want EACCES", out)
	}
	if n := count(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

// TestPanic: a panic denies the call it happens in, and no other.
func TestPanic(t *testing.T) {
	addr, count := server(t)
	var calls atomic.Int64
	for _, wait := range []bool{false, true} {
		p := policy{check: func(c *Call) Verdict {
			switch n := calls.Add(1); {
			case n%2 == 0:
				return Allow
			case wait:
				return Wait
			}
			panic("for the test")
		}, decide: func(context.Context, *Call) Verdict { panic("for the test") }}
		before := count()
		if out, _ := run(t, p, python, "-c", connectAll, addr, addr); out != "13\nconnected\n" {
			t.Errorf("wait %v: printed %q, want EACCES and then a connection", wait, out)
		}
		if n := count() - before; n != 1 {
			t.Errorf("wait %v: %d connections arrived, want 1", wait, n)
		}
	}
}

// TestWait: a call waits for its answer, and others do not wait with it.
func TestWait(t *testing.T) {
	addr, count := server(t)
	other, _ := server(t)
	answer := make(chan Verdict)
	asked := make(chan struct{}, 1)
	p := policy{check: func(c *Call) Verdict {
		if c.Addr.String() == addr {
			return Wait
		}
		answer <- Allow // only now: the first call is still waiting
		return Allow
	}, decide: func(ctx context.Context, _ *Call) Verdict {
		asked <- struct{}{}
		return <-answer
	}}
	script := `
import socket, sys, threading
def go(a):
    host, port = a.rsplit(":", 1)
    socket.create_connection((host, int(port)))
t = threading.Thread(target=go, args=(sys.argv[1],))
t.start()
sys.stdin.readline()
go(sys.argv[2])
t.join()
print("both")
`
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; w.WriteString("\n"); w.Close() }()
	out, _ := runWith(t, r, p, python, "-c", script, addr, other)
	if out != "both\n" {
		t.Errorf("printed %q", out)
	}
	if n := count(); n != 1 {
		t.Errorf("%d connections arrived, want 1", n)
	}
}

// TestInterrupted: a signal ends a call that waits, as it ends one natively,
// and one with SA_RESTART begins it again.
func TestInterrupted(t *testing.T) {
	addr, count := server(t)
	for _, c := range []struct{ name, siginterrupt, want string }{
		{"EINTR", "True", "interrupted 4\n"}, {"SA_RESTART", "False", "connected\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int64
			p := policy{check: func(*Call) Verdict { return Wait }, decide: func(ctx context.Context, _ *Call) Verdict {
				if asked.Add(1) > 1 {
					return Allow
				}
				<-ctx.Done()
				return Allow // too late: it must have no effect
			}}
			before := count()
			out, _ := run(t, p, python, "-c", `
import ctypes, signal, socket, sys, struct
libc = ctypes.CDLL(None, use_errno=True)
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda s: None)
libc.signal(signal.SIGALRM, handler)
libc.siginterrupt(signal.SIGALRM, `+c.siginterrupt+`)
host, port = sys.argv[1].rsplit(":", 1)
s = socket.socket()
addr = struct.pack("=H", 2) + struct.pack("!H", int(port)) + socket.inet_aton(host) + bytes(8)
signal.setitimer(signal.ITIMER_REAL, 0.1)
if libc.connect(s.fileno(), addr, 16) == 0:
    print("connected")
else:
    print("interrupted", ctypes.get_errno())
`, addr)
			if out != c.want {
				t.Errorf("printed %q, want %q", out, c.want)
			}
			if n, want := count()-before, map[bool]int{true: 1}[c.name == "SA_RESTART"]; n != want {
				t.Errorf("%d connections arrived, want %d", n, want)
			}
		})
	}
}

// TestCallerKilled: the death of a caller ends the question about its call.
func TestCallerKilled(t *testing.T) {
	addr, count := server(t)
	ended := make(chan error, 1)
	p := policy{check: func(*Call) Verdict { return Wait }, decide: func(ctx context.Context, c *Call) Verdict {
		unix.Kill(c.PID(), unix.SIGKILL)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return Allow
	}}
	_, ws := run(t, p, python, "-c", connectAll, addr)
	if !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("status %v, want killed", ws)
	}
	// It may be seen by the call itself, or by the end of the jail.
	if err := <-ended; err != errInterrupted && err != errCallerGone && err != context.Canceled {
		t.Errorf("the question ended with %v", err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

// TestSIGPIPE: the signal reaches the caller, and only where it would.
func TestSIGPIPE(t *testing.T) {
	script := `
import signal, socket, sys, threading
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
threading.Thread(target=threading.Event().wait, daemon=True).start()
a, b = socket.socketpair()
b.close()
try:
    a.sendmsg([b"x"], [], int(sys.argv[1], 0))
except OSError as e:
    print(e.errno)
`
	for _, c := range []struct {
		name, flags, out string
		sig              unix.Signal
	}{{"signal", "0", "", unix.SIGPIPE}, {"MSG_NOSIGNAL", "0x4000", "32\n", -1}} {
		out, ws := run(t, allowAll, python, "-c", script, c.flags)
		if out != c.out || ws.Signal() != c.sig {
			t.Errorf("%s: printed %q, signal %v; want %q, %v", c.name, out, ws.Signal(), c.out, c.sig)
		}
	}
}

// TestManyCalls leaves nothing behind.
func TestManyCalls(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETJAIL_VICTIM", "connects")
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const slack = 256 << 10 // of other tests' leftovers; a byte a call is 100 KB
	var n, fdsBefore, goBefore, heapBefore atomic.Int64
	p := policy{check: func(*Call) Verdict {
		switch n.Add(1) {
		case 1000:
			heapBefore.Store(heap()) // and closes files that other tests forgot
			fdsBefore.Store(int64(descriptors()))
			goBefore.Store(int64(runtime.NumGoroutine()))
		case victimConnects:
			if now := int64(descriptors()); now > fdsBefore.Load() {
				t.Errorf("%d descriptors, %d before", now, fdsBefore.Load())
			}
			if now := int64(runtime.NumGoroutine()); now > goBefore.Load() {
				t.Errorf("%d goroutines, %d before", now, goBefore.Load())
			}
			if now := heap(); now > heapBefore.Load()+slack {
				t.Errorf("%d bytes, %d before", now, heapBefore.Load())
			}
		}
		return Allow
	}}
	if _, ws := run(t, p, self); ws.ExitStatus() != 0 || n.Load() != victimConnects {
		t.Errorf("status %d, %d calls of %d", ws.ExitStatus(), n.Load(), victimConnects)
	}
}
