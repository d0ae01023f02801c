package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/conversation"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// The descriptors that the process inside inherits.
const (
	insideTalk = 3
	insideAsk  = 4
)

// inside is the process that has the rules.
type inside struct {
	jail  nft.Jail
	table *nft.Table
	talk  *conversation.Conn

	mu     sync.Mutex
	uplink *os.File // its pidfd
}

// Serve is the life of a process that was started as Name: it has the kernel drop
// what the caller of Start does not allow, until that has gone. Then the jail is
// shut.
func Serve() error {
	if err := confine(); err != nil {
		return err
	}
	unix.CloseOnExec(insideTalk)
	unix.CloseOnExec(insideAsk)
	asker, err := connOf(os.NewFile(insideAsk, "ask"))
	if err != nil {
		return err
	}
	talk, err := connOf(os.NewFile(insideTalk, "talk"))
	if err != nil {
		return err
	}
	in := &inside{talk: conversation.New(talk)}
	resolver, log, err := in.make()
	if err != nil {
		answer(asker, func([]byte, []*os.File) ([]*os.File, error) { return nil, err })
		return err
	}
	go answer(asker, func(text []byte, given []*os.File) ([]*os.File, error) {
		switch text[0] {
		case askReady:
			return resolver, nil
		case askSockDiag:
			return sockDiag()
		case askDrain:
			drain()
			return nil, nil
		case askListen:
			return listenTCP(text[1:])
		case askKill:
			if len(given) == 1 {
				in.mu.Lock()
				in.uplink = given[0]
				in.mu.Unlock()
				return nil, nil
			}
		}
		return nil, fmt.Errorf("asked for %q with %d files", text, len(given))
	})
	go in.tell(log)
	return in.serve()
}

// confine leaves this process with no more rights than it needs, and no other of
// the user a way into it. A program of user 0 gets all capabilities that its bounding
// set has when it is executed: it is executed once more, without.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_DUMPABLE): %w", err)
	}
	var has [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &has[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if has[0].Permitted == 1<<unix.CAP_NET_ADMIN && has[1].Permitted == 0 {
		return nil
	}
	runtime.LockOSThread() // the thread that executes is the one that counts
	for c := range uintptr(64) {
		if c == unix.CAP_NET_ADMIN || c == unix.CAP_SETPCAP {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: there is no such
			return fmt.Errorf("prctl(PR_CAPBSET_DROP): %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SETPCAP, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_CAPBSET_DROP): %w", err)
	}
	return fmt.Errorf("execve: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// make makes what there is inside before the uplink is there.
func (in *inside) make() (resolver []*os.File, log *nft.Log, err error) {
	if err := loopbackUp(); err != nil {
		return nil, nil, fmt.Errorf("set up loopback: %w", err)
	}
	// Addresses come from the host, which has made sure that they are its own. To
	// look again would take a second in which they cannot be used.
	for _, dev := range []string{"all", "default"} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/accept_dad", []byte("0"), 0)
	}
	// Whether there is an answer is for the host to say, whose sockets pasta uses.
	group := strconv.Itoa(os.Getgid())
	_ = os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(group+" "+group), 0)
	resolver, port, err := listen()
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the resolver: %w", err)
	}
	in.jail = nft.Jail{ID: "0", Level: nft.Alone, Resolver: port}
	if in.table, err = nft.Open(nft.Group); err == nil {
		err = in.table.Reset(nil)
	}
	if err == nil {
		err = in.table.Add(in.jail)
	}
	if err == nil {
		log, err = nft.OpenLog(nft.Group)
	}
	if err != nil {
		err = fmt.Errorf("nftables: %w", err)
	}
	return resolver, log, err
}

// serve does what the caller says, and keeps the jail open, until the caller has
// gone.
func (in *inside) serve() error {
	ctx, cancel := context.WithCancel(context.Background())
	var keeper sync.WaitGroup
	keeper.Go(func() { in.keep(ctx) })
	jail := conversation.Jail{Jail: in.jail, User: os.Geteuid(), Table: in.table, Log: slog.New(slog.DiscardHandler)}
	err := in.talk.Serve(func(r *client.Request, _ int) *client.Reply {
		reply := &client.Reply{ID: r.ID}
		var err error
		if reply.Ended, err = jail.Perform(r); err != nil {
			reply.Error = err.Error()
		}
		return reply
	})
	cancel()
	keeper.Wait()
	err = errors.Join(err, in.table.Shut(in.jail))
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.uplink != nil {
		err = errors.Join(err, unix.PidfdSendSignal(int(in.uplink.Fd()), unix.SIGKILL, nil, 0))
	}
	return err
}

// keep keeps the jail open. What fails once may not fail again.
func (in *inside) keep(ctx context.Context) {
	tick := time.NewTicker(nft.Grace / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = in.table.Keep(in.jail)
		}
	}
}

// tell tells the caller of what was dropped.
func (in *inside) tell(log *nft.Log) {
	for {
		list, err := log.Read()
		if err != nil {
			in.talk.Close() // nobody would be asked about anything any more
			return
		}
		for _, d := range list {
			in.talk.Dropped(d.Dest)
		}
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// listenTCP listens on loopback at a port.
func listenTCP(port []byte) ([]*os.File, error) {
	if len(port) != 2 {
		return nil, errors.New("listen at no port")
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(binary.BigEndian.Uint16(port))})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	return []*os.File{f}, nil
}

func sockDiag() ([]*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return []*os.File{os.NewFile(uintptr(fd), "sock_diag")}, nil
}

// listen opens the resolver's sockets, at one port: of UDP and TCP, and of IPv6 if
// there is any.
func listen() (files []*os.File, port uint16, err error) {
	const tries = 20 // the port that one gets is another's already
	for range tries {
		if files, port, err = listenOnce(); err == nil {
			return files, port, nil
		}
	}
	return nil, 0, err
}

func listenOnce() (files []*os.File, port uint16, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		addr := netip.MustParseAddr(ip)
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil && port != 0 && errors.Is(err, unix.EADDRNOTAVAIL) {
			break // no IPv6
		}
		if err != nil {
			return files, 0, err
		}
		defer u.Close()
		at := u.LocalAddr().(*net.UDPAddr).AddrPort()
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return files, 0, err
		}
		defer l.Close()
		port = at.Port()
		for _, s := range []interface{ File() (*os.File, error) }{u, l} {
			f, err := s.File()
			if err != nil {
				return files, 0, err
			}
			files = append(files, f)
		}
	}
	return files, port, nil
}
