package jail

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// policy decides about calls by rules, and asks about what they leave open.
type policy struct {
	cfg  *Config
	own  []rules.Rule // of this run's flags, and of its directory
	jail string
	link *link
	gate *gate // nil: no guard has to be told
	say  func(string)

	inForce  atomic.Pointer[force]
	replaced func(*force) // is told of what is in force no more

	dns     dns
	self    ruling.Self
	socket  string // the daemon's
	sockets ruling.Sockets
	reports reports // of what is refused
	teller  teller
	let     reports // of what is allowed for want of a rule
	noted   sync.Once
	deeds   deeds
}

var _ interpose.Policy = (*policy)(nil)

func newPolicy(cfg *Config, jail string, say func(string)) (*policy, error) {
	own, err := api.ToRules(cfg.Rules)
	if err != nil {
		return nil, err
	}
	for i := range own {
		own[i].Run = true
	}
	project, err := api.ToRules(cfg.Project)
	if err != nil {
		return nil, err
	}
	own = append(own, project...)
	p := &policy{cfg: cfg, own: own, jail: jail, say: say, socket: api.SocketPath(cfg.Runtime)}
	p.dns = newDNS(p)
	p.deeds.p, p.deeds.tell = p, func(r api.Report) error { return p.link.report(r) }
	return p, nil
}

// untilExit returns the rules that end with this jail, for a daemon that has
// not heard of them.
func (p *policy) untilExit() []api.Rule {
	f := p.inForce.Load()
	if f == nil {
		return nil
	}
	var list []rules.Rule
	for _, r := range f.rules {
		if r.Jail == p.jail {
			list = append(list, r)
		}
	}
	return api.FromRules(list)
}

// Check answers what rules speak of.
func (p *policy) Check(c *interpose.Call) interpose.Verdict {
	f := p.use(c)
	if f == nil {
		return interpose.Deny
	}
	if isSelf(c) {
		return interpose.Wait
	}
	r := p.request(f, c)
	v, g := p.check(f, c, &r)
	switch {
	case v == interpose.Wait:
		return v
	case v == interpose.Allow && ruling.ToServer(&r) && c.Op == interpose.Send:
		if !p.gate.leads(r.Addr) {
			return interpose.Wait // what it carries has to be read
		}
	case v == interpose.Allow && ruling.ToServer(&r):
		if v = p.leadConnect(c); c.Lead != nil && !p.gate.admits(c.Lead.To) {
			return interpose.Wait // until the guard knows
		}
	case v == interpose.Allow && !p.gate.has(&r, &g):
		return interpose.Wait // until the guard knows
	}
	p.note(c, &r, v, g)
	return v
}

// check decides by rules. What has to be told of is left for later: a line on
// the terminal may block.
func (p *policy) check(f *force, c *interpose.Call, r *rules.Request) (interpose.Verdict, grounds) {
	v, g := p.decide(f, c, r)
	switch {
	case v == interpose.Deny && !g.silent && p.reports.untold(p.named(f, r)),
		v == interpose.Allow && g.open && p.tells() && p.let.untold(p.named(f, r)):
		return interpose.Wait, g
	}
	return v, g
}

// grounds say why a request is denied or allowed.
type grounds struct {
	why    string
	by     *rules.Rule // nil: no rule
	silent bool        // nobody is told of the refusal
	asked  bool        // there was a question, which the daemon knows of
	nobody bool        // nobody could be asked
	free   bool        // allowed, as to every program
	open   bool        // allowed for want of a rule
}

// decide answers Wait where people have to be asked.
func (p *policy) decide(f *force, c *interpose.Call, r *rules.Request) (interpose.Verdict, grounds) {
	at := ruling.Place{Server: ruling.ToServer(r) && p.system(r.Addr)}
	if r.Unix != "" { // others need not pay for it
		at.Reserved = func(by *rules.Rule) bool { return p.reserved(f, c, by) }
	}
	d := f.Decide(r, at, time.Now())
	switch d.Verdict {
	case rules.Allow:
		return interpose.Allow, grounds{by: d.Rule, free: d.Rule == nil}
	case rules.Ask:
		return p.undecided()
	}
	return interpose.Deny, grounds{why: d.Why, by: d.Rule, silent: d.Cause == ruling.ByPort}
}

func (p *policy) undecided() (interpose.Verdict, grounds) {
	switch {
	case p.cfg.Monitor:
		return interpose.Allow, grounds{why: "no rule, and nothing is enforced", open: true}
	case p.cfg.Ask:
		return interpose.Wait, grounds{}
	}
	return interpose.Deny, grounds{why: whyUnasked, nobody: true}
}

