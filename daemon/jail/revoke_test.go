package jail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/interpose"
)

// written is what a jail has said.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// newRevoked returns a supervisor whose jail is this process. It looks at once,
// and not later.
func newRevoked(t *testing.T) (*supervisor, *written) {
	t.Helper()
	w := new(written)
	s, err := newSupervisor(Config{App: "curl", Runtime: t.TempDir()}, "j", w)
	if err != nil {
		t.Fatal(err)
	}
	close(s.starting)
	close(s.running)
	s.revoker.later = time.Hour
	s.revoker.pids = func() []int { return []int{os.Getpid()} }
	return s, w
}

func (s *supervisor) put(t *testing.T, texts ...string) {
	t.Helper()
	if err := s.policy.take(api.Snapshot{Rules: api.FromRules(some(t, texts...))}); err != nil {
		t.Fatal(err)
	}
}

// settled waits until nothing is left to look back at.
func (s *supervisor) settled(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.revoker.mu.Lock()
		busy := s.revoker.busy
		s.revoker.mu.Unlock()
		if !busy {
			s.revoker.waiting.Wait()
			s.policy.reports.saying.Wait()
			return
		}
		if time.Now().After(end) {
			t.Fatal("it still looks")
		}
	}
}

// peer listens, and dials itself.
type peer struct {
	t *testing.T
	l net.Listener
}

