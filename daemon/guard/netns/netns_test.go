package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stage is a host with an uplink to the world, and a jail on it.
type stage struct {
	world, jail *agent
}

// set sets it up. The network of the tests is the host.
func set(t testing.TB, start1 string) *stage {
	t.Helper()
	s := &stage{world: start(t, "world", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})}
	pid := strconv.Itoa(s.world.cmd.Process.Pid)
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", pid)
	t.Cleanup(func() { run(t, "ip", "link", "del", "up0") })
	group := strconv.Itoa(os.Getgid())
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(group+" "+group), 0); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		"ip addr add " + client4 + "/24 dev up0", "ip -6 addr add " + client6 + "/64 dev up0 nodad", "ip link set up0 up",
		"ip route add default via " + world4, "ip -6 route add default via " + world6,
	} {
		run(t, strings.Fields(words)...)
	}
	for _, words := range []string{"addr add " + world4 + "/24 dev up1", "addr add " + world6 + "/64 dev up1 nodad", "link set up1 up", "link set lo up"} {
		s.world.want(t, "ok", "ip %s", words)
	}
	s.world.want(t, "ok", "serve")
	if start1 != "" {
		s.jail = supervise(t)
		s.jail.want(t, "ok", "%s", start1)
	}
	return s
}

// supervise starts a supervisor without capabilities, unless it is root's.
func supervise(t testing.TB) *agent {
	t.Helper()
	if os.Getuid() == 0 {
		return start(t, "supervisor", nil)
	}
	return start(t, "supervisor", nil, "setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--bounding-set=-all")
}

// arrived says how many packets have come to the world.
func (s *stage) arrived(t testing.TB, what string) int {
	t.Helper()
	n, err := strconv.Atoi(s.world.do("count %s", what))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOut: what is allowed arrives, by IPv4 and IPv6, and nothing else does.
func TestOut(t *testing.T) {
	s := set(t, "start")
	s.jail.want(t, ",,,,", "v status")
	for _, to := range []string{net.JoinHostPort(world4, "80"), net.JoinHostPort(world6, "80")} {
		for _, network := range []string{"tcp", "udp"} {
			what := network + " " + to
			s.jail.want(t, "not", "v dial %s", what)
			if n := s.arrived(t, what); n != 0 {
				t.Errorf("%s: %d packets arrived", what, n)
			}
			s.jail.want(t, what, "dropped")
			s.jail.want(t, "ok", "allow %s", what)
			s.jail.want(t, "ok", "v dial %s", what)
			if n := s.arrived(t, what); n == 0 {
				t.Errorf("%s: nothing arrived that was allowed", what)
			}
		}
	}
}

// TestRevoked: what is denied goes no further, and fails at once; what is forgotten
// is as if nothing had been said.
func TestRevoked(t *testing.T) {
	s := set(t, "start")
	what := "tcp " + net.JoinHostPort(world4, "80")
	s.jail.want(t, "ok", "allow %s icmp %s icmp %s", what, world4, world6)
	s.jail.want(t, "ok", "v hold %s", what)
	s.jail.want(t, "ok", "v echo")
	for _, addr := range []string{world4, world6} {
		soon(t, "the world answers", func() bool { return s.jail.do("v ping %s", addr) == "ok" })
		soon(t, "a ping has arrived", func() bool { return s.arrived(t, "ping "+addr) > 0 })
	}
	s.jail.want(t, "ok", "deny %s icmp %s", what, world4)
	s.jail.want(t, "not", "v echo")
	s.jail.want(t, "not", "v ping %s", world4)
	// What is open outside ends by itself.
	what = "tcp " + net.JoinHostPort(world4, "81")
	s.jail.want(t, "ok", "deny %s", what)
	before := s.arrived(t, what)
	if got := s.jail.do("v dial %s", what); !strings.Contains(got, "refused") {
		t.Errorf("after it was denied: %s", got)
	}
	if n := s.arrived(t, what); n != before {
		t.Errorf("%d packets arrived that were denied", n-before)
	}
	s.jail.want(t, "ok", "forget %s", what)
	if got := s.jail.do("v dial %s", what); !strings.Contains(got, "timeout") {
		t.Errorf("after it was forgotten: %s", got)
	}
	if n := s.arrived(t, what); n != before {
		t.Errorf("%d packets arrived that were forgotten", n-before)
	}
}

// host is a server on the host's loopback, which counts who comes.
type host struct{ came atomic.Int64 }

func hostServer(t testing.TB, network, addr string) *host {
	t.Helper()
	h := new(host)
	if network == "udp" {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			for b := make([]byte, 100); ; {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				h.came.Add(1)
				_, _ = c.WriteTo(b[:n], from)
			}
		}()
		return h
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 100)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					h.came.Add(1)
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	return h
}

