package desktop

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

const (
	appName = "netjail"
	noIcon  = "dialog-question" // of an app without one

	urgencyCritical = byte(2)

	// maxCapabilities bounds what is read of a server's answer.
	maxCapabilities = 256

	// replyKey is what the action must be called that opens a line to type in.
	replyKey  = "inline-reply"
	replyHelp = "allow or deny · address, host, domain, any · once, exit, 1h, always"
)

// abilities are what a notification server can do.
type abilities struct {
	actions, body, markup, persistence, icons, sound, reply bool

	resident bool // a pressed notification need not go away, and does when told to
	row      room
}

// parseAbilities reads what a server of that name says it can do.
func parseAbilities(names []string, server string) abilities {
	names = names[:min(len(names), maxCapabilities)]
	has := func(c string) bool { return slices.Contains(names, c) }
	a := abilities{
		actions:     has("actions"),
		body:        has("body"),
		markup:      has("body-markup"),
		persistence: has("persistence"),
		icons:       has("icon-static") || has("icon-multi"),
		sound:       has("sound"),
		reply:       has(replyKey) && has("actions"),
	}
	switch server {
	case "gnome-shell": // drops further buttons
		a.resident, a.row.buttons = true, 3
	case "Notification Daemon": // GNOME's old one leaves what is closed on the screen, and cuts off a longer row
		a.row.letters = 48
	}
	return a
}

// notification is what Notify is called with, and what its buttons mean.
type notification struct {
	summary, body string
	icon          string // the app's
	buttons       []button
	hints         map[string]dbus.Variant
	timeout       int32 // milliseconds, 0: does not expire
}

// build makes the notification that shows a page of a question. It is not said
// to be of the app's desktop entry: a desktop that mutes the app would hide it,
// and one that shows whom a notification is from would lie.
func build(q notifier.Question, can abilities, m menu, complaint string, now time.Time) notification {
	n := notification{
		summary: plain(q.Headline()),
		hints: map[string]dbus.Variant{
			"urgency":  dbus.MakeVariant(urgencyCritical),
			"category": dbus.MakeVariant("network"),
			"resident": dbus.MakeVariant(can.actions && can.resident),
		},
		timeout: timeout(q.Deadline, can, now),
	}
	if can.icons {
		n.icon = cmp.Or(q.Icon, noIcon)
	}
	if can.reply {
		n.hints["x-kde-reply-placeholder-text"] = dbus.MakeVariant(replyHelp)
	}
	var lines []string
	if can.actions {
		lines, n.buttons = m.view(q, can.row)
	}
	lines = text(q, lines, complaint, now)
	if !can.actions {
		how := "answer with: netjail answer " + q.ID[:min(len(q.ID), 8)] + " allow"
		lines = append(lines, how)
		if !can.body {
			n.summary += " · " + plain(how)
		}
	}
	show := plain
	if can.markup {
		show = escape
	}
	n.body = show(strings.Join(lines, "\n"))
	return n
}

// sameAs says whether o looks like n, and its buttons do the same.
func (n notification) sameAs(o notification) bool {
	return n.summary == o.summary && n.body == o.body && n.icon == o.icon && slices.Equal(n.buttons, o.buttons)
}

// timeout lets the notification stay as long as the question: for ever where
// the server keeps notifications, for it is closed with the question.
func timeout(deadline time.Time, can abilities, now time.Time) int32 {
	left := deadline.Sub(now)
	if can.persistence || deadline.IsZero() || left <= 0 || left > time.Hour {
		return 0
	}
	return int32(left.Milliseconds())
}

// dismissed is the answer of a person who closed the notification.
func dismissed(q notifier.Question) notifier.Answer {
	return notifier.Answer{Dest: q.Dest, Through: q.Last(), By: byDesktop + " (dismissed)", Dismissed: true}
}

// randomKey is an action key that nobody can guess.
func randomKey() string { return "netjail-" + rand.Text() }

var (
	markup   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	noMarkup = strings.NewReplacer("&", "＆", "<", "‹", ">", "›")
)

// escape makes text show as it is where the server reads markup.
func escape(s string) string { return markup.Replace(s) }

// plain takes the markup characters out: a summary, a label, and the body of a
// server without markup, are shown as they are by most servers and parsed by
// some.
func plain(s string) string { return noMarkup.Replace(s) }