// whyUnasked is why what nobody has decided about is denied.
const whyUnasked = "nobody has decided, and nobody is to be asked"

// note takes note of a call: for whoever learns of what is allowed, and for the
// history of what is denied and of what a rule, or the lack of enforcement, has
// allowed. What every program may do is local, or decided elsewhere.
func (p *policy) note(c *interpose.Call, r *rules.Request, v interpose.Verdict, g grounds) {
	if v == interpose.Allow && p.cfg.Seen != nil && !g.free {
		p.cfg.Seen.note(r, c, time.Now())
	}
	if v == interpose.Wait || g.silent || g.asked || v == interpose.Allow && g.by == nil && !g.open {
		return
	}
	p.deeds.note(c, r, v == interpose.Allow, g.by, g.why)
}

// tells says whether people are told of what is allowed for want of a rule.
func (p *policy) tells() bool { return p.cfg.Monitor && p.cfg.Seen == nil }

// request is what a call wants, in the words of rules.
func (p *policy) request(f *force, c *interpose.Call) rules.Request {
	r := rules.Request{App: p.cfg.App, Op: operations[c.Op], Proto: protocols[c.Network], Unix: c.Path}
	if c.Network != interpose.Unix {
		r.Addr = c.Addr
		if c.Op != interpose.Listen {
			r.Addr = rules.Canonical(zoned(c.Addr))
		} else {
			r.Addr = netip.AddrPortFrom(c.Addr.Addr().Unmap(), c.Addr.Port())
		}
		if r.Op != rules.Listen {
			r.Names, r.Own = p.dns.of(r.Addr.Addr())
			r.Self = p.self.Has(r.Addr.Addr())
		}
	}
	if f.exe {
		r.Exe = c.Exe()
	}
	return r
}

var (
	operations = map[interpose.Op]rules.Op{
		interpose.Connect: rules.Connect, interpose.Send: rules.Send, interpose.Listen: rules.Listen,
	}
	protocols = map[interpose.Network]rules.Proto{
		interpose.TCP: rules.TCP, interpose.UDP: rules.UDP, interpose.ICMP: rules.ICMP,
	}
)

// zoned gives a scope its interface's name, which people write.
func zoned(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Zone() == "" {
		return a
	}
	return netip.AddrPortFrom(a.Addr().WithZone(interfaceName(a.Addr().Zone())), a.Port())
}

// Decide asks about what no rule speaks of, and tells of what is refused.
func (p *policy) Decide(ctx context.Context, c *interpose.Call) interpose.Verdict {
	f := p.use(c)
	if f == nil {
		return interpose.Deny
	}
	if isSelf(c) {
		return p.admitLead(c, p.leadSelf(c))
	}
	r := p.request(f, c)
	var query []byte // that the call carries
	led := p.leads(r.Addr)
	if ruling.ToServer(&r) && c.Op == interpose.Send && !led {
		var err error
		if query, err = c.Datagram(); err != nil {
			return interpose.Deny
		}
	}
	v, g := p.decide(f, c, &r)
	if _, _, err := names.ParseQuery(query); query != nil && err != nil {
		query = nil // only queries may go to the system's server unasked
		if d := f.Set.Decide(&r, time.Now()); d.Rule == nil {
			v, g = p.undecided()
		}
	}
	if v == interpose.Wait {
		c.Done() // that may take its time
		if p.gate.proceed(f, c, &r) {
			return interpose.Allow
		}
		v, g = p.put(ctx, p.question(f, c, &r))
		f = p.use(c)
		if again, why := p.decide(f, c, &r); again == interpose.Deny && v == interpose.Allow {
			v, g = again, why // by a rule that came meanwhile
		}
	}
	if v == interpose.Allow {
		v, g = p.pass(f, c, &r, g)
	}
	if ctx.Err() == nil {
		p.note(c, &r, v, g)
	}
	if v != interpose.Allow {
		if !g.silent && ctx.Err() == nil {
			p.report(ctx, r.Op.String(), p.named(f, &r), g)
		}
		return v
	}
	if g.open && p.tells() {
		p.tell(ctx, r.Op.String(), p.named(f, &r), "no rule")
	}
	switch {
	case query != nil:
		return p.leadSend(ctx, c, query)
	case ruling.ToServer(&r) && c.Op == interpose.Connect:
		return p.admitLead(c, p.leadConnect(c))
	}
	return v
}

