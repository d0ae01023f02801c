package notifier

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// How much of a program's text is shown.
const (
	maxApp     = 32
	maxExe     = 160
	maxCommand = 200
	maxName    = 80
	maxAliases = 3
)

// Headline says in one line what the app wants.
func (q Question) Headline() string {
	if q.Summary() {
		return q.sentence()
	}
	verb := "wants to connect to"
	switch q.Op {
	case rules.Send:
		verb = "wants to send to"
	case rules.Listen:
		verb = "wants to listen on"
	}
	return q.AppName() + q.title() + " " + verb + " " + phrase(q.Dest)
}

// Details returns what a person needs to decide, one fact a line: where the
// destination is, its names, who asks, where that is from and what started it,
// how many calls wait, what the end of the countdown does as seen from now, and
// the rule that "always" writes.
func (q Question) Details() []string {
	if q.Summary() {
		return q.summaryDetails(time.Now())
	}
	lines := []string{q.Where(), q.Who()}
	if background := q.Background(); background != "" {
		lines = append(lines, background)
	}
	if q.Note != "" {
		lines = append(lines, Clean(q.Note, maxCommand))
	}
	if q.Waiting > 1 {
		lines = append(lines, q.Calls())
	}
	return append(lines, q.Countdown(time.Now()), "always writes: "+q.RuleText(rules.Allow))
}

// AppName is the app's name, fit to be shown.
func (q Question) AppName() string {
	if q.App == "" {
		return "an unnamed app"
	}
	return Clean(q.App, maxApp)
}

// Where says where the destination is and which names are known for it.
func (q Question) Where() string {
	var where []string
	switch h := q.Dest.Host; {
	case h.Kind == rules.HostUnix:
		return "local socket"
	case h.Kind == rules.HostAddr:
		where = append(where, place(h.Addr, q.Op == rules.Listen))
	case q.Addr.IsValid():
		where = append(where, place(q.Addr, false), "at "+q.Addr.String())
	}
	if q.Op == rules.Listen {
		return strings.Join(where, "")
	}
	return strings.Join(append(where, q.known()), " · ")
}

// known says which names are known for the destination, and how.
func (q Question) known() string {
	own := q.Dest.Host.Kind == rules.HostName
	var others []string
	for _, n := range q.Names {
		if !own || n != q.Dest.Host.Name {
			others = append(others, n)
		}
	}
	var parts []string
	switch {
	case own && slices.Contains(q.Hosts, q.Dest.Host.Name):
		parts = append(parts, "named in /etc/hosts")
	case own:
		parts = append(parts, "looked up by "+q.AppName())
	case len(others) == 0:
		return "name unknown"
	}
	if len(others) > 0 {
		also := "known as "
		if own {
			also = "also known as "
		}
		parts = append(parts, also+shorter(others, maxNames))
	}
	if len(q.Aliases) > 0 {
		parts = append(parts, "by way of "+shorter(q.Aliases, maxAliases))
	}
	return strings.Join(parts, " · ")
}

// Who says which process asks: executable, pid, command.
func (q Question) Who() string {
	who := "unknown program"
	if q.Exe != "" {
		who = Clean(q.Exe, maxExe)
	}
	if q.PID != 0 {
		who += fmt.Sprintf(" (pid %d)", q.PID)
	}
	if q.Command != "" {
		who += ": " + Clean(q.Command, maxCommand)
	}
	return who
}

// Calls says how many calls wait.
func (q Question) Calls() string {
	if q.Waiting == 1 {
		return "1 call waits for the answer"
	}
	return fmt.Sprintf("%d calls wait for the answer", q.Waiting)
}

// Countdown says what happens when nobody answers, and how long after now.
func (q Question) Countdown(now time.Time) string {
	if q.Deadline.IsZero() {
		return "denied if you do not answer, no rule written"
	}
	left := max(0, q.Deadline.Sub(now).Round(time.Second))
	if q.Summary() {
		return fmt.Sprintf("the first is denied in %d s if you do not answer, no rule written", int(left.Seconds()))
	}
	return fmt.Sprintf("denied in %d s if you do not answer, no rule written", int(left.Seconds()))
}

// Done says in the past tense what an answer did.
func (a Answer) Done() string {
	verb := "denied"
	if a.Verdict == rules.Allow {
		verb = "allowed"
	}
	switch a.Lifetime.Kind {
	case rules.UntilExit:
		return verb + " until the app exits"
	case rules.For:
		return verb + " for " + a.Lifetime.String()
	case rules.Always:
		return verb + " always, rule written"
	}
	return verb + " once, no rule written"
}

// phrase is a destination in a sentence: "192.0.2.7 port 443 (https, tcp)".
func phrase(d rules.Destination) string {
	host := Clean(d.Host.String(), maxExe)
	switch d.Host.Kind {
	case rules.HostUnix:
		return host
	case rules.HostName, rules.HostSuffix:
		host += idn(d.Host.Name)
	}
	var notes []string
	switch {
	case d.Proto == rules.ICMP:
	case d.Ports.All():
		host += ", any port"
	default:
		host += " port " + d.Ports.String()
		if name := serviceName(d.Proto, d.Ports); name != "" {
			notes = append(notes, name)
		}
	}
	if d.Proto != rules.AnyProto {
		notes = append(notes, d.Proto.String())
	}
	if len(notes) == 0 {
		return host
	}
	return host + " (" + strings.Join(notes, ", ") + ")"
}

// serviceName is the usual name of what listens on a single port, or "".
func serviceName(proto rules.Proto, ports rules.Ports) string {
	if ports.Count() != 1 {
		return ""
	}
	port := ports.Ranges()[0].First
	if name := udpServices[port]; name != "" && proto == rules.UDP {
		return name
	}
	return services[port]
}

// place says where an address is.
func place(a netip.Addr, listen bool) string {
	switch {
	case listen && a.WithZone("").IsUnspecified():
		return "every network interface"
	case rules.IsMetadata(a):
		return "cloud metadata, hands out credentials"
	}
	switch c := rules.ClassOf(a); c {
	case rules.LAN:
		return "LAN"
	case rules.NoClass:
		return "not an address"
	default:
		return c.String()
	}
}
