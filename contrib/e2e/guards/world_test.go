package guards

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// Who is at the far end of the cable: one who may be reached, and one who may not.
const (
	friend, stranger   = "192.0.2.2", "192.0.2.3"
	friend6, stranger6 = "2001:db8::2", "2001:db8::3"
)

// port is where receivers are.
const port = 9000

// world is a machine, and what it is connected to.
type world struct {
	t          *testing.T
	host, far  string // network namespaces
	home       *e2etest.Home
	dir        string // whose files the user may read and execute
	uid, gid   int
	socket     string // of the guard service
	service    *exec.Cmd
	serviceLog *os.File
	counts     counts
}

const ordinary = "netjail-test"

// newWorld makes one. It needs root, and a user who is not.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("root makes the machine; the jails are an ordinary user's")
	}
	for _, name := range []string{"ip", "nsenter", "unshare", "setpriv", "python3", "nft"} {
		e2etest.Need(t, name)
	}
	u, err := user.Lookup(ordinary)
	if err != nil {
		run(t, "useradd", "--create-home", ordinary)
		if u, err = user.Lookup(ordinary); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, host: "njh" + strconv.Itoa(os.Getpid()), far: "njf" + strconv.Itoa(os.Getpid())}
	w.uid, _ = strconv.Atoi(u.Uid)
	w.gid, _ = strconv.Atoi(u.Gid)
	w.home = e2etest.NewHome(t)
	w.dir = t.TempDir()
	for dir := w.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.tun()
	w.cable()
	w.install(e2etest.Bin(t), "netjail")
	w.write("resolv.conf", "nameserver "+friend+"\n")
	w.give(w.home.Dir)
	w.counts.init(w)
	w.serve()
	return w
}

