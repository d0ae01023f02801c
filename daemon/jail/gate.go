package jail

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

const (
	// openFor is how long the guard lets through what rules allow. What is used
	// goes on: flows that have begun do, and others are told of anew.
	openFor = 10 * time.Minute
	// onceFor is the same for what was allowed without a rule, as an answer does for
	// the calls that wait for it: as long as the kernel tries to connect, see
	// tcp_syn_retries in tcp(7).
	onceFor = 130 * time.Second
	// maxListens is how many ports are open before those are closed at which nothing
	// listens any more.
	maxListens = 256
)

// gate has a guard in the kernel let through what was decided. All else it
// drops. A nil gate is that of a jail without such a guard: all is told to it.
type gate struct {
	s       *supervisor
	conn    *client.Conn
	home    client.Jail // of a jail that is a control group
	network *netns.Net  // of one that is a network; nil: it is none

	said sync.Map // of what could not be told

	// working is held while the guard is told something, so that it is told in the
	// order in which it was decided. Above mu.
	working sync.Mutex

	mu     sync.Mutex
	open   map[hole]*opening
	shut   map[hole]bool // refused at once, not only dropped
	asking map[hole]bool
	led    map[netip.AddrPort]bool // name servers whose place the resolver takes
	own    map[netip.AddrPort]bool // where the supervisor itself serves the jail
	over   bool                    // nobody is told of the guard's end
}

func newGate(s *supervisor, conn *client.Conn) *gate {
	return &gate{
		s: s, conn: conn, open: make(map[hole]*opening), shut: make(map[hole]bool), asking: make(map[hole]bool),
		led: make(map[netip.AddrPort]bool), own: make(map[netip.AddrPort]bool),
	}
}

// hole is what the guard knows of a request. Of a port to listen at the address is
// not valid.
type hole struct {
	listen bool
	proto  rules.Proto
	at     netip.AddrPort
}

func holeOf(r *rules.Request) hole {
	if r.Op == rules.Listen {
		return hole{true, r.Proto, netip.AddrPortFrom(netip.Addr{}, r.Addr.Port())}
	}
	h := hole{false, r.Proto, netip.AddrPortFrom(r.Addr.Addr().WithZone(""), r.Addr.Port())}
	if r.Proto == rules.ICMP { // has none, whatever a socket address says
		h.at = netip.AddrPortFrom(h.at.Addr(), 0)
	}
	return h
}

func (s hole) dest(timeout time.Duration) client.Dest {
	return client.Dest{Proto: s.proto.String(), Addr: s.at.Addr(), Port: s.at.Port(), Timeout: timeout.Milliseconds()}
}

// opening is what the guard was told to let through.
type opening struct {
	renew time.Time                // it is told again then; zero: never
	ruled bool                     // a rule allows it
	by    map[string]rules.Request // for which it was opened, by executable
}

