package interpose

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// reach tries to get hold of another process, and prints what came of it.
const reach = `
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    r = libc.syscall(*[ctypes.c_long(a) for a in args])
    return "ok" if r >= 0 else os.strerror(ctypes.get_errno())
def tries(pid):
    fd = libc.syscall(434, pid, 0)
    print("pidfd_getfd", call(438, fd, 0, 0))
    print("ptrace", call(101, 0x4206, pid, 0, 0)) # PTRACE_SEIZE
    buf = ctypes.create_string_buffer(8)
    class iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
    local = iovec(ctypes.addressof(buf), 8)
    remote = iovec(1, 8)
    L = ctypes.c_long
    libc.syscall(L(310), L(pid), ctypes.byref(local), L(1), ctypes.byref(remote), L(1), L(0))
    print("process_vm_readv", "allowed" if ctypes.get_errno() == 14 else os.strerror(ctypes.get_errno()))
    try:
        os.kill(pid, signal.SIGCONT)
        print("kill ok")
    except OSError as e:
        print("kill", os.strerror(e.errno))
tries(int(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(100)
    os._exit(0)
tries(child)
os.kill(child, signal.SIGKILL)
`

// TestDomain: nothing outside of the jail can be got hold of, everything inside
// can.
func TestDomain(t *testing.T) {
	if !Landlock() {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatal("this kernel has no Landlock for networks, and everything is required")
		}
		t.Skip("before Linux 6.7 there is no Landlock for networks, and the README says so")
	}
	outside := exec.Command("sleep", "100")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	defer outside.Wait()
	defer outside.Process.Kill()
	const denied = "Operation not permitted"
	want := "pidfd_getfd " + denied + "\nptrace " + denied + "\nprocess_vm_readv " + denied + "\nkill " + denied + "\n" +
		"pidfd_getfd ok\nptrace ok\nprocess_vm_readv allowed\nkill ok\n"
	pid := strconv.Itoa(outside.Process.Pid)
	if out, _ := run(t, allowAll, python, "-c", reach, pid); out != want {
		t.Errorf("jailed: printed\n%swant\n%s", out, want)
	}
	// What is refused is refused by the jail: the same program without one
	// gets hold of both.
	bare, err := exec.Command(python, "-c", reach, pid).Output()
	if err != nil {
		t.Fatal(err)
	}
	want = "pidfd_getfd ok\nptrace ok\nprocess_vm_readv allowed\nkill ok\n"
	if string(bare) != want+want {
		t.Errorf("bare: printed\n%swant\n%s", bare, want+want)
	}
}
