package service

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
)

// unchanged makes sure that the guard serves, and that what it was asked for
// meanwhile has changed nothing.
func (s *scene) unchanged(before string) {
	s.t.Helper()
	if s.guard.cmd.Process.Signal(unix.Signal(0)) != nil {
		s.t.Fatal("the guard has ended")
	}
	same := func() bool { return ruleset(s.t) == before }
	for end := time.Now().Add(10 * time.Second); !same() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if after := ruleset(s.t); after != before {
		s.t.Errorf("the rules have changed: got\n%s\nwant\n%s", after, before)
	}
}

// levels has the rules as they are when jails of every level have been there.
func (s *scene) levels() string {
	s.t.Helper()
	j := s.jail(user1)
	j.stop()
	soon(s.t, "the jail is gone", func() bool { return !strings.Contains(ruleset(s.t), "jail-") })
	return ruleset(s.t)
}

// TestProcesses: nobody's network is taken but that of processes which who asks
// has started.
func TestProcesses(t *testing.T) {
	s := newScene(t)
	before := s.levels()
	a, b, other := s.supervisor(user1), s.supervisor(user1), s.supervisor(user2)
	for _, x := range []*agent{a, b, other} {
		x.want(t, "ok", "start")
		x.want(t, "ok", "dial %s", s.socket)
	}
	pid := func(x *agent) string { return x.do("v pid") }
	tests := []struct{ name, do, want string }{
		{"another user's", "confinepid " + pid(other), "another user's"},
		{"root's", "confinepid 1", "another user's"},
		{"the same user's, of another", "confinepid " + pid(b), "was not started by"},
		{"itself", "confinepid " + strconv.Itoa(a.cmd.Process.Pid), "was not started by"},
		{"one that has ended", "confinedead", "has ended"},
		{"no process", "confinefile", "no pidfd"},
		{"none", "allow tcp 192.0.2.1:80", "nothing is confined yet"},
	}
	for _, tt := range tests {
		if got := a.do("%s", tt.do); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	s.unchanged(before)
	for _, x := range []*agent{b, other} {
		x.want(t, "ok", "v dial tcp %s:80", world4)
	}
	a.want(t, "ok", "confine")
	if got := a.do("confine"); !strings.Contains(got, "destinations") && got == "ok" {
		t.Errorf("twice: got %q", got)
	}
	a.want(t, "not", "v dial tcp %s:80", world4)
	if got := a.do("dial %s", s.socket); got != "ok" {
		t.Fatal(got)
	}
	if got := a.do("confine"); !strings.Contains(got, "in a jail already") {
		t.Errorf("in another jail: got %q", got)
	}
}

// TestRace: processes end while they are confined.
func TestRace(t *testing.T) {
	s := newScene(t)
	before := s.levels()
	s.supervisor(user1).want(t, "ok", "race %s", s.socket)
	s.unchanged(before)
}

// raw sends bytes, and returns what comes back until the guard hangs up or has
// nothing to say.
func (s *scene) raw(data []byte, fds ...int) string {
	s.t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _, _ = c.WriteMsgUnix(data, rights, nil)
	_ = c.CloseWrite()
	var got bytes.Buffer
	_, _ = got.ReadFrom(c)
	return got.String()
}

// TestGarbage: what makes no sense changes nothing.
func TestGarbage(t *testing.T) {
	s := newScene(t)
	before := s.levels()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	pidfd, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	line := func(r client.Request) []byte {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, '\n')
	}
	tests := []struct {
		name string
		data []byte
		fds  []int
	}{
		{"nothing", nil, nil},
		{"an empty line", []byte("\n"), nil},
		{"half a line", []byte(`{"op":"conf`), nil},
		{"zeros", make([]byte, 10000), nil},
		{"a long line", bytes.Repeat([]byte("x"), 1<<20), nil},
		{"a deep one", bytes.Repeat([]byte("["), 60<<10), nil},
		{"another form", []byte("[1]\n"), nil},
		{"two in a line", []byte(`{"op":"confine"}{"op":"confine"}` + "\n"), nil},
		{"an unknown field", []byte(`{"op":"confine","uid":0}` + "\n"), []int{pidfd}},
		{"an unknown request", line(client.Request{ID: 1, Op: "flush"}), []int{pidfd}},
		{"no descriptor", line(client.Request{ID: 1, Op: client.OpConfine}), nil},
		{"another descriptor", line(client.Request{ID: 1, Op: client.OpConfine}), []int{int(null.Fd())}},
		{"two descriptors", line(client.Request{ID: 1, Op: client.OpConfine}), []int{pidfd, pidfd}},
		{"a hundred", line(client.Request{ID: 1, Op: client.OpConfine}), bytes100(int(null.Fd()))},
		{"to lead nobody", line(client.Request{ID: 1, Op: client.OpLead, To: netip.MustParseAddrPort("127.0.0.1:53"), Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}), nil},
		{"to lead to nonsense", []byte(`{"op":"lead","to":"localhost","servers":["x"]}` + "\n"), nil},
		{"another network", line(client.Request{ID: 1, Op: client.OpConfine, Network: 1}), []int{pidfd}},
	}
	fds := func() int {
		list, err := os.ReadDir("/proc/" + strconv.Itoa(s.guard.cmd.Process.Pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	open := fds()
	for _, tt := range tests {
		if got := s.raw(tt.data, tt.fds...); strings.Contains(got, `"jail"`) {
			t.Errorf("%s: got %s", tt.name, got)
		}
	}
	s.unchanged(before)
	soon(t, "no descriptor is left open", func() bool { return fds() <= open })
	if group, err := s.tree.Of(child.Process.Pid); err != nil || jailed(group) {
		t.Errorf("the process is in %s, %v", group, err)
	}

	j := s.jail(user1)
	for _, dest := range []string{"sctp 10.0.0.1:80", "tcp 10.0.0.1", "icmp 10.0.0.1:80", "tcp 80"} {
		if got := j.do("allow %s", dest); got == "ok" {
			t.Errorf("%s was allowed", dest)
		}
	}
}

func bytes100(fd int) []int {
	list := make([]int, 100)
	for i := range list {
		list[i] = fd
	}
	return list
}

// TestFlood: one user's many requests are not another's trouble.
func TestFlood(t *testing.T) {
	s := newScene(t)
	before := s.levels()
	stop := make(chan struct{})
	var floods sync.WaitGroup
	refused := make(chan bool, 1)
	for range maxConnections + 20 {
		floods.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("unix", s.socket)
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(time.Second))
				_, _ = c.Write(bytes.Repeat([]byte(`{"id":1,"op":"allow","dests":[{"proto":"tcp","addr":"10.0.0.1","port":1}]}`+"\n"), 200))
				b := make([]byte, 1000)
				n, _ := c.Read(b)
				if strings.Contains(string(b[:n]), "connections") {
					select {
					case refused <- true:
					default:
					}
				}
				c.Close()
			}
		})
	}
	select {
	case <-refused:
	case <-time.After(30 * time.Second):
		t.Errorf("%d connections are served", maxConnections+20)
	}
	start := time.Now()
	j := s.jail(user1)
	j.want(t, "ok", "allow tcp %s:80", world4)
	j.want(t, "ok", "v dial tcp %s:80", world4)
	t.Logf("another user waited %v", time.Since(start))
	close(stop)
	floods.Wait()
	j.stop()
	s.unchanged(before)
}

