package desk

import (
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestDoctor: what netjail doctor says of a session bus and of whoever shows
// notifications there.
func TestDoctor(t *testing.T) {
	line := func(h *e2etest.Home) string {
		t.Helper()
		r := h.Run("doctor")
		if r.Code != 0 || !strings.Contains(r.Stdout, "\nnetjail works here, ") {
			t.Errorf("exit %d, stderr %q, stdout:\n%s", r.Code, r.Stderr, r.Stdout)
		}
		_, after, _ := strings.Cut(r.Stdout, " notification ")
		return strings.Join(strings.Fields(after[:min(len(after), 400)]), " ")
	}
	h := e2etest.NewHome(t)
	d := bus(t, h)
	if got := line(h); !strings.HasPrefix(got, "no notification service") || !strings.Contains(got, "lost: questions on the desktop") {
		t.Errorf("without a service: %q", got)
	}
	d.display()
	service := d.dunst()
	if got := line(h); !strings.HasPrefix(got, "dunst ") || !strings.Contains(got, " actions ") {
		t.Errorf("dunst: %q", got)
	}
	_ = service.Process.Kill()
	e2etest.WaitFor(t, "dunst has gone", func() bool { return !d.owns("org.freedesktop.Notifications") })
	d.notifier(notificationDaemon)
	if got := line(h); !strings.HasPrefix(got, "Notification Daemon ") || !strings.Contains(got, " actions ") {
		t.Errorf("notification-daemon: %q", got)
	}
	_ = d.bus.Process.Kill()
	e2etest.WaitFor(t, "the bus has gone", func() bool { return !d.owns("org.freedesktop.DBus") })
	if got := line(h); !strings.HasPrefix(got, "no session bus: ") {
		t.Errorf("without a bus: %q", got)
	}
}
