package desktop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// TestPages goes through the pages on servers that take a pressed notification
// down at once, a moment later, or not at all.
func TestPages(t *testing.T) {
	bus, _ := privateBus(t)
	for name, press := range map[string]func(*testing.T, *server, note, string){
		"closes": func(t *testing.T, s *server, n note, label string) { s.click(t, n, label) },
		"closes by a call": func(t *testing.T, s *server, n note, label string) {
			emit(t, s.conn, "ActionInvoked", n.id, n.key(t, label))
			s.remove(n.id)
			emit(t, s.conn, "NotificationClosed", n.id, uint32(3))
		},
		"closes before it says what was pressed": func(t *testing.T, s *server, n note, label string) {
			s.remove(n.id)
			emit(t, s.conn, "ActionInvoked", n.id, n.key(t, label))
		},
		"stays": func(t *testing.T, s *server, n note, label string) {
			emit(t, s.conn, "ActionInvoked", n.id, n.key(t, label))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, bus.address, buttonsAndMarkup, nil)
			defer s.conn.Close()
			q := named(t)
			r := ask(t.Context(), dial(t, bus.address), q)
			n := recv(t, "front page", s.shown)
			for _, label := range []string{"More…", "anything", "Back", "example.org and below", "For 1 hour", "Allow"} {
				press(t, s, n, label)
				if label == "Allow" {
					break
				}
				next := recv(t, "page after "+label, s.shown)
				for i := 0; i < len(next.actions); i += 2 {
					if slices.Contains(n.actions, next.actions[i]) {
						t.Errorf("after %s: a key is used again", label)
					}
				}
				if next.replaces != n.id {
					t.Errorf("after %s: it replaces %d, want %d", label, next.replaces, n.id)
				}
				n = next
			}
			if rule := "netjail rules add curl allow 'tcp://.example.org:443' --for 1h"; !strings.Contains(
				strings.ReplaceAll(n.body, "'", ""), strings.ReplaceAll(rule, "'", "")) {
				t.Errorf("the last page does not say %s:\n%s", rule, n.body)
			}
			want, _ := q.Choose(rules.Allow, notifier.Domain, rules.Lifetime{Kind: rules.For, For: time.Hour})
			want.Answer.By = byDesktop
			if got := recv(t, "answer", r); got.err != nil || got.a != want.Answer {
				t.Errorf("got %+v, want %+v", got, want.Answer)
			}
			if id := recv(t, "CloseNotification", s.closed); id != n.id {
				t.Errorf("closed notification %d, want %d", id, n.id)
			}
		})
	}
}

// TestPageUndone: a server that takes down the page that a button has just
// opened shows it once more; then it is a person who closes it.
func TestPageUndone(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	p.pace.hasty = time.Hour
	r := ask(t.Context(), p, named(t))
	n := recv(t, "front page", s.shown)
	emit(t, s.conn, "ActionInvoked", n.id, n.key(t, "More…"))
	n = recv(t, "scopes", s.shown)
	drawnBy(t, p)
	s.dismiss(t, n.id)
	again := recv(t, "scopes again", s.shown)
	if again.replaces != 0 || again.body != n.body {
		t.Errorf("got %+v, want the same page as a new notification", again)
	}
	drawnBy(t, p)
	s.dismiss(t, again.id)
	if got := recv(t, "answer", r); got.err != nil || !got.a.Dismissed {
		t.Errorf("got %+v, want a dismissal", got)
	}
}

// TestPageClosed: closing a later page denies, like closing the first.
func TestPageClosed(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	p.pace.hasty = 0
	r := ask(t.Context(), p, named(t))
	n := recv(t, "front page", s.shown)
	s.click(t, n, "More…")
	n = recv(t, "scopes", s.shown)
	drawnBy(t, p)
	s.dismiss(t, n.id)
	if got := recv(t, "answer", r); got.err != nil || !got.a.Dismissed || got.a.By != "desktop (dismissed)" {
		t.Errorf("got %+v, want a dismissal", got)
	}
}

// TestPageRace: a click on a page that is on its way out is worth nothing,
// whether it arrives before the next page is shown or after.
func TestPageRace(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	r := ask(t.Context(), dial(t, bus.address), named(t))
	old := recv(t, "front page", s.shown)
	s.early <- func(n note) {
		for _, id := range []uint32{old.id, n.id} {
			s.conn.Emit(path, service+".ActionInvoked", id, old.actions[0])
			s.conn.Emit(path, service+".ActionInvoked", id, old.actions[2])
		}
	}
	emit(t, s.conn, "ActionInvoked", old.id, old.key(t, "More…"))
	n := recv(t, "scopes", s.shown)
	emit(t, s.conn, "ActionInvoked", n.id, old.key(t, "Allow always"))
	emit(t, s.conn, "ActionInvoked", n.id, old.key(t, "More…"))
	emit(t, s.conn, "ActionInvoked", n.id, n.key(t, "anything"))
	n = recv(t, "times", s.shown)
	emit(t, s.conn, "ActionInvoked", n.id, n.key(t, "Once"))
	n = recv(t, "last", s.shown)
	emit(t, s.conn, "ActionInvoked", n.id, n.key(t, "Deny"))
	if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Deny || got.a.Dest.Host.Kind != rules.HostAny {
		t.Errorf("got %+v, want anything denied", got)
	}
}

