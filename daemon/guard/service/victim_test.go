package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
	"github.com/netjail/netjail/daemon/guard/client"
)

// victim is the program in a jail.
type victim struct {
	held net.Conn
	udp  map[bool]net.PacketConn
}

func (v *victim) do(words []string) string {
	switch words[0] {
	case "pid":
		return strconv.Itoa(os.Getpid())
	case "dial":
		return dialOnce(words[1], words[2])
	case "hold": // a connection, for later
		c, err := net.DialTimeout(words[1], words[2], brief)
		if err != nil {
			return err.Error()
		}
		v.held = c
		return echo(c)
	case "echo":
		if v.held == nil {
			return "nothing is held"
		}
		return echo(v.held)
	case "udp": // always from one socket
		return v.send(words[1])
	case "from": // a port, by a socket that is closed at once, or bound to a device
		return from(words[1], words[2], words[3:])
	case "ping":
		return ping(words[1])
	case "listen":
		if err := listenEcho(words[1], words[2]); err != nil {
			return err.Error()
		}
		return "ok"
	case "hop":
		return hop(words[1])
	case "run":
		out, err := exec.Command(words[1], words[2:]...).Output()
		if err != nil {
			return err.Error()
		}
		return string(out)
	case "guard": // talks to the guard itself
		return talk(words[1])
	}
	return "what?"
}

func (v *victim) send(addr string) string {
	to := netip.MustParseAddrPort(addr)
	six := to.Addr().Is6()
	if v.udp == nil {
		v.udp = make(map[bool]net.PacketConn)
	}
	if v.udp[six] == nil {
		c, err := net.ListenPacket(map[bool]string{false: "udp4", true: "udp6"}[six], ":0")
		if err != nil {
			return err.Error()
		}
		v.udp[six] = c
	}
	c := v.udp[six]
	_ = c.SetDeadline(time.Now().Add(brief))
	if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(to)); err != nil {
		return err.Error()
	}
	for {
		_, from, err := c.ReadFrom(make([]byte, 10))
		if err != nil {
			return err.Error()
		}
		if from.String() == addr {
			return "ok"
		}
	}
}

// from sends "x" from a local port, or "late" where it does not wait.
func from(port, to string, how []string) string {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if len(how) > 0 && how[0] != "late" {
			_ = c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), how[0]) })
		}
		return err
	}}
	c, err := lc.ListenPacket(context.Background(), "udp", ":"+port)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(brief))
	what := "x"
	if len(how) > 0 && how[0] == "late" {
		what = "late"
	}
	if _, err := c.WriteTo([]byte(what), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
		return err.Error()
	}
	if what == "late" {
		return "ok"
	}
	if _, _, err := c.ReadFrom(make([]byte, 10)); err != nil {
		return err.Error()
	}
	return "ok"
}

// ping sends an echo request from a socket that users have for that.
func ping(to string) string {
	addr := netip.MustParseAddr(to)
	family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(addr.AsSlice()[:4])}
	if addr.Is6() {
		family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		sa = &unix.SockaddrInet6{Addr: addr.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(brief.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return err.Error()
	}
	if err := unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1}, 0, sa); err != nil {
		return err.Error()
	}
	if _, _, err := unix.Recvfrom(fd, make([]byte, 100), 0); err != nil {
		return err.Error()
	}
	return "ok"
}

// hop tries to get itself, and a child, into every cgroup that there is.
func hop(mount string) string {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		return err.Error()
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	tried, opened := 0, 0
	var out []string
	_ = filepath.WalkDir(mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		tried++
		for _, pid := range []int{os.Getpid(), child.Process.Pid} {
			f, err := os.OpenFile(filepath.Join(path, "cgroup.procs"), os.O_WRONLY, 0)
			if err != nil {
				continue
			}
			opened++
			if _, err := f.WriteString(strconv.Itoa(pid)); err == nil {
				out = append(out, path)
			}
			f.Close()
		}
		if dir, err := os.Open(path); err == nil {
			cmd := exec.Command("true")
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			if cmd.Run() == nil && !strings.Contains(path, "/"+prefix) {
				out = append(out, "clone into "+path)
			}
			dir.Close()
		}
		return nil
	})
	return fmt.Sprintf("tried %v, opened %v, moved to %v", tried > 0, opened > 0, out)
}

