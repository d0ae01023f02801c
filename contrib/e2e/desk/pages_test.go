package desk

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// The pages behind "More…" of a question about an address, for which there are
// two things that an answer can be about: itself and anything.
const (
	scopes   = 3 // buttons: the address, anything, back
	times    = 3 // once, until exit, next
	longer   = 3 // for 1 hour, always, back
	verdicts = 3 // allow, deny, back
)

// TestMore presses "More…", then what, for how long, and allow or deny.
func TestMore(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pages [][2]int // how many buttons to wait for, and which to press
		lines []string // the same, of dunst
		code  int
		want  string // the rule, with the port for %d
		life  string // of the rule
	}{
		{"anything for an hour", [][2]int{{front, more}, {scopes, 1}, {times, 2}, {longer, 0}, {verdicts, 0}},
			[]string{"More…", "anything", "For 1 hour", "Allow"}, 0, "allow @any", "until"},
		{"the address always, denied", [][2]int{{front, more}, {scopes, 0}, {times, 2}, {longer, 1}, {verdicts, 1}},
			[]string{"More…", "127.0.0.1", "Always", "Deny"}, 7, "deny tcp://127.0.0.1:%d", "always"},
		{"there and back, once", [][2]int{{front, more}, {scopes, 2}, {front, more}, {scopes, 1}, {times, 0}, {verdicts, 0}},
			[]string{"More…", "Back", "More…", "anything", "Once", "Allow"}, 0, "", ""},
	} {
		check := func(t *testing.T, h *e2etest.Home, srv *server, run <-chan e2etest.Result) {
			t.Helper()
			wantResult(t, "curl", <-run, tt.code)
			reached := 0
			if tt.code == 0 {
				reached = 1
			}
			srv.wantReached(t, "after the answer", reached)
			if tt.want == "" {
				wantRules(t, h)
				return
			}
			want := tt.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, srv.Port())
			}
			wantRules(t, h, want)
			if r := h.Run("rules", "list", "--json"); !strings.Contains(r.Stdout, `"lifetime": "`+tt.life+`"`) {
				t.Errorf("the rule does not hold %s: %s", tt.life, r.Stdout)
			}
		}
		t.Run(tt.name+", clicked", func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			d := bus(t, h)
			d.display()
			t.Cleanup(d.keep)
			d.notifier(notificationDaemon)
			run := later(h, h.Command("curl", "-s", srv.url()))
			for i, page := range tt.pages {
				p := d.popup(page[0])
				d.picture(fmt.Sprintf("%s-%d", t.Name(), i))
				srv.wantReached(t, "before the last click", 0)
				d.turn(p.buttons()[page[1]])
			}
			d.gone()
			check(t, h, srv, run)
		})
		t.Run(tt.name+", picked", func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			d := bus(t, h)
			d.display()
			t.Cleanup(d.keep)
			d.dunst()
			run := later(h, h.Command("curl", "-s", srv.url()))
			for i, line := range tt.lines {
				d.displayed(1)
				srv.wantReached(t, "before the last line is picked", 0)
				d.pick(line)
				d.picture(fmt.Sprintf("%s-%d", t.Name(), i))
			}
			d.displayed(0)
			check(t, h, srv, run)
		})
	}
}

// TestMoreRestarts kills the notification daemon below a later page. The next
// one shows that page.
func TestMoreRestarts(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	d := bus(t, h)
	d.display()
	t.Cleanup(d.keep)
	first := d.notifier(notificationDaemon)
	run := later(h, h.Command("curl", "-s", srv.url()))
	d.turn(d.popup(front).buttons()[more])
	d.turn(d.popup(scopes).buttons()[1])
	d.popup(times)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.gone()
	e2etest.WaitFor(t, "the name is free", func() bool { return !d.owns("org.freedesktop.Notifications") })
	waitQuestion(t, h)
	d.dunst()
	d.displayed(1)
	d.pick("Until curl exits")
	srv.wantReached(t, "before the last page", 0)
	d.pick("Allow")
	wantResult(t, "curl", <-run, 0)
	srv.wantReached(t, "after the click", 1)
	wantRules(t, h)
}