// TestLimit: a user has so many jails, and another has others.
func TestLimit(t *testing.T) {
	s := newScene(t)
	var jails []*client.Conn
	confine := func() error {
		c, err := client.Dial(s.socket)
		if err != nil {
			return err
		}
		jails = append(jails, c)
		child := exec.Command("sleep", "600")
		if err := child.Start(); err != nil {
			return err
		}
		t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
		fd, err := unix.PidfdOpen(child.Process.Pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = c.Confine(fd)
		return err
	}
	t.Cleanup(func() {
		for _, c := range jails {
			c.Close()
		}
	})
	// The test itself is not below s.root.
	if err := confine(); err == nil || !strings.Contains(err.Error(), "place below") {
		t.Errorf("outside of where the guard may make cgroups: got %v", err)
	}
	group, err := s.tree.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	move(t, s.tree.Mount+s.root+"/0/delegated/app")
	defer move(t, s.tree.Mount+group)
	for i := range maxJails {
		if err := confine(); err != nil {
			t.Fatalf("jail %d: %v", i+1, err)
		}
	}
	if err := confine(); err == nil {
		t.Errorf("a jail more than %d", maxJails)
	}
	s.jail(user1).want(t, "ok", "allow tcp %s:80", world4)
}

// move moves this process.
func move(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		t.Fatal(err)
	}
}

// TestPassed: the socket that systemd passes is used.
func TestPassed(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec /proc/$PPID/exe")
	cmd.Env = append(os.Environ(), role+"=guard", "LISTEN_FDS=1", "SOCKET=/nowhere/at/all", "BELOW=/njtest-none")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, socket: path}
	if got := s.raw([]byte(`{"id":1,"op":"confine"}` + "\n")); !strings.Contains(got, "no pidfd") {
		t.Errorf("got %q, want that there is no pidfd", got)
	}
	_ = cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the guard ends with %v", err)
	}
}