// admitLead has the guard let through a call to one of the supervisor's own
// addresses.
func (p *policy) admitLead(c *interpose.Call, v interpose.Verdict) interpose.Verdict {
	if v == interpose.Allow && p.gate != nil {
		if err := p.gate.admit(c.Lead.To); err != nil {
			p.gate.report(err)
			return interpose.Deny
		}
	}
	return v
}

// named returns the destination of a request as people are asked about it: by
// the name that nobody has decided about and that was looked up last, because
// addresses change. A name that would not be allowed by itself is left out.
func (p *policy) named(f *force, r *rules.Request) rules.Destination {
	for i := range r.Names {
		one := *r
		one.Names, one.Own = r.Names[i:i+1], min(1, max(0, r.Own-i))
		if d, ok := one.NamedDestination(); ok && f.Set.Decide(&one, time.Now()).Verdict != rules.Allow {
			return d
		}
	}
	return r.Destination()
}

// question is what people are asked about a request.
func (p *policy) question(f *force, c *interpose.Call, r *rules.Request) notifier.Question {
	pid, dest := c.PID(), p.named(f, r)
	return notifier.Question{
		Op: r.Op, Dest: dest, Wider: wider(dest), Addr: r.Addr.Addr(), Exe: c.Exe(), PID: pid, Command: commandOf(pid),
		Names: r.Names, Hosts: r.Names[:r.Own], Aliases: p.dns.aliases(r.Addr.Addr()),
		Chain: chain(pid, p.link.s.keeper()),
	}
}

// put asks people.
func (p *policy) put(ctx context.Context, q notifier.Question) (interpose.Verdict, grounds) {
	a, err := p.link.ask(ctx, q)
	var said *api.Error
	switch {
	case errors.As(err, &said) && said.Code == api.CodeNobody:
		return interpose.Deny, grounds{why: "nobody has decided, and there is no terminal and no desktop to ask on (netjail pending lists it)", asked: true, nobody: true}
	case err != nil:
		return interpose.Deny, grounds{why: err.Error(), asked: true}
	case a.Verdict != rules.Allow:
		return interpose.Deny, grounds{why: "answered by " + notifier.Clean(a.By, 40), asked: true}
	}
	return interpose.Allow, grounds{asked: true}
}

// leads says whether the guard has the resolver take the place of a server.
func (p *policy) leads(server netip.AddrPort) bool {
	return p.gate != nil && leadable(server) && p.system(server)
}

// pass has the guard let through what was allowed. Rules that came meanwhile
// have been looked at by whoever brought them, but perhaps before the guard knew.
func (p *policy) pass(f *force, c *interpose.Call, r *rules.Request, g grounds) (interpose.Verdict, grounds) {
	switch {
	case p.gate == nil || c.Network == interpose.Unix:
		return interpose.Allow, g
	case ruling.ToServer(r) && c.Op == interpose.Connect:
		return interpose.Allow, g // it is led
	case ruling.ToServer(r) && p.leads(r.Addr):
		if err := p.gate.lead(r.Addr); err != nil {
			return interpose.Deny, grounds{why: "the guard: " + err.Error()}
		}
		return interpose.Allow, g
	case c.Op == interpose.Listen && c.Addr.Port() == 0:
		c.Lead = &interpose.Lead{Bound: func(local netip.AddrPort) {
			at := *r
			at.Addr = netip.AddrPortFrom(r.Addr.Addr(), local.Port())
			p.gate.report(p.gate.let(&at, &g))
		}}
		return interpose.Allow, g
	}
	if by, why := p.decide(p.inForce.Load(), c, r); g.by == nil && by == interpose.Allow {
		g.by = why.by // an answer's rule
	}
	if err := p.gate.let(r, &g); err != nil {
		return interpose.Deny, grounds{why: "the guard: " + err.Error()}
	}
	if p.inForce.Load() != f {
		p.gate.report(p.gate.review())
	}
	return interpose.Allow, g
}

// wider returns the destination of the whole domain that a name is below.
func wider(d rules.Destination) rules.Destination {
	domain, ok := names.Domain(d.Host.Name)
	if d.Host.Kind != rules.HostName || !ok {
		return rules.Destination{}
	}
	d.Host = rules.Host{Kind: rules.HostSuffix, Name: domain, Apex: true}
	return d
}

func commandOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	args := bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '})
	return notifier.Clean(string(args), 300)
}

// reserved says whether the socket of a call is kept from jails.
func (p *policy) reserved(f *force, c *interpose.Call, by *rules.Rule) bool {
	if c.File == (interpose.File{}) {
		return false // an abstract name
	}
	p.look(f)
	return p.sockets.Reserved(ruling.File(c.File), f.denied, by)
}