// TestHostLoopback: the host's loopback is reached by rule, and only where it is
// listened at. What the jail listens at is another thing.
func TestHostLoopback(t *testing.T) {
	s := set(t, "")
	servers := make(map[string]*host)
	for _, what := range []string{"tcp 127.0.0.1:5432", "tcp [::1]:5432", "udp 127.0.0.1:5353"} {
		network, addr, _ := strings.Cut(what, " ")
		servers[what] = hostServer(t, network, addr)
	}
	s.jail = supervise(t)
	s.jail.want(t, "ok", "start")
	late := hostServer(t, "tcp", "127.0.0.1:5433")
	for what, h := range servers {
		s.jail.want(t, "not", "v dial %s", what)
		network, addr, _ := strings.Cut(what, " ")
		port := netip.MustParseAddrPort(addr).Port()
		for _, other := range []string{world4, world6, client4, client6} { // as pasta can be told to lead there
			s.jail.want(t, "not", "v dial %s %s", network, net.JoinHostPort(other, strconv.Itoa(int(port))))
		}
		// To be reached at a port is not to reach whoever has it on the host.
		s.jail.want(t, "ok", "open %s %d", network, port)
		s.jail.want(t, "not", "v dial %s", what)
		s.jail.want(t, "ok", "close %s %d", network, port)
		if n := h.came.Load(); n != 0 {
			t.Errorf("%s: %d came that were not allowed", what, n)
		}
		s.jail.want(t, "ok", "allow %s", what)
		s.jail.want(t, "ok", "v dial %s", what)
		if n := h.came.Load(); n == 0 {
			t.Errorf("%s: nobody came that was allowed", what)
		}
		s.jail.want(t, "ok", "deny %s", what)
		before := h.came.Load()
		s.jail.want(t, "not", "v dial %s", what)
		if n := h.came.Load() - before; n != 0 {
			t.Errorf("%s: %d came that were denied", what, n)
		}
	}
	begun := time.Now()
	s.jail.want(t, "ok", "allow tcp 127.0.0.1:5433 tcp 127.0.0.1:1")
	soon(t, "who listens later is reached", func() bool { return s.jail.do("v dial tcp 127.0.0.1:5433") == "ok" })
	t.Logf("a new listener on the host is reached after %v", time.Since(begun))
	if late.came.Load() == 0 {
		t.Error("nobody came")
	}
	if got := s.jail.do("v dial tcp 127.0.0.1:1"); !strings.Contains(got, "refused") {
		t.Errorf("where nobody listens: %s", got)
	}
}

// hostDial dials from the host.
func hostDial(network, addr string) bool { return dialOnce(network, addr) == "ok" }

