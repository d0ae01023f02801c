package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// life is a pipe that ends with whoever started the program, which ends with
// it, wherever it has got to by then.
const life = 3

// inherited is life, for what the program starts. It is never closed.
var inherited = os.NewFile(life, "life")

// program is what runs in jails. It does what it is told line by line, each in
// the background, and says what became of it.
func program(args []string) int {
	go func() {
		_, _ = unix.Read(life, make([]byte, 1))
		os.Exit(0)
	}()
	raiseFiles()
	if len(args) > 0 && args[0] == "once" {
		return once(args[1])
	}
	if len(args) > 0 { // left behind, with nothing to be told
		for _, dest := range args {
			go traffic(dest)
		}
		select {}
	}
	p := new(prog)
	say("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		if len(words) > 0 {
			go p.do(words[0], words[1:])
		}
	}
	return 0
}

func raiseFiles() {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		lim.Cur = lim.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
}

// say prints a line as one write.
func say(format string, args ...any) {
	if _, err := os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n"); err != nil {
		os.Exit(0)
	}
}

// prog is what a program has.
type prog struct {
	mu   sync.Mutex
	held []int
}

func (p *prog) do(what string, args []string) {
	number := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	switch what {
	case "traffic":
		for _, dest := range args {
			go traffic(dest)
		}
	case "hold":
		say("hold %d", p.hold(args[0], number(1)))
	case "drop":
		p.mu.Lock()
		for _, fd := range p.held {
			unix.Close(fd)
		}
		p.held = nil
		p.mu.Unlock()
		say("drop")
	case "rate":
		rate(args[0], number(1), time.Duration(number(2))*time.Millisecond)
	case "garbage":
		say("garbage %d", garbage(number(0), uint64(number(1))))
	case "fork":
		say("fork %d", forks(args[0], number(1)))
	case "flood":
		flood(number(0), number(1))
	case "leave":
		cmd := exec.Command("/proc/self/exe", append([]string{"inner:program"}, args...)...)
		cmd.Stdout, cmd.ExtraFiles = os.Stdout, []*os.File{inherited}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			say("leave %v", err)
		}
	case "exit":
		os.Exit(0)
	}
}

// once is a process that connects one time.
func once(dest string) int {
	if err := connect(dest, false); err != nil {
		return 1
	}
	return 0
}

// traffic connects to one destination for ever, and says when each attempt began
// and what became of it.
func traffic(dest string) {
	for i := 0; ; i++ {
		begun := time.Now()
		err := connect(dest, i%2 == 0)
		say("traffic %s %d %v", dest, begun.UnixNano(), errno(err))
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
}

// errno is an error in one word.
func errno(err error) string {
	var e syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	}
	return strings.ReplaceAll(err.Error(), " ", "_")
}

// connect reaches a destination once: by the runtime's sockets, which do not
// block, or by a system call that does.
func connect(dest string, blocking bool) error {
	network, addr, _ := strings.Cut(dest, "/")
	if network == "name" {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		name := fmt.Sprintf("x%d.%s.", rand.IntN(20), addr)
		_, err := (&net.Resolver{PreferGo: true}).LookupIP(ctx, "ip4", name)
		return err
	}
	if network == "udp" {
		return send(addr)
	}
	if !blocking {
		c, err := net.Dial(network, addr)
		if err != nil {
			return err
		}
		_ = c.(*net.TCPConn).SetLinger(0) // leaves no TIME_WAIT behind
		return c.Close()
	}
	fd, err := dial(addr)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// send sends a datagram by a socket that is not connected: each is decided about.
func send(addr string) error {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		_, err = c.WriteToUDPAddrPort([]byte("x"), to)
	}
	return err
}

// dial connects a socket that blocks.
func dial(addr string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: n}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// hold opens connections and keeps them.
func (p *prog) hold(addr string, n int) (opened int) {
	for range n {
		fd, err := dial(addr)
		if err != nil {
			continue
		}
		opened++
		p.mu.Lock()
		p.held = append(p.held, fd)
		p.mu.Unlock()
	}
	return opened
}

