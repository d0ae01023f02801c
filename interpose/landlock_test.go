package interpose

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// reach tries to get hold of another process, and prints what came of it.
const reach = `
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    r = libc.syscall(*[ctypes.c_long(a) for a in args])
    return "ok" if r >= 0 else os.strerror(ctypes.get_errno())
def tries(pid):
    fd = libc.syscall(434, pid, 0)
    print("pidfd_getfd", call(438, fd, 0, 0))
    print("ptrace", call(101, 0x4206, pid, 0, 0)) # PTRACE_SEIZE
    buf = ctypes.create_string_buffer(8)
    class iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
    local = iovec(ctypes.addressof(buf), 8)
    remote = iovec(1, 8)
    L = ctypes.c_long
    libc.syscall(L(310), L(pid), ctypes.byref(local), L(1), ctypes.byref(remote), L(1), L(0))
    print("process_vm_readv", "allowed" if ctypes.get_errno() == 14 else os.strerror(ctypes.get_errno()))
    try:
        os.kill(pid, signal.SIGCONT)
        print("kill ok")
    except OSError as e:
        print("kill", os.strerror(e.errno))
tries(int(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(100)
    os._exit(0)
tries(child)
os.kill(child, signal.SIGKILL)
`

// needLandlock returns the ABI, which must be one that knows networks.
func needLandlock(t *testing.T) (abi int) {
	t.Helper()
	abi, errata := Landlock()
	t.Logf("Landlock ABI %d, errata fixed %#x", abi, errata)
	if abi >= 4 {
		return abi
	}
	if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
		t.Fatal("this kernel has no Landlock for networks, and everything is required")
	}
	t.Skip("before Linux 6.7 there is no Landlock for networks, and the README says so")
	return 0
}

// TestRuleset: each kernel is asked for what it has, and for no more than is
// wanted.
func TestRuleset(t *testing.T) {
	const (
		tcp, udp         = 0b0011, 0b1100 // include/uapi/linux/landlock.h
		abstract, signal = 0b01, 0b10
	)
	for _, tt := range []struct {
		abi         int
		d           Domain
		net, scoped uint64
	}{
		{abi: 0}, {abi: 1}, {abi: 3},
		{abi: 4, net: tcp}, {abi: 5, net: tcp},
		{abi: 6, net: tcp, scoped: abstract | signal}, {abi: 9, net: tcp, scoped: abstract | signal},
		{abi: 10, net: tcp | udp, scoped: abstract | signal}, {abi: 99, net: tcp | udp, scoped: abstract | signal},
		{abi: 99, d: Domain{Abstract: true}, net: tcp | udp, scoped: signal},
		{abi: 99, d: Domain{Signals: true}, net: tcp | udp, scoped: abstract},
		{abi: 99, d: Domain{Sockets: true}, scoped: abstract | signal},
		{abi: 5, d: Domain{Sockets: true}},
		{abi: 99, d: Domain{None: true}},
	} {
		a := tt.d.Ruleset(tt.abi)
		if a.Handled_access_net != tt.net || a.Scoped != tt.scoped || a.Handled_access_fs != 0 {
			t.Errorf("ABI %d, %+v: net %#b, scoped %#b, files %#b; want %#b, %#b, 0",
				tt.abi, tt.d, a.Handled_access_net, a.Scoped, a.Handled_access_fs, tt.net, tt.scoped)
		}
	}
}

// TestDomain: nothing outside of the jail can be got hold of, everything inside
// can. What is refused is refused by the domain: without one all can be.
func TestDomain(t *testing.T) {
	abi := needLandlock(t)
	outside := exec.Command("sleep", "100")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	defer outside.Wait()
	defer outside.Process.Kill()
	says := func(trace, kill string) string {
		read := trace
		if trace == "ok" {
			read = "allowed"
		}
		return "pidfd_getfd " + trace + "\nptrace " + trace + "\nprocess_vm_readv " + read + "\nkill " + kill + "\n"
	}
	const ok, denied = "ok", "Operation not permitted"
	kill := denied
	if abi < 6 {
		kill = ok
	}
	for _, tt := range []struct {
		name string
		d    Domain
		want string
	}{
		{"zero", Domain{}, says(denied, kill)},
		{"another guard has the sockets", Domain{Sockets: abi >= 6}, says(denied, kill)},
		{"signals", Domain{Signals: true}, says(denied, ok)},
		{"none", Domain{None: true}, says(ok, ok)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDomain(t, tt.d)
			want := tt.want + says(ok, ok)
			if out, _ := run(t, allowAll, python, "-c", reach, strconv.Itoa(outside.Process.Pid)); out != want {
				t.Errorf("printed\n%swant\n%s", out, want)
			}
		})
	}
}

// kernelPerforms makes the supervisor answer CONTINUE to all that is allowed, for
// the rest of a test.
func kernelPerforms(t *testing.T) {
	t.Helper()
	right := perform
	perform = func(func() result) result { return result{proceed: true} }
	t.Cleanup(func() { perform = right })
}

