// Package e2etest is what the end-to-end tests share: the netjail binary, a
// home of its own for each test, and a server that counts.
//
//	h := e2etest.NewHome(t)
//	srv := e2etest.Listen(t)
//	out := h.Run("--allow", srv.Addr(), "curl", "http://"+srv.Addr())
//
// It makes traffic on loopback only. The tests themselves are in the packages
// beside it.
package e2etest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Required says whether what a test needs must be there: a skip is a failure
// then.
func Required() bool { return os.Getenv("NETJAIL_TEST_REQUIRE") == "1" }

// Need returns the path of a program that a test needs. Without it the test is
// skipped, or fails where everything is required.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if Required() {
		t.Fatalf("%s is needed and not there: contrib/test installs it", program)
	}
	t.Skipf("%s is not there: contrib/test installs it", program)
	return ""
}

var binary struct {
	once sync.Once
	path string
	err  error
}

// Bin returns the netjail binary: $NETJAIL_BIN, or one that is built now.
func Bin(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.path = os.Getenv("NETJAIL_BIN"); binary.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "netjail-e2e-")
		if err != nil {
			binary.err = err
			return
		}
		binary.path = filepath.Join(dir, "netjail")
		cmd := exec.Command("go", "build", "-o", binary.path, "github.com/netjail/netjail/cmd/netjail")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			binary.err = errors.New(string(out))
		}
	})
	if binary.err != nil {
		t.Fatalf("build netjail: %v", binary.err)
	}
	return binary.path
}

// Home is a user's home directory, configuration and daemon, for one test.
type Home struct {
	Dir string
	Env []string // of every command

	t   testing.TB
	bin string
}

// NewHome makes a home. Its daemon is ended with the test.
func NewHome(t testing.TB) *Home {
	t.Helper()
	// Not below t.TempDir: a socket's path has 108 bytes.
	dir, err := os.MkdirTemp("", "nj")
	if err != nil {
		t.Fatal(err)
	}
	h := &Home{Dir: dir, t: t, bin: Bin(t)}
	if err := os.MkdirAll(h.Runtime(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY",
			"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY":
		default:
			h.Env = append(h.Env, e)
		}
	}
	h.Env = append(h.Env, "HOME="+dir, "XDG_RUNTIME_DIR="+h.Runtime(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	t.Cleanup(func() {
		h.StopDaemon()
		os.RemoveAll(dir)
	})
	return h
}

// Runtime is $XDG_RUNTIME_DIR.
func (h *Home) Runtime() string { return filepath.Join(h.Dir, "run") }

// Rules is the directory of the rule files.
func (h *Home) Rules() string { return filepath.Join(h.Dir, "config", "netjail", "rules") }

// DaemonPID returns the daemon's process id, or 0.
func (h *Home) DaemonPID() int {
	b, err := os.ReadFile(filepath.Join(h.Runtime(), "netjail", "lock"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// StopDaemon ends the daemon, if there is one, and waits until it is gone.
func (h *Home) StopDaemon() {
	pid := h.DaemonPID()
	if pid == 0 || !strings.Contains(commandLine(pid), "daemon") {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	WaitFor(h.t, "the daemon ends", func() bool { return !strings.Contains(commandLine(pid), "daemon") })
}

func commandLine(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return string(b)
}

// Patience bounds everything that should come soon. It is generous, for it is
// used up only by a test that fails, and machines may be slow.
const Patience = time.Minute

// WaitFor waits for an event that nothing announces. It fails the test when
// that has not come in time.
func WaitFor(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !happened(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Guard returns the flags of netjail that ask for a guard. $NETJAIL_TEST_GUARD_SOCKET
// is where a guard service listens that was started for the tests.
func Guard(kind string) []string {
	flags := []string{"--guard", kind}
	if kind == "nft" {
		flags = append(flags, "--guard-socket", os.Getenv("NETJAIL_TEST_GUARD_SOCKET"))
	}
	return flags
}

// Guards returns the guards that jails are tried under here: those that can be
// had. Where everything is required, all can, but for those that the machine has
// to be made ready for: $NETJAIL_TEST_GUARDS says which those are.
func (h *Home) Guards() (list []string) {
	h.t.Helper()
	kinds := append([]string{"strict", "landlock"}, strings.Fields(os.Getenv("NETJAIL_TEST_GUARDS"))...)
	for _, g := range kinds {
		switch r := h.Run(append(Guard(g), "--no-prompt", "--", "true")...); {
		case r.Code == 0:
			list = append(list, g)
		case Required():
			h.t.Fatalf("there is no guard %s here: %s", g, r.Stderr)
		default:
			h.t.Logf("without the guard %s: %s", g, r.Stderr)
		}
	}
	return list
}

// Result is what a command printed and returned.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Command returns a netjail command that was not started, in a session of its
// own and so without a terminal.
func (h *Home) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.bin, args...)
	cmd.Env = h.Env
	cmd.Dir = h.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// Run runs netjail to its end.
func (h *Home) Run(args ...string) Result {
	h.t.Helper()
	return h.Finish(h.Command(args...))
}

// Finish runs a command to its end, which must come within three minutes.
func (h *Home) Finish(cmd *exec.Cmd) Result {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = Patience
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	timer := time.AfterFunc(3*Patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Server accepts TCP connections on loopback, counts them, and hands them to a
// handler.
type Server struct {
	l     net.Listener
	count atomic.Int64

	mu    sync.Mutex
	total int            // connections, those of Settled among them
	from  map[string]int // total when a client's address was seen last
}

// Listen starts a server that says hello in HTTP.
func Listen(t testing.TB) *Server { return Serve(t, "127.0.0.1:0", Hello) }

// Serve starts a server on address. The handler closes the connection.
func Serve(t testing.TB, address string, handle func(net.Conn)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{l: l, from: make(map[string]int)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.count.Add(1)
			s.mu.Lock()
			s.total++
			s.from[c.RemoteAddr().String()] = s.total
			s.mu.Unlock()
			wg.Go(func() { handle(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return s
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.l.Addr().String() }

// Port returns the port.
func (s *Server) Port() int { return s.l.Addr().(*net.TCPAddr).Port }

// Count returns how many connections have arrived. One that the kernel has
// completed is counted when it is accepted, which Settled waits for.
func (s *Server) Count() int { return int(s.count.Load()) }

// Settled returns the count after everything that was in the listener's queue
// was counted: it makes a connection of its own, which comes last, and does
// not count it.
func (s *Server) Settled(t testing.TB) int {
	t.Helper()
	s.mu.Lock()
	before := s.total
	s.mu.Unlock()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	WaitFor(t, "the server counts", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.from[c.LocalAddr().String()] > before // an earlier client may have had this port
	})
	s.count.Add(-1)
	return s.Count()
}

// Hello answers one HTTP request with "hello".
func Hello(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Patience))
	buf := make([]byte, 4096)
	for head := ""; !strings.Contains(head, "\r\n\r\n"); {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		head += string(buf[:n])
	}
	_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"))
}