// TestIn: ports that the jail listens at are reached from the host and from the
// world, by rule.
func TestIn(t *testing.T) {
	s := set(t, "start")
	s.jail.want(t, "ok", "v listen tcp :3000")
	s.jail.want(t, "ok", "v listen tcp 127.0.0.1:3001")
	from := map[string]func(port int) bool{
		"127.0.0.1": func(port int) bool { return hostDial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) },
		"::1":       func(port int) bool { return hostDial("tcp", fmt.Sprintf("[::1]:%d", port)) },
		"world4":    func(port int) bool { return s.world.do("dial tcp %s:%d", client4, port) == "ok" },
		"world6":    func(port int) bool { return s.world.do("dial tcp [%s]:%d", client6, port) == "ok" },
	}
	begun := time.Now()
	soon(t, "pasta has seen the listeners", func() bool { return hostListens(3000) && hostListens(3001) })
	t.Logf("pasta listens after %v", time.Since(begun))
	for name, dial := range from {
		if dial(3000) || dial(3001) {
			t.Errorf("%s: reached without a rule", name)
		}
	}
	s.jail.want(t, "ok", "open tcp 3000 tcp 3001")
	for name, dial := range from {
		soon(t, "reached with a rule: "+name, func() bool { return dial(3000) })
		if name == "127.0.0.1" {
			soon(t, "what listens on loopback is reached from there", func() bool { return dial(3001) })
		} else if dial(3001) {
			t.Errorf("%s: what listens on loopback is reached", name)
		}
	}
	s.jail.want(t, "ok", "close tcp 3000 tcp 3001")
	for name, dial := range from {
		if dial(3000) || dial(3001) {
			t.Errorf("%s: reached when the rule was gone", name)
		}
	}
	// What the program itself has opened it reaches by two rules, as under the guard
	// nft: that it may connect there does not let others in.
	s.jail.want(t, "ok", "allow tcp 127.0.0.1:3000")
	s.jail.want(t, "not", "v dial tcp 127.0.0.1:3000")
	if from["127.0.0.1"](3000) {
		t.Error("reached from the host by what the jail may reach")
	}
	s.jail.want(t, "ok", "open tcp 3000")
	s.jail.want(t, "ok", "v dial tcp 127.0.0.1:3000")
}

// hostListens says whether somebody listens at a port of the host.
func hostListens(port int) bool {
	want := fmt.Sprintf(":%04X ", port)
	for _, name := range []string{"tcp", "tcp6"} {
		b, _ := os.ReadFile("/proc/net/" + name)
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 3 && strings.Contains(f[1]+" ", want) && f[3] == "0A" {
				return true
			}
		}
	}
	return false
}

// TestResolver: names are asked for inside, and forwarded from the host. Nobody on
// the host comes to where they are.
func TestResolver(t *testing.T) {
	s := set(t, "start")
	s.jail.want(t, "ok", "resolve %s:53", world4)
	list := strings.Fields(s.jail.do("resolver"))
	if len(list) != 8 {
		t.Errorf("got %v, want UDP and TCP over IPv4 and IPv6", list)
	}
	time.Sleep(2 * time.Second) // in which pasta has looked
	for ; len(list) >= 2; list = list[2:] {
		if list[0] == "udp" {
			s.jail.want(t, "198.51.100.1", "v lookup udp %s a.org", list[1])
		} else if hostDial(list[0], list[1]) {
			t.Errorf("%v is reached from the host", list[:2])
		}
	}
	s.jail.want(t, "not", "v dial udp %s:53", world4)
	if n := s.arrived(t, "udp "+world4+":53"); n == 0 {
		t.Error("nothing was forwarded")
	}
}

