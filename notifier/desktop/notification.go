package desktop

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

const (
	appName = "netjail"
	noIcon  = "dialog-question" // of an app without one

	urgencyCritical = byte(2)

	// maxCapabilities bounds what is read of a server's answer.
	maxCapabilities = 256
)

// capabilities is what a notification server says it can do.
type capabilities struct{ actions, markup, persistence bool }

func parseCapabilities(names []string) capabilities {
	names = names[:min(len(names), maxCapabilities)]
	return capabilities{
		actions:     slices.Contains(names, "actions"),
		markup:      slices.Contains(names, "body-markup"),
		persistence: slices.Contains(names, "persistence"),
	}
}

// notification is what Notify is called with, and what its buttons mean.
type notification struct {
	summary, body string
	icon          string   // the app's
	actions       []string // key, label, key, label ...
	hints         map[string]dbus.Variant
	timeout       int32                      // milliseconds, 0: does not expire
	answers       map[string]notifier.Answer // by action key
}

// buttons are the answers a notification offers. Only they fit into one.
var buttons = []struct {
	verdict rules.Verdict
	life    rules.LifetimeKind
	label   string
}{
	{rules.Allow, rules.Always, "Allow always"},
	{rules.Allow, rules.Once, "Allow once"},
	{rules.Deny, rules.Once, "Deny"},
}

// build makes the notification of a question. newKey gives the action keys.
// It is not said to be of the app's desktop entry: a desktop that mutes the app
// would hide it, and one that shows whom a notification is from would lie.
func build(q notifier.Question, caps capabilities, now time.Time, newKey func() string) notification {
	n := notification{
		summary: plain(q.Headline()),
		icon:    cmp.Or(q.Icon, noIcon),
		hints: map[string]dbus.Variant{
			"urgency":  dbus.MakeVariant(urgencyCritical),
			"category": dbus.MakeVariant("network"),
			"resident": dbus.MakeVariant(false),
		},
		timeout: timeout(q.Deadline, caps, now),
		answers: make(map[string]notifier.Answer),
	}
	lines := q.Details()
	if caps.actions {
		n.addButtons(q, newKey)
	} else {
		lines = append(lines, "answer on the terminal")
	}
	text := plain
	if caps.markup {
		text = escape
	}
	n.body = text(strings.Join(lines, "\n"))
	return n
}

func (n *notification) addButtons(q notifier.Question, newKey func() string) {
	for _, b := range buttons {
		c, ok := q.Choose(b.verdict, notifier.Host, rules.Lifetime{Kind: b.life})
		if !ok {
			continue
		}
		c.Answer.By = "desktop"
		key := newKey()
		n.answers[key] = c.Answer
		n.actions = append(n.actions, key, b.label)
	}
}

// timeout lets the notification stay as long as the question: for ever where
// the server keeps notifications, for it is closed with the question.
func timeout(deadline time.Time, caps capabilities, now time.Time) int32 {
	left := deadline.Sub(now)
	if caps.persistence || deadline.IsZero() || left <= 0 || left > time.Hour {
		return 0
	}
	return int32(left.Milliseconds())
}

// dismissed is the answer of a person who closed the notification.
func dismissed(q notifier.Question) notifier.Answer {
	return notifier.Answer{Dest: q.Dest, Through: q.Last(), By: "desktop (dismissed)", Dismissed: true}
}

// randomKey is an action key that nobody can guess.
func randomKey() string { return "netjail-" + rand.Text() }

var (
	markup   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	noMarkup = strings.NewReplacer("&", "＆", "<", "‹", ">", "›")
)

// escape makes text show as it is where the server reads markup.
func escape(s string) string { return markup.Replace(s) }

// plain takes the markup characters out: a summary, and the body of a server
// without markup, are shown as they are by most servers and parsed by some.
func plain(s string) string { return noMarkup.Replace(s) }
