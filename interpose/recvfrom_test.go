package interpose

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// responder answers a datagram that says "SIZE MILLISECONDS" with one of that
// size after that time, and counts what it gets.
func responder(t *testing.T, network, host string) (at netip.AddrPort, count func() int) {
	t.Helper()
	c, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			got, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			var size, delay int
			if _, err := fmt.Sscan(string(buf[:got]), &size, &delay); err != nil {
				t.Errorf("a datagram says %q", buf[:got])
			}
			answer := []byte(strings.Repeat("0123456789", size/10+1)[:size])
			time.AfterFunc(time.Duration(delay)*time.Millisecond, func() { c.WriteTo(answer, from) })
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// closed returns a port at which nobody listens, and nobody else can.
func closed(t *testing.T, network, host string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		// A socket that is connected to itself takes nothing from others.
		self, err := unix.Getsockname(int(fd))
		if err == nil {
			err = unix.Connect(int(fd), self)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// receiveScript makes every kind of recvfrom on sockets connected to a server,
// and on others, and prints what came of it: FAMILY, SERVER, CLOSED, and whether
// the kernel knows WAIT_KILLABLE_RECV.
const receiveScript = `
import ctypes, mmap, os, select, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.recvfrom.restype = ctypes.c_ssize_t
libc.recvfrom.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
family = getattr(socket, sys.argv[1])
def parse(a):
    host, port = a.rsplit(":", 1)
    return host.strip("[]"), int(port)
server, closed = parse(sys.argv[2]), parse(sys.argv[3])
PEEK, TRUNC, DONTWAIT, ERRQUEUE, BAD = 2, 0x20, 0x40, 0x2000, 16

def receive(name, s, size=65535, flags=0, room=128, buf=None, addr=None, length=None):
    b, a, l = ctypes.create_string_buffer(size), ctypes.create_string_buffer(128), ctypes.c_int(room)
    n = libc.recvfrom(s if isinstance(s, int) else s.fileno(), buf if buf is not None else b, size, flags,
        addr if addr is not None else a, length if length is not None else ctypes.addressof(l))
    e = ctypes.get_errno()
    data = b.raw.rstrip(b"\0")
    raw = a.raw.rstrip(b"\0")
    # Kernels differ in what is written first.
    print(name, n if n >= 0 else "errno %d" % e, data[:10], len(data), raw, l.value if addr != BAD else "")

def make(to=server, nonblock=False):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.connect(to)
    if nonblock:
        s.setblocking(False)
    return s

def ask(s, size=5, delay=0):
    s.send(b"%d %d" % (size, delay))

def wait(s, event=select.POLLIN):
    p = select.poll()
    p.register(s, event)
    p.poll(30000)

s = make()
ask(s); receive("blocking", s)
ask(s, 5, 150); receive("blocking, later", s)
ask(s); receive("exactly what c-ares had", s, 4097)
ask(s); receive("too small to be trapped", s, 4096, room=0)
ask(s, 6000); receive("too long", s, 4097)
ask(s, 6000); receive("too long, MSG_TRUNC", s, 4097, TRUNC)
ask(s, 60000); receive("long", s, 1 << 20)
ask(s, 0); receive("empty", s)
ask(s, 0); receive("empty, bad buffer", s, buf=BAD)
ask(s, 7); receive("MSG_PEEK", s, flags=PEEK)
receive("MSG_PEEK again", s, flags=PEEK | TRUNC)
receive("after MSG_PEEK", s)
receive("MSG_DONTWAIT, nothing", s, flags=DONTWAIT)
receive("MSG_ERRQUEUE, nothing", s, flags=ERRQUEUE)
for room in 0, 1, 8, 15, 16, 27, 28, 29, -1, -2147483648:
    ask(s); receive("room for %d" % room, s, room=room)
for bad in {"buf": BAD}, {"addr": BAD}, {"length": BAD}, {"length": 0}, {"addr": BAD, "length": BAD}:
    ask(s); wait(s); receive("bad %s" % bad, s, **bad)
    receive("lost", s, flags=DONTWAIT)
pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
edge = ctypes.addressof(ctypes.c_char.from_buffer(pages))
libc.mprotect(ctypes.c_void_p(edge + mmap.PAGESIZE), mmap.PAGESIZE, 0)
ask(s, 10); receive("a buffer that ends early", s, buf=edge + mmap.PAGESIZE - 10)
ask(s, 10); receive("a buffer that ends too early", s, buf=edge + mmap.PAGESIZE - 9)
print(pages[mmap.PAGESIZE - 10:mmap.PAGESIZE - 5])

s = make(nonblock=True)
receive("non-blocking, nothing", s)
ask(s); wait(s); receive("non-blocking", s)

s = make()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200000))
start = time.monotonic()
receive("SO_RCVTIMEO", s)
print("waited", 0.15 < time.monotonic() - start < 20)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 20, 0))
ask(s, 5, 20); receive("SO_RCVTIMEO, in time", s)

handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: None)
libc.signal(signal.SIGALRM, handler)
for name, interrupt, timeout in ("EINTR", 1, 0), ("SA_RESTART", 0, 0), ("SA_RESTART with a timeout", 0, 20):
    if timeout and sys.argv[4] == "false":
        continue # the kernel begins whatever a signal interrupts again
    s = make()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", timeout, 0))
    libc.siginterrupt(signal.SIGALRM, interrupt)
    ask(s, 5, 2000)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    receive(name, s)

s = make()
t = threading.Thread(target=receive, args=("in a thread", s))
t.start()
time.sleep(0.1)
other = make()
ask(other); receive("beside it", other)
ask(s)
t.join()

s = make()
s.shutdown(socket.SHUT_RD)
receive("shut down", s)
receive("shut down, MSG_DONTWAIT", s, flags=DONTWAIT)
s = make()
t = threading.Thread(target=receive, args=("shut down meanwhile", s))
t.start()
time.sleep(0.1)
s.shutdown(socket.SHUT_RD)
t.join()

s = make(closed)
s.send(b"x"); receive("refused", s)
s.setsockopt(*((socket.SOL_IP, 11) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 25)), 1)
s.send(b"xyz"); wait(s, 0)
receive("refused, MSG_ERRQUEUE", s, flags=ERRQUEUE)

# What is there from before comes from somebody else.
here = server[0].replace("127.0.0.2", "127.0.0.1")
early = socket.socket(family, socket.SOCK_DGRAM); early.bind((here, 0))
s = socket.socket(family, socket.SOCK_DGRAM); s.bind((here, 0))
early.sendto(b"early", s.getsockname()); wait(s)
s.connect(server)
port = b"%c%c" % divmod(early.getsockname()[1], 256)
a, l = ctypes.create_string_buffer(128), ctypes.c_int(128)
print("early", libc.recvfrom(s.fileno(), ctypes.create_string_buffer(5000), 5000, 0, a, ctypes.addressof(l)), a.raw[2:4] == port, l.value)
ask(s); receive("and then", s)

# Sockets that nobody led.
s = socket.socket(family, socket.SOCK_DGRAM)
receive("no socket", os.open("/", os.O_RDONLY))
receive("no descriptor", 999)
receive("O_PATH", os.open("/", os.O_PATH))
receive("not connected", s, flags=DONTWAIT)
s.bind((here, 0)); other = socket.socket(family, socket.SOCK_DGRAM)
other.sendto(b"hello", s.getsockname()); receive("not connected", s, room=0)
other.sendto(b"hello", s.getsockname()); receive("not connected, bad buffer", s, buf=BAD, room=0)
one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.send(b"hello"); receive("local", two)
one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
one.send(b"hello"); receive("local stream", two)
l = socket.socket(family); l.bind((here, 0)); l.listen()
one = socket.socket(family); one.connect(l.getsockname()); two, _ = l.accept()
one.send(b"hello"); receive("stream", two)
`

// TestRecvfrom runs a script natively and with its sockets led elsewhere: it must
// not be able to tell the difference.
func TestRecvfrom(t *testing.T) {
	for _, c := range []struct{ name, family, network, server, to, prefix string }{
		{"IPv4", "AF_INET", "udp4", "127.0.0.2", "127.0.0.1", ""},
		{"IPv6", "AF_INET6", "udp6", "::1", "::1", ""},
		{"mapped", "AF_INET6", "udp4", "127.0.0.2", "127.0.0.1", "::ffff:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, asked := responder(t, c.network, c.server)
			resolver, led := responder(t, c.network, c.to)
			dead := closed(t, c.network, c.server)
			leads := map[netip.AddrPort]netip.AddrPort{server: resolver, dead: closed(t, c.network, c.to)}
			args := []string{python, "-c", receiveScript, c.family, c.prefix + server.String(), c.prefix + dead.String(), strconv.FormatBool(sys.WaitKillable())}
			var bare bytes.Buffer
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout = &bare
			if err := cmd.Start(); err != nil { // both at once: they wait most of the time
				t.Fatal(err)
			}
			var mu sync.Mutex
			origins := make(map[[2]netip.AddrPort]netip.AddrPort)
			p := policy{check: func(call *Call) Verdict {
				to, ok := leads[unmapped(call.Addr)]
				if call.Op != Connect || !ok {
					return Allow
				}
				server := call.Addr
				call.Lead = &Lead{To: to, Bound: func(local netip.AddrPort) {
					mu.Lock()
					defer mu.Unlock()
					origins[[2]netip.AddrPort{unmapped(local), to}] = server
				}}
				return Allow
			}, origin: func(local, peer netip.AddrPort) (netip.AddrPort, bool) {
				mu.Lock()
				defer mu.Unlock()
				a, ok := origins[[2]netip.AddrPort{unmapped(local), unmapped(peer)}]
				return a, ok
			}}
			jailed, ws := run(t, p, args...)
			if err := cmd.Wait(); err != nil || ws.ExitStatus() != 0 {
				t.Errorf("bare: %v, jailed: status %d", err, ws.ExitStatus())
			}
			compareLines(t, bare.String(), jailed, 60)
			if asked() == 0 || led() != asked() {
				t.Errorf("%d datagrams came to the server, all of them from outside of the jail, and %d to where they were led", asked(), led())
			}
		})
	}
}
