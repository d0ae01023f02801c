package desk

import (
	"fmt"
	"image"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// The buttons from the left.
const (
	allowAlways = iota
	allowOnce
	deny
	more
)

// front is how many buttons the first page has.
const front = 4

// TestButtons clicks on each button of a notification. Until then the call
// waits.
func TestButtons(t *testing.T) {
	for _, tt := range []struct {
		name    string
		press   func(*popup)
		code    int
		verdict string // of the rule that is written
		says    string
	}{
		{"allow always", button(allowAlways), 0, "allow", ""},
		{"allow once", button(allowOnce), 0, "", ""},
		{"deny", button(deny), 7, "", "answered by desktop"},
		{"close", (*popup).clickClose, 7, "", "answered by desktop (dismissed)"},
		{"taken away", (*popup).takeAway, 7, "", "question dismissed without an answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			d := bus(t, h)
			d.display()
			t.Cleanup(d.keep)
			d.notifier(notificationDaemon)
			run := later(h, h.Command("curl", "-s", srv.url()))
			p := d.popup(front)
			pid := waitQuestion(t, h)
			srv.wantReached(t, "before the click", 0)
			if !alive(pid) || len(run) != 0 {
				t.Fatal("curl does not wait for the answer")
			}
			tt.press(p)
			r := <-run
			wantResult(t, "curl", r, tt.code, tt.says)
			if tt.name != "taken away" { // then this daemon leaves the window where it is
				d.gone()
			}
			reached := 0
			if tt.code == 0 {
				reached = 1
				if r.Stdout != "hello\n" {
					t.Errorf("curl got %q", r.Stdout)
				}
			}
			srv.wantReached(t, "after the click", reached)
			if tt.verdict == "" {
				wantRules(t, h)
				return
			}
			wantRules(t, h, fmt.Sprintf("%s tcp://127.0.0.1:%d", tt.verdict, srv.Port()))
			wantResult(t, "the second run", h.Run("curl", "-s", srv.url()), tt.code)
			srv.wantReached(t, "after the second run", 2*reached)
		})
	}
}

// button returns what clicks on the n-th button.
func button(n int) func(*popup) {
	return func(p *popup) { p.d.click(p.buttons()[n]) }
}

// clickClose clicks beside the text, which closes like the cross at the top
// right does: this daemon has no room for that where there are four buttons.
func (p *popup) clickClose() {
	b := p.img.Bounds()
	p.d.click(image.Pt(b.Min.X+2*margin, b.Max.Y-2*margin))
}

// takeAway closes the notification as a program on the bus does. The first one
// of a daemon has number 1.
func (p *popup) takeAway() {
	p.d.output("gdbus", "call", "--session", "-d", "org.freedesktop.Notifications", "-o", "/org/freedesktop/Notifications",
		"-m", "org.freedesktop.Notifications.CloseNotification", "1")
}

// TestDunst answers at a notification daemon whose buttons are commands.
func TestDunst(t *testing.T) {
	for _, tt := range []struct {
		name    string
		press   string // line of the menu, or ""
		code    int
		verdict string
	}{
		{"allow always", "Allow always", 0, "allow"},
		{"allow once", "Allow once", 0, ""},
		{"deny", "Deny", 7, ""},
		{"close", "", 7, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			d := bus(t, h)
			d.display()
			t.Cleanup(d.keep)
			d.dunst()
			run := later(h, h.Command("curl", "-s", srv.url()))
			waitQuestion(t, h)
			d.displayed(1)
			srv.wantReached(t, "before the answer", 0)
			if tt.press == "" {
				d.output("dunstctl", "close")
			} else {
				d.pick(tt.press)
			}
			wantResult(t, "curl", <-run, tt.code)
			if tt.verdict == "" {
				wantRules(t, h)
			} else {
				wantRules(t, h, fmt.Sprintf("%s tcp://127.0.0.1:%d", tt.verdict, srv.Port()))
			}
			reached := 0
			if tt.code == 0 {
				reached = 1
			}
			srv.wantReached(t, "after the answer", reached)
		})
	}
}

