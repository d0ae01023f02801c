package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// part is something that is killed while programs connect.
type part struct {
	name string

	// Of a part that jails share: kill ends it at once, back brings it back and
	// returns when it serves. Jails go on through that.
	kill, back func(context.Context, *world) error
	desktop    bool // it takes part in asking on a desktop

	// Of a part that each jail has for itself: one jail, and its end.
	round func(context.Context, *world) error
}

// parts is what can be killed. A new one takes a line here, and two functions.
var parts = []part{
	{name: "daemon", kill: killDaemon, back: backDaemon},
	{name: "notifications", desktop: true,
		kill: func(_ context.Context, w *world) error { w.desktop.killService(); return nil },
		back: func(ctx context.Context, w *world) error { return w.desktop.startService(ctx) }},
	{name: "bus", desktop: true,
		kill: func(_ context.Context, w *world) error { w.desktop.killBus(); return nil },
		back: func(ctx context.Context, w *world) error { return w.desktop.startBus(ctx) }},
	{name: "supervisor", round: killSupervisor},
	{name: "keeper", round: killKeeper},
	{name: "handover", round: killHandOver},
	{name: "resolver", round: killResolver},
	{name: "hook",
		kill: func(ctx context.Context, w *world) error { return hook(ctx, w.hooks.kill) },
		back: func(ctx context.Context, w *world) error { return hook(ctx, w.hooks.back) }},
}

func partNames() (list []string) {
	for _, p := range parts {
		list = append(list, p.name)
	}
	return list
}

// hook runs a command of the user's.
func hook(ctx context.Context, command string) error {
	if out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

func killDaemon(_ context.Context, w *world) error { return w.killDaemon(syscall.SIGKILL) }

// backDaemon leaves it to whoever needs a daemon to start it, or is faster.
func backDaemon(ctx context.Context, w *world) error {
	if w.pick(2) == 0 {
		return w.startDaemon(ctx)
	}
	w.count("daemons left to be started on demand", 1)
	return within(ctx, patience, "a daemon is started on demand", func() bool { return w.serves(ctx) })
}

// killAll kills the parts that are named, or all, one after the other.
func (w *world) killAll(ctx context.Context) error {
	names := w.words
	if len(names) == 0 {
		names = slices.DeleteFunc(partNames(), func(name string) bool { return name == "hook" && w.hooks.kill == "" })
	}
	for _, name := range names {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("there is no part %q", name)
		}
		if len(w.receivers) == 0 {
			if err := w.furnish(ctx); err != nil {
				return err
			}
		}
		if err := w.killPart(ctx, &parts[i], w.n); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// killPart kills one part n times.
func (w *world) killPart(ctx context.Context, p *part, n int) error {
	if p.round != nil {
		for i := range n {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := p.round(ctx, w); err != nil {
				return err
			}
			w.count(p.name+" killed", 1)
			if i%100 == 99 {
				w.note("%s: %d of %d", p.name, i+1, n)
			}
		}
		return w.checkDenied()
	}
	return w.killShared(ctx, p, n)
}

// killShared kills a part that jails share, while two of them connect to
// everything there is and rules are written.
func (w *world) killShared(ctx context.Context, p *part, n int) (err error) {
	w.never(failedForGood, rulesLost)
	if p.desktop && w.desktop == nil {
		if err := w.addDesktop(ctx); err != nil {
			return err
		}
	}
	back, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if !p.desktop {
		wg.Go(func() { w.answer(back) })
	}
	wg.Go(func() { w.ledger.write(back) })
	var jails []*jail
	defer func() {
		for _, j := range jails {
			w.endTraffic(p.name, j)
		}
	}()
	for range 2 {
		j, err := w.jailed(jailApp, "--allow", w.of(byFlag).addr)
		if err != nil {
			return err
		}
		jails = append(jails, j)
		if _, err := j.reply(ctx, "ready", patience); err != nil {
			return err
		}
		if err := j.tell(append([]string{"traffic"}, destinations(w.receivers)...)...); err != nil {
			return err
		}
	}
	for i := range n {
		if err := w.recovered(ctx, p, jails); err != nil {
			return err
		}
		pause(ctx, w.moment(40*time.Millisecond))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := p.kill(ctx, w); err != nil {
			return err
		}
		w.count(p.name+" killed", 1)
		pause(ctx, w.moment(20*time.Millisecond))
		if err := p.back(ctx, w); err != nil {
			return err
		}
		if err := w.ledger.audit(ctx); err != nil {
			return err
		}
		if err := w.checkState(ctx); err != nil {
			return err
		}
		if err := w.checkDenied(); err != nil {
			return err
		}
		if i%100 == 99 {
			w.note("%s: %d of %d", p.name, i+1, n)
		}
	}
	return w.recovered(ctx, p, jails)
}

// recovered waits until every jail has made a connect to everything that is
// allowed, begun after the part was back.
func (w *world) recovered(ctx context.Context, p *part, jails []*jail) error {
	back := time.Now()
	for i, j := range jails {
		for _, r := range w.receivers {
			if !r.allowed() {
				continue
			}
			err := within(ctx, patience, "it is reached", func() bool { return j.since(r.destination()).After(back) })
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				j.mu.Lock()
				w.wrong(failedForGood, "jail %d, %s (%s) after the %s was killed: %v\nnetjail said: %s", i, r.addr, r.kind, p.name, maps.Clone(j.tries), tail(j.err.String(), 600))
				j.mu.Unlock()
			}
		}
	}
	w.count("milliseconds until all was reached again", int(time.Since(back).Milliseconds()))
	return nil
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// endTraffic ends a jail and adds up what it did.
func (w *world) endTraffic(name string, j *jail) {
	if err := j.end(); err != nil {
		w.wrong(didNotEnd, "%v", err)
	}
	may := make(map[string]bool)
	for _, r := range w.receivers {
		may[r.destination()] = r.allowed()
	}
	ok, failed := j.outcomes(func(dest string) bool { return may[dest] })
	w.count(name+": allowed connects made", ok)
	w.count(name+": allowed connects that failed meanwhile", failed)
	// A datagram that is not sent fails as well.
	ok, failed = j.outcomes(func(dest string) bool { return !may[dest] })
	w.count(name+": denied connects refused", failed)
	if ok > 0 {
		w.wrong(reachedDenied, "the program made %d denied connects", ok)
	}
}
