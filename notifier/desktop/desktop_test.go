package desktop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

var (
	buttonsAndMarkup = []string{"actions", "body", "body-markup", "persistence"}
	everything       = append([]string{"icon-static", "sound", "inline-reply"}, buttonsAndMarkup...)
)

func TestAnswers(t *testing.T) {
	const (
		pressButton = "ActionInvoked"
		closeNote   = "NotificationClosed"
	)
	cases := []struct {
		name    string
		member  string
		arg     any // a button's label, or a reason
		verdict rules.Verdict
		kind    rules.LifetimeKind
		by      string
		err     error
	}{
		{"allow always", pressButton, "Allow always", rules.Allow, rules.Always, "desktop", nil},
		{"allow once", pressButton, "Allow once", rules.Allow, rules.Once, "desktop", nil},
		{"deny", pressButton, "Deny", rules.Deny, rules.Once, "desktop", nil},
		{"dismissed", closeNote, uint32(2), rules.Deny, rules.Once, "desktop (dismissed)", nil},
		{"expired", closeNote, uint32(1), 0, 0, "", notifier.ErrDismissed},
		{"closed by a call", closeNote, uint32(3), 0, 0, "", notifier.ErrDismissed},
		{"closed, who knows why", closeNote, uint32(77), 0, 0, "", notifier.ErrDismissed},
	}
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := question(t)
			r := ask(t.Context(), p, q)
			n := recv(t, "notification", s.shown)
			arg := c.arg
			if label, ok := arg.(string); ok {
				arg = n.key(t, label)
			}
			emit(t, s.conn, c.member, n.id, arg)
			want := notifier.Answer{Verdict: c.verdict, Lifetime: rules.Lifetime{Kind: c.kind}, Dest: q.Dest, By: c.by, Dismissed: c.by == "desktop (dismissed)"}
			if c.err != nil {
				want = notifier.Answer{}
			}
			if got := recv(t, "answer", r); got.a != want || !errors.Is(got.err, c.err) {
				t.Errorf("got %+v, want %+v, %v", got, want, c.err)
			}
			if c.member == pressButton {
				if id := recv(t, "CloseNotification", s.closed); id != n.id {
					t.Errorf("closed notification %d, want %d", id, n.id)
				}
			}
		})
	}
}

// TestForged: only the notification service's own signals with the right id
// and key count. The last one, a real one, is the positive control.
func TestForged(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, everything, nil)
	p := dial(t, bus.address)
	r := ask(t.Context(), p, question(t))
	n := recv(t, "notification", s.shown)
	allow, deny := n.key(t, "Allow always"), n.key(t, "Deny")

	forger := connect(t, bus.address)
	emit(t, forger, "ActionInvoked", n.id, allow)
	emit(t, forger, "NotificationClosed", n.id, uint32(1))
	emit(t, forger, "NotificationReplied", n.id, "allow always")
	emit(t, forger, "ActivationToken", n.id, allow)
	us := linkOf(p).conn.Names()[0]
	for _, f := range []struct {
		iface, member string
		path          dbus.ObjectPath
		args          []any
	}{
		{service, "ActionInvoked", path, []any{n.id, allow}},
		{service, "NotificationClosed", path, []any{n.id, uint32(1)}},
		{service, "NotificationReplied", path, []any{n.id, "allow always"}},
		{busName, "NameOwnerChanged", "/org/freedesktop/DBus", []any{service, s.conn.Names()[0], forger.Names()[0]}},
		{service, "ActionInvoked", path, []any{n.id, allow}},
	} {
		send(t, forger, us, f.path, f.iface, f.member, f.args...)
	}
	settle(t, forger)

	// From the right sender, but not ours or not well formed.
	emit(t, s.conn, "ActionInvoked", n.id+1, allow)
	emit(t, s.conn, "ActionInvoked", n.id, "default")
	emit(t, s.conn, "ActionInvoked", n.id, "allow-always")
	emit(t, s.conn, "ActionInvoked", n.id)
	emit(t, s.conn, "ActionInvoked", allow, n.id)
	emit(t, s.conn, "ActionInvoked", int32(n.id), allow)
	emit(t, s.conn, "ActionInvoked", n.id, []string{allow})
	emit(t, s.conn, "NotificationClosed", n.id+1, uint32(2))
	emit(t, s.conn, "NotificationClosed", n.id, "2")
	emit(t, s.conn, "Nonsense", n.id, allow)
	emit(t, s.conn, "ActivationToken", n.id, allow)
	emit(t, s.conn, "NotificationReplied", n.id+1, "allow")
	emit(t, s.conn, "NotificationReplied", n.id, []string{"allow"})
	emit(t, s.conn, "NotificationReplied", n.id, strings.Repeat("allow ", maxReply))
	send(t, s.conn, us, "/elsewhere", service, "ActionInvoked", n.id, allow)

	emit(t, s.conn, "ActionInvoked", n.id, deny)
	got := recv(t, "answer", r)
	if got.err != nil || got.a.Verdict != rules.Deny || got.a.By != "desktop" {
		t.Errorf("got %+v, want the real answer, deny", got)
	}
}

