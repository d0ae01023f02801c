package jail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// prepare prepares the start of the program behind the guard that is wanted, or
// the best there is. One that turns out not to be had for this very program is
// none, and the next is taken if nobody has asked for it by name.
func (s *supervisor) prepare(ctx context.Context, heir *heir) (*interpose.Starter, error) {
	want, err := guard.Parse(string(s.cfg.Guard))
	if err != nil {
		return nil, err
	}
	m := guard.Here(s.cfg.GuardSocket)
	m.Probes[guard.Netns] = func() error { return nil } // to make it is the way to find out
	for {
		starter, err := s.prepareBehind(ctx, heir, want, m)
		var missing *guard.Missing
		switch {
		case err == nil:
			if s.cfg.Chosen != nil {
				s.cfg.Chosen(s.guard)
			}
			return starter, nil
		case !errors.As(err, &missing):
			return nil, err
		case want != guard.Auto || missing.Kind != s.guard.Kind:
			return nil, &Error{Code: ExitFailure, Text: missing.Error(), Hint: missing.Get}
		}
		m.Probes[missing.Kind] = func() error { return missing }
		s.link.reset() // the daemon was told of a guard that there is not
	}
}

// prepareBehind does so with what m has.
func (s *supervisor) prepareBehind(ctx context.Context, heir *heir, want guard.Kind, m guard.Machine) (*interpose.Starter, error) {
	var err error
	if s.guard, err = guard.Choose(want, s.cfg.Leave, m); err != nil {
		return nil, err
	}
	if s.guard.Packets() {
		if s.cfg.Compat {
			return nil, &guard.Missing{Kind: s.guard.Kind, What: "it does not know the sockets of 32-bit programs", Get: "take --guard landlock with --32bit"}
		}
		// What the rules speak of decides what the filter may leave alone.
		if err := s.link.connect(ctx); err != nil {
			return nil, asFailure(err)
		}
	}
	if s.guard.Kind == guard.Netns { // while this process is dumpable
		if err := s.newNetwork(); err != nil {
			return nil, err
		}
	}
	cmd := &interpose.Command{
		Path: s.cfg.Path, Args: s.cfg.Args, Keep: s.cfg.Keep,
		Env:           append(os.Environ(), "NETJAIL=1", "NETJAIL_APP="+s.cfg.App),
		SuccessorArgs: []string{SuccessorName}, Handover: heir.theirs, Compat: s.cfg.Compat, Landlock: s.guard.Domain,
		Messages: s.guard.Packets() && !s.cfg.inherits() && !s.policy.inForce.Load().refusesUnix(),
	}
	if s.gate != nil {
		user, net := s.gate.network.Namespaces()
		cmd.Namespaces = &interpose.Namespaces{User: int(user.Fd()), Net: int(net.Fd())}
	}
	starter, err := interpose.Prepare(cmd)
	if err == nil && s.guard.Kind == guard.NFT {
		if err = s.confine(starter.Keeper()); err != nil {
			starter.Cancel()
		}
	}
	return starter, err
}

// newNetwork makes a network of the jail's own.
func (s *supervisor) newNetwork() error {
	n, err := netns.Start(netns.Config{})
	if err != nil {
		return guard.NoNetwork(err)
	}
	g := newGate(s, n.Conn())
	g.network = n
	if err = s.enter(n); err == nil {
		err = s.open(g)
	}
	if err != nil {
		n.Close()
	}
	return err
}

// enter has the supervisor look into, and serve, the network of the jail.
func (s *supervisor) enter(n *netns.Net) error {
	udp, tcp, err := n.Resolver()
	if err != nil {
		return err
	}
	s.policy.dns.serveAt(udp, tcp)
	s.traffic.network.Store(&flows.Network{Link: n.Link(), Socket: n.SockDiag})
	return nil
}

// listenLoopback listens on loopback where the jail reaches it.
func (g *gate) listenLoopback() (*net.TCPListener, error) {
	if g != nil && g.network != nil {
		return g.network.Listen()
	}
	return net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
}

// confine has the guard drop what comes from a process, and from all that it
// starts.
func (s *supervisor) confine(pid int) error {
	conn, err := client.Dial(cmp.Or(s.cfg.GuardSocket, client.Socket))
	if err != nil {
		return guard.NoService(err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		conn.Close()
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	home, err := conn.Confine(pidfd)
	if err != nil {
		conn.Close()
		return guard.NoService(err)
	}
	g := newGate(s, conn)
	g.home = home
	if err := s.open(g); err != nil {
		conn.Close()
		return guard.NoService(err)
	}
	return nil
}

// open has the guard let the jail ask for names.
func (s *supervisor) open(g *gate) error {
	if err := g.lead(s.policy.dns.servers()...); err != nil {
		return err
	}
	s.gate, s.policy.gate = g, g
	go g.follow()
	return g.renew()
}

// release lets go of the keeper, which has started the program: it will be its
// supervisor one day.
func (s *supervisor) release(ctx context.Context) error {
	if s.gate == nil {
		return nil
	}
	if s.guard.Kind == guard.NFT {
		err := s.gate.conn.Free()
		if err != nil && !ended(s.process.Keeper()) { // with a program that was quick
			return fmt.Errorf("the guard: %w", err)
		}
	}
	go s.gate.keep(ctx)
	return nil
}

// ended says whether a child of this process has ended.
func ended(pid int) bool {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true
	}
	defer unix.Close(pidfd)
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}

// inherits says whether the program inherits a socket that no guard knows.
func (c *Config) inherits() bool {
	for _, fd := range append([]int{0, 1, 2}, c.Keep...) {
		switch domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); {
		case errors.Is(err, unix.ENOTSOCK), errors.Is(err, unix.EBADF):
		case err != nil || domain != unix.AF_UNIX:
			return true
		}
	}
	return false
}

// refusesUnix says whether a rule keeps programs from local sockets: those of
// datagrams are reached by a message's own address.
func (f *force) refusesUnix() bool {
	for i := range f.all {
		if r := &f.all[i]; r.Dest.Host.Kind == rules.HostUnix && r.Verdict != rules.Allow && !r.Disabled {
			return true
		}
	}
	return false
}
