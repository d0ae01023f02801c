package jail

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// loss is why something that is open may not stay so.
type loss struct {
	dest rules.Destination
	why  string
}

// lost says whether what a request was let through for is covered no more. That
// is so if it is denied now and was not before; or if nobody has decided about it
// now, and a rule that is gone allowed it. What people allowed once stays open.
//
// Each name is looked at by itself: which of them a connection was opened by
// nobody knows, and others may have been looked up since. ruled is for what was
// perhaps never asked about: only what a rule allowed can be lost.
func (f *force) lost(past []*force, r *rules.Request, at ruling.Place, now time.Time, ruled bool) (loss, bool) {
	for i := range max(1, len(r.Names)) {
		one := *r
		if len(r.Names) > 0 {
			one.Names, one.Own = r.Names[i:i+1], min(1, max(0, r.Own-i))
		}
		is := f.Decide(&one, at, now)
		if is.Verdict == rules.Allow {
			continue
		}
		for _, old := range past {
			was := old.Decide(&one, at, now)
			if was.Verdict == rules.Allow && was.Rule != nil || is.Verdict == rules.Deny && was.Verdict != rules.Deny && !ruled {
				dest, _ := one.NamedDestination()
				return loss{dest, f.reason(is, was.Rule)}, true
			}
		}
	}
	return loss{}, false
}

// reason says what has become of the decision about something open.
func (f *force) reason(is ruling.Ruling, was *rules.Rule) string {
	switch {
	case is.Verdict == rules.Deny && is.Rule != nil:
		return "denied by " + origin(is.Rule)
	case is.Verdict == rules.Deny:
		return is.Why
	case is.Rule != nil:
		return "to be asked about, by " + origin(is.Rule)
	case slices.ContainsFunc(f.all, func(r rules.Rule) bool { return r.ID() == was.ID() }):
		return "the rule that allowed it was changed"
	}
	return "the rule that allowed it was removed"
}

// opened is the request by which a flow was decided about. ok is false where
// there was none, or nobody can tell.
func (p *policy) opened(f *flows.Flow, exe func(pid int) string) (r rules.Request, ok bool) {
	r = rules.Request{App: p.cfg.App, Op: rules.Connect, Proto: rules.TCP}
	if f.Network == "udp" {
		r.Proto = rules.UDP
	}
	if p.dns.resolver.At(f.Network, f.Remote) {
		return r, false // each name that goes there is decided about
	}
	switch {
	case f.State == flows.StateListen || f.State == flows.StateUnconnected:
		r.Op = rules.Listen
		r.Addr = netip.AddrPortFrom(f.Local.Addr().Unmap(), f.Local.Port())
	default:
		r.Addr = rules.Canonical(zoned(f.Remote))
		r.Names, r.Own = p.dns.ever(r.Addr.Addr())
		r.Self = p.self.Has(r.Addr.Addr())
	}
	r.Exe = exe(f.PID)
	return r, r.Addr.Port() != 0
}

// executables returns a function that finds the executable of a process, once.
func executables() func(pid int) string {
	known := make(map[int]string)
	return func(pid int) string {
		exe, ok := known[pid]
		if !ok {
			exe, _ = os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
			known[pid] = exe
		}
		return exe
	}
}

// accepted says whether a connection may be one that a listener has accepted. No
// kernel tells who began it.
func accepted(f, by *flows.Flow) bool {
	return f.Network == "tcp" && f.State != flows.StateListen && f.Local.Port() == by.Local.Port() &&
		(by.Local.Addr().IsUnspecified() || by.Local.Addr() == f.Local.Addr())
}

// endedLine tells of n connections that were ended.
func endedLine(app string, l loss, n int) string {
	text := fmt.Sprintf("netjail: ended: %s %s: %s", app, l.dest, notifier.Clean(l.why, 200))
	switch {
	case n == 1:
		text += " (1 connection)"
	case n > 1:
		text += fmt.Sprintf(" (%d connections)", n)
	}
	return text
}