// TestPageRestart: the page that a person was on is shown by the next service,
// and the one that has gone, or a program with its name, has no say in it.
func TestPageRestart(t *testing.T) {
	bus, _ := privateBus(t)
	old := serve(t, bus.address, buttonsAndMarkup, nil)
	r := ask(t.Context(), dial(t, bus.address), named(t))
	n := recv(t, "front page", old.shown)
	old.click(t, n, "More…")
	n = recv(t, "scopes", old.shown)
	if _, err := old.conn.ReleaseName(service); err != nil {
		t.Fatal(err)
	}
	emit(t, old.conn, "ActionInvoked", n.id, n.key(t, "anything"))
	settle(t, old.conn)
	renewed := serve(t, bus.address, everything, nil)
	again := recv(t, "scopes at the new service", renewed.shown)
	if again.body != n.body || again.replaces != 0 {
		t.Errorf("got\n%s\nwant the page that was shown:\n%s", again.body, n.body)
	}
	emit(t, old.conn, "ActionInvoked", again.id, again.key(t, "anything"))
	emit(t, old.conn, "NotificationClosed", again.id, closeReasonBy)
	emit(t, old.conn, "NotificationReplied", again.id, "allow")
	emit(t, old.conn, "ActivationToken", again.id, "x")
	settle(t, old.conn)
	emit(t, renewed.conn, "ActionInvoked", again.id, n.key(t, "anything"))
	renewed.click(t, again, "www.example.org")
	again = recv(t, "times", renewed.shown)
	if !strings.Contains(again.body, "www.example.org holds") {
		t.Errorf("got the page\n%s", again.body)
	}
	renewed.click(t, again, "Always")
	again = recv(t, "last", renewed.shown)
	renewed.click(t, again, "Deny")
	if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Deny || got.a.Lifetime.Kind != rules.Always {
		t.Errorf("got %+v, want deny always", got)
	}
}

// TestReply answers in words, where a server has a line for them.
func TestReply(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, everything, nil)
	q := named(t)
	p := dial(t, bus.address)
	r := ask(t.Context(), p, q)
	n := recv(t, "notification", s.shown)
	if got := n.key(t, "Type an answer…"); got != replyKey || n.hints["x-kde-reply-placeholder-text"].Value() != replyHelp {
		t.Errorf("key %q, hints %v", got, n.hints)
	}
	for _, text := range []string{"", "perhaps <b>", "allow deny", "allow every"} {
		drawnBy(t, p)
		emit(t, s.conn, "NotificationReplied", n.id, text)
		s.dismiss(t, n.id)
		again := recv(t, fmt.Sprintf("notification after %q", text), s.shown)
		first, rest, _ := strings.Cut(again.body, "\n")
		if !strings.HasPrefix(first, notifier.ErrBadAnswer.Error()) || rest == "" || strings.Contains(again.body, "<") {
			t.Errorf("after %q the body is\n%s", text, again.body)
		}
		n = again
	}
	drawnBy(t, p)
	emit(t, s.conn, "NotificationReplied", n.id, "Domain allow 30m")
	want, _ := q.Choose(rules.Allow, notifier.Domain, rules.Lifetime{Kind: rules.For, For: 30 * time.Minute})
	want.Answer.By = byDesktop
	if got := recv(t, "answer", r); got.err != nil || got.a != want.Answer {
		t.Errorf("got %+v, want %+v", got, want.Answer)
	}
}

// TestReplyNotOffered: where there is no line to type in, nothing was typed.
func TestReplyNotOffered(t *testing.T) {
	bus, _ := privateBus(t)
	for name, caps := range map[string][]string{"buttons": buttonsAndMarkup, "no buttons": {"body", "inline-reply"}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, bus.address, caps, nil)
			defer s.conn.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := ask(ctx, dial(t, bus.address), named(t))
			n := recv(t, "notification", s.shown)
			emit(t, s.conn, "NotificationReplied", n.id, "allow always")
			emit(t, s.conn, "ActionInvoked", n.id, replyKey)
			settle(t, s.conn)
			cancel(notifier.ErrAnswered)
			if got := recv(t, "end", r); !errors.Is(got.err, notifier.ErrAnswered) {
				t.Errorf("got %+v, want %v", got, notifier.ErrAnswered)
			}
		})
	}
}