// everyWay tries 200 times to get through to the addresses that it is given, and
// to be reached there.
const everyWay = `
import socket, sys
tcp4, tcp6, udp, own = [int(p) for p in sys.argv[1:]]
def attempt(f):
    try:
        f()
    except OSError:
        pass
def connect(family, host, port, blocking=True):
    with socket.socket(family) as s:
        s.setblocking(blocking)
        s.connect((host, port))
def datagram(f):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        f(s)
def connected(s):
    s.connect(("127.0.0.1", udp))
    s.send(b"connected")
for i in range(200):
    attempt(lambda: connect(socket.AF_INET, "127.0.0.1", tcp4))
    attempt(lambda: connect(socket.AF_INET, "127.0.0.1", tcp4, False))
    attempt(lambda: connect(socket.AF_INET6, "::1", tcp6))
    attempt(lambda: connect(socket.AF_INET6, "::ffff:127.0.0.1", tcp4))
    attempt(lambda: datagram(lambda s: s.sendto(b"sendto", ("127.0.0.1", udp))))
    attempt(lambda: datagram(lambda s: s.sendmsg([b"sendmsg"], [], 0, ("127.0.0.1", udp))))
    attempt(lambda: datagram(connected))
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(("127.0.0.1", own))
    s.listen()
    print("bound", flush=True)
    s.accept()
except OSError as e:
    print("not bound", flush=True)
`

// TestGuarded: with a supervisor that has the kernel perform whatever the program
// asks for, nothing gets through that the domain has. Without a domain it does.
func TestGuarded(t *testing.T) {
	abi := needLandlock(t)
	for _, tt := range []struct {
		name     string
		d        Domain
		tcp, udp bool // get through
	}{
		{"landlock", Domain{}, false, abi < 10},
		{"strict", Domain{None: true}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDomain(t, tt.d)
			kernelPerforms(t)
			four, tcp4 := server(t)
			six, tcp6 := serverOn(t, "[::1]:0")
			datagrams, udp, marks := counter(t)
			own := freePort(t)
			out, reached := runReached(t, own, four, six, datagrams)
			settle(t, datagrams, marks)
			n4, n6, n := tcp4(), tcp6(), udp.Load()
			t.Logf("arrived: %d and %d connections, %d datagrams; the program %s", n4, n6, n, out)
			if (n4 > 0) != tt.tcp || (n6 > 0) != tt.tcp {
				t.Errorf("%d and %d TCP connections arrived, want some: %v", n4, n6, tt.tcp)
			}
			if (n > 0) != tt.udp {
				t.Errorf("%d datagrams arrived, want some: %v", n, tt.udp)
			}
			if reached != tt.tcp {
				t.Errorf("the program was reached at a port that it chose: %v, want %v", reached, tt.tcp)
			}
		})
	}
}

// runReached runs everyWay, and connects to the port that it wants to have.
func runReached(t *testing.T, own int, addrs ...string) (out string, reached bool) {
	t.Helper()
	args := []string{python, "-c", everyWay}
	for _, a := range addrs {
		args = append(args, strconv.Itoa(int(netip.MustParseAddrPort(a).Port())))
	}
	ended, tried := make(chan struct{}), make(chan bool)
	go func() {
		for {
			c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(own)))
			if err == nil {
				c.Close()
			}
			select {
			case <-ended:
				tried <- err == nil
				return
			default:
			}
			if err == nil {
				tried <- true
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	out, _ = run(t, allowAll, append(args, strconv.Itoa(own))...)
	close(ended)
	return out, <-tried
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestAbstractScope: the domain keeps a program from abstract sockets of others,
// and nobody notices, because the supervisor is outside and connects.
func TestAbstractScope(t *testing.T) {
	abi := needLandlock(t)
	name := "@netjail-test-" + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const program = `
import os, socket, sys
def attempt(name):
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect("\0" + name[1:])
        print("connected")
    except OSError as e:
        print(os.strerror(e.errno))
attempt(sys.argv[1])
own = socket.socket(socket.AF_UNIX)
own.bind("\0" + sys.argv[1][1:] + "-own")
own.listen()
attempt(sys.argv[1] + "-own")
`
	kernel := "Operation not permitted"
	if abi < 6 {
		kernel = "connected"
	}
	for _, tt := range []struct {
		name    string
		d       Domain
		proceed bool
		want    string
	}{
		{"the supervisor connects", Domain{}, false, "connected"},
		{"the kernel connects", Domain{}, true, kernel},
		{"the kernel connects, without the scope", Domain{Abstract: true}, true, "connected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDomain(t, tt.d)
			if tt.proceed {
				kernelPerforms(t)
			}
			if out, _ := run(t, allowAll, python, "-c", program, name); out != tt.want+"\nconnected\n" {
				t.Errorf("printed %q, want %q for the socket outside, and \"connected\" for its own", out, tt.want)
			}
		})
	}
}

// TestThreadSignals: threads of a program in a domain signal each other, also for
// setuid(2), which the C library has every thread do.
func TestThreadSignals(t *testing.T) {
	const program = `
import os, signal, threading, time
got = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: got.set())
main = threading.get_ident()
stop = threading.Event()
others = [threading.Thread(target=stop.wait, daemon=True) for _ in range(8)]
for o in others:
    o.start()
threading.Thread(target=lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
while not got.is_set():
    time.sleep(0.01)
print("signalled")
os.setresuid(65534, 65534, 65534) if os.getuid() == 0 else os.setresuid(os.getuid(), os.getuid(), os.getuid())
def uid(t):
    try:
        return open(f"/proc/self/task/{t}/status").read().split("Uid:")[1].split()[1]
    except (FileNotFoundError, ProcessLookupError): # the thread that has signalled has ended
        return str(os.getuid())
uids = {uid(t) for t in os.listdir("/proc/self/task")}
print("same" if uids == {str(os.getuid())} else uids)
stop.set()
`
	if out, ws := run(t, allowAll, python, "-c", program); out != "signalled\nsame\n" || ws.ExitStatus() != 0 {
		t.Errorf("printed %q, status %v; want that a thread was signalled, and that all have the same uid", out, ws)
	}
}