func newPeer(t *testing.T, host string) *peer {
	t.Helper()
	var cfg net.ListenConfig
	cfg.SetMultipathTCP(false) // as in a jail
	l, err := cfg.Listen(t.Context(), "tcp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &peer{t, l}
}

func (p *peer) addr() string { return p.l.Addr().String() }

// open makes a connection, both ends of which this process has.
func (p *peer) open() (client, server net.Conn) {
	p.t.Helper()
	c, err := net.Dial("tcp4", p.addr())
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := p.l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

// alive says whether what one end sends reaches the other.
func alive(t *testing.T, a, b net.Conn) bool {
	t.Helper()
	_, err := a.Write([]byte("x"))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = b.Read(make([]byte, 1))
	if err != nil && err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRevoke(t *testing.T) {
	s, said := newRevoked(t)
	gone, stays, once := newPeer(t, "127.0.0.81"), newPeer(t, "127.0.0.82"), newPeer(t, "127.0.0.83")
	s.put(t, "allow "+gone.addr(), "allow "+stays.addr())
	c1, p1 := gone.open()
	c2, p2 := gone.open()
	c3, p3 := stays.open()
	c4, p4 := once.open() // by an answer, say
	s.put(t, "allow "+gone.addr(), "allow "+stays.addr(), "allow 192.0.2.1")
	s.settled(t)
	if !alive(t, c1, p1) || said.String() != "" {
		t.Fatalf("a rule more: it is ended, said %q", said)
	}
	s.put(t, "allow "+stays.addr(), "allow 192.0.2.1")
	s.settled(t)
	for i, c := range [][2]net.Conn{{c1, p1}, {c2, p2}} {
		if alive(t, c[0], c[1]) {
			t.Errorf("connection %d of a rule that was removed is alive", i+1)
		}
	}
	if !alive(t, c3, p3) || !alive(t, c4, p4) {
		t.Error("another one is not alive")
	}
	want := fmt.Sprintf("netjail: ended: curl tcp://%s: the rule that allowed it was removed (2 connections)\n", gone.addr())
	if got := said.String(); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	s.put(t, "allow "+stays.addr(), "deny "+once.addr())
	s.settled(t)
	if alive(t, c4, p4) || !alive(t, c3, p3) {
		t.Error("a rule denies what was allowed once, which is alive, or another one is not")
	}
	want += fmt.Sprintf("netjail: ended: curl tcp://%s: denied by a rule (1 connection)\n", once.addr())
	if got := said.String(); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

// TestRevokePending has a call that was allowed, and that is performed after the
// rule has gone.
func TestRevokePending(t *testing.T) {
	s, _ := newRevoked(t)
	gone := newPeer(t, "127.0.0.84")
	s.put(t, "allow "+gone.addr())
	c := &interpose.Call{TID: os.Getpid(), Op: interpose.Connect, Network: interpose.TCP, Addr: netip.MustParseAddrPort(gone.addr())}
	early, earlyPeer := gone.open()
	if v := s.policy.Check(c); v != interpose.Allow {
		t.Fatal(v)
	}
	s.put(t, "allow "+gone.addr(), "allow 192.0.2.1") // it is not this one that goes
	s.settled(t)
	s.put(t)
	defer func() {
		if n := len(s.revoker.snapshots()); n != 1 {
			t.Errorf("a successor would look at %d snapshots, want the one in force", n)
		}
	}()
	if v := s.policy.Check(&interpose.Call{TID: c.TID, Op: c.Op, Network: c.Network, Addr: c.Addr}); v == interpose.Allow {
		t.Error("allowed, though the rule is gone")
	}
	if alive(t, early, earlyPeer) {
		for end := time.Now().Add(time.Minute); alive(t, early, earlyPeer); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("what is open waits for what is not")
			}
		}
	}
	late, latePeer := gone.open()
	if !alive(t, late, latePeer) {
		t.Fatal("it is ended before its call is done")
	}
	c.Done()
	s.settled(t)
	if alive(t, late, latePeer) {
		t.Error("a call that was performed late leaves a connection")
	}
}

// TestRevokeListener has a listener and what it has accepted; and its port again.
func TestRevokeListener(t *testing.T) {
	s, said := newRevoked(t)
	mine, other := newPeer(t, "127.0.0.85"), newPeer(t, "127.0.0.86")
	rule := func(p *peer) string { return "allow listen+tcp://" + p.addr() }
	s.put(t, rule(mine), rule(other))
	c1, p1 := mine.open()
	c2, p2 := other.open()
	s.put(t, rule(other))
	s.settled(t)
	if alive(t, p1, c1) || !alive(t, p2, c2) {
		t.Error("what it has accepted is alive, or what another has is not")
	}
	if _, err := mine.l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("accept: got %v, want EINVAL", err)
	}
	if _, err := net.Dial("tcp4", mine.addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: got %v, want that it is refused", err)
	}
	want := fmt.Sprintf("netjail: ended: curl listen+tcp://%s: the rule that allowed it was removed", mine.addr())
	if got := said.String(); !strings.HasPrefix(got, want) || strings.Contains(got, other.addr()) {
		t.Errorf("said %q, want %q", got, want)
	}
}

// TestRevokeSuccessor: what a predecessor has not looked back at is not forgotten.
func TestRevokeSuccessor(t *testing.T) {
	old, _ := newRevoked(t)
	gone, stays := newPeer(t, "127.0.0.87"), newPeer(t, "127.0.0.88")
	old.put(t, "allow "+gone.addr(), "allow "+stays.addr())
	c1, p1 := gone.open()
	c2, p2 := stays.open()
	old.mu.Lock()
	old.ended = true
	old.mu.Unlock()
	old.put(t, "allow "+stays.addr())
	old.settled(t)
	if !alive(t, c1, p1) {
		t.Fatal("a supervisor whose program has ended still looks")
	}
	s, _ := newRevoked(t)
	s.put(t, "allow "+stays.addr())
	s.revoker.resume(old.revoker.snapshots())
	s.settled(t)
	if alive(t, c1, p1) || !alive(t, c2, p2) {
		t.Error("a connection of a rule that was removed is alive, or another one is not")
	}
}

// TestUse: what may leave something open is counted until it is done.
func TestUse(t *testing.T) {
	s, _ := newRevoked(t)
	s.put(t, "allow 192.0.2.1")
	f := s.policy.inForce.Load()
	tests := []struct {
		name string
		call interpose.Call
		want int64
	}{
		{"connect", interpose.Call{Op: interpose.Connect, Network: interpose.TCP}, 1},
		{"listen", interpose.Call{Op: interpose.Listen, Network: interpose.UDP}, 1},
		{"send", interpose.Call{Op: interpose.Send, Network: interpose.UDP}, 0},
		{"local", interpose.Call{Op: interpose.Connect, Network: interpose.Unix}, 0},
	}
	for _, tt := range tests {
		if s.policy.use(&tt.call) != f || f.calls.Load() != tt.want {
			t.Errorf("%s: %d calls, want %d", tt.name, f.calls.Load(), tt.want)
		}
		tt.call.Done()
		if n := f.calls.Load(); n != 0 {
			t.Errorf("%s: %d calls when it is done", tt.name, n)
		}
	}
}
