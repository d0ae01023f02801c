package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/interpose"
)

// supervisor has a network and a victim in it, of which it allows everything: what
// is refused is refused by the network.
type supervisor struct {
	net    *Net
	victim *agent
	pid    int
}

type allowAll struct{}

func (allowAll) Check(*interpose.Call) interpose.Verdict                   { return interpose.Allow }
func (allowAll) Decide(context.Context, *interpose.Call) interpose.Verdict { return interpose.Allow }

func (s *supervisor) do(words []string) string {
	switch words[0] {
	case "v":
		return s.victim.do("%s", strings.Join(words[1:], " "))
	case "pids": // inside, pasta, victim
		return fmt.Sprintf("%s %s %d", pidOf(s.net.inside), pidOf(s.net.pasta), s.pid)
	case "dropped":
		select {
		case d := <-s.net.Conn().Dropped():
			return fmt.Sprintf("%s %s", d.Proto, netip.AddrPortFrom(d.Addr, d.Port))
		case <-time.After(10 * time.Second):
			return "nothing"
		}
	case "done":
		select {
		case <-s.net.Done():
			return s.net.Err().Error()
		case <-time.After(10 * time.Second):
			return "not yet"
		}
	case "diag":
		fd, err := s.net.SockDiag()
		if err != nil {
			return err.Error()
		}
		defer unix.Close(fd)
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		own, err2 := ownCookie()
		return fmt.Sprint(cookie != own, err, err2)
	case "resolver":
		udp, tcp, err := s.net.Resolver()
		if err != nil {
			return err.Error()
		}
		var list []string
		for _, c := range udp {
			list = append(list, "udp", c.LocalAddr().String())
			c.Close()
		}
		for _, l := range tcp {
			list = append(list, "tcp", l.Addr().String())
			l.Close()
		}
		return strings.Join(list, " ")
	case "readable": // as a supervisor reads a program, and duplicates its descriptors
		return s.readable()
	case "handover":
		return s.handOver()
	}
	if err := s.tell(words); err != nil {
		return err.Error()
	}
	return "ok"
}

func (s *supervisor) tell(words []string) (err error) {
	switch words[0] {
	case "start":
		if s.net, err = Start(Config{}); err == nil {
			return s.launch(len(words) > 1)
		}
	case "probe":
		err = Probe()
	case "allow":
		err = s.net.Conn().Allow(destsFrom(words[1:])...)
	case "deny":
		err = s.net.Conn().Deny(destsFrom(words[1:])...)
	case "forget":
		err = s.net.Conn().Forget(destsFrom(words[1:])...)
	case "open":
		err = s.net.Conn().Listen(destsFrom(words[1:])...)
	case "close":
		err = s.net.Conn().Unlisten(destsFrom(words[1:])...)
	case "resolve":
		err = s.resolve(netip.MustParseAddrPort(words[1]))
	case "lead": // to the resolver
		err = s.lead(words[1:])
	case "hangup":
		err = s.net.Close()
	}
	return err
}

// launch starts the victim in the network, under a filter and, if so, in a Landlock
// domain.
func (s *supervisor) launch(domain bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return err
	}
	for fd, f := range map[int]*os.File{victimIn: theirIn, victimOut: theirOut} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return err
		}
		defer unix.Close(fd)
		f.Close()
	}
	user, network := s.net.Namespaces()
	starter, err := interpose.Prepare(&interpose.Command{
		Path: self, Args: []string{self}, Env: append([]string{role + "=victim"}, os.Environ()...), Keep: []int{victimIn, victimOut},
		Namespaces: &interpose.Namespaces{User: int(user.Fd()), Net: int(network.Fd())},
		Landlock:   interpose.Domain{None: !domain, Sockets: true},
	})
	if err != nil {
		return err
	}
	p, err := starter.Start()
	if err != nil {
		return err
	}
	s.pid = p.PID
	supervisor := interpose.NewSupervisor(p.TakeListener(), allowAll{}, nil)
	supervisor.Mark = Mark
	go func() { _ = supervisor.Serve(context.Background()) }()
	s.victim, err = newAgent(nil, in, out)
	return err
}

// resolve answers the jail's questions for names, by a server out here.
func (s *supervisor) resolve(server netip.AddrPort) error {
	udp, tcp, err := s.net.Resolver()
	if err != nil {
		return err
	}
	names.New(names.Config{
		Policy: func(_ context.Context, q names.Query) names.Decision {
			if q.Name == "b.org" {
				return names.NXDomain
			}
			return names.Forward
		},
		Upstreams: func() []netip.AddrPort { return []netip.AddrPort{server} },
		UDP:       udp, TCP: tcp, Owner: func(netip.AddrPort) bool { return true },
	})
	return nil
}

// lead leads servers of both families to the resolver.
func (s *supervisor) lead(servers []string) error {
	udp, tcp, err := s.net.Resolver()
	if err != nil {
		return err
	}
	for _, l := range tcp {
		l.Close()
	}
	for _, c := range udp {
		to := c.LocalAddr().(*net.UDPAddr).AddrPort()
		c.Close()
		for _, server := range servers {
			at := netip.MustParseAddrPort(server)
			if at.Addr().Is4() != to.Addr().Is4() {
				continue
			}
			if err := s.net.Conn().Lead(to, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *supervisor) readable() string {
	pidfd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, victimIn, 0)
	if err != nil {
		return "pidfd_getfd: " + err.Error()
	}
	unix.Close(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.pid))
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(b), "-")
	base, err := strconv.ParseUint(first, 16, 64)
	if err != nil {
		return err.Error()
	}
	buf := make([]byte, 4)
	local := []unix.Iovec{{Base: &buf[0], Len: 4}}
	if _, err := unix.ProcessVMReadv(s.pid, local, []unix.RemoteIovec{{Base: uintptr(base), Len: 4}}, 0); err != nil {
		return "process_vm_readv: " + err.Error()
	}
	if string(buf) != "\x7fELF" {
		return fmt.Sprintf("read %q", buf)
	}
	return "ok"
}

// handOver makes another of the network, as a successor does.
func (s *supervisor) handOver() string {
	legacy, files, err := s.net.HandOver()
	if err != nil {
		return err.Error()
	}
	b, err := json.Marshal(legacy)
	if err != nil {
		return err.Error()
	}
	var got Legacy
	if err := json.Unmarshal(b, &got); err != nil {
		return err.Error()
	}
	for i, f := range files { // they come to another process as others
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err.Error()
		}
		f.Close()
		files[i] = os.NewFile(uintptr(fd), "passed")
	}
	if s.net, err = Resume(got, files); err != nil {
		return err.Error()
	}
	return "ok"
}

func ownCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func pidOf(pidfd *os.File) string {
	b, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", strconv.Itoa(int(pidfd.Fd()))))
	if err != nil {
		return err.Error()
	}
	_, after, _ := strings.Cut(string(b), "\nPid:")
	return strings.Fields(after)[0]
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

// dialRole dials as somebody else on the host, and says what came of it.
func dialRole() int {
	fmt.Println(dialOnce(os.Args[1], os.Args[2]))
	return 0
}
