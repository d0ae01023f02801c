package flows

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// own lists the sockets of this process, by inode.
func own(t testing.TB, l *Lister, now time.Time) map[uint64]Flow {
	t.Helper()
	list, err := l.List([]int{os.Getpid()}, now)
	if err != nil {
		t.Fatal(err)
	}
	if list.Unseen != 0 || list.More != 0 {
		t.Errorf("got %d unseen and %d more, want none", list.Unseen, list.More)
	}
	m := make(map[uint64]Flow)
	for _, f := range list.Flows {
		m[f.Inode] = f
	}
	return m
}

// inode asks the kernel for the inode and the cookie of a socket.
func inode(t testing.TB, c syscall.Conn) (ino, cookie uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if cerr := raw.Control(func(fd uintptr) {
		if err = unix.Fstat(int(fd), &st); err == nil {
			cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
		}
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return st.Ino, cookie
}

// listen makes a plain TCP socket: MPTCP, which is refused to jails, has others
// behind its own.
func listen(t testing.TB, network, address string) *net.TCPListener {
	t.Helper()
	var cfg net.ListenConfig
	cfg.SetMultipathTCP(false)
	l, err := cfg.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// pair connects two sockets over TCP.
func pair(t testing.TB, network, address string) (l *net.TCPListener, client, server *net.TCPConn) {
	t.Helper()
	l = listen(t, network, address)
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if server, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return l, c.(*net.TCPConn), server
}

func udp(t testing.TB, to string) *net.UDPConn {
	t.Helper()
	var c net.Conn
	var err error
	if to == "" {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	} else {
		c, err = net.Dial("udp", to)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func addrPort(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	p := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// TestList pins what is decoded to sockets that this process has.
func TestList(t *testing.T) {
	l4, c4, s4 := pair(t, "tcp4", "127.0.0.1:0")
	l6, c6, s6 := pair(t, "tcp6", "[::1]:0")
	mapped := listen(t, "tcp", "[::]:0") // for both families
	cm, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addrPort(mapped.Addr()).Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer cm.Close()
	sm, err := mapped.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer sm.Close()
	half, halfServer := func() (*net.TCPConn, *net.TCPConn) { _, c, s := pair(t, "tcp4", "127.0.0.1:0"); return c, s }()
	if err := halfServer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	halfInode, _ := inode(t, halfServer)
	for end := time.Now().Add(time.Minute); own(t, new(Lister), epoch)[halfInode].State != StateFinWait2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the peer does not acknowledge the end")
		}
	}
	u4, u6 := udp(t, ""), udp(t, "[::1]:9")
	any4 := netip.MustParseAddrPort("0.0.0.0:0")
	any6 := netip.MustParseAddrPort("[::]:0")
	tests := []struct {
		name          string
		c             syscall.Conn
		local, remote netip.AddrPort
		network       string
		state         string
	}{
		{"client", c4, addrPort(c4.LocalAddr()), addrPort(c4.RemoteAddr()), "tcp", StateEstablished},
		{"server", s4, addrPort(s4.LocalAddr()), addrPort(s4.RemoteAddr()), "tcp", StateEstablished},
		{"listener", l4, addrPort(l4.Addr()), any4, "tcp", StateListen},
		{"client of IPv6", c6, addrPort(c6.LocalAddr()), addrPort(c6.RemoteAddr()), "tcp", StateEstablished},
		{"server of IPv6", s6, addrPort(s6.LocalAddr()), addrPort(s6.RemoteAddr()), "tcp", StateEstablished},
		{"listener of IPv6", l6, addrPort(l6.Addr()), any6, "tcp", StateListen},
		{"v4-mapped", sm.(*net.TCPConn), addrPort(sm.LocalAddr()), addrPort(sm.RemoteAddr()), "tcp", StateEstablished},
		{"half closed by us", halfServer, addrPort(halfServer.LocalAddr()), addrPort(halfServer.RemoteAddr()), "tcp", StateFinWait2},
		{"half closed by the peer", half, addrPort(half.LocalAddr()), addrPort(half.RemoteAddr()), "tcp", StateCloseWait},
		{"udp", u4, addrPort(u4.LocalAddr()), any4, "udp", StateUnconnected},
		{"connected udp of IPv6", u6, addrPort(u6.LocalAddr()), addrPort(u6.RemoteAddr()), "udp", StateEstablished},
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	list := own(t, new(Lister), epoch)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ino, cookie := inode(t, tt.c)
			got := list[ino]
			got.Sent, got.Received = 0, 0
			want := Flow{
				Network: tt.network, Local: tt.local, Remote: tt.remote, State: tt.state, Inode: ino, Cookie: cookie,
				PID: os.Getpid(), Program: filepath.Base(exe), Known: tt.network == "tcp", Since: epoch, owner: got.owner,
			}
			if got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
	if n := len(tests) + 3; len(list) != n { // and what stands for others in the table
		t.Errorf("got %d sockets, want %d", len(list), n)
	}
	none, err := new(Lister).List(nil, epoch)
	if err != nil || len(none.Flows) != 0 {
		t.Errorf("of no process: %v, %v", none, err)
	}
}

// TestBytes sends different amounts both ways.
func TestBytes(t *testing.T) {
	_, c, s := pair(t, "tcp4", "127.0.0.1:0")
	var l Lister
	ci, _ := inode(t, c)
	si, _ := inode(t, s)
	send := func(from, to net.Conn, n int) {
		t.Helper()
		if _, err := from.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	wantBytes := func(up, down uint64) {
		t.Helper()
		list := own(t, &l, epoch)
		if f := list[ci]; f.Sent != up || f.Received != down || !f.Known {
			t.Errorf("client: sent %d, received %d, known %v, want %d, %d", f.Sent, f.Received, f.Known, up, down)
		}
		if f := list[si]; f.Sent != down || f.Received != up {
			t.Errorf("server: sent %d, received %d, want %d, %d", f.Sent, f.Received, down, up)
		}
	}
	wantBytes(0, 0)
	send(c, s, 1000)
	send(s, c, 70000)
	wantBytes(1000, 70000)
	send(c, s, 24)
	wantBytes(1024, 70000)
}

// TestSince: a flow's age begins with the first listing that it is in, and that
// of a socket that is connected anew begins again.
func TestSince(t *testing.T) {
	var l Lister
	u := udp(t, "127.0.0.1:9")
	ino, _ := inode(t, u)
	later := epoch.Add(time.Minute)
	list := own(t, &l, epoch)
	if got := own(t, &l, later)[ino].Since; !got.Equal(epoch) {
		t.Errorf("got %v, want %v", got, epoch)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Port: 10, Addr: [4]byte{127, 0, 0, 1}})
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if got := own(t, &l, later)[ino].Since; !got.Equal(later) {
		t.Errorf("connected anew: got %v, want %v", got, later)
	}
	u.Close()
	own(t, &l, later)
	if l.known[list[ino].Cookie] != nil {
		t.Error("a closed socket is remembered")
	}
}

// TestPassed has a socket that some processes have and others do not.
func TestPassed(t *testing.T) {
	var l Lister
	u := udp(t, "127.0.0.1:9")
	ino, _ := inode(t, u)
	file, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list := func(pid int, now time.Time) bool {
		t.Helper()
		list, err := l.List([]int{pid}, now)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list.Flows, func(f Flow) bool { return f.Inode == ino && f.PID == pid })
	}
	without, with := child(t, nil), child(t, file)
	for _, tt := range []struct {
		pid  int
		want bool
	}{{without, false}, {with, true}, {without, false}} {
		for range 2 { // the second time from memory
			if got := list(tt.pid, epoch); got != tt.want {
				t.Errorf("process %d: got %v, want %v", tt.pid, got, tt.want)
			}
		}
	}
	// Nothing tells that this process has it no more.
	if !list(os.Getpid(), epoch) {
		t.Error("this process's own is not listed")
	}
	u.Close()
	file.Close()
	if list(os.Getpid(), epoch.Add(lookAgain)) {
		t.Error("a socket that was closed here is listed as this process's")
	}
}

// child runs until the test ends, with a file or without.
func child(t *testing.T, file *os.File) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // or it dies with the thread
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// TestThread has a thread with descriptors of its own.
func TestThread(t *testing.T) {
	opened, looked := make(chan uint64), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		defer close(opened)
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &st)
		}
		if err != nil {
			t.Error(err)
			return
		}
		opened <- st.Ino
		<-looked
	}()
	ino := <-opened
	defer close(looked)
	f, ok := own(t, new(Lister), epoch)[ino]
	if !ok || f.State != StateEstablished {
		t.Fatalf("got %+v", f)
	}
	err := End(f)
	if errors.Is(err, unix.EINVAL) {
		t.Log("no PIDFD_THREAD before Linux 6.9:", err)
	} else if err != nil {
		t.Error(err)
	}
}

// TestUnseen looks at a process in a network namespace of its own.
func TestUnseen(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	}
	runtime.LockOSThread() // or it dies with the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no network namespaces here:", err)
	}
	pids := []int{os.Getpid(), cmd.Process.Pid}
	if list, err := new(Lister).List(pids, epoch); err != nil || list.Unseen != 1 {
		t.Errorf("got %d unseen, want 1; %v", list.Unseen, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if list, err := new(Lister).List(pids, epoch); err != nil || list.Unseen != 0 {
		t.Errorf("after its end: got %d unseen, want none; %v", list.Unseen, err)
	}
}

// TestNetwork lists the sockets of a process that is in another network namespace,
// by a socket of its own.
func TestNetwork(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "-c", `
import socket, sys
l = socket.socket()
l.listen()
diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
print(l.getsockname()[1], diag.fileno(), flush=True)
sys.stdin.read()
`)
	id := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWUSER, UidMappings: id(os.Getuid()), GidMappings: id(os.Getgid()),
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no namespaces here:", err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	var port uint16
	var diag int
	if _, err := fmt.Fscan(out, &port, &diag); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	there := Lister{Network: &Network{Link: link, Socket: func() (int, error) {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return -1, err
		}
		defer unix.Close(pidfd)
		return unix.PidfdGetfd(pidfd, diag, 0)
	}}}
	list, err := there.List([]int{pid}, epoch)
	if err != nil || list.Unseen != 0 || len(list.Flows) != 1 || list.Flows[0].Local.Port() != port || list.Flows[0].State != StateListen {
		t.Errorf("got %+v, %v; want port %d", list, err, port)
	}
	if list, err := new(Lister).List([]int{pid}, epoch); err != nil || list.Unseen != 1 || len(list.Flows) != 0 {
		t.Errorf("here: got %+v, %v", list, err)
	}
	there.Network.Socket = func() (int, error) { return -1, unix.EPERM }
	if list, err := there.List([]int{pid}, epoch); !errors.Is(err, unix.EPERM) {
		t.Errorf("without a socket: got %+v, %v", list, err)
	}
}
