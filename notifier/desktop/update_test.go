package desktop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// TestUpdate: bursts are shown as one, the last state in the end; the same
// notification, the same page, the same keys.
func TestUpdate(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, everything, nil)
	p := dial(t, bus.address)
	p.pace.update = 300 * time.Millisecond
	q := named(t)
	r := ask(t.Context(), p, q)
	first := recv(t, "notification", s.shown)
	begun := time.Now()
	const calls = 200
	for i := 2; i <= calls; i++ {
		q.Waiting = i
		p.Update(q)
		time.Sleep(time.Millisecond)
	}
	n, updates := first, 0
	for want := fmt.Sprintf("%d calls wait", calls); !strings.Contains(n.body, want); updates++ {
		n = recv(t, "update", s.shown)
		if n.id != first.id || n.replaces != first.id || fmt.Sprint(n.actions) != fmt.Sprint(first.actions) {
			t.Errorf("update: got %+v, want one of %+v", n, first)
		}
		if n.hints["suppress-sound"].Value() != true {
			t.Errorf("an update makes a sound: %v", n.hints)
		}
	}
	if most := int(time.Since(begun)/p.pace.update) + 1; updates > most {
		t.Errorf("%d updates within %v", updates, time.Since(begun))
	}

	p.Update(q)
	q.Deadline = q.Deadline.Add(time.Hour)
	p.Update(q)
	settled(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for s := range p.showing {
			return !s.news && !s.drawing
		}
		return false
	}, func() { t.Error("nothing has changed, and it is to be drawn") })
	if len(s.shown) != 0 {
		t.Errorf("shown although nothing has changed: %+v", <-s.shown)
	}

	s.click(t, n, "More…")
	n = recv(t, "scopes", s.shown)
	q.Names = append(q.Names, "alias.example")
	p.Update(q)
	again := recv(t, "scopes, updated", s.shown)
	if again.id != n.id || fmt.Sprint(again.actions) != fmt.Sprint(n.actions) || !strings.Contains(again.body, "alias.example") {
		t.Errorf("got %+v, want the page of %+v with the new name", again, n)
	}
	s.click(t, again, "anything")
	n = recv(t, "times", s.shown)
	s.click(t, n, "Once")
	n = recv(t, "last", s.shown)
	s.click(t, n, "Allow")
	if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Allow {
		t.Errorf("got %+v, want allow", got)
	}
	p.Update(q) // too late
}

// TestUpdateFirst: an update that overtakes its question is not lost.
func TestUpdateFirst(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	q := question(t)
	newer := q
	newer.Waiting = 7
	p.Update(newer)
	ask(t.Context(), p, q)
	if n := recv(t, "notification", s.shown); !strings.Contains(n.body, "7 calls") {
		t.Errorf("got\n%s\nwant 7 calls", n.body)
	}
	for i := range 100 {
		q.ID = fmt.Sprint(i)
		p.Update(q)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.early) != maxEarly {
		t.Errorf("%d updates are kept, want %d", len(p.early), maxEarly)
	}
}

// TestUpdateSummary: an answer is about what was on the screen when it was
// given, also when that is being replaced.
func TestUpdateSummary(t *testing.T) {
	bus, _ := privateBus(t)
	for name, tt := range map[string]struct {
		late    bool
		through int
	}{"in time": {false, 9}, "a moment too late": {true, 3}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, bus.address, everything, nil)
			defer s.conn.Close()
			p := dial(t, bus.address)
			p.pace.update = time.Millisecond
			r := ask(t.Context(), p, storm(t, 1, 2, 3))
			old := recv(t, "notification", s.shown)
			if !strings.Contains(old.summary, "3 more hosts") || !strings.Contains(old.body, "192.0.2.2 port 443") {
				t.Errorf("got %s\n%s", old.summary, old.body)
			}
			p.Update(storm(t, 2, 3, 9))
			n := recv(t, "update", s.shown)
			if !strings.Contains(n.body, "192.0.2.9 port 443") || n.id != old.id {
				t.Errorf("got %+v, want the new list in the old notification", n)
			}
			if tt.late {
				n = old
			}
			s.click(t, n, "Allow all until exit")
			want := notifier.Answer{Verdict: rules.Allow, Lifetime: rules.Lifetime{Kind: rules.UntilExit}, Through: tt.through, By: byDesktop}
			if got := recv(t, "answer", r); got.err != nil || got.a != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestUpdateCrossed: what happens to a notification while it is being updated
// has happened to what it was before.
func TestUpdateCrossed(t *testing.T) {
	bus, _ := privateBus(t)
	for name, tt := range map[string]struct {
		cross func(s *server, old, n note)
		want  notifier.Answer
	}{
		"dismissed": {func(s *server, old, n note) {
			s.conn.Emit(path, service+".NotificationClosed", old.id, closeReasonBy)
		}, notifier.Answer{Dismissed: true, Through: 3, By: "desktop (dismissed)"}},
		"typed": {func(s *server, old, n note) {
			s.conn.Emit(path, service+".NotificationReplied", old.id, "deny exit")
		}, notifier.Answer{Through: 3, By: byDesktop, Lifetime: rules.Lifetime{Kind: rules.UntilExit}}},
		"pressed": {func(s *server, old, n note) {
			s.conn.Emit(path, service+".ActionInvoked", old.id, old.actions[0])
			s.conn.Emit(path, service+".NotificationClosed", old.id, closeReasonBy)
		}, notifier.Answer{Review: true, Through: 3, By: byDesktop}},
	} {
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " the id is kept: ", kept), func(t *testing.T) {
				s := serve(t, bus.address, everything, nil)
				defer s.conn.Close()
				p := dial(t, bus.address)
				p.pace.update = time.Millisecond
				r := ask(t.Context(), p, storm(t, 1, 2, 3))
				old := recv(t, "notification", s.shown)
				drawnBy(t, p)
				s.early <- func(n note) { tt.cross(s, old, n) }
				if !kept {
					s.remove(old.id)
				}
				p.Update(storm(t, 2, 3, 9))
				n := recv(t, "update", s.shown)
				if got := recv(t, "answer", r); got.err != nil || got.a != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				if id := recv(t, "CloseNotification", s.closed); id != n.id {
					t.Errorf("closed %d, want what is on the screen, %d", id, n.id)
				}
			})
		}
	}
}

// TestUpdateNotice: a notice without buttons that was closed stays closed.
func TestUpdateNotice(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, []string{"body"}, nil)
	p := dial(t, bus.address)
	p.pace.update = time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	q := question(t)
	r := ask(ctx, p, q)
	n := recv(t, "notification", s.shown)
	q.Waiting = 2
	p.Update(q)
	n = recv(t, "update", s.shown)
	if !strings.Contains(n.body, "2 calls") {
		t.Errorf("got\n%s", n.body)
	}
	drawnBy(t, p)
	s.dismiss(t, n.id)
	settled(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for s := range p.showing {
			return s.now.id == 0
		}
		return false
	}, func() { t.Error("the notice is still there") })
	q.Waiting = 3
	p.Update(q)
	// The probe is asked after what must not be shown.
	probe := question(t)
	probe.ID, probe.App = "probe", "probe"
	ask(ctx, p, probe)
	if n := recv(t, "probe", s.shown); !strings.HasPrefix(n.summary, "probe") {
		t.Errorf("a notice that was closed is shown again: %+v", n)
	}
	cancel(notifier.ErrAnswered)
	if got := recv(t, "end", r); !errors.Is(got.err, notifier.ErrAnswered) {
		t.Errorf("got %+v, want %v", got, notifier.ErrAnswered)
	}
}