// send makes conn send a signal to one receiver.
func send(t *testing.T, conn *dbus.Conn, to string, at dbus.ObjectPath, iface, member string, args ...any) {
	t.Helper()
	msg := &dbus.Message{Type: dbus.TypeSignal, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldInterface:   dbus.MakeVariant(iface),
		dbus.FieldMember:      dbus.MakeVariant(member),
		dbus.FieldPath:        dbus.MakeVariant(at),
		dbus.FieldDestination: dbus.MakeVariant(to),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(args...)),
	}}
	if c := conn.Send(msg, nil); c.Err != nil {
		t.Fatal(c.Err)
	}
}

// TestEarly: a signal that overtakes Notify's answer is not lost.
func TestEarly(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	s.early <- func(n note) {
		s.conn.Emit(path, service+".NotificationClosed", n.id+1, uint32(1))
		s.conn.Emit(path, service+".ActionInvoked", n.id, n.actions[2])
	}
	got := recv(t, "answer", ask(t.Context(), dial(t, bus.address), question(t)))
	if got.err != nil || got.a.Verdict != rules.Allow {
		t.Errorf("got %+v, want allow", got)
	}
}

func TestWithoutButtons(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, []string{"body"}, nil)
	p := dial(t, bus.address)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := ask(ctx, p, question(t))
	n := recv(t, "notification", s.shown)
	if len(n.actions) != 0 {
		t.Errorf("buttons: got %q, want none", n.actions)
	}
	if !strings.HasSuffix(n.body, "answer with: netjail answer 0123abcd allow") {
		t.Errorf("body does not say how to answer:\n%s", n.body)
	}
	emit(t, s.conn, "ActionInvoked", n.id, "default")
	emit(t, s.conn, "ActionInvoked", n.id, "")
	settle(t, s.conn)
	cancel(notifier.ErrAnswered)
	if got := recv(t, "end", r); !errors.Is(got.err, notifier.ErrAnswered) {
		t.Errorf("got %+v, want %v", got, notifier.ErrAnswered)
	}
	if id := recv(t, "CloseNotification", s.closed); id != n.id {
		t.Errorf("closed notification %d, want %d", id, n.id)
	}
}

func TestTwoQuestions(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	r1 := ask(t.Context(), p, question(t))
	n1 := recv(t, "first notification", s.shown)
	r2 := ask(t.Context(), p, question(t))
	n2 := recv(t, "second notification", s.shown)
	emit(t, s.conn, "ActionInvoked", n1.id, n2.key(t, "Allow once")) // fits neither
	emit(t, s.conn, "ActionInvoked", n2.id, n2.key(t, "Deny"))
	if got := recv(t, "second answer", r2); got.err != nil || got.a.Verdict != rules.Deny {
		t.Errorf("second: got %+v, want deny", got)
	}
	emit(t, s.conn, "ActionInvoked", n1.id, n1.key(t, "Allow once"))
	if got := recv(t, "first answer", r1); got.err != nil || got.a.Verdict != rules.Allow {
		t.Errorf("first: got %+v, want allow", got)
	}
}

// TestRestart: the service goes away in the middle of a question and a new one
// shows it again; the old one's buttons are worth nothing then.
func TestRestart(t *testing.T) {
	bus, _ := privateBus(t)
	old := serve(t, bus.address, buttonsAndMarkup, nil)
	p := dial(t, bus.address)
	r := ask(t.Context(), p, question(t))
	n := recv(t, "notification", old.shown)
	if _, err := old.conn.ReleaseName(service); err != nil {
		t.Fatal(err)
	}
	renewed := serve(t, bus.address, []string{"actions"}, nil)
	again := recv(t, "notification of the new service", renewed.shown)
	if n.key(t, "Deny") == again.key(t, "Deny") {
		t.Error("the action keys were used twice")
	}
	emit(t, old.conn, "ActionInvoked", again.id, again.key(t, "Allow always"))
	emit(t, old.conn, "ActionInvoked", n.id, n.key(t, "Allow always"))
	settle(t, old.conn)
	emit(t, renewed.conn, "ActionInvoked", again.id, n.key(t, "Allow always"))
	emit(t, renewed.conn, "ActionInvoked", again.id, again.key(t, "Deny"))
	if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Deny || got.a.By != "desktop" {
		t.Errorf("got %+v, want the new service's answer, deny", got)
	}
}

// TestRestartsForEver: a service that dies of our notification is not asked
// without end.
func TestRestartsForEver(t *testing.T) {
	bus, _ := privateBus(t)
	p := dial(t, bus.address)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	r := ask(t.Context(), p, question(t))
	for i := range maxShows {
		recv(t, fmt.Sprintf("notification %d", i+1), s.shown)
		s.conn.Close()
		if i < maxShows-1 {
			s = serve(t, bus.address, buttonsAndMarkup, nil)
		}
	}
	if got := recv(t, "end", r); !errors.Is(got.err, errOwnerLost) {
		t.Errorf("got %+v, want %v", got, errOwnerLost)
	}
}