// has says whether the guard lets a request through, or need not.
func (g *gate) has(r *rules.Request, why *grounds) bool {
	if g == nil || !guarded(r, why) {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.open[holeOf(r)]
	if o == nil || !o.renew.IsZero() && !time.Now().Before(o.renew) {
		return false
	}
	_, known := o.by[r.Exe]
	return known
}

// guarded says whether the guard has to be told of a request that is allowed. A
// port to receive replies on is none to begin at: those it knows by itself.
func guarded(r *rules.Request, why *grounds) bool {
	return r.Unix == "" && (r.Op != rules.Listen || !why.free)
}

// let has the guard let a request through. It waits for that.
func (g *gate) let(r *rules.Request, why *grounds) error {
	if g.has(r, why) {
		return nil
	}
	g.working.Lock()
	defer g.working.Unlock()
	return g.letNow(r, why)
}

// letNow is let. working is held.
func (g *gate) letNow(r *rules.Request, why *grounds) error {
	now, s := time.Now(), holeOf(r)
	d := onceFor
	if why.by != nil {
		d = openFor
		if e := why.by.Expires; !e.IsZero() {
			d = min(d, max(e.Sub(now), time.Second))
		}
	}
	tell, renew := g.conn.Allow, now.Add(d/2)
	if s.listen {
		g.prune()
		tell, d, renew = g.conn.Listen, 0, time.Time{}
	}
	if err := tell(s.dest(d)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.open[s]
	if o == nil {
		o = &opening{by: make(map[string]rules.Request)}
		g.open[s] = o
	}
	o.renew, o.by[r.Exe] = renew, *r
	o.ruled = o.ruled || why.by != nil
	delete(g.shut, s)
	return nil
}

// prune closes ports at which nothing listens any more, when there are many.
func (g *gate) prune() {
	ports := make(map[hole]bool)
	g.mu.Lock()
	for s := range g.open {
		if s.listen {
			ports[s] = true
		}
	}
	g.mu.Unlock()
	if len(ports) < maxListens {
		return
	}
	list, err := g.s.traffic.list()
	if err != nil || list.Unseen > 0 {
		return
	}
	for _, f := range list.Flows {
		r := rules.Request{Op: rules.Listen, Proto: protoOf(f.Network), Addr: f.Local}
		delete(ports, holeOf(&r))
	}
	for s := range ports {
		g.report(g.revoke(s, false))
	}
}

func protoOf(network string) rules.Proto {
	if network == "udp" {
		return rules.UDP
	}
	return rules.TCP
}

// refuse has the guard refuse what it would drop, so that nobody waits for it.
func (g *gate) refuse(s hole) error {
	g.working.Lock()
	defer g.working.Unlock()
	return g.revoke(s, true)
}

// revoke ends what was let through. Afterwards it is refused, or only dropped.
// working is held.
func (g *gate) revoke(s hole, refuse bool) error {
	g.mu.Lock()
	delete(g.open, s)
	delete(g.shut, s)
	g.mu.Unlock()
	if s.listen {
		return g.conn.Unlisten(s.dest(0))
	}
	err := g.conn.Deny(s.dest(0))
	switch {
	case err != nil:
	case !refuse:
		err = g.conn.Forget(s.dest(0))
	default:
		g.mu.Lock()
		g.shut[s] = true
		g.mu.Unlock()
	}
	return err
}

// forget has the guard drop again what it refuses.
func (g *gate) forget(s hole) error {
	g.working.Lock()
	defer g.working.Unlock()
	g.mu.Lock()
	was := g.shut[s]
	delete(g.shut, s)
	g.mu.Unlock()
	if !was {
		return nil
	}
	return g.conn.Forget(s.dest(0))
}

// admit has the guard let through what goes to the supervisor's own addresses.
func (g *gate) admit(at netip.AddrPort) error {
	g.working.Lock()
	defer g.working.Unlock()
	return g.admitNow(at)
}

// admitNow is admit. working is held.
func (g *gate) admitNow(at netip.AddrPort) error {
	if g.admits(at) {
		return nil
	}
	if err := g.conn.Resolver(at); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own[at] = true
	return nil
}

// admits says whether that is so.
func (g *gate) admits(at netip.AddrPort) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.own[at]
}

// lead has the resolver take the place of name servers, whatever call asks them.
func (g *gate) lead(servers ...netip.AddrPort) error {
	g.working.Lock()
	defer g.working.Unlock()
	for _, server := range servers {
		server = rules.Canonical(server)
		if !leadable(server) || g.leads(server) {
			continue
		}
		host := loopback
		if server.Addr().Is6() {
			host = netip.IPv6Loopback()
		}
		to, err := g.s.policy.dns.resolver.Both(host)
		if err == nil {
			err = g.admitNow(to)
		}
		if err == nil {
			err = g.conn.Lead(to, server)
		}
		if err != nil {
			return err
		}
		g.mu.Lock()
		g.led[server] = true
		g.mu.Unlock()
	}
	return nil
}

// leadable says whether the guard can put somebody in the place of a server. It
// knows no interfaces.
func leadable(server netip.AddrPort) bool { return server.Addr().Zone() == "" }

// leads says whether the resolver has the place of a server.
func (g *gate) leads(server netip.AddrPort) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.led[server]
}