// TestBusRestarts kills the bus below a question. It is shown again when there
// is another one at the same address.
func TestBusRestarts(t *testing.T) {
	for _, service := range []struct {
		name  string
		start func(*desktop) *exec.Cmd
		press func(*desktop)
	}{
		{"notification-daemon", func(d *desktop) *exec.Cmd { return d.notifier(notificationDaemon) },
			func(d *desktop) { d.click(d.popup(front).buttons()[allowOnce]) }},
		{"dunst", (*desktop).dunst, func(d *desktop) { d.displayed(1); d.pick("Allow once") }},
	} {
		t.Run(service.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			d := bus(t, h)
			d.display()
			t.Cleanup(d.keep)
			first := d.notifier(notificationDaemon)
			run := later(h, h.Command("curl", "-s", srv.url()))
			d.popup(front)
			if err := d.bus.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = first.Process.Kill()
			d.gone()
			waitQuestion(t, h)
			d.startBus()
			service.start(d)
			srv.wantReached(t, "while it is shown again", 0)
			service.press(d)
			wantResult(t, "curl", <-run, 0)
			srv.wantReached(t, "after the click", 1)
			wantRules(t, h)
		})
	}
	t.Run("it does not come back", func(t *testing.T) {
		h := e2etest.NewHome(t)
		srv := listen(t)
		d := bus(t, h)
		d.display()
		d.dunst()
		run := later(h, h.Command("curl", "-s", srv.url()))
		d.displayed(1)
		if err := d.bus.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		wantResult(t, "curl", <-run, 7, "there is no terminal and no desktop to ask on")
		srv.wantReached(t, "in the end", 0)
	})
}

// TestOneNotification asks for two calls at once: there is one notification,
// which says so.
func TestOneNotification(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	d := bus(t, h)
	d.display()
	t.Cleanup(d.keep)
	d.notifier(notificationDaemon)
	first := later(h, h.Command("curl", "-s", srv.url()))
	p := d.popup(front)
	d.picture("one-call")
	second := later(h, h.Command("curl", "-s", srv.url()))
	e2etest.WaitFor(t, "two calls wait", func() bool {
		s := statusOf(t, h)
		return len(s.Questions) == 1 && s.Questions[0].Waiting == 2
	})
	before := p.img.Bounds().Dy()
	p = d.popupThat("a notification that has become longer", func(p *popup) bool {
		return len(p.buttons()) == front && p.img.Bounds().Dy() > before
	})
	d.picture("two-calls")
	d.click(p.buttons()[allowOnce])
	wantResult(t, "the first curl", <-first, 0)
	wantResult(t, "the second curl", <-second, 0)
	d.gone()
	srv.wantReached(t, "after the click", 2)
}

// TestSummary lets an app ask for seven destinations at once. What comes after
// the first four is one notification, which brings itself up to date.
func TestSummary(t *testing.T) {
	h := e2etest.NewHome(t)
	var servers []*server
	script := ""
	for range 7 {
		srv := listen(t)
		servers = append(servers, srv)
		script += "curl -s " + srv.url() + " & "
	}
	d := bus(t, h)
	d.display()
	t.Cleanup(d.keep)
	d.dunst()
	run := later(h, h.Command("sh", "-c", script+"wait"))
	e2etest.WaitFor(t, "seven calls wait", func() bool {
		waiting := 0
		for _, q := range statusOf(t, h).Questions {
			waiting += q.Waiting
		}
		return waiting >= 7
	})
	d.displayed(5)
	d.picture("summary")
	reached := func() (n int) {
		for _, srv := range servers {
			n += srv.Settled(t)
		}
		return n
	}
	if n := reached(); n != 0 {
		t.Fatalf("%d connections before an answer", n)
	}
	d.pickLine("#Allow all until exit (sh wants 3 more hosts)")
	d.displayed(4)
	e2etest.WaitFor(t, "three connections", func() bool { return reached() == 3 })
	for n := 3; n >= 0; n-- {
		d.pick("Deny")
		e2etest.WaitFor(t, "one question less", func() bool { return len(statusOf(t, h).Questions) <= n })
	}
	<-run
	if n := reached(); n != 3 {
		t.Errorf("%d connections, want those of the summary, 3", n)
	}
	wantRules(t, h)
}