// TestNobody denies at once where there is neither a terminal nor anybody on
// the bus who shows notifications.
func TestNobody(t *testing.T) {
	for _, tt := range []struct {
		name string
		bus  bool
	}{{"no bus", false}, {"a bus without notifications", true}} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			if tt.bus {
				bus(t, h)
			}
			r := h.Run("curl", "-s", srv.url())
			rule := fmt.Sprintf("netjail rules add curl allow tcp://127.0.0.1:%d", srv.Port())
			wantResult(t, "curl", r, 7, "netjail: denied: curl connect tcp://"+srv.Addr(),
				"no terminal and no desktop to ask on", "To allow it: "+rule)
			srv.wantReached(t, "after the denial", 0)
			wantResult(t, rule, h.Run(strings.Fields(rule)[1:]...), 0)
			wantResult(t, "curl with the rule", h.Run("curl", "-s", srv.url()), 0)
			srv.wantReached(t, "with the rule", 1)
		})
	}
}

// TestFirstAnswerWins asks on a terminal and on the desktop at once.
func TestFirstAnswerWins(t *testing.T) {
	start := func(t *testing.T) (*e2etest.Home, *server, *desktop, *screen) {
		h := e2etest.NewHome(t)
		d := bus(t, h)
		d.display()
		t.Cleanup(d.keep)
		return h, listen(t), d, newScreen(t, h)
	}
	ask := func(t *testing.T, h *e2etest.Home, s *screen, srv *server) {
		t.Helper()
		s.run("curl", "netjail curl -s "+srv.url())
		s.question(h)
		srv.wantReached(t, "before an answer", 0)
	}
	t.Run("terminal", func(t *testing.T) {
		h, srv, d, s := start(t)
		d.dunst()
		ask(t, h, s, srv)
		d.displayed(1)
		s.keys("a")
		s.ended("curl", 0)
		d.displayed(0)
		srv.wantReached(t, "after the key", 1)
		wantRules(t, h)
	})
	t.Run("desktop", func(t *testing.T) {
		h, srv, d, s := start(t)
		d.dunst()
		ask(t, h, s, srv)
		d.displayed(1)
		d.pick("Deny")
		s.ended("curl", 7)
		// Which of the two it says depends on who hears of it first.
		s.wait("^netjail: (answered elsewhere|question closed)$")
		s.sane()
		d.displayed(0)
		srv.wantReached(t, "after the click", 0)
		wantRules(t, h)
	})
	t.Run("too late", func(t *testing.T) {
		// This notification daemon leaves what is closed on the screen.
		h, srv, d, s := start(t)
		d.notifier(notificationDaemon)
		ask(t, h, s, srv)
		p := d.popup(front)
		s.keys("d")
		s.ended("curl", 7)
		d.click(p.buttons()[allowAlways])
		d.gone()
		srv.wantReached(t, "after the click", 0)
		wantRules(t, h)
	})
	t.Run("no notifications", func(t *testing.T) {
		h := e2etest.NewHome(t)
		srv := listen(t)
		bus(t, h)
		s := newScreen(t, h)
		ask(t, h, s, srv)
		s.keys("a")
		s.ended("curl", 0)
		srv.wantReached(t, "after the key", 1)
	})
}

// TestNotifierRestarts kills the notification daemon below a question. The
// next one shows it again.
func TestNotifierRestarts(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	d := bus(t, h)
	d.display()
	t.Cleanup(d.keep)
	first := d.notifier(notificationDaemon)
	run := later(h, h.Command("curl", "-s", srv.url()))
	d.popup(front)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.gone()
	e2etest.WaitFor(t, "the name is free", func() bool { return !d.owns("org.freedesktop.Notifications") })
	waitQuestion(t, h)
	d.notifier(notificationDaemon)
	p := d.popup(front)
	srv.wantReached(t, "while it is shown again", 0)
	d.click(p.buttons()[allowOnce])
	wantResult(t, "curl", <-run, 0)
	srv.wantReached(t, "after the click", 1)
}
