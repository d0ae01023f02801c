package jail

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/ruling"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/blocklist"
)

// force is what decides, replaced as a whole.
type force struct {
	ruling.Force
	exe   bool         // some rule speaks of an executable
	rules []rules.Rule // the daemon's
	all   []rules.Rule // and the run's own

	denied []string // paths of sockets
	path   string   // of the blocklists

	calls atomic.Int64 // that it decides about and that are not done
	done  func()       // one of them is
}

// newForce puts rules and blocklists, with the run's own rules, into the form
// that decides. When the blocklists cannot be read the rest is returned, too.
func (p *policy) newForce(snap api.Snapshot) (*force, error) {
	list, err := api.ToRules(snap.Rules)
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(p.own), list...)
	f := &force{Force: ruling.Force{Set: rules.NewSet(all)}, rules: list, all: all, denied: ruling.DeniedSockets(all), path: snap.Blocklist}
	f.done = func() { f.calls.Add(-1) }
	for i := range all {
		f.exe = f.exe || all[i].Exe != ""
	}
	if now := p.inForce.Load(); now != nil && now.path == f.path {
		f.List = now.List
	} else if f.path != "" {
		if f.List, err = blocklist.Open(f.path); err != nil {
			return f, fmt.Errorf("blocklist: %w", err)
		}
	}
	return f, nil
}

// take puts the daemon's rules and the run's own in force.
func (p *policy) take(snap api.Snapshot) error {
	f, err := p.newForce(snap)
	if err != nil {
		return err
	}
	old := p.inForce.Swap(f)
	p.look(f)
	if old != nil {
		p.replaced(old)
	}
	return nil
}

// look notes which sockets a jail has no business with, as they are now.
func (p *policy) look(f *force) { p.sockets.Look(f.denied, p.socket) }

// use returns what decides about a call, or nil. A call that may leave something
// open is counted until it is done: when what decided it is in force no more and
// has no calls, all that it let through is there to be found.
func (p *policy) use(c *interpose.Call) *force {
	c.Done = func() {}
	if c.Op == interpose.Send || c.Network == interpose.Unix {
		return p.inForce.Load()
	}
	for {
		f := p.inForce.Load()
		if f == nil {
			return nil
		}
		f.calls.Add(1)
		if p.inForce.Load() == f { // or nobody may wait for it any more
			c.Done = f.done
			return f
		}
		f.done()
	}
}

// narrows says whether next may refuse what f lets through: a rule that allows
// is gone, or there is one that does not, or another blocklist. A rule whose
// time was over is not missed.
func (f *force) narrows(next *force, now time.Time) bool {
	if f.path != next.path && next.path != "" {
		return true
	}
	without := func(a, b *force, count func(rules.Verdict) bool) bool {
		there := make(map[rules.Rule]bool)
		for i := range b.all {
			if b.all[i].Active(now) {
				there[bare(b.all[i])] = true
			}
		}
		return slices.ContainsFunc(a.all, func(r rules.Rule) bool {
			return count(r.Verdict) && r.Active(now) && !there[bare(r)]
		})
	}
	return without(f, next, func(v rules.Verdict) bool { return v == rules.Allow }) ||
		without(next, f, func(v rules.Verdict) bool { return v != rules.Allow })
}

// bare is a rule without what decides nothing.
func bare(r rules.Rule) rules.Rule {
	r.Source, r.Created, r.Note, r.By = rules.Source{}, time.Time{}, "", ""
	return r
}
