package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/cgroup"
)

// Ordinary users, who need not exist.
const (
	user1 = 54321
	user2 = 54322
)

// guardMain is the service itself.
func guardMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	tree, err := cgroup.Find()
	if err == nil {
		tree.Below = os.Getenv("BELOW")
		var cfg = Config{Tree: tree, Plain: os.Getenv("PLAIN") != "", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
		if cfg.Listener, err = Listen(os.Getenv("SOCKET")); err == nil {
			fmt.Println("ready")
			err = Run(ctx, cfg)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		return 1
	}
	return 0
}

// scene is a machine with a guard, its cgroups, and the world at the other end of
// a cable.
type scene struct {
	t      testing.TB
	world  *agent
	guard  *agent
	socket string
	tree   *cgroup.Tree
	root   string // of the test's cgroups
	plain  string // not "": no owned table
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t}
	s.cable()
	s.cgroups()
	dir, err := os.MkdirTemp("", "njg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.socket = filepath.Join(dir, "guard.sock")
	s.serve()
	t.Cleanup(func() { s.quit(unix.SIGTERM) })
	return s
}

// cable connects this network namespace with the world's.
func (s *scene) cable() {
	s.t.Helper()
	s.world = start(s.t, "world", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL})
	pid := strconv.Itoa(s.world.cmd.Process.Pid)
	ip := func(words ...string) { s.t.Helper(); run(s.t, append([]string{"ip"}, words...)...) }
	there := func(words ...string) {
		s.t.Helper()
		run(s.t, append([]string{"nsenter", "-t", pid, "-n", "ip"}, words...)...)
	}
	ip("link", "set", "lo", "up")
	ip("link", "add", "njt0", "type", "veth", "peer", "name", "njt1", "netns", pid)
	s.t.Cleanup(func() { run(s.t, "ip", "link", "del", "njt0") })
	ip("addr", "add", client4+"/24", "dev", "njt0")
	ip("addr", "add", client6+"/64", "dev", "njt0", "nodad")
	ip("link", "set", "njt0", "up")
	there("addr", "add", world4+"/24", "dev", "njt1")
	there("addr", "add", world6+"/64", "dev", "njt1", "nodad")
	there("link", "set", "njt1", "up")
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0); err != nil {
		s.t.Fatal(err)
	}
	s.world.want(s.t, "ok", "serve")
	for _, addr := range []string{world4, "[" + world6 + "]"} {
		soon(s.t, "the cable carries", func() bool { return dialOnce("tcp", addr+":82") == "ok" })
	}
}

