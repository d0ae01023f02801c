package netns

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// role says as what this test binary was started.
const role = "NETJAIL_TEST_ROLE"

// roles are what it can be. "tests" run in a network of their own, which stands for
// the host; "supervisor" has a jail; "victim" is in it; "world" is all the rest.
var roles = map[string]func() int{}

func init() {
	roles["world"] = func() int { return serve(newWorld(), os.Stdin, os.Stdout) }
	roles["supervisor"] = func() int { return serve(new(supervisor), os.Stdin, os.Stdout) }
	roles["victim"] = func() int {
		return serve(new(victim), os.NewFile(victimIn, "in"), os.NewFile(victimOut, "out"))
	}
	roles["dial"] = dialRole
}

// TestMain runs the tests in a network of their own. An ordinary user has one in a
// user namespace in which all capabilities are the tests', and none the jail's
// supervisor's.
func TestMain(m *testing.M) {
	r := os.Getenv(role)
	switch {
	case os.Args[0] == Name:
		if err := Serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	case roles[r] != nil:
		os.Exit(roles[r]())
	case r == "tests":
		os.Exit(m.Run())
	}
	if os.Getuid() == 0 { // as desktops have it
		_ = os.Chmod("/dev/net/tun", 0o666)
	}
	if _, err := find(""); err != nil {
		fmt.Println("netns: not tested:", err)
		os.Exit(map[bool]int{true: 1}[os.Getenv("NETJAIL_TEST_REQUIRE") == "1"])
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), role+"=tests")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = same(os.Getuid()), same(os.Getgid())
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}
	}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serve answers each line with a line.
func serve(a interface{ do(words []string) string }, r io.Reader, w io.Writer) int {
	in := bufio.NewScanner(r)
	fmt.Fprintln(w, "ready")
	for in.Scan() {
		fmt.Fprintln(w, strings.ReplaceAll(a.do(strings.Fields(in.Text())), "\n", "; "))
	}
	return 0
}

// agent is a process that does what it is told.
type agent struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex
	out *bufio.Scanner
}

// start starts this binary in a role, with these words before it. It ends with the
// test.
func start(t testing.TB, r string, attr *syscall.SysProcAttr, before ...string) *agent {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := append(before, self)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), role+"="+r)
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(cmd, in, out)
	t.Cleanup(a.stop)
	if err != nil {
		t.Fatal(r, err)
	}
	return a
}

func newAgent(cmd *exec.Cmd, in io.WriteCloser, out io.Reader) (*agent, error) {
	a := &agent{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	a.out.Buffer(nil, 1<<20)
	if !a.out.Scan() || a.out.Text() != "ready" {
		return a, fmt.Errorf("it says %q, want that it is ready", a.out.Text())
	}
	return a, nil
}

func (a *agent) stop() {
	a.in.Close()
	if a.cmd != nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
}

// do has an agent do something.
func (a *agent) do(format string, args ...any) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(a.in, format+"\n", args...)
	if !a.out.Scan() {
		return "gone"
	}
	return a.out.Text()
}

// want has an agent do something, with this outcome. "not" is any failure. What is
// to be reached may take more than one attempt on a machine that is busy.
func (a *agent) want(t testing.TB, want, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	got := a.do("%s", what)
	for tries := 0; want == "ok" && got != want && strings.HasPrefix(what, "v dial") && tries < 10; tries++ {
		got = a.do("%s", what)
	}
	if got != want && !(want == "not" && got != "ok" && got != "gone") {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// soon waits until something is so.
func soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not so", what)
		}
	}
}

func run(t testing.TB, words ...string) string {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v %s", words, err, out)
	}
	return string(out)
}
