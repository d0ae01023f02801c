package sys

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelSizes is struct seccomp_notif_sizes: what the running kernel thinks of the
// three structures above.
type kernelSizes struct {
	Notif, Resp, Data uint16
}

// notifSizes asks the kernel for the sizes of its structures.
func notifSizes() (kernelSizes, unix.Errno) {
	var s kernelSizes
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&s)))
	return s, e
}

// TestSizes pins hand-written structures to the running kernel's.
func TestSizes(t *testing.T) {
	s, errno := notifSizes()
	if errno != 0 {
		t.Fatal(errno)
	}
	want := kernelSizes{uint16(unsafe.Sizeof(Notif{})), uint16(unsafe.Sizeof(Resp{})), uint16(unsafe.Sizeof(Data{}))}
	if s != want {
		t.Errorf("the kernel says %+v, ours are %+v", s, want)
	}
	// The request's number carries the size, see _IOC in asm-generic/ioctl.h.
	for name, c := range map[string]struct{ request, size uintptr }{
		"RECV":  {unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Sizeof(Notif{})},
		"SEND":  {unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Sizeof(Resp{})},
		"ADDFD": {unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Sizeof(Addfd{})},
	} {
		if got := c.request >> 16 & 0x3fff; got != c.size {
			t.Errorf("%s: the request carries %d bytes, the structure has %d", name, got, c.size)
		}
	}
	if got := unsafe.Offsetof(Notif{}.Data) + unsafe.Offsetof(Data{}.Args); got != 32 {
		t.Errorf("arguments at %d, want 32", got)
	}
}

func TestListenerRefusedOutside(t *testing.T) {
	if errno := ListenerRefused(); errno != unix.EFAULT {
		t.Errorf("outside of a jail: got %v, want EFAULT", errno)
	}
}

func TestNofile(t *testing.T) {
	before, err := Nofile()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Nofile()
	if err != nil {
		t.Fatal(err)
	}
	if before.Max != again.Max {
		t.Errorf("hard limit %d, then %d", before.Max, again.Max)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil || now.Cur != now.Max {
		t.Errorf("afterwards the limit is %+v, %v; want it raised", now, err)
	}
}

// TestKeeperKilled kills a keeper before it can start its program.
func TestKeeperKilled(t *testing.T) {
	k, err := Fork(&Launch{
		Path: "/bin/true", Args: []string{"true"}, Landlock: -1,
		Filter: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(k.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := k.Start()
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it has started")
		}
		k.Reap()
	case <-time.After(20 * time.Second):
		t.Fatal("the start hangs")
	}
}