// rate says how long connects took, and how many failed.
func rate(addr string, perSecond int, d time.Duration) {
	took, failed := connects(addr, perSecond, d)
	say("rate %d %d %d %d", len(took), failed, quantile(took, 0.5).Microseconds(), quantile(took, 0.99).Microseconds())
}

// connects connects so often per second, and returns how long each connect took
// that was made, sorted.
func connects(addr string, perSecond int, d time.Duration) (took []time.Duration, failed int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		begun := time.Now()
		fd, err := dial(addr)
		if err != nil {
			failed++
			continue
		}
		took = append(took, time.Since(begun))
		unix.Close(fd)
	}
	slices.Sort(took)
	return took, failed
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// garbage makes trapped calls with senseless arguments: addresses that are not
// mapped, end within a call or hold noise, lengths and descriptors of all kinds.
func garbage(n int, seed uint64) int {
	rnd := rand.New(rand.NewPCG(seed, 2))
	const size = 1 << 16
	noise, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0
	}
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	base := reflect.ValueOf(noise).Pointer() // where the kernel is told to read
	var fds []int
	for _, s := range [][3]int{
		{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_INET6, unix.SOCK_STREAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, 0},
		{unix.AF_INET6, unix.SOCK_DGRAM, 0}, {unix.AF_UNIX, unix.SOCK_STREAM, 0}, {unix.AF_UNIX, unix.SOCK_DGRAM, 0},
	} {
		if fd, err := unix.Socket(s[0], s[1]|unix.SOCK_NONBLOCK, s[2]); err == nil {
			fds = append(fds, fd)
		}
	}
	fds = append(fds, -1, 0, 1<<20)
	families := []uint16{unix.AF_UNSPEC, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, 0xffff}
	calls := []uintptr{unix.SYS_CONNECT, unix.SYS_CONNECT, unix.SYS_CONNECT, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_BIND}
	for range n {
		at := rnd.UintN(size)
		f := families[rnd.IntN(len(families))]
		if at < size-2 {
			noise[at], noise[at+1] = byte(f), byte(f>>8)
		}
		addr := base + uintptr(at)
		switch rnd.IntN(16) {
		case 0:
			addr = uintptr(rnd.Uint64())
		case 1:
			addr = 0
		case 2:
			addr = base + size - uintptr(rnd.IntN(20))
		}
		length := uintptr(rnd.IntN(140))
		if rnd.IntN(10) == 0 {
			length = uintptr(rnd.Uint32())
		}
		fd := uintptr(fds[rnd.IntN(len(fds))])
		switch nr := calls[rnd.IntN(len(calls))]; nr {
		case unix.SYS_CONNECT, unix.SYS_BIND:
			_, _, _ = syscall.RawSyscall(nr, fd, addr, length)
		case unix.SYS_SENDTO:
			_, _, _ = syscall.RawSyscall6(nr, fd, base, uintptr(rnd.IntN(100)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, addr, length)
		default:
			_, _, _ = syscall.RawSyscall6(nr, fd, addr, uintptr(rnd.IntN(4)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		}
	}
	for _, fd := range fds {
		if fd > 2 {
			unix.Close(fd)
		}
	}
	_ = unix.Munmap(noise)
	return n
}

// forks starts so many processes that connect once, as fast as it can.
func forks(dest string, n int) (ok int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range n {
		cmd := exec.Command("/proc/self/exe", "inner:program", "once", dest)
		cmd.ExtraFiles = []*os.File{inherited}
		if err := cmd.Start(); err != nil {
			continue
		}
		wg.Go(func() {
			if cmd.Wait() == nil {
				mu.Lock()
				defer mu.Unlock()
				ok++
			}
		})
	}
	wg.Wait()
	return ok
}

// flood connects to n ports from a first one on, where nobody listens, all at
// once.
func flood(first, n int) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := connect(fmt.Sprintf("tcp/127.0.0.1:%d", first+i), true)
			say("flood %s", errno(err))
		})
	}
	wg.Wait()
	say("flooded %d", n)
}
