package interpose

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

func pidfdOf(t *testing.T, pid int) int {
	t.Helper()
	fd, errno := sys.PidfdOpen(pid, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fd
}

// TestPidfdOfTheDead: a pidfd that was kept for a number whose thread has ended
// is not used for the one that has the number now.
func TestPidfdOfTheDead(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := pidfdOf(t, cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{threads: pidfdThread(), listener: -1}
	k := &call{pidfds: new(pidfds)}
	k.reset(s, &sys.Notif{PID: uint32(os.Getpid())})
	k.pidfds.put(k.tid(), dead)
	fd, errno := k.getfd(1)
	if errno != 0 {
		t.Fatalf("got %v, want a descriptor", errno)
	}
	sys.Close(fd)
	live := k.pidfd
	if k.close(); k.pidfds.take(k.tid()) != live {
		t.Error("the pidfd of the living was not kept")
	}
	sys.Close(live)
}

func TestPidfdsAreClosed(t *testing.T) {
	p := new(pidfds)
	a, b := pidfdOf(t, os.Getpid()), pidfdOf(t, os.Getpid())
	p.put(7, a)
	p.put(7+len(p), b) // in the same place
	if got := p.take(7); got != -1 {
		t.Errorf("got %d, want none", got)
	}
	p.close()
	for _, fd := range []int{a, b} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d is open", fd)
		}
	}
	if got := (*pidfds)(nil).take(7); got != -1 {
		t.Errorf("got %d from nowhere, want none", got)
	}
}