// review takes back what no rule allows any more. What people allowed once stays,
// unless it is denied now.
func (g *gate) review() error {
	if g == nil {
		return nil
	}
	g.working.Lock()
	defer g.working.Unlock()
	g.mu.Lock()
	open, shut := make(map[hole]opening), make([]hole, 0, len(g.shut))
	for s, o := range g.open {
		open[s] = *o
	}
	for s := range g.shut {
		shut = append(shut, s)
	}
	g.mu.Unlock()
	p := g.s.policy
	f := p.inForce.Load()
	var errs []error
	for s, o := range open {
		if worst := p.best(f, &o); worst == rules.Deny || worst == rules.Ask && o.ruled {
			errs = append(errs, g.revoke(s, worst == rules.Deny))
		}
	}
	for _, s := range shut {
		r := p.requestTo(s)
		if v, _ := p.decide(f, new(interpose.Call), &r); v != interpose.Deny {
			g.mu.Lock()
			delete(g.shut, s)
			g.mu.Unlock()
			errs = append(errs, g.conn.Forget(s.dest(0)))
		}
	}
	return errors.Join(errs...)
}

// revised is told when other rules are in force.
func (g *gate) revised() {
	if g != nil {
		g.report(g.review())
		g.report(g.renew())
	}
}

// best is the most that rules say to the requests that something was opened for.
func (p *policy) best(f *force, o *opening) rules.Verdict {
	best := rules.Deny
	for _, r := range o.by {
		if r.Op != rules.Listen {
			r.Names, r.Own = p.dns.ever(r.Addr.Addr())
		}
		d := f.Decide(&r, ruling.Place{Server: ruling.ToServer(&r) && p.system(r.Addr)}, time.Now())
		if d.Verdict == rules.Allow {
			return rules.Allow
		}
		if d.Verdict == rules.Ask {
			best = rules.Ask
		}
	}
	return best
}

// requestTo is a request for what the guard has dropped. Who made it nobody knows.
func (p *policy) requestTo(s hole) rules.Request {
	r := rules.Request{App: p.cfg.App, Op: rules.Connect, Proto: s.proto, Addr: s.at}
	switch {
	case s.listen:
		r.Op = rules.Listen
		return r
	case s.proto != rules.TCP:
		r.Op = rules.Send
	}
	r.Names, r.Own = p.dns.of(r.Addr.Addr())
	r.Self = p.self.Has(r.Addr.Addr())
	return r
}

// close ends the jail's network, if there is somebody left whom it was for.
func (g *gate) close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	over := g.over
	g.over = true
	g.mu.Unlock()
	switch {
	case over || g.conn == nil: // it is another's
	case g.network != nil:
		g.network.Close()
	default:
		g.conn.Close()
	}
}

// estate is what a gate leaves to the next supervisor of the jail, besides files.
type estate struct {
	Home    client.Jail     `json:"home"`
	Rest    []byte          `json:"rest,omitempty"` // of what the guard has said
	Network *netns.Legacy   `json:"network,omitempty"`
	Open    []rules.Request `json:"open"` // that the guard lets through, by rules
	Once    []rules.Request `json:"once"` // by answers
}

// handOver ends the gate, and returns what another is made of. The files are the
// caller's.
func (g *gate) handOver() (files []*os.File, e *estate, err error) {
	g.working.Lock() // for ever: nothing is told from here any more
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	e = &estate{Home: g.home}
	if g.network != nil {
		e.Network = new(netns.Legacy)
		*e.Network, files, err = g.network.HandOver()
	} else {
		files = make([]*os.File, 1)
		files[0], e.Rest, err = g.conn.HandOver()
	}
	for _, o := range g.open {
		list := &e.Once
		if o.ruled {
			list = &e.Open
		}
		for _, r := range o.by {
			*list = append(*list, r)
		}
	}
	return files, e, err
}

// heirGate is the gate of a successor. It waits for take.
func heirGate(s *supervisor) *gate {
	g := newGate(s, nil)
	g.working.Lock()
	return g
}

// take takes over what a predecessor has left. It owns the files. What was opened
// is known again, so that it can be taken back; it is opened anew when it is used.
func (g *gate) take(files []*os.File, e *estate) (err error) {
	defer g.working.Unlock()
	if e.Network != nil {
		if g.network, err = netns.Resume(*e.Network, files); err == nil {
			g.conn = g.network.Conn()
		}
	} else {
		g.conn, err = client.Resume(files[0], e.Rest)
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.home = e.Home
	for i, list := range [][]rules.Request{e.Open, e.Once} {
		for _, r := range list {
			h := holeOf(&r)
			if g.open[h] == nil {
				g.open[h] = &opening{by: make(map[string]rules.Request), renew: time.Unix(0, 0)}
			}
			g.open[h].ruled = g.open[h].ruled || i == 0
			g.open[h].by[r.Exe] = r
		}
	}
	return nil
}