// TestLead: what goes to a server goes to the resolver, and not to the server.
func TestLead(t *testing.T) {
	s := set(t, "start")
	s.jail.want(t, "ok", "resolve %s:53", world4)
	const server4, server6, local = "192.0.2.53:53", "[2001:db8::53]:53", "127.0.0.53:53"
	for _, to := range []string{server4, server6, local} {
		s.jail.want(t, "not", "v lookup udp %s a.org", to)
	}
	s.jail.want(t, "ok", "lead %s %s %s", server4, server6, local)
	for _, to := range []string{server4, server6, local} {
		s.jail.want(t, "198.51.100.1", "v lookup udp %s a.org", to)
		if got := s.jail.do("v lookup udp %s b.org", to); !strings.Contains(got, "no such host") {
			t.Errorf("b.org of %s: %s", to, got)
		}
		// The resolver serves no connection that it was not told of, but has it.
		if got := s.jail.do("v dial tcp %s", to); !strings.Contains(got, "reset") {
			t.Errorf("by TCP of %s: %s, want that it ends", to, got)
		}
		for _, network := range []string{"udp", "tcp"} {
			if n := s.arrived(t, network+" "+to); n != 0 {
				t.Errorf("%d packets arrived at %s", n, to)
			}
		}
	}
	s.jail.want(t, "ok", "deny udp %s", server4)
	s.jail.want(t, "not", "v lookup udp %s a.org", server4)
	s.jail.want(t, "198.51.100.1", "v lookup udp %s a.org", server6)
}

// TestEnds: whichever process is killed, the jail is closed: what was allowed is
// not any more, and what is open goes no further.
func TestEnds(t *testing.T) {
	what := "tcp " + net.JoinHostPort(world4, "80")
	for _, c := range []struct {
		name string
		kill func(s *stage, pids []string)
	}{
		{"inside", func(s *stage, pids []string) { kill(t, pids[0], unix.SIGKILL) }},
		{"pasta", func(s *stage, pids []string) { kill(t, pids[1], unix.SIGKILL) }},
		{"hang up", func(s *stage, _ []string) { s.jail.want(t, "ok", "hangup") }},
		{"inside, by the program", func(s *stage, pids []string) { s.jail.want(t, "ok", "v kill %s", pids[0]) }},
		{"pasta, by the program", func(s *stage, pids []string) { s.jail.want(t, "ok", "v kill %s", pids[1]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := set(t, "start")
			s.jail.want(t, "ok", "allow %s", what)
			s.jail.want(t, "ok", "v hold %s", what)
			pids := strings.Fields(s.jail.do("pids"))
			c.kill(s, pids)
			if got := s.jail.do("done"); got == "not yet" {
				t.Fatal("nobody has noticed")
			}
			before := s.arrived(t, what)
			s.jail.want(t, "not", "v echo")
			s.jail.want(t, "not", "v dial %s", what)
			if n := s.arrived(t, what) - before; n != 0 {
				t.Errorf("%d packets arrived", n)
			}
			for _, pid := range pids[:2] {
				if name, _ := os.ReadFile("/proc/" + pid + "/comm"); len(name) > 0 {
					t.Errorf("%s runs", name)
				}
			}
		})
	}
}

// TestOrphans: when the supervisor is killed, with the process inside stopped or
// killed as well, pasta may be left, and gets nothing.
func TestOrphans(t *testing.T) {
	what := "tcp " + net.JoinHostPort(world4, "80")
	for _, c := range []struct {
		name string
		sig  unix.Signal
		wait time.Duration
	}{{"the supervisor alone", 0, time.Second}, {"inside stopped", unix.SIGSTOP, 12 * time.Second}, {"inside killed", unix.SIGKILL, 12 * time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			if c.wait > time.Second && testing.Short() {
				t.Skip("waits")
			}
			s := set(t, "start")
			s.jail.want(t, "ok", "allow %s", what)
			s.jail.want(t, "ok", "v talk %s", what) // which goes on
			pids := strings.Fields(s.jail.do("pids"))
			begun := s.arrived(t, what)
			soon(t, "it talks", func() bool { return s.arrived(t, what) > begun })
			stop := s.jail.cmd.Process
			_ = stop.Signal(unix.SIGSTOP) // so that it notices nothing
			if c.sig != 0 {
				kill(t, pids[0], c.sig)
			}
			_ = stop.Kill()
			time.Sleep(c.wait)
			before := s.arrived(t, what)
			time.Sleep(time.Second)
			if n := s.arrived(t, what) - before; n != 0 {
				t.Errorf("%d packets arrived", n)
			}
			for i, pid := range pids {
				if err := unix.Kill(atoi(pid), 0); err == nil {
					t.Logf("process %d of inside, pasta and program is left", i)
					kill(t, pid, unix.SIGKILL)
				}
			}
		})
	}
}