// TestBadServers: whatever a service answers, nobody was asked.
func TestBadServers(t *testing.T) {
	const garbage = "GetCapabilities"
	cases := map[string]map[string]any{
		"capabilities are text":   {garbage: func() (string, *dbus.Error) { return "actions", nil }},
		"capabilities are absent": {garbage: func() *dbus.Error { return nil }},
		"capabilities are nested": {garbage: func() ([]dbus.Variant, *dbus.Error) { return []dbus.Variant{dbus.MakeVariant(1)}, nil }},
		"capabilities fail":       {garbage: func() ([]string, *dbus.Error) { return nil, dbus.MakeFailedError(errors.New("no")) }},
		"capabilities never come": {garbage: func() ([]string, *dbus.Error) { select {} }},
		"id is text":              {"Notify": notifyAs("7")},
		"id is zero":              {"Notify": notifyAs(uint32(0))},
		"id is signed":            {"Notify": notifyAs(int32(7))},
		"id is a struct":          {"Notify": notifyAs(struct{ A, B uint32 }{7, 7})},
		"no Notify":               {"Notify": func(int) *dbus.Error { return nil }},
	}
	bus, _ := privateBus(t)
	p := dial(t, bus.address)
	p.pace.call = 300 * time.Millisecond
	for name, methods := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, bus.address, []string{"actions"}, methods)
			defer s.conn.Close()
			if got := recv(t, "end", ask(t.Context(), p, question(t))); !errors.Is(got.err, notifier.ErrNobody) {
				t.Errorf("got %+v, want %v", got, notifier.ErrNobody)
			}
			if _, err := s.conn.ReleaseName(service); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func notifyAs[T any](id T) any {
	return func(string, uint32, string, string, string, []string, map[string]dbus.Variant, int32) (T, *dbus.Error) {
		return id, nil
	}
}

func TestNobody(t *testing.T) {
	for _, address := range []string{
		"", "nonsense", "unix:path=/nonexistent/bus", "tcp:host=127.0.0.1,port=1",
		"unixexec:path=/bin/touch,argv1=" + filepath.Join(t.TempDir(), "x"), "autolaunch:",
	} {
		if got := recv(t, "end", ask(t.Context(), dial(t, address), question(t))); !errors.Is(got.err, notifier.ErrNobody) {
			t.Errorf("%q: got %v, want %v", address, got.err, notifier.ErrNobody)
		}
	}
	bus, _ := privateBus(t)
	p := dial(t, "unix:path=/nonexistent;"+bus.address)
	if got := recv(t, "end", ask(t.Context(), p, question(t))); !errors.Is(got.err, notifier.ErrNobody) {
		t.Errorf("no service: got %+v, want %v", got, notifier.ErrNobody)
	}
	var none *Prompter
	if _, err := none.Ask(t.Context(), question(t)); !errors.Is(err, notifier.ErrNobody) {
		t.Errorf("nil prompter: got %v, want %v", err, notifier.ErrNobody)
	}
}

func TestTrust(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, buttonsAndMarkup, nil)
	for _, trusted := range []bool{false, true} {
		p := dial(t, bus.address)
		p.Trust(func(pid int) bool { return trusted && pid == os.Getpid() })
		r := ask(t.Context(), p, question(t))
		if !trusted {
			if got := recv(t, "end", r); !errors.Is(got.err, notifier.ErrNobody) || len(s.shown) != 0 {
				t.Errorf("untrusted: got %+v, %d notifications, want %v and none", got, len(s.shown), notifier.ErrNobody)
			}
			continue
		}
		n := recv(t, "notification", s.shown)
		emit(t, s.conn, "ActionInvoked", n.id, n.key(t, "Allow once"))
		if got := recv(t, "answer", r); got.err != nil || got.a.Verdict != rules.Allow {
			t.Errorf("trusted: got %+v, want allow", got)
		}
	}
}

// TestActivation: the bus starts the service when a question needs it.
func TestActivation(t *testing.T) {
	bus, dir := privateBus(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("[D-BUS Service]\nName=%s\nExec=/usr/bin/env %s=1 %s\n", service, activated, self)
	if err := os.WriteFile(filepath.Join(dir, service+".service"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, bus.address)
	if err := conn.BusObject().Call(busName+".ReloadConfig", 0).Err; err != nil {
		t.Fatal(err)
	}
	got := recv(t, "answer", ask(t.Context(), dial(t, bus.address), question(t)))
	if got.err != nil || got.a.Verdict != rules.Deny || got.a.By != "desktop" {
		t.Errorf("got %+v, want deny", got)
	}
}
