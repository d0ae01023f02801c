package notifier

import (
	"net/netip"
	"slices"
	"time"

	"github.com/netjail/netjail/rules"
)

// Request returns the request that was asked about. ok is false for a question
// about more than one.
func (q Question) Request() (r rules.Request, ok bool) {
	r = rules.Request{App: q.App, Op: q.Op, Proto: q.Dest.Proto, Exe: q.Exe}
	addr := q.Addr
	switch h := q.Dest.Host; h.Kind {
	case rules.HostUnix:
		r.Unix = h.Name
		return r, true
	case rules.HostName:
		r.Names, r.Own = q.names(h.Name)
	case rules.HostAddr:
		r.Names, r.Own = q.names()
		if !addr.IsValid() {
			addr = h.Addr
		}
	default:
		return r, false
	}
	var port uint16
	if ranges := q.Dest.Ports.Ranges(); len(ranges) > 0 {
		port = ranges[0].First
	}
	r.Addr = netip.AddrPortFrom(addr, port)
	return r, addr.IsValid()
}

// names returns all names that are known, the machine's own first.
func (q Question) names(more ...string) (list []string, own int) {
	list = slices.Clone(q.Hosts)
	for _, n := range append(slices.Clone(q.Names), more...) {
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list, len(q.Hosts)
}

// covers says whether what was answered to another question of the same app
// decides this one as well: whether a rule that says the same would.
func (q Question) covers(a Answer, now time.Time) bool {
	if a.Dest == q.Dest {
		return true
	}
	r, ok := q.Request()
	if !ok {
		return false
	}
	d := rules.NewSet([]rules.Rule{{App: q.App, Verdict: a.Verdict, Dest: a.Dest}}).Decide(&r, now)
	return d.Rule != nil && d.Verdict == a.Verdict
}