// tun makes /dev/net/tun what it is on desktops.
func (w *world) tun() {
	w.t.Helper()
	e2etest.Need(w.t, "pasta")
	if err := os.Chmod("/dev/net/tun", 0o666); err != nil {
		w.t.Fatal(err)
	}
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (w *world) cable() {
	for _, ns := range []string{w.host, w.far} {
		run(w.t, "ip", "netns", "add", ns)
		w.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		run(w.t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	run(w.t, "ip", "-n", w.host, "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", w.far)
	for _, a := range [][3]string{
		{w.host, "up0", "192.0.2.1/24"}, {w.host, "up0", "2001:db8::1/64"}, {w.far, "down0", friend + "/24"},
		{w.far, "down0", stranger + "/24"}, {w.far, "down0", friend6 + "/64"}, {w.far, "down0", stranger6 + "/64"},
	} {
		run(w.t, "ip", "-n", a[0], "addr", "add", a[2], "dev", a[1], "nodad")
	}
	run(w.t, "ip", "-n", w.host, "link", "set", "up0", "up")
	run(w.t, "ip", "-n", w.far, "link", "set", "down0", "up")
	run(w.t, "ip", "-n", w.host, "route", "add", "default", "via", friend)
	run(w.t, "ip", "-n", w.host, "-6", "route", "add", "default", "via", friend6)
}

// install copies an executable to where the user may execute it.
func (w *world) install(from, name string) string {
	w.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		w.t.Fatal(err)
	}
	to := filepath.Join(w.dir, name)
	if err := os.WriteFile(to, b, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return to
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// give makes a directory the user's.
func (w *world) give(dir string) {
	w.t.Helper()
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(path, w.uid, w.gid))
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// serve starts the guard service.
func (w *world) serve() {
	w.t.Helper()
	w.socket = filepath.Join(w.dir, "guard.sock")
	var err error
	if w.serviceLog, err = os.Create(filepath.Join(w.dir, "guard.log")); err != nil {
		w.t.Fatal(err)
	}
	w.service = exec.Command("nsenter", "--net=/run/netns/"+w.host, filepath.Join(w.dir, "netjail"), "guard", "--socket", w.socket)
	w.service.Stderr = w.serviceLog
	if err := w.service.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.stop(syscall.SIGTERM)
		if w.t.Failed() {
			b, _ := os.ReadFile(w.serviceLog.Name())
			w.t.Logf("the guard service says:\n%s", b)
		}
	})
	e2etest.WaitFor(w.t, "the guard service listens", func() bool {
		c, err := net.Dial("unix", w.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// shut waits until a jail has been shut: its sets are gone then.
func (w *world) shut() {
	w.t.Helper()
	e2etest.WaitFor(w.t, "the jail is shut", func() bool {
		return !strings.Contains(run(w.t, "nsenter", "--net=/run/netns/"+w.host, "nft", "list", "sets", "inet"), "-allow4")
	})
}

// stop ends the guard service.
func (w *world) stop(sig syscall.Signal) {
	if w.service.ProcessState == nil {
		_ = w.service.Process.Signal(sig)
		_ = w.service.Wait()
	}
}

// user returns a command of the user's on the machine.
func (w *world) user(args ...string) *exec.Cmd {
	script := `mount --bind "$0/resolv.conf" /etc/resolv.conf && exec setpriv --reuid="$1" --regid="$2" --init-groups -- "${@:3}"`
	cmd := w.home.Command()
	cmd.Path, _ = exec.LookPath("nsenter")
	cmd.Args = append([]string{
		"nsenter", "--net=/run/netns/" + w.host, "unshare", "--mount", "bash", "-c", script, w.dir, strconv.Itoa(w.uid), strconv.Itoa(w.gid),
	}, args...)
	cmd.Env = append(cmd.Env, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "USER="+ordinary, "NETJAIL_TEST_GUARD_SOCKET="+w.socket)
	return cmd
}

// guard returns the flags that ask for a guard.
func (w *world) guard(kind string) []string {
	flags := []string{"--guard", kind}
	if kind == "nft" {
		flags = append(flags, "--guard-socket", w.socket)
	}
	return flags
}

// netjail returns a command of netjail's.
func (w *world) netjail(args ...string) *exec.Cmd {
	return w.user(append([]string{filepath.Join(w.dir, "netjail")}, args...)...)
}

// jail returns a command in a jail behind a guard.
func (w *world) jail(guard string, args ...string) *exec.Cmd {
	return w.netjail(append(w.guard(guard), args...)...)
}

// finish runs a command to its end.
func (w *world) finish(cmd *exec.Cmd) e2etest.Result {
	w.t.Helper()
	return w.home.Finish(cmd)
}

// within runs f on a thread that is in a network namespace. What it opens stays
// there.
func (w *world) within(ns string, f func()) {
	w.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// counts is what has arrived at each address of the far end.
type counts struct {
	w  *world
	mu sync.Mutex
	n  map[string]int // by "tcp 192.0.2.2"
}

func (c *counts) init(w *world) {
	c.w, c.n = w, make(map[string]int)
	var closers []io.Closer
	var readers sync.WaitGroup
	w.within(w.far, func() {
		for _, host := range []string{friend, stranger, friend6, stranger6} {
			at := netip.AddrPortFrom(netip.MustParseAddr(host), port)
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
			if err != nil {
				w.t.Error(err)
				return
			}
			u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			if err != nil {
				w.t.Error(err)
				return
			}
			closers = append(closers, l, u)
			readers.Go(func() { c.accept("tcp "+host, l) })
			readers.Go(func() { c.receive("udp "+host, u) })
		}
	})
	w.t.Cleanup(func() {
		for _, x := range closers {
			x.Close()
		}
		readers.Wait()
	})
}

func (c *counts) add(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[key]++
}

// of returns how many have come for a network and an address.
func (c *counts) of(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[key]
}

// accept echoes what connections say.
func (c *counts) accept(key string, l *net.TCPListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.add(key)
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(e2etest.Patience))
			_, _ = io.Copy(conn, conn)
			c.add("end of " + key)
		}()
	}
}

// receive echoes datagrams. A mark is counted apart.
func (c *counts) receive(key string, u *net.UDPConn) {
	_ = u.SetReadBuffer(8 << 20)
	for buf := make([]byte, 2048); ; {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if strings.HasPrefix(string(buf[:n]), "mark") {
			c.add("mark " + key)
			continue
		}
		c.add(key)
		_, _ = u.WriteToUDPAddrPort(buf[:n], from)
	}
}

// settle waits until all that was sent to the far end was counted: what is sent
// now comes last.
func (c *counts) settle() {
	c.w.t.Helper()
	c.w.within(c.w.host, func() {
		for _, host := range []string{friend, stranger, friend6, stranger6} {
			key := "mark udp " + host
			before := c.of(key)
			u, err := net.Dial("udp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err != nil {
				c.w.t.Error(err)
				return
			}
			e2etest.WaitFor(c.w.t, "the far end counts", func() bool {
				_, _ = u.Write([]byte("mark"))
				return c.of(key) > before
			})
			u.Close()
		}
	})
}

// taken returns what has arrived since it was asked last, as "tcp 192.0.2.2 3".
func (c *counts) taken() map[string]int {
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := make(map[string]int)
	for k, n := range c.n {
		if !strings.HasPrefix(k, "mark") && !strings.HasPrefix(k, "end") {
			got[k] = n
		}
	}
	clear(c.n)
	return got
}

func at(host string) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