func kill(t testing.TB, pid string, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(atoi(pid), sig); err != nil && err != unix.ESRCH {
		t.Errorf("kill %s: %v", pid, err)
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// TestAttack: a program in the jail gets at none of what keeps it there. The
// supervisor gets at the program.
func TestAttack(t *testing.T) {
	s := set(t, "start")
	s.jail.want(t, "ok", "readable")
	s.jail.want(t, "true <nil> <nil>", "diag")
	pids := strings.Fields(s.jail.do("pids"))
	for _, pid := range []string{pids[0], pids[1], strconv.Itoa(s.jail.cmd.Process.Pid), strconv.Itoa(os.Getpid())} {
		if pid == strconv.Itoa(os.Getpid()) && os.Getuid() != 0 {
			continue // it has all capabilities, but is dumpable: not netjail's
		}
		s.jail.want(t, "[]", "v attach %s", pid)
	}
	// In a user namespace of its own it is root, of nothing that is here.
	for _, words := range []string{
		"nft flush ruleset", "nft list ruleset", "ip link set lo down", "ip addr add 192.0.2.1/32 dev lo", "ip route flush table main",
		"unshare -U nft flush ruleset", "unshare -U --keep-caps ip link set up0 down", "nsenter -t " + pids[0] + " -n true",
		"unshare -U --keep-caps nsenter -t " + pids[0] + " -n true", "sysctl -w net.ipv4.ip_forward=1",
	} {
		s.jail.want(t, "not", "v run %s", words)
	}
	s.jail.want(t, "ok", "v run ip link show up0")
	what := "tcp " + net.JoinHostPort(world4, "80")
	s.jail.want(t, "not", "v dial %s", what)
	s.jail.want(t, "ok", "allow %s", what)
	s.jail.want(t, "ok", "v dial %s", what)
}

// TestHandOver: another process takes a network over, and the jail notices nothing.
func TestHandOver(t *testing.T) {
	s := set(t, "start")
	what := "tcp " + net.JoinHostPort(world4, "80")
	s.jail.want(t, "ok", "allow %s", what)
	s.jail.want(t, "ok", "v hold %s", what)
	s.jail.want(t, "ok", "handover")
	s.jail.want(t, "ok", "v echo")
	s.jail.want(t, "ok", "allow udp %s:81", world4)
	s.jail.want(t, "ok", "v dial udp %s:81", world4)
	s.jail.want(t, "true <nil> <nil>", "diag")
	s.jail.want(t, "ok", "resolve %s:53", world4)
	s.jail.want(t, "198.51.100.1", "v lookup %s a.org", strings.Join(strings.Fields(s.jail.do("resolver"))[:2], " "))
	kill(t, strings.Fields(s.jail.do("pids"))[1], unix.SIGKILL)
	if got := s.jail.do("done"); !strings.Contains(got, "pasta has ended") {
		t.Errorf("pasta was killed: %s", got)
	}
	s.jail.want(t, "not", "v echo")
}

// BenchmarkThroughput is of one TCP connection, bare and through pasta.
func BenchmarkThroughput(b *testing.B) {
	s := set(b, "start")
	addr := net.JoinHostPort(world4, "90")
	s.jail.want(b, "ok", "allow tcp %s", addr)
	for name, suck := range map[string]func() string{
		"bare": func() string { return suck(addr) }, "pasta": func() string { return s.jail.do("v suck %s", addr) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f, err := strconv.ParseFloat(suck(), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(f/1e9, "Gbit/s")
			}
		})
	}
}

func BenchmarkProbe(b *testing.B) {
	set(b, "")
	s := supervise(b)
	for b.Loop() {
		s.want(b, "ok", "probe")
	}
}
