package programs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// refusal is system calls that a container's seccomp profile refuses.
type refusal struct {
	errno unix.Errno
	flags uint32 // of the first argument that make it so; 0: always
	calls []uint32
}

// What the profiles of container engines refuse to a container that was given no
// capability, of what netjail could make use of.
var (
	namespaces = refusal{errno: unix.EPERM, flags: 0x7e020000, calls: []uint32{unix.SYS_CLONE}} // CLONE_NEW*
	docker     = []refusal{
		namespaces,
		{errno: unix.ENOSYS, calls: []uint32{unix.SYS_CLONE3}},
		{errno: unix.EPERM, calls: []uint32{unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KEYCTL,
			unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER}},
	}
	podman = []refusal{
		namespaces, // its own profile leaves that to the kernel
		{errno: unix.EPERM, calls: []uint32{unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD}},
		{errno: unix.ENOSYS, calls: []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
			unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF}},
	}
	getfd  = refusal{errno: unix.EPERM, calls: []uint32{unix.SYS_PIDFD_GETFD}}
	memory = refusal{errno: unix.EPERM, calls: []uint32{unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE, unix.SYS_KCMP}}
	kcmp   = refusal{errno: unix.EPERM, calls: []uint32{unix.SYS_KCMP}}
)

var containers = []struct {
	name    string
	profile []refusal
	runs    bool
}{
	{"docker", append(slices.Clone(docker), getfd, kcmp), false},
	{"docker before Linux 4.8", append(slices.Clone(docker), getfd, memory), false},
	{"docker --cap-add SYS_PTRACE", docker, true},
	{"podman", append(slices.Clone(podman), memory), true},
	{"podman --cap-add SYS_PTRACE", podman, true},
}

// The test binary is what runs in a container when these are in its environment.
const (
	containerName = "NETJAIL_TEST_CONTAINER"
	containerRole = "NETJAIL_TEST_ROLE" // "connect": what netjail runs
)

func init() {
	if os.Getenv(containerRole) == "connect" {
		connectAll(os.Args[1:])
	}
	for _, c := range containers {
		if c.name == os.Getenv(containerName) {
			os.Exit(enter(c.profile, os.Args[1:]))
		}
	}
}

// connectAll says what comes of a connection to each address. The calls are made
// from several threads, as any program may.
func connectAll(addrs []string) {
	for _, addr := range addrs {
		runtime.LockOSThread() // the next goroutine gets another
		done := make(chan string)
		go func() {
			c, err := net.DialTimeout("tcp", addr, 10*time.Second)
			if err != nil {
				done <- "refused"
				return
			}
			c.Close()
			done <- "connected"
		}()
		fmt.Println(<-done)
	}
	os.Exit(0)
}

// enter puts a profile into force and executes a command under it. "probe" says
// whether there is pidfd_getfd, process_vm_readv, a new user namespace, io_uring.
func enter(profile []refusal, command []string) int {
	os.Unsetenv(containerName)
	runtime.LockOSThread()
	prog := program(profile)
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "prctl:", err)
		return 1
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog))); e != 0 {
		fmt.Fprintln(os.Stderr, "seccomp:", e)
		return 1
	}
	if command[0] == "probe" {
		probe()
		return 0
	}
	err := unix.Exec(command[0], command, os.Environ())
	fmt.Fprintln(os.Stderr, command[0], err)
	return 1
}

func probe() {
	pidfd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err == nil {
		_, err = unix.PidfdGetfd(pidfd, pidfd, 0)
	}
	var b [1]byte
	local := unix.Iovec{Base: &b[0], Len: 1}
	remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&b[0])), Len: 1}
	_, read := unix.ProcessVMReadv(unix.Getpid(), []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	apart := exec.Command("true")
	apart.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	_, _, ring := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	fmt.Println(err == nil, read == nil, apart.Run() == nil, ring == unix.EFAULT)
}

// program is a profile as a filter.
func program(profile []refusal) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		any   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		first = 16 // args[0] in struct seccomp_data
	)
	prog := []unix.SockFilter{{Code: load}}
	for _, r := range profile {
		for _, nr := range r.calls {
			if r.flags == 0 {
				prog = append(prog, unix.SockFilter{Code: equal, K: nr, Jf: 1}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)})
				continue
			}
			prog = append(prog,
				unix.SockFilter{Code: equal, K: nr, Jf: 4},
				unix.SockFilter{Code: load, K: first},
				unix.SockFilter{Code: any, K: r.flags, Jf: 1},
				unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)},
				unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
		}
	}
	return append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// TestContainers runs netjail under the seccomp profiles of container engines: it
// works there, or says why it does not, and what to do, and runs nothing.
func TestContainers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		t.Run(c.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			h.Env = append(h.Env, containerName+"="+c.name)
			inside := func(args ...string) e2etest.Result {
				cmd := h.Command()
				cmd.Path, cmd.Args = self, append([]string{self}, args...)
				return h.Finish(cmd)
			}
			// That the profile refuses what it should.
			refuses := func(r refusal) bool {
				return slices.ContainsFunc(c.profile, func(p refusal) bool { return slices.Equal(p.calls, r.calls) })
			}
			want := fmt.Sprintln(!refuses(getfd), !refuses(memory), false, false)
			if r := inside("probe"); r.Stdout != want {
				t.Fatalf("without netjail: %q %q, want %q", r.Stdout, r.Stderr, want)
			}
			allowed, denied := e2etest.Listen(t), e2etest.Listen(t)
			if r := inside("/usr/bin/env", containerRole+"=connect", self, allowed.Addr(), denied.Addr()); r.Stdout != "connected\nconnected\n" {
				t.Fatalf("without netjail: %+v", r)
			}
			before := allowed.Settled(t)

			for _, guard := range h.Guards() {
				if guard == "landlock" && strings.HasPrefix(c.name, "podman") {
					guard = "auto" // there is none in there
				}
				r := inside(e2etest.Bin(t), "--guard", guard, "--no-prompt", "--allow", allowed.Addr(), "--", "/usr/bin/env", containerRole+"=connect", self, allowed.Addr(), denied.Addr())
				if n := denied.Settled(t); n != 1 {
					t.Errorf("%d connections arrived at the denied address, 1 of them before", n)
				}
				if c.runs {
					before++
					if r.Code != 0 || r.Stdout != "connected\nrefused\n" {
						t.Errorf("%s: %+v", guard, r)
					}
				} else if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "pidfd_getfd: operation not permitted") || !strings.Contains(r.Stderr, "--cap-add SYS_PTRACE") {
					t.Errorf("%s: %+v, want that it names pidfd_getfd and --cap-add", guard, r)
				}
				if n := allowed.Settled(t); n != before {
					t.Errorf("%d connections arrived at the allowed address, want %d", n, before)
				}
			}
			r := inside(e2etest.Bin(t), "doctor")
			if runs := r.Code == 0; runs != c.runs {
				t.Errorf("netjail doctor: %+v", r)
			}
		})
	}
}
