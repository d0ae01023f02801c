package interpose

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { victims["shuts"] = shuts }

// shuts waits in connect until another thread shuts its socket down, and then
// until there is no listener any more. It prints what comes of each, and whether
// the socket is as good as new.
func shuts() {
	s := &script{}
	full := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.bind("to fill", full, sa4("127.0.0.1:0"))
	_ = unix.Listen(full, 0)
	sa, _ := unix.Getsockname(full)
	to := sa4(fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port))
	s.connect("to fill", s.socket(unix.AF_INET, unix.SOCK_STREAM, 0), to)
	for _, end := range []struct {
		name string
		do   func(fd int)
	}{
		{"shut down", func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }},
		{"refused", func(int) { unix.Close(full) }}, // the last: there is nobody any more
	} {
		fd := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		go func() {
			for {
				info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				if err != nil || info.State == unix.BPF_TCP_SYN_SENT {
					break
				}
				time.Sleep(time.Millisecond)
			}
			end.do(fd)
		}()
		s.connect(end.name, fd, to)
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		fmt.Println("  state", info.State, err)
		s.connect("again", fd, sa4(os.Getenv("NETJAIL_GOOD")))
	}
}

// TestShutWhileConnecting: a connect that waits fails, and does not begin again.
func TestShutWhileConnecting(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good, _ := server(t)
	t.Setenv("NETJAIL_VICTIM", "shuts")
	t.Setenv("NETJAIL_GOOD", good)
	bare, err := exec.Command(self).Output()
	if err != nil {
		t.Fatal(err)
	}
	jailed, ws := run(t, allowAll, self)
	if ws.ExitStatus() != 0 {
		t.Errorf("status %v", ws)
	}
	compareLines(t, string(bare), jailed, 18)
}

// TestDone: when a policy hears that a call is done, it has been performed.
func TestDone(t *testing.T) {
	addr, count := server(t)
	connect := "import socket; socket.create_connection(('127.0.0.1', " + addr[len("127.0.0.1:"):] + "), 60)"
	tests := []struct {
		name           string
		check, decide  Verdict
		done, accepted int
	}{
		{"allowed at once", Allow, Deny, 1, 1},
		{"denied at once", Deny, Deny, 1, 0},
		{"allowed later", Wait, Allow, 2, 1},
		{"denied later", Wait, Deny, 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := count()
			var done, accepted atomic.Int64
			note := func(c *Call) {
				if c.Network == TCP {
					c.Done = func() { done.Add(1); accepted.Store(int64(count() - before)) }
				}
			}
			p := policy{
				check:  func(c *Call) Verdict { note(c); return tt.check },
				decide: func(_ context.Context, c *Call) Verdict { note(c); return tt.decide },
			}
			run(t, p, python, "-c", connect)
			if done.Load() != int64(tt.done) || accepted.Load() != int64(tt.accepted) {
				t.Errorf("done %d times, with %d connections then, want %d and %d", done.Load(), accepted.Load(), tt.done, tt.accepted)
			}
		})
	}
}
