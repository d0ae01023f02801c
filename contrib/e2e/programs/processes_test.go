package programs

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestProcesses reaches a server from threads, and from processes that came
// about in different ways.
func TestProcesses(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(*testing.T) string
	}{{"glibc", glibcClient}, {"static musl", muslClient}} {
		for _, mode := range []string{"threads", "fork", "vfork", "spawn", "crowd"} {
			for _, kind := range []string{"tcp", "tcp-nb", "udpto"} {
				t.Run(c.name+"/"+mode+"/"+kind, func(t *testing.T) {
					proto := kind[:3]
					srv := listen(t, proto, "127.0.0.1:0")
					_, port, _ := net.SplitHostPort(srv.Addr())
					tr := trial{
						args: []string{c.build(t), mode, kind, "127.0.0.1", port},
						dest: proto + "://" + srv.Addr(), count: srv, denied: denial{code: 1},
					}
					tr.run(t)
				})
			}
		}
	}
}

// TestDaemonised leaves a process behind, which is filtered as before.
func TestDaemonised(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(*testing.T) string
	}{{"glibc", glibcClient}, {"static musl", muslClient}} {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(c.name+"/"+proto, func(t *testing.T) { leaveBehind(t, c.build(t), proto) })
		}
	}
}

func leaveBehind(t *testing.T, client, proto string, flags ...string) {
	h := e2etest.NewHome(t)
	allowed, denied := listen(t, proto, "127.0.0.1:0"), listen(t, proto, "127.0.0.1:0")
	_, allowedPort, _ := net.SplitHostPort(allowed.Addr())
	_, deniedPort, _ := net.SplitHostPort(denied.Addr())
	fifo, result := filepath.Join(h.Dir, "fifo"), filepath.Join(h.Dir, "result")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{client, "daemon", proto, "127.0.0.1", allowedPort, "127.0.0.1", deniedPort, fifo, result}

	// The run ends although the daemon waits, and before it has done anything.
	r := h.Run(slices.Concat([]string{"--no-prompt", "--allow", proto + "://" + allowed.Addr()}, flags, args)...)
	if r.Code != 0 || r.Stdout != "" || r.Stderr != "" {
		t.Fatalf("got %+v, want success and silence", r)
	}
	if _, err := os.Stat(result); err == nil {
		t.Fatal("the daemon did not wait")
	}
	release(t, fifo)
	var got []byte
	e2etest.WaitFor(t, "the daemon's result", func() (ok bool) {
		var err error
		got, err = os.ReadFile(result)
		return err == nil
	})
	lines := strings.Split(strings.TrimSpace(string(got)), "\n")
	if len(lines) != 2 || lines[0] != "ping" || !strings.Contains(lines[1], "Permission denied") {
		t.Errorf("the daemon got %q, want an answer and then a refusal", lines)
	}
	if n := allowed.Settled(t); n != 1 {
		t.Errorf("%d arrived at the allowed destination, want 1", n)
	}
	if n := denied.Settled(t); n != 0 {
		t.Errorf("%d arrived at the denied destination, want 0", n)
	}
}

// release opens a FIFO that somebody waits to read from.
func release(t *testing.T, fifo string) {
	t.Helper()
	e2etest.WaitFor(t, "a reader of "+fifo, func() bool {
		f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		f.Close()
		return true
	})
}
