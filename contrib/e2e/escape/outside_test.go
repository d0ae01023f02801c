package escape

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// What is outside of the jail when the helper starts.

// inheritRing starts everything as a program that has a ring.
func inheritRing(x *trial) {
	x.wrap = []string{helper(x.t), "ring-parent"}
	x.flags = []string{"--keep-fd", "9"}
}

// keepRing starts everything below a program whose ring has a kernel thread.
func keepRing(x *trial) {
	x.wrap = []string{helper(x.t), "ring-keeper"}
	x.flags = []string{"--keep-fd", "8,9"}
}

// socketFile makes a socket that is connected to the allowed receiver if
// connected says so.
func (x *trial) socketFile(typ int, connected bool) *os.File {
	x.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	x.t.Cleanup(func() { f.Close() })
	if connected {
		if err := unix.Connect(fd, x.sockaddr(x.allowed)); err != nil {
			x.t.Fatal(err)
		}
	}
	return f
}

func (x *trial) sockaddr(r *receiver) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: r.port, Addr: [4]byte{127, 0, 0, 1}}
}

// asStdin gives the helper a socket, and closes it here when it has ended.
func (x *trial) asStdin(f *os.File) {
	x.stdin = f
	x.ends = append(x.ends, func() { f.Close() })
}

func stdinUDP(x *trial)          { x.asStdin(x.socketFile(unix.SOCK_DGRAM, false)) }
func stdinConnectedUDP(x *trial) { x.asStdin(x.socketFile(unix.SOCK_DGRAM, true)) }
func stdinTCP(x *trial)          { x.asStdin(x.socketFile(unix.SOCK_STREAM, true)) }

// serveUnix serves a local socket until the helper has ended, and tells the
// helper its name.
func (x *trial) serveUnix(path string, handle func(*net.UnixConn)) {
	x.t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		x.t.Fatal(err)
	}
	x.env = append(x.env, "ESCAPE_UNIX="+path)
	last := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@escape-%d-%s", os.Getpid(), path)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c.RemoteAddr().String() != last.Name {
				handle(c.(*net.UnixConn))
				c.Close()
				continue
			}
			c.Close()
			return
		}
	})
	x.ends = append(x.ends, func() {
		// What is in the listener's queue comes first.
		if c, err := net.DialUnix("unix", last, l.Addr().(*net.UnixAddr)); err == nil {
			wg.Wait()
			c.Close()
		} else {
			x.t.Error(err)
		}
		l.Close()
		wg.Wait()
	})
}

func (x *trial) unixPath() string {
	return filepath.Join(x.home.Dir, fmt.Sprintf("u%v", x.jailed))
}

// passIn passes an unconnected UDP socket to whoever connects.
func passIn(x *trial) {
	x.serveUnix(x.unixPath(), func(c *net.UnixConn) {
		f := x.socketFile(unix.SOCK_DGRAM, false)
		if _, _, err := c.WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil); err != nil {
			x.t.Error(err)
		}
	})
}

// passOut sends to the denied receiver by the socket that it is passed.
func passOut(x *trial) {
	x.serveUnix(x.unixPath(), func(c *net.UnixConn) {
		oob := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
		if err != nil || n == 0 {
			return
		}
		list, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(list) == 0 {
			x.t.Errorf("control message: %v", err)
			return
		}
		fds, err := unix.ParseUnixRights(&list[0])
		if err != nil {
			x.t.Error(err)
			return
		}
		err = unix.Sendto(fds[0], []byte("trick"), 0, x.sockaddr(x.denied))
		if err != nil && err != unix.EPERM { // a guard knows whose the socket is
			x.t.Error(err)
		}
		unix.Close(fds[0])
		_, _ = c.Write([]byte("x"))
	})
}

// withVictim starts a process of the same user with a socket that is connected
// to the denied receiver. It sends when something has happened to it.
func withVictim(x *trial) {
	x.t.Helper()
	port := strconv.Itoa(x.denied.port)
	cmd := exec.Command(helper(x.t), "victim", port, port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		x.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		x.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		x.t.Fatal(err)
	}
	x.env = append(x.env, "ESCAPE_VICTIM="+strings.TrimSpace(line))
	x.ends = append(x.ends, func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			x.t.Errorf("the victim: %v", err)
		}
	})
}

// withDaemon has the daemon run, as it does when a jail runs.
func withDaemon(x *trial) {
	if !x.jailed {
		x.home.Run("--no-prompt", "true")
	}
}

// allowDaemon has a rule that allows the daemon's socket, which must not help.
func allowDaemon(x *trial) {
	withDaemon(x)
	x.flags = []string{"--allow", "unix:" + filepath.Join(x.home.Runtime(), "netjail", "daemon.sock")}
}

// allowForNow has a rule for the denied receiver, which the helper has removed.
func allowForNow(x *trial) {
	if !x.jailed {
		return
	}
	if r := x.home.Run("rules", "add", "escape", "allow", "tcp://"+x.denied.addr(hosts[0])); r.Code != 0 {
		x.t.Fatalf("%+v", r)
	}
}

