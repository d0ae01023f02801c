package desktop

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// quick is a prompter that looks often for a bus that is away.
func quick(t *testing.T, address string) *Prompter {
	t.Helper()
	p := dial(t, address)
	p.pace.retry, p.pace.retryMax = 5*time.Millisecond, 20*time.Millisecond
	p.pace.away = wait
	return p
}

// TestBusRestarts: the bus goes away under a question and comes back, and the
// question with it, on the page where it was.
func TestBusRestarts(t *testing.T) {
	for _, service := range []string{"before the question is shown again", "after the bus"} {
		t.Run(service, func(t *testing.T) {
			bus, _ := privateBus(t)
			s := serve(t, bus.address, buttonsAndMarkup, nil)
			p := quick(t, bus.address)
			r := ask(t.Context(), p, named(t))
			old := recv(t, "notification", s.shown)
			s.click(t, old, "More…")
			old = recv(t, "scopes", s.shown)
			lost := linkOf(p)
			bus.kill()
			recv(t, "loss of the bus", lost.lost())
			bus = bus.again()
			if service == "after the bus" {
				reconnected(t, p, lost)
			}
			s = serve(t, bus.address, buttonsAndMarkup, nil)
			n := recv(t, "scopes again", s.shown)
			if n.body != old.body || n.replaces != 0 || n.key(t, "anything") == old.key(t, "anything") {
				t.Errorf("got %+v, want the page of %+v with new keys", n, old)
			}
			emit(t, s.conn, "ActionInvoked", n.id, old.key(t, "Back"))
			s.click(t, n, "Back")
			n = recv(t, "front page", s.shown)
			s.click(t, n, "Allow once")
			if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Allow {
				t.Errorf("got %+v, want allow", got)
			}
		})
	}
}

func linkOf(p *Prompter) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

// reconnected waits until p has another connection than old.
func reconnected(t *testing.T, p *Prompter, old *link) {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		if linkOf(p) != old {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not connect again")
		}
	}
}

// TestBusAway: a bus that does not come back is waited for, but not for ever,
// and not at all for a question that was never on the screen.
func TestBusAway(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := quick(t, bus.address)
	p.pace.away = 200 * time.Millisecond
	r := ask(t.Context(), p, question(t))
	recv(t, "notification", s.shown)
	killed := time.Now()
	bus.kill()
	got := recv(t, "end", r)
	if !errors.Is(got.err, notifier.ErrNobody) || time.Since(killed) < p.pace.away {
		t.Errorf("got %+v after %v, want %v after %v", got, time.Since(killed), notifier.ErrNobody, p.pace.away)
	}
	p.pace.away = time.Hour
	if got := recv(t, "end", ask(t.Context(), p, question(t))); !errors.Is(got.err, notifier.ErrNobody) {
		t.Errorf("asked without a bus: got %+v, want %v", got, notifier.ErrNobody)
	}
	// The next question finds it again.
	bus = bus.again()
	s = serve(t, bus.address, buttonsAndMarkup, nil)
	r = ask(t.Context(), p, question(t))
	s.click(t, recv(t, "notification", s.shown), "Deny")
	if got := recv(t, "answer", r); got.err != nil || got.a.By != byDesktop {
		t.Errorf("with the bus again: got %+v, want deny", got)
	}
}

// TestBusAwayEnds: what waits for the bus ends with its question, and with the
// prompter.
func TestBusAwayEnds(t *testing.T) {
	for _, how := range []string{"question", "prompter", "close"} {
		t.Run(how, func(t *testing.T) {
			bus, _ := privateBus(t)
			s := serve(t, bus.address, buttonsAndMarkup, nil)
			p := quick(t, bus.address)
			p.pace.retry = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := ask(ctx, p, question(t))
			recv(t, "notification", s.shown)
			l := linkOf(p)
			if how != "close" {
				bus.kill()
				recv(t, "loss of the bus", l.lost())
			}
			want := notifier.ErrAnswered
			if how == "question" {
				cancel(notifier.ErrAnswered)
			} else {
				want = errClosed
				if err := p.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
			if got := recv(t, "end", r); !errors.Is(got.err, want) {
				t.Errorf("got %+v, want %v", got, want)
			}
			p.Close()
			if _, err := p.Ask(t.Context(), question(t)); !errors.Is(err, errClosed) {
				t.Errorf("asked again: got %v, want %v", err, errClosed)
			}
		})
	}
}

// TestOneLink: many questions on a bus that restarts share one connection, and
// nothing is left of the old ones.
func TestOneLink(t *testing.T) {
	const questions = 20
	bus, _ := privateBus(t)
	p := quick(t, bus.address)
	count := func() (goroutines, sockets int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if name, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(name, "socket:") {
				sockets++
			}
		}
		return runtime.NumGoroutine(), sockets
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var asked []<-chan result
	var goroutines, sockets int
	for round := range 4 {
		s := serve(t, bus.address, buttonsAndMarkup, nil)
		for len(asked) < questions {
			asked = append(asked, ask(ctx, p, question(t)))
		}
		for range questions {
			recv(t, "notification", s.shown)
		}
		if round == 0 {
			goroutines, sockets = count()
		} else {
			settled(t, func() bool {
				g, n := count()
				return g <= goroutines && n <= sockets
			}, func() {
				g, n := count()
				t.Errorf("round %d: %d goroutines and %d sockets, want %d and %d", round, g, n, goroutines, sockets)
			})
		}
		if round < 3 {
			l := linkOf(p)
			bus.kill()
			recv(t, "loss of the bus", l.lost())
			s.conn.Close()
			bus = bus.again()
		}
	}
	cancel(notifier.ErrAnswered)
	for _, r := range asked {
		if got := recv(t, "end", r); !errors.Is(got.err, notifier.ErrAnswered) {
			t.Errorf("got %+v, want %v", got, notifier.ErrAnswered)
		}
	}
}

// settled waits until something holds, and says so if it never does.
func settled(t *testing.T, holds func() bool, otherwise func()) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			otherwise()
			return
		}
	}
}
