package interpose

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { victims["stalls"], victims["faults"] = stalls, faults }

// faults sends what is in a page that is missing, in the way that needs no
// privileges, and prints what comes of it.
func faults() {
	r := newRacer()
	for part := range parts {
		p := newPages(false, r)
		p.register(part)
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(r.fd), uintptr(p.at(partHead)), 2, unix.MSG_DONTWAIT, 0, 0)
		fmt.Println(part, int(n), int(errno))
	}
}

// TestUserModeFaults: no read stalls at such a page. It fails, as it does for
// the kernel.
func TestUserModeFaults(t *testing.T) {
	if !canUffd(t, false) {
		t.Skip("no userfaultfd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good, _, _ := counter(t)
	t.Setenv("NETJAIL_VICTIM", "faults")
	t.Setenv("NETJAIL_GOOD", good)
	t.Setenv("NETJAIL_BAD", "127.0.0.1:9")
	bare, err := exec.Command(self).Output()
	if err != nil {
		t.Fatalf("bare: %v", err)
	}
	const want = "0 -1 14\n1 -1 14\n2 -1 14\n3 -1 14\n4 -1 14\n5 1 0\n"
	if out, ws := run(t, allowAll, self); ws.ExitStatus() != 0 || out != want || string(bare) != want {
		t.Errorf("status %v, printed %q, bare %q, want %q", ws, out, bare, want)
	}
}

// stalls has $NETJAIL_STALLS reads of its memory stall, makes a call that is
// allowed meanwhile, prints what came of it, and dies in the midst of it.
func stalls() {
	n, _ := strconv.Atoi(os.Getenv("NETJAIL_STALLS"))
	r := newRacer()
	p := newPages(true, r)
	p.register(partName)
	runtime.GOMAXPROCS(4)
	each := make(chan string)
	for range n {
		go func() { p.sendto(r.fd); each <- "refused" }()
	}
	go func() {
		for {
			p.fault() // one for each that stalls
			each <- "stalled"
		}
	}()
	count := map[string]int{}
	for range n {
		count[<-each]++
	}
	start := time.Now()
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(r.fd), ptr(r.good), 16)
	fmt.Printf("%d stalled, %d refused, answered %d after %v\n", count["stalled"], count["refused"], errno, time.Since(start))
	unix.Kill(unix.Getpid(), unix.SIGKILL)
}

// TestStalledReads: while reads of a program's memory stall its other calls are
// answered, be it with EACCES, and nothing is left of those reads when it is killed.
func TestStalledReads(t *testing.T) {
	if !canUffd(t, true) {
		t.Skip("kernel faults need privileges")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good, _, _ := counter(t)
	t.Setenv("NETJAIL_VICTIM", "stalls")
	t.Setenv("NETJAIL_GOOD", good)
	t.Setenv("NETJAIL_BAD", "127.0.0.1:9")
	left := func() (descriptors, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list), runtime.NumGoroutine()
	}
	for _, n := range []int{0, 1, 64, maxReceivers - 1, maxReceivers + 50} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Setenv("NETJAIL_STALLS", strconv.Itoa(n))
			runtime.GC() // closes files that were forgotten
			fds, routines := left()
			out, ws := run(t, allowAll, self)
			want := fmt.Sprint(n, " stalled, 0 refused, answered 0 ")
			if n >= maxReceivers-1 { // nobody is left to read for another
				want = fmt.Sprint(maxReceivers-1, " stalled, ", n-maxReceivers+1, " refused, answered 13 ")
			}
			if ws.Signal() != unix.SIGKILL || !strings.HasPrefix(out, want) {
				t.Fatalf("status %v, printed %q", ws, out)
			}
			t.Log(strings.TrimSpace(out))
			for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				runtime.GC()
				f, r := left()
				if f <= fds && r <= routines {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("%d descriptors and %d goroutines, %d and %d before", f, r, fds, routines)
				}
			}
		})
	}
}