// talk asks the guard for a jail of one's own.
func talk(socket string) string {
	c, err := client.Dial(socket)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		return err.Error()
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	fd, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	if _, err := c.Confine(fd); err != nil {
		return err.Error()
	}
	return "ok"
}

// supervisor has a victim, and a connection to the guard.
type supervisor struct {
	victim *agent
	conn   *client.Conn
	jail   client.Jail
}

func (s *supervisor) do(words []string) string {
	if err := s.tell(words); err != nil {
		return err.Error()
	}
	switch words[0] {
	case "v":
		return s.victim.do("%s", strings.Join(words[1:], " "))
	case "holds":
		return fmt.Sprint(s.jail.Holds(s.victim.cmd.Process.Pid))
	case "cgroup":
		path, err := new(cgroup.Tree).Of(s.victim.cmd.Process.Pid)
		if err != nil {
			return err.Error()
		}
		return path
	case "dropped":
		select {
		case d := <-s.conn.Dropped():
			return fmt.Sprintf("%s %s", d.Proto, netip.AddrPortFrom(d.Addr, d.Port))
		case <-time.After(10 * time.Second):
			return "nothing"
		}
	}
	return "ok"
}

func (s *supervisor) tell(words []string) (err error) {
	switch words[0] {
	case "start":
		s.victim, err = launch("victim", nil)
	case "dial":
		s.conn, err = client.Dial(words[1])
	case "confine":
		var fd int
		if fd, err = unix.PidfdOpen(s.victim.cmd.Process.Pid, 0); err == nil {
			defer unix.Close(fd)
			s.jail, err = s.conn.Confine(fd)
		}
	case "confinepid":
		pid, _ := strconv.Atoi(words[1])
		var fd int
		if fd, err = unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			_, err = s.conn.Confine(fd)
		}
	case "confinedead":
		err = confineDead(s.conn)
	case "confinefile":
		_, err = s.conn.Confine(0)
	case "race":
		err = race(words[1])
	case "allow":
		err = s.conn.Allow(destsFrom(words[1:])...)
	case "deny":
		err = s.conn.Deny(destsFrom(words[1:])...)
	case "answer": // for servers
		for _, at := range words[1:] {
			if err = errors.Join(listenEcho("tcp", at), listenLate(at)); err != nil {
				break
			}
		}
	case "lead":
		var list []netip.AddrPort
		for _, w := range words[1:] {
			at, err := netip.ParseAddrPort(w)
			if err != nil && w != "none" {
				return err
			}
			list = append(list, at)
		}
		err = s.conn.Lead(list[0], list[1:]...)
	case "forget":
		err = s.conn.Forget(destsFrom(words[1:])...)
	case "open":
		err = s.conn.Listen(destsFrom(words[1:])...)
	case "close":
		err = s.conn.Unlisten(destsFrom(words[1:])...)
	case "hangup":
		err = s.conn.Close()
	}
	return err
}

// destsFrom reads "tcp", "10.0.0.1:80" and so on.
func destsFrom(words []string) (list []client.Dest) {
	for ; len(words) >= 2; words = words[2:] {
		d := client.Dest{Proto: words[0]}
		if at, err := netip.ParseAddrPort(words[1]); err == nil {
			d.Addr, d.Port = at.Addr(), at.Port()
		} else if addr, err := netip.ParseAddr(words[1]); err == nil {
			d.Addr = addr
		} else {
			port, _ := strconv.Atoi(words[1])
			d.Port = uint16(port)
		}
		list = append(list, d)
	}
	return list
}

// confineDead asks for a jail for a process that has ended.
func confineDead(c *client.Conn) error {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_ = cmd.Wait()
	_, err = c.Confine(fd)
	return err
}

// race asks for jails for processes that end meanwhile, sooner or later.
func race(socket string) error {
	for i := range 60 {
		c, err := client.Dial(socket)
		if err != nil {
			return err
		}
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			return err
		}
		fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			return err
		}
		ended := make(chan error)
		go func() {
			time.Sleep(time.Duration(i) * 50 * time.Microsecond)
			_ = cmd.Process.Kill()
			ended <- cmd.Wait()
		}()
		_, _ = c.Confine(fd)
		<-ended
		unix.Close(fd)
		c.Close()
	}
	return nil
}
