package names

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// path has the system's programs and no user's shims: the tests run as
// different users.
const path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/go/bin"

// The test binary runs three times: the second time it makes its world, the
// third time it tests there, without the capabilities that took.
const (
	stage     = "NETJAIL_TEST_STAGE"
	inSetUp   = "set up"
	inWorld   = "test"
	worldDir  = "NETJAIL_TEST_WORLD"
	exitNoWay = 77 // there can be no world here
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "names:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	switch os.Getenv(stage) {
	case inSetUp:
		return exitNoWay, setUp(os.Getenv(worldDir))
	case inWorld:
		built.dir = os.Getenv(worldDir)
		os.Unsetenv(stage)
		os.Unsetenv(worldDir)
		if err := serve(); err != nil {
			return 0, err
		}
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "nj-names-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	return enter(dir)
}

// enter runs this program in namespaces of its own. An ordinary user keeps the
// id, and has capabilities only until the world is made.
func enter(dir string) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stage+"="+inSetUp, worldDir+"="+dir)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
	}
	cmd.SysProcAttr = attr
	runtime.LockOSThread() // or it dies with the thread
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		if e2etest.Required() {
			return 0, fmt.Errorf("namespaces are needed: %w", err)
		}
		fmt.Println("names: skipped, there are no namespaces:", err)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// configuration is what programs read, and what a test may write over.
var configuration = map[string]string{
	"/etc/resolv.conf": resolvConf,
	"/etc/hosts":       hosts,
	"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n" +
		"services: files\nprotocols: files\n",
}

// resolvConf has long timeouts, so that a denied program that waits for an
// answer is told from one that has an error at once.
const (
	resolvConf = "nameserver " + dnsServer + "\noptions timeout:30 attempts:1\n"
	hosts      = "127.0.0.1 localhost\n::1 localhost\n"
)

// setUp makes the world, and runs this program in it.
func setUp(dir string) error {
	os.Setenv("PATH", path)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for target, text := range configuration {
		source := worldFile(dir, target)
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(source, 0o644); err != nil {
			return err
		}
		real, err := filepath.EvalSymlinks(target)
		if err != nil {
			return err
		}
		if err := unix.Mount(source, real, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := unix.Sethostname([]byte("client")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	for _, args := range []string{
		"link set lo up",
		"addr add 198.51.100.200/24 dev lo", // and so all of them
		"addr add 10.77.0.1/32 dev lo",
		"-6 addr add " + dnsServer6 + "/128 dev lo nodad",
		"-6 addr add 2001:db8::6/128 dev lo nodad",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	runtime.LockOSThread()
	if os.Getuid() != 0 {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capabilities: %w", err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	os.Setenv(stage, inWorld)
	os.Unsetenv("LC_ALL")
	os.Setenv("LANG", "C.UTF-8")
	return syscall.Exec(exe, os.Args, os.Environ())
}

// worldFile is what lies below a file of the configuration.
func worldFile(dir, target string) string { return filepath.Join(dir, filepath.Base(target)) }

// configure changes a file of the configuration for one test.
func configure(t *testing.T, target, text string) {
	t.Helper()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(worldFile(built.dir, target), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	t.Cleanup(func() { write(configuration[target]) })
}

//go:embed testdata/client.c
var clientC []byte

//go:embed testdata/client.go.txt
var clientGo []byte

// built are the clients, each compiled once and used by several tests.
var built struct {
	dir string

	mu   sync.Mutex
	errs map[string]error
}

// build compiles source with a command, to which it appends "-o FILE SOURCE".
func build(t *testing.T, name, source string, code []byte, command ...string) string {
	t.Helper()
	e2etest.Need(t, command[0])
	built.mu.Lock()
	defer built.mu.Unlock()
	file := filepath.Join(built.dir, name)
	err, done := built.errs[name]
	if !done {
		err = compile(file, filepath.Join(built.dir, source), code, command)
		if built.errs == nil {
			built.errs = make(map[string]error)
		}
		built.errs[name] = err
	}
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return file
}

func compile(file, source string, code []byte, command []string) error {
	if err := os.WriteFile(source, code, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(command[0], append(command[1:], "-o", file, source)...)
	cmd.Dir = built.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off", "GOFLAGS=", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}

func glibcClient(t *testing.T) string {
	return build(t, "client-glibc", "client.c", clientC, "gcc", "-O1", "-Wall", "-Wextra", "-Werror")
}

func muslClient(t *testing.T) string {
	return build(t, "client-musl", "client.c", clientC, "musl-gcc", "-static", "-O1")
}

func goClient(t *testing.T) string {
	return build(t, "client-go", "client.go", clientGo, "go", "build")
}