// cgroups makes, for each user, a slice that is root's with a subtree that is
// delegated to the user, as systemd does.
func (s *scene) cgroups() {
	s.t.Helper()
	var err error
	if s.tree, err = cgroup.Find(); err != nil {
		s.t.Fatal(err)
	}
	s.root = "/njtest-" + strconv.Itoa(os.Getpid())
	var made []string
	s.t.Cleanup(func() {
		left, err := (&cgroup.Tree{Mount: s.tree.Mount, Below: s.root}).Left(prefix)
		if err != nil {
			s.t.Error(err)
		}
		for _, g := range left { // whose last process had not ended yet when the guard did
			soon(s.t, g.Path+" is empty", func() bool { gone, _ := g.Remove(); return gone })
		}
		for i := len(made) - 1; i >= 0; i-- {
			soon(s.t, made[i]+" is empty", func() bool { return os.Remove(made[i]) == nil })
		}
	})
	mkdir := func(path string, uid int) {
		dir := filepath.Join(s.tree.Mount, s.root, path)
		if err := os.Mkdir(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
		made = append(made, dir)
		for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
			if err := os.Chown(filepath.Join(dir, name), uid, uid); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	mkdir("", 0)
	for _, uid := range []int{0, user1, user2} {
		slice := strconv.Itoa(uid)
		mkdir(slice, 0)
		mkdir(slice+"/delegated", uid)
		mkdir(slice+"/delegated/app", uid)
		mkdir(slice+"/delegated/other", uid)
	}
}

// serve starts the guard.
func (s *scene) serve() {
	s.t.Helper()
	var err error
	s.guard, err = launch("guard", &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, "SOCKET="+s.socket, "BELOW="+s.root, "PLAIN="+s.plain)
	if err != nil {
		s.t.Fatal(err)
	}
}

// quit ends the guard.
func (s *scene) quit(sig unix.Signal) {
	s.t.Helper()
	if s.guard == nil {
		return
	}
	_ = s.guard.cmd.Process.Signal(sig)
	err := s.guard.cmd.Wait()
	if sig == unix.SIGTERM && err != nil {
		s.t.Errorf("the guard ends with %v", err)
	}
	s.guard = nil
}

// supervisor starts one of a user's, in the user's cgroup.
func (s *scene) supervisor(uid int) *agent {
	s.t.Helper()
	return start(s.t, "supervisor", s.attr(uid))
}

// attr is of a process of a user's, in the user's cgroup.
func (s *scene) attr(uid int) *syscall.SysProcAttr {
	s.t.Helper()
	dir, err := os.Open(filepath.Join(s.tree.Mount, s.root, strconv.Itoa(uid), "delegated", "app"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { dir.Close() })
	return &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, UseCgroupFD: true, CgroupFD: int(dir.Fd()),
	}
}

// jail starts a supervisor with a victim that is confined.
func (s *scene) jail(uid int) *agent {
	s.t.Helper()
	a := s.supervisor(uid)
	a.want(s.t, "ok", "start")
	a.want(s.t, "ok", "dial %s", s.socket)
	a.want(s.t, "ok", "confine")
	return a
}

// count says how many packets arrived at the world's end.
func (s *scene) count(what string) int {
	n, err := strconv.Atoi(s.world.do("count %s", what))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// none makes sure that nothing arrived.
func (s *scene) none(what string) {
	s.t.Helper()
	if n := s.count(what); n != 0 {
		s.t.Errorf("%d packets of %s arrived", n, what)
	}
}

func ruleset(t testing.TB) string { return run(t, "nft", "list", "ruleset") }

// each has both families.
func each(t *testing.T, f func(t *testing.T, world, client string)) {
	t.Run("IPv4", func(t *testing.T) { f(t, world4, client4) })
	t.Run("IPv6", func(t *testing.T) { f(t, "["+world6+"]", "["+client6+"]") })
}

// TestOut: what is allowed arrives, and nothing else.
func TestOut(t *testing.T) {
	s := newScene(t)
	for _, uid := range []int{user1, 0} {
		bare := s.supervisor(uid)
		bare.want(t, "ok", "start")
		j := s.jail(uid)
		each(t, func(t *testing.T, w, _ string) {
			denied := fmt.Sprintf("%s:%d", w, 81)
			before := []int{s.count("tcp " + denied), s.count("udp " + denied), s.count("ping " + strings.Trim(w, "[]"))}
			j.want(t, "not", "v dial tcp %s:81", w)
			j.want(t, "not", "v dial udp %s:81", w)
			j.want(t, "not", "v udp %s:81", w)
			j.want(t, "not", "v ping %s", strings.Trim(w, "[]"))
			after := []int{s.count("tcp " + denied), s.count("udp " + denied), s.count("ping " + strings.Trim(w, "[]"))}
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("denied packets arrived: %v, then %v", before, after)
			}
			j.want(t, "ok", "allow tcp %s:80 udp %s:80 icmp %s", w, w, strings.Trim(w, "[]"))
			j.want(t, "ok", "v dial tcp %s:80", w)
			j.want(t, "ok", "v dial udp %s:80", w)
			j.want(t, "ok", "v udp %s:80", w)
			j.want(t, "ok", "v ping %s", strings.Trim(w, "[]"))
			for _, what := range []string{"tcp " + w + ":80", "udp " + w + ":80", "ping " + strings.Trim(w, "[]")} {
				if s.count(what) == 0 {
					t.Errorf("no packets of %s are counted", what)
				}
			}
			j.want(t, "not", "v dial tcp %s:81", w)
			if uid != 0 {
				s.none("tcp " + denied)
			}
			bare.want(t, "ok", "v dial tcp %s:82", w) // who is in no jail
			bare.want(t, "ok", "v dial udp %s:82", w)
		})
	}
}

// TestIn: who may begin reaches the jail, and nobody else does.
func TestIn(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	each(t, func(t *testing.T, _, c string) {
		for _, network := range []string{"tcp", "udp"} {
			j.want(t, "ok", "v listen %s %s:8001", network, c)
			j.want(t, "ok", "v listen %s %s:8002", network, c)
			s.world.want(t, "not", "dial %s %s:8001", network, c)
			j.want(t, "ok", "open %s 8001", network)
			s.world.want(t, "ok", "dial %s %s:8001", network, c)
			s.world.want(t, "not", "dial %s %s:8002", network, c)
			j.want(t, "ok", "close %s 8001", network)
			s.world.want(t, "not", "dial %s %s:8001", network, c)
		}
	})
}

// TestDeny ends what was allowed, at once, and it can be allowed again.
func TestDeny(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	each(t, func(t *testing.T, w, _ string) {
		j.want(t, "ok", "allow tcp %s:80 udp %s:80 udp %s:81", w, w, w)
		j.want(t, "ok", "v hold tcp %s:80", w)
		j.want(t, "ok", "v echo")
		j.want(t, "ok", "v udp %s:80", w)
		j.want(t, "ok", "v udp %s:81", w)
		j.want(t, "ok", "deny tcp %s:80 udp %s:80", w, w)
		n := s.count("udp " + w + ":80")
		if got := j.do("v echo"); !strings.Contains(got, "connection abort") {
			t.Errorf("on the connection: got %q, want that it was aborted", got)
		}
		j.want(t, "not", "v udp %s:80", w)
		if got := j.do("v dial tcp %s:80", w); !strings.Contains(got, "refused") {
			t.Errorf("a new connection: got %q, want it refused", got)
		}
		if got := s.count("udp " + w + ":80"); got != n {
			t.Errorf("%d more packets arrived", got-n)
		}
		j.want(t, "ok", "v udp %s:81", w)
		j.want(t, "ok", "allow tcp %s:80 udp %s:80", w, w)
		j.want(t, "ok", "v dial tcp %s:80", w)
		j.want(t, "ok", "v udp %s:80", w)
	})
}

// TestForget: what is open goes on, and what begins is dropped and told of.
func TestForget(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	each(t, func(t *testing.T, w, _ string) {
		j.want(t, "ok", "allow tcp %s:80 udp %s:80", w, w)
		j.want(t, "ok", "deny tcp %s:81", w)
		j.want(t, "ok", "v hold tcp %s:80", w)
		j.want(t, "ok", "v udp %s:80", w)
		j.want(t, "ok", "forget tcp %s:80 udp %s:80 tcp %s:81 tcp %s:82", w, w, w, w)
		j.want(t, "ok", "v echo")
		j.want(t, "ok", "v udp %s:80", w)
		for _, port := range []string{"80", "81"} {
			time.Sleep(100 * time.Millisecond) // for an acknowledgment on the connection
			n := s.count("tcp " + w + ":" + port)
			if got := j.do("v dial tcp %s:%s", w, port); !strings.Contains(got, "timeout") {
				t.Errorf("port %s: got %q, want that it is dropped", port, got)
			}
			if got := s.count("tcp " + w + ":" + port); got != n {
				t.Errorf("port %s: %d more packets arrived", port, got-n)
			}
			j.want(t, "tcp "+w+":"+port, "dropped")
		}
		j.want(t, "ok", "allow tcp %s:81", w)
		j.want(t, "ok", "v dial tcp %s:81", w)
	})
}

// TestDropped: the supervisor hears of what was dropped.
func TestDropped(t *testing.T) {
	s := newScene(t)
	j, other := s.jail(user1), s.jail(user2)
	each(t, func(t *testing.T, w, _ string) {
		j.want(t, "not", "v udp %s:81", w)
		j.want(t, "udp "+w+":81", "dropped")
		other.want(t, "not", "v dial tcp %s:82", w)
		other.want(t, "tcp "+w+":82", "dropped")
	})
}

// TestHop: a jail cannot leave its cgroup.
func TestHop(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	if got, want := j.do("cgroup"), s.root+"/"+strconv.Itoa(user1)+"/netjail-"; !strings.HasPrefix(got, want) {
		t.Fatalf("it is in %s, want %s...", got, want)
	}
	j.want(t, "tried true, opened true, moved to []", "v hop %s", s.tree.Mount)
	j.want(t, "not", "v dial tcp %s:80", world4)
	s.none("tcp " + world4 + ":80")
	j.want(t, "confine: the guard does not serve: a program in a jail is not served", "v guard %s", s.socket)

	// Who may do so moves it, and the supervisor sees that.
	j.want(t, "true", "holds")
	pid, err := strconv.Atoi(j.do("v pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.tree.Move(pid, s.root+"/"+strconv.Itoa(user1)+"/delegated/app"); err != nil {
		t.Fatal(err)
	}
	j.want(t, "false", "holds")

	// Who is in no jail moves where it likes: that is what the jail is kept from.
	bare := s.supervisor(user1)
	bare.want(t, "ok", "start")
	if got := bare.do("v hop %s", s.tree.Mount); !strings.Contains(got, "delegated/other") || !strings.Contains(got, "clone into") {
		t.Errorf("in no jail: %s", got)
	}
}

// TestEnd: however it ends, nothing is open afterwards.
func TestEnd(t *testing.T) {
	for _, how := range []string{"supervisor", "SIGTERM", "SIGKILL"} {
		t.Run(how, func(t *testing.T) {
			s := newScene(t)
			j := s.jail(user1)
			j.want(t, "ok", "allow tcp %s:80", world4)
			j.want(t, "ok", "v hold tcp %s:80", world4)
			switch how {
			case "supervisor":
				j.want(t, "ok", "hangup")
				soon(t, "the jail is shut", func() bool { return !strings.Contains(ruleset(t), "allow4") })
			case "SIGTERM":
				s.quit(unix.SIGTERM)
			case "SIGKILL":
				s.quit(unix.SIGKILL)
				j.want(t, "not", "v dial tcp %s:81", world4)
				s.none("tcp " + world4 + ":81")
				s.serve()
				soon(t, "the jail is shut", func() bool { return !strings.Contains(ruleset(t), "allow4") })
			}
			n := s.count("tcp " + world4 + ":80")
			j.want(t, "not", "v echo")
			j.want(t, "not", "v dial tcp %s:80", world4)
			j.want(t, "not", "v dial tcp %s:81", world4)
			if got := s.count("tcp " + world4 + ":80"); got != n {
				t.Errorf("%d more packets arrived", got-n)
			}
			s.none("tcp " + world4 + ":81")
			if s.guard == nil {
				s.serve()
			}
			j.do("v exit")
			j.stop()
			soon(t, "nothing is left", func() bool { return !strings.Contains(ruleset(t), "jail-") })
			again := s.jail(user1)
			again.want(t, "ok", "allow tcp %s:80", world4)
			again.want(t, "ok", "v dial tcp %s:80", world4)
		})
	}
}

// TestOrphan: what a program has sent in vain the kernel does not send again when
// the program, and its jail, are gone.
func TestOrphan(t *testing.T) {
	s := newScene(t)
	each(t, func(t *testing.T, w, _ string) {
		j := s.jail(user1)
		j.want(t, "ok", "allow tcp %s:80", w)
		j.want(t, "ok", "v hold tcp %s:80", w)
		j.want(t, "ok", "hangup")
		soon(t, "the jail is shut", func() bool { return !strings.Contains(ruleset(t), "allow4") })
		n := s.count("tcp " + w + ":80")
		j.want(t, "not", "v echo")
		j.stop()
		soon(t, "the jail is gone", func() bool { return !strings.Contains(ruleset(t), "jail-") })
		time.Sleep(3 * time.Second) // it would try twice
		if got := s.count("tcp " + w + ":80"); got != n {
			t.Errorf("%d more packets arrived", got-n)
		}
	})
}

// TestFlushed: who flushes all rules shuts the jails, a moment later.
func TestFlushed(t *testing.T) {
	s := newScene(t)
	run(t, "nft", "flush", "ruleset")
	j := s.jail(user1)
	j.want(t, "ok", "allow tcp %s:80", world4)
	s.quit(unix.SIGTERM)
	j.stop()
	run(t, "nft", "flush", "ruleset")

	s.plain = "yes"
	s.serve()
	j = s.jail(user1)
	j.want(t, "ok", "allow tcp %s:80", world4)
	j.want(t, "ok", "v dial tcp %s:80", world4)
	run(t, "nft", "flush", "ruleset")
	soon(t, "the table is there again", func() bool { return strings.Contains(ruleset(t), "jail-") })
	j.want(t, "not", "v dial tcp %s:80", world4)
	j.want(t, "not", "v dial tcp %s:81", world4)
	s.none("tcp " + world4 + ":81")
	j.stop()
	soon(t, "nothing is left", func() bool { return !strings.Contains(ruleset(t), "jail-") })
	j = s.jail(user1)
	j.want(t, "ok", "allow tcp %s:80", world4)
	j.want(t, "ok", "v dial tcp %s:80", world4)
}
