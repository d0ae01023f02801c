package interpose

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespaces has run start programs in namespaces of their own for the rest of
// a test, and returns the process that was there first: it has every capability
// there, and loopback is up.
func inNamespaces(t *testing.T) (pid int) {
	t.Helper()
	// A process that is not dumpable has children whose maps are root's.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "ip link set lo up && echo && exec sleep 100")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 1)); n != 1 {
		t.Fatal("loopback is not up", err)
	}
	pid = cmd.Process.Pid
	var n Namespaces
	for name, fd := range map[string]*int{"user": &n.User, "net": &n.Net} {
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		*fd = int(f.Fd())
	}
	namespaces = &n
	t.Cleanup(func() { namespaces = nil })
	return pid
}

// TestNamespaces: the program is in the namespaces, has no capability there, and
// its calls are decided and performed as anywhere else.
func TestNamespaces(t *testing.T) {
	pid := inNamespaces(t)
	for _, d := range []Domain{{None: true}, {Sockets: true}} {
		inDomain(t, d)
		out, _ := run(t, policy{check: func(c *Call) Verdict {
			if c.Op == Connect && c.Addr.Port() == 9 {
				return Deny
			}
			return Allow
		}}, python, "-c", `
import os, socket
for line in open("/proc/self/status"):
    if line[:3] == "Cap":
        print(line.replace("\t", ""), end="")
print(os.getuid(), os.getgid(), os.readlink("/proc/self/ns/user"), os.readlink("/proc/self/ns/net"))
l = socket.socket()
l.bind(("127.0.0.1", 0))
l.listen()
s = socket.socket()
s.connect(l.getsockname())
s.sendall(b"through\n")
print(l.accept()[0].recv(10).decode(), end="")
s = socket.socket()
print(s.connect_ex(("127.0.0.1", 9)))
`)
		want := strings.Repeat("0", 16)
		want = "CapInh:" + want + "\nCapPrm:" + want + "\nCapEff:" + want + "\nCapBnd:" + want + "\nCapAmb:" + want + "\n" +
			strconv.Itoa(os.Getuid()) + " " + strconv.Itoa(os.Getgid())
		for _, name := range []string{"user", "net"} {
			link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
			if err != nil {
				t.Fatal(err)
			}
			want += " " + link
		}
		if want += "\nthrough\n13\n"; out != want {
			t.Errorf("%+v: printed\n%swant\n%s", d, out, want)
		}
	}
}

// TestNamespacesOfItsOwn: a program makes user namespaces as anywhere else, and
// is everything in what belongs to them, but nothing to what it was started in.
func TestNamespacesOfItsOwn(t *testing.T) {
	first := inNamespaces(t)
	script := `
ip link show lo >/dev/null && echo "loopback is seen"
ip link set lo down 2>/dev/null && echo "loopback is down"
unshare -U sh -c '
	grep -q "CapBnd:.*1ff" /proc/self/status && echo "all capabilities"
	ip link set lo down 2>/dev/null && echo "loopback is down"
	nsenter -t $0 -n true 2>/dev/null && echo "into the first"
' $0
unshare -U --keep-caps -n ip link set lo up && echo "a network of its own"
nsenter -t $0 -U --preserve-credentials true 2>/dev/null && echo "as the first"
nsenter -t $1 -U --preserve-credentials true 2>/dev/null && echo "outside"
nsenter -t $1 -n true 2>/dev/null && echo "in the network outside"
true
`
	inDomain(t, Domain{None: true}) // which would refuse most of it by itself
	out, _ := run(t, allowAll, "sh", "-c", script, strconv.Itoa(first), strconv.Itoa(os.Getpid()))
	if want := "loopback is seen\nall capabilities\na network of its own\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// TestNetlink: what the program asks of the kernel is judged by the program's
// rights, and not by those of the supervisor, who owns the namespace. To say so of
// a message the supervisor must not address it.
func TestNetlink(t *testing.T) {
	inNamespaces(t)
	inDomain(t, Domain{None: true})
	out, _ := run(t, allowAll, python, "-c", `
import errno, socket, struct
def ask(kind, body, flags, send):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    try:
        send(s, struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        _, kind, _, _, _, code = struct.unpack("=IHHIIi", s.recv(10000)[:20])
        return errno.errorcode.get(-code, code) if kind == 2 else "answer"
    except OSError as e:
        return errno.errorcode[e.errno]
def connected(to):
    def send(s, b):
        s.connect(to)
        s.send(b)
    return send
ways = {
    "send": lambda s, b: s.send(b),
    "sendto": lambda s, b: s.sendto(b, (0, 0)),
    "sendmsg": lambda s, b: s.sendmsg([b], [], 0, (0, 0)),
    "connect": connected((0, 0)),
    "sendto a process": lambda s, b: s.sendto(b, (1, 0)),
    "sendto a group": lambda s, b: s.sendto(b, (0, 1)),
    "connect to a process": connected((1, 0)),
}
GET, NEW, REQUEST, ACK = 18, 16, 1, 4
for name, way in ways.items():
    down = struct.pack("=BBHiII", 0, 0, 0, 1, 0, 1)
    print(name + ":", ask(GET, down, REQUEST, way), ask(NEW, down, REQUEST | ACK, way))
`)
	if want := `send: answer EPERM
sendto: answer EPERM
sendmsg: answer EPERM
connect: answer EPERM
sendto a process: EPERM EPERM
sendto a group: EPERM EPERM
connect to a process: EPERM EPERM
`; out != want {
		t.Errorf("printed\n%swant\n%s", out, want)
	}
}

// TestNamespacesRefused: what cannot be entered is no network at all.
func TestNamespacesRefused(t *testing.T) {
	inNamespaces(t)
	for _, c := range []struct {
		n  Namespaces
		op string
	}{
		{Namespaces{User: namespaces.Net, Net: namespaces.Net}, "setns(user)"},
		{Namespaces{User: namespaces.User, Net: namespaces.User}, "setns(net)"},
	} {
		_, err := start(&Command{Path: python, Args: []string{python}, Namespaces: &c.n})
		if e, ok := errors.AsType[*StartError](err); !ok || e.Op != c.op || e.Errno != unix.EINVAL {
			t.Errorf("got %v, want EINVAL of %s", err, c.op)
		}
	}
}
