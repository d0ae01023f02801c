package jail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// maxDropsAsked bounds how many questions about what was dropped are open.
const maxDropsAsked = 32

// follow decides about what the guard has dropped, until it has gone.
func (g *gate) follow() {
	for d := range g.conn.Dropped() {
		if s, ok := holeFrom(d); ok {
			g.dropped(s)
		}
	}
	g.mu.Lock()
	over := g.over
	if !over {
		clear(g.open) // nothing is allowed any more
		clear(g.own)
		clear(g.led)
	}
	g.mu.Unlock()
	if over || g.s.over() {
		return
	}
	why, hint := "the guard has gone, and the jail is shut", "see that the guard service runs (netjail doctor), and start %s again"
	if g.network != nil {
		<-g.network.Done()
		why, hint = g.network.Err().Error(), "start %s again"
	}
	g.s.line(fmt.Sprintf("netjail: error: %s: %s has no network any more\nnetjail: hint: "+hint, why, g.s.cfg.App, g.s.cfg.App))
}

// holeFrom reads what was dropped.
func holeFrom(d client.Dest) (s hole, ok bool) {
	if err := s.proto.UnmarshalText([]byte(d.Proto)); err != nil || !d.Addr.IsValid() {
		return s, false
	}
	s.at = netip.AddrPortFrom(d.Addr, d.Port)
	return s, true
}

// dropped decides about a packet that was dropped. Its program will try again, or
// is told that it need not.
func (g *gate) dropped(s hole) {
	p := g.s.policy
	r := p.requestTo(s)
	f := p.inForce.Load()
	if f == nil || g.asked(s) {
		return
	}
	v, why := p.decide(f, new(interpose.Call), &r)
	switch {
	case v == interpose.Allow && ruling.ToServer(&r) && p.leads(r.Addr):
		g.report(g.lead(r.Addr))
	case v == interpose.Wait:
		g.ask(s, p.question(f, g.caller(&r), &r))
	default:
		g.settle(context.Background(), s, &r, v, why)
	}
}

// caller stands for whoever sent a packet, whom nobody knows: the program itself.
func (g *gate) caller(r *rules.Request) *interpose.Call {
	c := &interpose.Call{Addr: r.Addr}
	if p := g.s.process; p != nil && !g.s.over() {
		c.TID = p.PID
	}
	return c
}

// asked says whether people are being asked about something already.
func (g *gate) asked(s hole) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asking[s]
}

// ask asks people about what goes on meanwhile, and has the guard do as they say.
// It says whether they are.
func (g *gate) ask(s hole, q notifier.Question) bool {
	g.mu.Lock()
	if g.asking[s] || len(g.asking) >= maxDropsAsked {
		already := g.asking[s]
		g.mu.Unlock()
		return already
	}
	g.asking[s] = true
	g.mu.Unlock()
	if err := g.forget(s); err != nil {
		g.report(err)
	}
	go func() {
		p := g.s.policy
		ctx := context.Background()
		v, why := p.put(ctx, q)
		r := p.requestTo(s)
		if again, denied := p.decide(p.inForce.Load(), new(interpose.Call), &r); again == interpose.Deny && v == interpose.Allow {
			v, why = again, denied // by a rule that came meanwhile
		} else if again == interpose.Allow {
			why.by = denied.by // the answer's
		}
		g.settle(ctx, s, &r, v, why)
		g.mu.Lock()
		delete(g.asking, s)
		g.mu.Unlock()
	}()
	return true
}

// settle has the guard do what was decided about what it drops.
func (g *gate) settle(ctx context.Context, s hole, r *rules.Request, v interpose.Verdict, why grounds) {
	p := g.s.policy
	p.note(g.caller(r), r, v, why)
	if v == interpose.Allow {
		g.report(g.let(r, &why))
		return
	}
	if !why.silent {
		p.report(ctx, r.Op.String(), p.named(p.inForce.Load(), r), why)
	}
	g.report(g.refuse(s))
	if why.by == nil { // nobody has decided for longer
		time.AfterFunc(onceFor, func() { g.report(g.forget(s)) })
	}
}

// report tells of what the guard could not be told, once.
func (g *gate) report(err error) {
	if err == nil || g.s.over() || errors.Is(err, client.ErrClosed) { // of which follow tells
		return
	}
	if _, said := g.said.LoadOrStore(err.Error(), true); !said {
		g.s.policy.reports.saying.Go(func() { g.s.line("netjail: error: the guard: " + err.Error()) })
	}
}

// proceed lets a call go on that nobody has decided about, if its caller does not
// expect to wait: the guard drops what it sends until people have answered, and
// the kernel sends it again (tcp(7), tcp_syn_retries).
func (g *gate) proceed(f *force, c *interpose.Call, r *rules.Request) bool {
	if g == nil || !c.Nowait || c.Network != interpose.TCP || c.Op != interpose.Connect {
		return false
	}
	s := holeOf(r)
	g.mu.Lock()
	open := g.open[s] != nil // for others, to whom an answer was given
	g.mu.Unlock()
	return !open && g.ask(s, g.s.policy.question(f, c, r))
}

// watchEvery is how often it is looked whether all of a jail are in it.
const watchEvery = 2 * time.Second

// keep keeps the jail as it is, until ctx ends: what rules name stays open, and no
// process leaves the guard's cgroup. None can by itself, see client.Jail.Holds. One
// that was moved keeps its sockets in the jail, but new ones are not: it is killed.
func (g *gate) keep(ctx context.Context) {
	watch, renew := time.NewTicker(watchEvery), time.NewTicker(renewEvery)
	defer watch.Stop()
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			g.report(g.renew())
		case <-watch.C:
			if g.home.Cgroup != "" && g.s.ready() {
				g.recapture(descendants(g.s.keeper()))
			}
		}
	}
}

// recapture kills those that are not in the jail's cgroup.
func (g *gate) recapture(pids []int) {
	for _, pid := range pids {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if !g.home.Holds(pid) && slices.Contains(descendants(g.s.keeper()), pid) && unix.PidfdSendSignal(pidfd, 0, nil, 0) == nil {
			g.s.line(fmt.Sprintf("netjail: error: process %d of %s was moved out of the guard's cgroup: it is killed", pid, g.s.cfg.App))
			_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		}
		unix.Close(pidfd)
	}
}

// owns says whether a socket that asks the resolver, and that was not led to it
// by a call, is the jail's: the guard has led it there.
func (g *gate) owns(network string, local netip.AddrPort) bool {
	if g == nil {
		return false
	}
	list, err := g.s.traffic.list()
	if err != nil && len(list.Flows) == 0 {
		return false
	}
	for _, f := range list.Flows {
		if f.Network == network && f.Local.Port() == local.Port() {
			return true
		}
	}
	return false
}
