package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/rules"
)

// place is what the machine is, as supervisors see it too.
type place struct {
	socket  string // the daemon's
	self    ruling.Self
	sockets ruling.Sockets
	hosts   func(netip.Addr) []string
	addr    func(string) (netip.Addr, bool) // of a name in the hosts file
	servers func() []netip.AddrPort
}

func newPlace(socket string) *place {
	const hosts = "/etc/hosts"
	return &place{socket: socket, hosts: names.Hosts(hosts), addr: names.HostAddr(hosts), servers: names.Servers("/etc/resolv.conf")}
}

// explain says what a supervisor would decide about a call, by the rules in
// force.
func (s *server) explain(m *api.Message) (any, error) {
	in, err := decode[api.ExplainRequest](m)
	if err != nil {
		return nil, err
	}
	if err := rules.CheckAppName(in.App); err != nil {
		return nil, invalid(err)
	}
	if err := s.store.trouble(); err != nil {
		return nil, err
	}
	if err := s.lists.trouble(); err != nil {
		return nil, s.lists.advise(err)
	}
	e := explainer{in: &in, place: s.place}
	for _, r := range s.store.all() {
		if r.Jail != "" && r.App == in.App && r.Jail != in.Jail {
			e.elsewhere++
		}
		if r.HoldsIn(in.Jail) {
			e.list = append(e.list, r)
		}
	}
	e.force.Set = rules.NewSet(e.list)
	if c := s.lists.inForce.Load(); c != nil {
		e.force.List = c.list
	}
	if err := e.request(); err != nil {
		return nil, invalid(err)
	}
	return e.explain(time.Now()), nil
}

// explainer explains one call.
type explainer struct {
	in    *api.ExplainRequest
	place *place
	force ruling.Force
	list  []rules.Rule

	q         rules.Request
	looked    string // the name that is looked up first, if any
	assumed   bool   // the address is made up
	elsewhere int    // answers that hold in other jails of the app
}

// request makes the request that a call for the destination would be.
func (e *explainer) request() error {
	d := e.in.Dest
	e.q = rules.Request{App: e.in.App, Exe: e.in.Exe, Proto: d.Proto}
	if d.Host.Kind == rules.HostUnix {
		e.q.Unix = d.Host.Name
		return nil
	}
	if e.q.Proto == rules.AnyProto {
		e.q.Proto = rules.TCP
	}
	if d.Listen {
		e.q.Op = rules.Listen
	}
	var port uint16
	switch ports := d.Ports.Ranges(); {
	case e.q.Proto == rules.ICMP:
	case d.Ports.Count() != 1:
		return fmt.Errorf("explain %s: which port?", d)
	default:
		port = ports[0].First
	}
	addr, err := e.address()
	if err != nil {
		return fmt.Errorf("explain %s: %w", d, err)
	}
	e.q.Addr = netip.AddrPortFrom(addr, port)
	if d.Listen {
		return nil
	}
	e.q.Addr = rules.Canonical(e.q.Addr)
	e.q.Names = e.place.hosts(e.q.Addr.Addr())
	e.q.Own = len(e.q.Names)
	e.q.Self = e.place.self.Has(e.q.Addr.Addr())
	if name := d.Host.Name; d.Host.Kind == rules.HostName && !slices.Contains(e.q.Names, name) {
		e.q.Names = append(slices.Clone(e.q.Names), name)
		if !names.Special(name) {
			e.looked = name
		}
	}
	return nil
}

var errWhichHost = errors.New("which host? One name or one address")

