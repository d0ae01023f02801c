package netns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The descriptors by which a victim is told what to do.
const (
	victimIn  = 30
	victimOut = 31
)

// victim is the program in a jail.
type victim struct {
	held net.Conn
}

func (v *victim) do(words []string) string {
	switch words[0] {
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
	case "talk": // for ever
		c, err := net.DialTimeout(words[1], words[2], brief)
		if err != nil {
			return err.Error()
		}
		go func() {
			for echo(c) == "ok" {
				time.Sleep(20 * time.Millisecond)
			}
		}()
		return "ok"
	case "ping":
		return ping(words[1])
	case "listen":
		if err := listenEcho(words[1], words[2]); err != nil {
			return err.Error()
		}
		return "ok"
	case "lookup":
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, words[1], words[2])
		}}
		list, err := r.LookupHost(context.Background(), words[3])
		if err != nil {
			return err.Error()
		}
		return strings.Join(list, " ")
	case "suck":
		return suck(words[1])
	case "status":
		return capabilities()
	case "kill":
		pid, _ := strconv.Atoi(words[1])
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return err.Error()
		}
		return "ok"
	case "run":
		out, err := exec.Command(words[1], words[2:]...).CombinedOutput()
		if err != nil {
			return err.Error() + " " + string(out)
		}
		return "ok"
	case "attach": // to a process in every way there is
		pid, _ := strconv.Atoi(words[1])
		return attach(pid)
	}
	return "what?"
}

func capabilities() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if name, v, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Cap") {
			out = append(out, strings.TrimLeft(strings.TrimSpace(v), "0"))
		}
	}
	return strings.Join(out, ",")
}

// attach says what worked.
func attach(pid int) string {
	var got []string
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		for i := range 16 {
			if f, err := unix.PidfdGetfd(fd, i, 0); err == nil {
				got = append(got, "descriptor "+strconv.Itoa(i))
				unix.Close(f)
			}
		}
		unix.Close(fd)
	}
	if err := unix.PtraceAttach(pid); err == nil {
		got = append(got, "ptrace")
		_ = unix.PtraceDetach(pid)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for _, name := range []string{"mem", "environ", "ns/net", "ns/user", "fd/0"} {
		if f, err := os.Open(filepath.Join(dir, name)); err == nil {
			got = append(got, name)
			if strings.HasPrefix(name, "ns/") && unix.Setns(int(f.Fd()), 0) == nil {
				got = append(got, "setns")
			}
			f.Close()
		}
	}
	return fmt.Sprint(got)
}

// suck reads all that there is, and says how fast that was, in bits a second.
func suck(addr string) string {
	c, err := net.DialTimeout("tcp", addr, brief)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	begun := time.Now()
	n, err := io.Copy(io.Discard, c)
	if err != nil {
		return err.Error()
	}
	return strconv.FormatFloat(float64(8*n)/time.Since(begun).Seconds(), 'g', 4, 64)
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
