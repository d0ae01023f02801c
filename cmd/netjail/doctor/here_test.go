package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Args[0] == HelperName {
		os.Exit(Help(os.Args[1:], os.Stdout))
	}
	if name := os.Getenv(lacking); name != "" {
		if err := examineLacking(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// lacking names, in the environment, what a test process does without.
const lacking = "NETJAIL_TEST_LACKING"

// examineLacking prints a report of a system that lacks something.
func examineLacking(name string) error {
	i := slices.IndexFunc(lacks, func(l lack) bool { return l.name == name })
	if i < 0 {
		return fmt.Errorf("%q?", name)
	}
	if err := lacks[i].remove(); err != nil {
		return err
	}
	s := Here()
	s.Wait = time.Minute
	return json.NewEncoder(os.Stdout).Encode(Examine(context.Background(), s))
}

// lack is something that a kernel or a container does not give. A seccomp
// filter makes this one so.
type lack struct {
	name  string
	nr    uint32
	arg   uint32 // the argument that tells
	bits  uint32 // of it; none: every call
	errno unix.Errno
	want  map[string]string // states
}

var lacks = []lack{
	{name: "nothing", nr: 1 << 30, want: map[string]string{"jail": "ok", "descriptors": "ok", "memory": "ok"}},
	{name: "pidfd_getfd", nr: unix.SYS_PIDFD_GETFD, errno: unix.EPERM, want: map[string]string{"jail": "fails", "descriptors": "fails", "memory": "ok"}},
	{name: "process_vm_readv", nr: unix.SYS_PROCESS_VM_READV, errno: unix.EPERM, want: map[string]string{"jail": "ok", "descriptors": "ok", "memory": "ok"}},
	{name: "unshare", nr: unix.SYS_UNSHARE, errno: unix.EPERM, want: map[string]string{"jail": "ok"}},
	{name: "close_range", nr: unix.SYS_CLOSE_RANGE, errno: unix.ENOSYS, want: map[string]string{"jail": "ok"}},
	{name: "a listener", nr: unix.SYS_SECCOMP, arg: 1, bits: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, errno: unix.EPERM, want: map[string]string{"jail": "fails"}},
	{name: "a free listener", want: map[string]string{"jail": "fails", "outer": "ok", "others": "absent"}},
	{name: "killable", nr: unix.SYS_SECCOMP, arg: 1, bits: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, errno: unix.EINVAL, want: map[string]string{"jail": "ok", "killable": "lost"}},
	{name: "wake-up", nr: unix.SYS_IOCTL, arg: 1, bits: unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, errno: unix.EINVAL, want: map[string]string{"jail": "ok", "wake-up": "lost"}},
	{name: "threads", nr: unix.SYS_PIDFD_OPEN, arg: 1, bits: unix.O_EXCL, errno: unix.EINVAL, want: map[string]string{"jail": "ok", "threads": "lost"}},
	{name: "landlock", nr: unix.SYS_LANDLOCK_CREATE_RULESET, errno: unix.ENOSYS, want: map[string]string{"jail": "ok", "landlock": "lost", "others": "lost"}},
	{name: "userns", nr: unix.SYS_CLONE, bits: unix.CLONE_NEWUSER, errno: unix.EPERM, want: map[string]string{"jail": "ok", "userns": "lost"}},
}

// remove makes this process, and what it starts, do without l.
func (l *lack) remove() error {
	const allow, refuse, jump = 0x7fff0000, 0x00050000, unix.BPF_JMP | unix.BPF_K
	test := unix.SockFilter{Code: jump | unix.BPF_JSET, K: l.bits, Jf: 1}
	switch {
	case l.bits == 0:
		test = unix.SockFilter{Code: jump | unix.BPF_JGE, Jf: 1}
	case l.bits == unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS:
		test.Code = jump | unix.BPF_JEQ // a number, not bits
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: jump | unix.BPF_JEQ, K: l.nr, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*l.arg},
		test,
		{Code: unix.BPF_RET | unix.BPF_K, K: refuse | uint32(l.errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: allow},
	}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC)
	if l.nr == 0 { // another supervisor, which asks about nothing
		prog = prog[len(prog)-1:]
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog))); e != 0 {
		return e
	}
	return nil
}

// report is a Report as others read it.
type report struct {
	Probes         []struct{ Name, State, Detail, Lost, Fix string }
	Verdict, Guard string
}

// TestHere examines this machine as it is, and without something each time.
func TestHere(t *testing.T) {
	scope, _ := os.ReadFile(yamaScope)
	for _, l := range lacks {
		t.Run(l.name, func(t *testing.T) {
			cmd := exec.Command(self)
			cmd.Args = []string{"doctor.test"}
			cmd.Env = append(os.Environ(), lacking+"="+l.name)
			out, err := output(cmd)
			if err != nil {
				t.Fatal(err)
			}
			var r report
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if len(r.Probes) != len(probes) {
				t.Errorf("%d probes, want %d", len(r.Probes), len(probes))
			}
			cannot := l.want["jail"] == "fails"
			if (r.Verdict == Cannot) != cannot {
				t.Errorf("verdict %s", r.Verdict)
			}
			for _, p := range r.Probes {
				t.Logf("%s %s: %s · %s · %s", p.State, p.Name, p.Detail, p.Lost, p.Fix)
				if w := l.want[p.Name]; w != "" && p.State != w && !(p.Name == "others" && len(scope) > 0) {
					t.Errorf("%s is %s, want %s", p.Name, p.State, w)
				}
			}
			if l.name == "landlock" && r.Guard != "strict" {
				t.Errorf("guard %s", r.Guard)
			}
		})
	}
}