// address returns the address that the call would have.
func (e *explainer) address() (netip.Addr, error) {
	given, err := e.in.ParseAddr()
	if err != nil {
		return given, err
	}
	h := &e.in.Dest.Host
	switch {
	case h.Kind != rules.HostName && given.IsValid():
		return given, errors.New("only a name has an address besides")
	case h.Kind == rules.HostAddr:
		return h.Addr, nil
	case h.Kind == rules.HostAny && e.in.Dest.Listen:
		return netip.IPv4Unspecified(), nil
	case h.Kind != rules.HostName:
		return given, errWhichHost
	case given.IsValid():
		return given, nil
	}
	if a, ok := e.place.addr(h.Name); ok {
		return a, nil
	}
	if h.Name == "localhost" || strings.HasSuffix(h.Name, ".localhost") {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	e.assumed = true
	return e.standIn(), nil
}

// documentation holds addresses that nobody has, RFC 5737 and RFC 3849.
var documentation = []netip.Addr{
	netip.MustParseAddr("203.0.113.254"), netip.MustParseAddr("198.51.100.254"), netip.MustParseAddr("192.0.2.254"),
	netip.MustParseAddr("2001:db8:ffff::fe"),
}

// standIn returns an address on the internet of which, if that can be, no rule
// of the app speaks by itself.
func (e *explainer) standIn() netip.Addr {
	for _, a := range documentation {
		if !slices.ContainsFunc(e.list, func(r rules.Rule) bool {
			h := &r.Dest.Host
			return h.Kind == rules.HostAddr && h.Addr == a || h.Kind == rules.HostPrefix && h.Prefix.Contains(a)
		}) {
			return a
		}
	}
	return documentation[0]
}

func (e *explainer) explain(now time.Time) api.Explanation {
	x := e.force.Explain(&e.q, e.at(), now)
	out := api.Explanation{
		App: e.q.App, Op: e.q.Op, Dest: e.in.Dest, Exe: e.q.Exe, Name: x.Name, Assumed: e.assumed,
		Verdict: x.Verdict, Why: x.Why, Lost: []api.LostRule{}, Notes: []string{},
	}
	if e.q.Unix == "" {
		out.Dest.Proto = e.q.Proto
		if len(e.q.Names) > 0 && !e.assumed {
			out.Addr = e.q.Addr.Addr().String()
		}
	}
	if x.Rule != nil {
		r := api.FromRule(x.Rule)
		out.Rule = &r
	}
	for i := range x.Lost {
		l := &x.Lost[i]
		out.Lost = append(out.Lost, api.LostRule{Rule: api.FromRule(l.Rule), Reason: l.Reason, Why: l.String()})
	}
	e.lookup(&out, now)
	e.notes(&out, now)
	return out
}

// at is where the request leads.
func (e *explainer) at() ruling.Place {
	at := ruling.Place{Server: slices.Contains(e.place.servers(), e.q.Addr)}
	if f, ok := ruling.FileAt(e.q.Unix); ok && strings.HasPrefix(e.q.Unix, "/") {
		denied := ruling.DeniedSockets(e.list)
		e.place.sockets.Look(denied, e.place.socket)
		at.Reserved = func(by *rules.Rule) bool { return e.place.sockets.Reserved(f, denied, by) }
	}
	return at
}

// lookup adds what would become of the lookup, without which there is no call.
func (e *explainer) lookup(out *api.Explanation, now time.Time) {
	if e.looked == "" {
		return
	}
	d, _ := e.force.Lookup(e.q.App, e.looked, now)
	out.Lookup = &api.ExplainedLookup{Name: e.looked, Verdict: d.Verdict, Why: d.Why}
	if d.Rule != nil {
		r := api.FromRule(d.Rule)
		out.Lookup.Rule = &r
	}
	if d.Verdict != rules.Deny || out.Verdict == rules.Deny {
		return
	}
	out.Notes = append(out.Notes, fmt.Sprintf("the name is not looked up; a program that knows its address all the same: %s", out.Verdict))
	out.Verdict, out.Why, out.Rule = rules.Deny, d.Why, out.Lookup.Rule
}

// notes adds what may make a real call come out otherwise.
func (e *explainer) notes(out *api.Explanation, now time.Time) {
	note := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	if e.assumed {
		note("the address of %s is taken to be on the internet, and no rule's: --addr ADDR says which it is", e.in.Dest.Host.Name)
		if out.Verdict == rules.Allow && e.inside() != rules.Allow {
			note("were its address this machine's or in the LAN, it would not be allowed by its name (DNS rebinding)")
		}
	} else if e.in.Dest.Host.Kind == rules.HostAddr && e.q.Op != rules.Listen {
		note("names that a program looked up for the address count, too")
	}
	if e.in.Exe == "" && slices.ContainsFunc(out.Lost, func(l api.LostRule) bool { return l.Reason == rules.OtherExe }) {
		note("rules of one executable count with --exe PATH")
	}
	if e.elsewhere > 0 {
		note("%d answers of running jails of %s, which hold until their exit, are left out", e.elsewhere, e.in.App)
	}
	if e.in.Dest.Proto == rules.AnyProto && e.q.Unix == "" {
		q := e.q
		q.Proto = rules.UDP
		if d := e.force.Decide(&q, e.at(), now); d.Verdict != out.Verdict {
			note("that is for tcp; udp: %s", d.Verdict)
		}
	}
}

// inside is the verdict for the same name at an address of the LAN.
func (e *explainer) inside() rules.Verdict {
	q := e.q
	q.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 255, 254}), q.Addr.Port())
	return e.force.Decide(&q, ruling.Place{}, time.Now()).Verdict
}
