package interpose

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/filter"
	"github.com/netjail/netjail/interpose/internal/sys"
)

// feature is something that older kernels lack. A seccomp filter makes this
// one say what they say.
type feature struct {
	name  string
	since string
	nr    uint32
	arg   uint32 // the argument that tells
	value uint32
	set   bool // value is a bit of it
	errno unix.Errno
	have  func() bool // probes for it
}

var features = []feature{
	{
		name: "PIDFD_THREAD", since: "6.9", nr: unix.SYS_PIDFD_OPEN, arg: 1, value: sys.PidfdThread, set: true, errno: unix.EINVAL,
		have: pidfdThread,
	}, {
		name: "SYNC_WAKE_UP", since: "6.6", nr: unix.SYS_IOCTL, arg: 1, value: unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, errno: unix.EINVAL,
		have: func() bool { return sys.NotifSyncWakeUp(-1) == unix.EBADF },
	}, {
		name: "WAIT_KILLABLE_RECV", since: "5.19", nr: unix.SYS_SECCOMP, arg: 1, value: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, set: true, errno: unix.EINVAL,
		have: sys.WaitKillable,
	}, {
		name: "CLOSE_RANGE_CLOEXEC", since: "5.11", nr: unix.SYS_CLOSE_RANGE, arg: 2, value: unix.CLOSE_RANGE_CLOEXEC, set: true, errno: unix.EINVAL,
		have: func() bool { return unix.CloseRange(math.MaxUint32, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil },
	}, {
		name: "Landlock", since: "5.13", nr: unix.SYS_LANDLOCK_CREATE_RULESET, errno: unix.ENOSYS,
		have: func() bool { abi, _ := Landlock(); return abi > 0 },
	},
}

// lacking names, in the environment, the feature that a test process lacks.
const lacking = "NETJAIL_TEST_LACKING"

func init() {
	name := os.Getenv(lacking)
	for i := range features {
		if f := &features[i]; name == f.name || name == "all" {
			if err := f.remove(); err != nil {
				fmt.Fprintln(os.Stderr, "remove", f.name, err)
				os.Exit(1)
			}
		}
	}
}

// remove makes this process, and what it starts, do without f.
func (f *feature) remove() error {
	jump := uint16(unix.BPF_JMP | unix.BPF_K)
	test := jump | unix.BPF_JEQ
	if f.set {
		test = jump | unix.BPF_JSET
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: jump | unix.BPF_JEQ, K: f.nr, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*f.arg},
		{Code: test, K: f.value, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: filter.Errno(f.errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: filter.Allow},
	}
	if f.arg == 0 { // every call
		prog[3] = unix.SockFilter{Code: jump | unix.BPF_JGE, K: 0, Jf: 1}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if e != 0 {
		return e
	}
	return nil
}

// TestOldKernels runs the tests of what calls do, each time without something
// that newer kernels have, and without all of that.
func TestOldKernels(t *testing.T) {
	if os.Getenv(lacking) != "" {
		t.Skip("this is the process without it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names(), "all") {
		t.Run(name, func(t *testing.T) {
			tests := "TestLacking|TestVerdicts|TestZeroPolicy|TestPanic|TestWait|TestInterrupted|TestCallerKilled|TestSIGPIPE|" +
				"TestSemantics|TestPrivateTable|TestKilledWhileWaiting|TestExecBeside|TestOnceUnderSignals"
			if name == "all" {
				tests += "|TestRaces|TestRecvfrom"
			}
			cmd := exec.Command(self, "-test.v", "-test.run", "^("+tests+")$", "-test.skip", "^TestRaces$/stalled|absent")
			// The Go runtime's own signals may have a call performed twice, see replay.
			cmd.Env = append(os.Environ(), lacking+"="+name, "NETJAIL_RACE_TRIES=1000", "GODEBUG=asyncpreemptoff=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func names() (list []string) {
	for _, f := range features {
		list = append(list, f.name)
	}
	return list
}

// TestLacking says that the other tests run without what they should.
func TestLacking(t *testing.T) {
	name := os.Getenv(lacking)
	if name == "" {
		t.Skip("nothing was taken from this kernel")
	}
	for _, f := range features {
		without := name == f.name || name == "all"
		if f.have() == without {
			t.Errorf("%s (Linux %s): found %v, want %v", f.name, f.since, !without, without)
		}
	}
}