// revoke removes that rule, at which the connection ends that was held. It is
// not counted: what comes afterwards is.
func (x *trial) revoke() {
	if !x.jailed {
		return
	}
	if r := x.home.Run("rules", "remove", "escape", "tcp://"+x.denied.addr(hosts[0])); r.Code != 0 {
		x.t.Errorf("%+v", r)
	}
	if open(x.row.name) != nil {
		return
	}
	start := time.Now()
	e2etest.WaitFor(x.t, "the connection ends", func() bool { return x.denied.arrived() > 0 })
	if took := time.Since(start); took > perConn/2 {
		x.t.Errorf("the connection ended after %v, not by its rule", took)
	}
	x.denied.forget()
}

// withPodman serves the socket of an ordinary user's containers.
func withPodman(x *trial) { x.brokers(filepath.Join(x.home.Runtime(), "podman", "podman.sock")) }

func withSystemd(x *trial) {
	x.brokers("/run/systemd/private", filepath.Join(x.home.Runtime(), "systemd", "private"))
}

func withResolvers(x *trial) {
	x.brokers("/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/dbus/system_bus_socket")
}

func withContainers(x *trial) {
	x.brokers("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock",
		"/run/libvirt/libvirt-sock", "/run/snapd.socket", "/run/avahi-daemon/socket", filepath.Join(x.home.Runtime(), "docker.sock"))
}

// denyPath serves a socket that nothing but a rule keeps the helper from.
func denyPath(x *trial) {
	path := filepath.Join(x.home.Dir, "agent.sock")
	x.brokers(path)
	x.flags = []string{"--deny", "unix:" + path}
}

// brokers serves sockets through which others do for a program what a jail may
// not. Those in /run are in a /run of the helper's own. A connection to one of
// them is a packet at the denied receiver.
func (x *trial) brokers(paths ...string) {
	x.t.Helper()
	run := filepath.Join(x.home.Dir, fmt.Sprintf("r%v", x.jailed))
	for _, path := range paths {
		real := path
		if name, ok := strings.CutPrefix(path, "/run/"); ok {
			real = filepath.Join(run, name)
			x.wrap = x.inside("r")
		}
		if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
			x.t.Fatal(err)
		}
		x.serveUnix(real, func(c *net.UnixConn) {
			_, _ = io.ReadAll(c)
			x.denied.count("a broker was reached")
		})
		x.ends = append(x.ends, func() { os.Remove(real) })
	}
	x.env = append(x.env, "ESCAPE_PATHS="+strings.Join(paths, ":"), "ESCAPE_RUN="+run)
}

// inside starts what follows in namespaces of its own.
func (x *trial) inside(how string) []string { return []string{helper(x.t), "inside", how} }

// cable puts the receivers at the end of a cable, where packets are counted.
func (x *trial) cable() {
	e2etest.Need(x.t, "ip")
	x.wrap = x.inside("wk")
	x.permit("10.77.0.2", "fd77::2")
}

// numbered has the helper choose process ids.
func numbered(x *trial) { x.wrap = x.inside("pk") }

func allowLinkLocal(x *trial) { x.allow = append(x.allow, "--allow", x.allowed.addr("fe80::2")) }

func allowPing(x *trial) {
	x.allow = append(x.allow, "--allow", "icmp://10.77.0.2", "--allow", "icmp://[fd77::2]")
}

// withoutCapabilities starts a jail as ordinary users do, and what is not in a
// jail with capabilities.
func withoutCapabilities(x *trial) {
	switch {
	case x.row.wire && x.jailed:
		x.wrap = x.inside("w")
	case x.jailed:
		x.wrap = x.inside("-")
	case !x.row.wire:
		x.wrap = x.inside("pk")
	}
}

// early has the helper try things before its main.
func early(x *trial) { x.env = append(x.env, "ESCAPE_EARLY=1") }

// withSetuid makes, as root, a program with the rights of somebody else.
func withSetuid(x *trial) {
	x.t.Helper()
	path := ""
	if os.Getuid() == 0 {
		path = filepath.Join(x.home.Dir, "setuid")
		b, err := os.ReadFile(helper(x.t))
		if err == nil {
			err = os.WriteFile(path, b, 0o755)
		}
		if err == nil {
			err = os.Chown(path, 65534, 65534)
		}
		if err == nil {
			err = os.Chmod(path, 0o755|os.ModeSetuid)
		}
		if err != nil {
			x.t.Fatal(err)
		}
	}
	x.env = append(x.env, "ESCAPE_SETUID="+path)
}

// withTrusted has a rule for another program, which holds for that one.
func withTrusted(x *trial) {
	x.t.Helper()
	if !x.jailed {
		return
	}
	port := strconv.Itoa(x.denied.port)
	if r := x.home.Run("rules", "add", "trusted", "allow", x.denied.addr(hosts[0])); r.Code != 0 {
		x.t.Fatal(r.Stderr)
	}
	x.home.Run("--no-prompt", "--as", "trusted", "--", helper(x.t), "plain", port, port)
	if x.denied.settled(x.t).all == 0 {
		x.t.Error("the rule does not hold for the program that it is for")
	}
	x.denied.forget()
}
