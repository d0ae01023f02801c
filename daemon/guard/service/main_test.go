package service

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
)

// role says as what this test binary was started.
const role = "NETJAIL_TEST_ROLE"

// roles are what it can be. "tests" run in a network namespace of their own.
var roles = map[string]func() int{}

func init() {
	roles["guard"] = guardMain
	roles["world"] = func() int { return serve(newWorld()) }
	roles["victim"] = func() int { return serve(new(victim)) }
	roles["supervisor"] = func() int { return serve(new(supervisor)) }
}

// TestMain runs the tests as root, in a network namespace of their own. An
// ordinary user has no part in them: the ordinary users are in the tests.
func TestMain(m *testing.M) {
	r := os.Getenv(role)
	if run := roles[r]; run != nil {
		os.Exit(run())
	}
	if os.Getuid() != 0 {
		fmt.Println("service: tested as root only")
		os.Exit(map[bool]int{true: 1}[os.Getenv("NETJAIL_TEST_REQUIRE") == "1"])
	}
	if r == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), role+"=tests")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve answers each line with a line.
func serve(a interface{ do(words []string) string }) int {
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		fmt.Println(strings.ReplaceAll(a.do(strings.Fields(in.Text())), "\n", "; "))
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

// start starts this binary in a role. It ends with the test.
func start(t testing.TB, r string, attr *syscall.SysProcAttr, env ...string) *agent {
	t.Helper()
	a, err := launch(r, attr, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	return a
}

func launch(r string, attr *syscall.SysProcAttr, env ...string) (*agent, error) {
	cmd := exec.Command("/proc/self/exe")
	switch {
	case strings.HasPrefix(r, "/"): // another program
		cmd = exec.Command(r)
	case r == "guard": // with no more than contrib/systemd gives it
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.Command("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin,+dac_override", self)
	}
	cmd.Env = append(append(os.Environ(), role+"="+r), env...)
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &agent{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	a.out.Buffer(nil, 1<<20)
	if !a.out.Scan() || a.out.Text() != "ready" {
		a.stop()
		return nil, fmt.Errorf("%s says %q, want that it is ready", r, a.out.Text())
	}
	return a, nil
}

func (a *agent) stop() {
	a.in.Close()
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
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

// want has an agent do something, with this outcome.
func (a *agent) want(t testing.TB, want, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if got := a.do("%s", what); got != want && !(want == "not" && got != "ok" && got != "gone") {
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
