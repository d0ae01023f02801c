package interpose

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { victims["holds"] = holds }

// holds has one read of its memory stall, says so, and waits to be killed.
func holds() {
	r := newRacer()
	p := newPages(true, r)
	p.register(partName)
	runtime.GOMAXPROCS(4)
	go p.sendto(r.fd)
	p.fault()
	fmt.Println("stalled")
	select {}
}

// TestHandOverStalled hands a jail over while a read of its memory stalls: that
// holds nobody up, and the call goes with the others.
func TestHandOverStalled(t *testing.T) {
	if !canUffd(t, true) {
		t.Skip("kernel faults need privileges")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good, _, _ := counter(t)
	for k, v := range map[string]string{"NETJAIL_VICTIM": "holds", "NETJAIL_GOOD": good, "NETJAIL_BAD": "127.0.0.1:9"} {
		t.Setenv(k, v)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	saved, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	unix.Dup2(int(w.Fd()), 1)
	proc, err := start(&Command{Path: self, Args: []string{self}, Env: os.Environ()})
	unix.Dup2(saved, 1)
	unix.Close(saved)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := NewSupervisor(proc.TakeListener(), allowAll, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "stalled\n" {
		t.Fatalf("the victim said %q, %v", line, err)
	}
	begun := time.Now()
	calls := s.HandOver()
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("took %v", took)
	}
	if len(calls) != 1 || calls[0].N.Data.Nr != unix.SYS_SENDTO {
		t.Errorf("handed over %+v, want one sendto", calls)
	}
	if err := unix.Kill(proc.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
