package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// load loads the machine with jails, and looks at what is left of it in the
// daemon and in one supervisor that has seen it all.
func (w *world) load(ctx context.Context) error {
	if w.duration == 0 {
		w.duration = 20 * time.Second
	}
	const timeout = 5 * time.Second // of a question
	if err := w.furnish(ctx, "--question-timeout", timeout.String()); err != nil {
		return err
	}
	w.never(didNotEnd, grown, slowed, failedForGood)
	target, err := w.jailed(jailApp, "--no-prompt")
	if err != nil {
		return err
	}
	defer target.end()
	neighbour, err := w.jailed(jailApp, "--no-prompt")
	if err != nil {
		return err
	}
	defer neighbour.end()
	for _, j := range []*jail{target, neighbour} {
		if _, err := j.reply(ctx, "ready", patience); err != nil {
			return err
		}
	}
	watched := []*subject{
		{name: "the daemon", pid: w.daemonPID()}, {name: "the supervisor", pid: target.cmd.Process.Pid},
	}
	l := &loading{w: w, target: target, neighbour: neighbour}
	// Once for all to be there that is made only once, then in earnest.
	if err := l.all(ctx, w.options.small()); err != nil {
		return err
	}
	settle(ctx, watched)
	for _, s := range watched {
		s.first = measure(s.pid)
	}
	if err := l.all(ctx, w.options); err != nil {
		return err
	}
	settle(ctx, watched)
	for _, s := range watched {
		s.judge(w, measure(s.pid))
	}
	if err := w.checkState(ctx); err != nil {
		return err
	}
	if err := w.checkDenied(); err != nil {
		return err
	}
	return l.goroutines(ctx)
}

// small is the same load, smaller.
func (o options) small() options {
	o.programs, o.connections, o.rate = max(1, o.programs/20), max(1, o.connections/20), max(1, o.rate/10)
	o.duration, o.garbage, o.questions, o.forks = o.duration/10, o.garbage/10, max(1, o.questions/10), max(1, o.forks/10)
	return o
}

// loading is a machine under load.
type loading struct {
	w                 *world
	target, neighbour *jail
}

func (l *loading) all(ctx context.Context, o options) error {
	for _, do := range []func(context.Context, options) error{l.programs, l.garbage, l.forks, l.questions} {
		if err := do(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// pace is how long connects take, by a jail and without one.
type pace struct{ jailed, native [2]time.Duration } // median, 99 %

const paceRate = 200 // connects per second

// measurePace has the neighbour connect for a while, and somebody without a jail.
func (l *loading) measurePace(ctx context.Context, d time.Duration) (p pace, err error) {
	addr := l.w.of(byRule).addr
	native := make(chan [2]time.Duration, 1)
	go func() {
		took, _ := connects(addr, paceRate, d)
		native <- [2]time.Duration{quantile(took, 0.5), quantile(took, 0.99)}
	}()
	words, err := l.neighbour.do(ctx, d+patience, "rate", addr, itoa(paceRate), itoa(int(d.Milliseconds())))
	p.native = <-native
	if err != nil || len(words) != 4 {
		return p, fmt.Errorf("the neighbour says %q: %w", words, err)
	}
	if words[1] != "0" {
		l.w.wrong(failedForGood, "%s of the neighbour's connects failed", words[1])
	}
	for i := range p.jailed {
		n, _ := strconv.Atoi(words[2+i])
		p.jailed[i] = time.Duration(n) * time.Microsecond
	}
	return p, nil
}

// during measures the neighbour's pace while something is done, and before.
func (l *loading) during(ctx context.Context, what string, d time.Duration, do func() error) error {
	quiet, err := l.measurePace(ctx, min(d, 5*time.Second))
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	busy, err := l.measurePace(ctx, d)
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	l.w.note("%s: a neighbour's connect took %v (p99 %v), before %v (%v); without a jail %v (%v), before %v (%v)", what,
		busy.jailed[0], busy.jailed[1], quiet.jailed[0], quiet.jailed[1], busy.native[0], busy.native[1], quiet.native[0], quiet.native[1])
	// What the machine itself has become slower by is not netjail's doing.
	ratio := float64(busy.jailed[1]) / float64(max(quiet.jailed[1], 1))
	machine := max(1, float64(busy.native[1])/float64(max(quiet.native[1], 1)))
	l.w.count("percent of its quiet p99 that a neighbour had during "+what, int(ratio*100))
	l.w.count("percent of its quiet p99 that a connect without a jail had during "+what, int(machine*100))
	if ratio > 3*machine && busy.jailed[1] > time.Millisecond {
		l.w.wrong(slowed, "p99 is %.1f times what it was during %s, of a connect without a jail %.1f times", ratio, what, machine)
	}
	return nil
}

// programs has many jails hold connections open and make more.
func (l *loading) programs(ctx context.Context, o options) error {
	r, err := listen(byFlag)
	if err != nil {
		return err
	}
	defer r.close()
	r.hold = true
	var jails []*jail
	defer func() {
		var wg sync.WaitGroup
		for _, j := range jails {
			wg.Go(func() {
				if err := j.end(); err != nil {
					l.w.wrong(didNotEnd, "%v", err)
				}
			})
		}
		wg.Wait()
	}()
	for range o.programs {
		j, err := l.w.jailed(jailApp, "--no-prompt", "--allow", r.addr)
		if err != nil {
			return err
		}
		jails = append(jails, j)
		if len(jails)%10 == 0 { // ten at a time are started
			if _, err := j.reply(ctx, "ready", patience); err != nil {
				return err
			}
		}
	}
	each := max(1, o.connections/o.programs)
	for _, j := range jails {
		if err := j.tell("hold", r.addr, itoa(each)); err != nil {
			return err
		}
	}
	for _, j := range jails {
		words, err := j.reply(ctx, "hold", 2*patience)
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(words[0])
		l.w.count("connections held open", n)
		if n != each {
			l.w.wrong(failedForGood, "%d of %d connections", n, each)
		}
	}
	return l.during(ctx, fmt.Sprintf("%d programs", o.programs), o.duration, func() error { return l.rates(ctx, jails, r.addr, o) })
}

// rates has all jails connect at a rate that they share.
func (l *loading) rates(ctx context.Context, jails []*jail, addr string, o options) error {
	each := max(1, o.rate/len(jails))
	some := jails[:min(len(jails), o.rate)]
	for _, j := range some {
		if err := j.tell("rate", addr, itoa(each), itoa(int(o.duration.Milliseconds()))); err != nil {
			return err
		}
	}
	made := 0
	for _, j := range some {
		words, err := j.reply(ctx, "rate", o.duration+2*patience)
		if err != nil {
			return err
		}
		ok, _ := strconv.Atoi(words[0])
		failed, _ := strconv.Atoi(words[1])
		made += ok
		if failed > 0 {
			l.w.wrong(failedForGood, "%d connects under load", failed)
		}
	}
	l.w.count("connects under load", made)
	l.w.note("%d connects per second were made, %d were wanted", made*int(time.Second)/int(o.duration), each*len(some))
	return nil
}

// garbage has the target make senseless calls.
func (l *loading) garbage(ctx context.Context, o options) error {
	seed := itoa(l.w.pick(1 << 30))
	return l.during(ctx, fmt.Sprintf("%d senseless calls", o.garbage), 5*time.Second, func() error {
		_, err := l.target.do(ctx, 20*patience, "garbage", itoa(o.garbage), seed)
		l.w.count("senseless calls", o.garbage)
		return err
	})
}

// forks has the target start many processes that connect at once.
func (l *loading) forks(ctx context.Context, o options) error {
	return l.during(ctx, fmt.Sprintf("a bomb of %d forks", o.forks), 5*time.Second, func() error {
		words, err := l.target.do(ctx, 10*patience, "fork", l.w.of(byRule).destination(), itoa(o.forks))
		if err != nil {
			return err
		}
		if words[0] != itoa(o.forks) {
			l.w.wrong(failedForGood, "%s of %d processes could connect", words[0], o.forks)
		}
		l.w.count("processes that connected at once", o.forks)
		return nil
	})
}

// questions has jails ask what nobody answers. All calls are denied in the end,
// and the neighbour notices nothing.
func (l *loading) questions(ctx context.Context, o options) error {
	const perApp = 100 // below the queue's bound for one app, not for all
	c, err := l.w.dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Call(ctx, api.OpQuestionWatch, api.QuestionWatch{Asks: true}, nil); err != nil {
		return err
	}
	const firstPort = 20_000 // where nobody listens, and none is given away
	return l.during(ctx, fmt.Sprintf("%d questions", o.questions), 5*time.Second, func() error {
		var jails []*jail
		for i := 0; i < o.questions; i += perApp {
			j, err := l.w.jailed(fmt.Sprintf("asker%d", i/perApp))
			if err != nil {
				return err
			}
			defer j.end()
			jails = append(jails, j)
			if err := j.tell("flood", itoa(firstPort+i), itoa(min(perApp, o.questions-i))); err != nil {
				return err
			}
		}
		for _, j := range jails {
			words, err := j.reply(ctx, "flooded", 2*patience)
			if err != nil {
				return err
			}
			n, _ := strconv.Atoi(words[0])
			l.w.count("questions that nobody answered", n)
			j.mu.Lock()
			for _, line := range j.said {
				if line == "flood ok" || line == "flood ECONNREFUSED" {
					l.w.wrong(reachedDenied, "an unanswered question let a call through: %s", line)
				}
			}
			j.mu.Unlock()
		}
		return nil
	})
}

// subject is a process that must not grow.
type subject struct {
	name  string
	pid   int
	first size
}

// size is what a process has.
type size struct{ kB, files, threads int }

func measure(pid int) (s size) {
	dir := filepath.Join("/proc", itoa(pid))
	b, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "RssAnon:": // what is mapped from files the kernel takes back
			s.kB, _ = strconv.Atoi(f[1])
		case "Threads:":
			s.threads, _ = strconv.Atoi(f[1])
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if s.files = len(files); err != nil {
		s.files = -1 // of a process that nobody may look into
	}
	return s
}

// settle waits until nothing changes any more: threads stay, memory is given back
// within minutes.
func settle(ctx context.Context, list []*subject) {
	for same, last := 0, ""; same < 6 && ctx.Err() == nil; pause(ctx, 500*time.Millisecond) {
		now := ""
		for _, s := range list {
			m := measure(s.pid)
			now += fmt.Sprint(m.files, m.threads)
		}
		if same++; now != last {
			same, last = 0, now
		}
	}
}

// judge compares a process with what it was. The runtime keeps some memory, and
// threads that have waited in the kernel once.
func (s *subject) judge(w *world, now size) {
	w.note("%s: memory %d kB, %d descriptors, %d threads; before %d kB, %d, %d", s.name, now.kB, now.files, now.threads, s.first.kB, s.first.files, s.first.threads)
	const spareMemory, spareThreads, spareFiles = 24 << 10, 24, 8
	if now.kB > 2*s.first.kB+spareMemory || now.files > s.first.files+spareFiles || now.threads > s.first.threads+spareThreads {
		w.wrong(grown, "%s: %+v, before %+v", s.name, now, s.first)
	}
}

// goroutines has daemon and supervisor say what they do, which ends them, and
// compares that with two that have done nothing. They say it on SIGABRT.
func (l *loading) goroutines(ctx context.Context) error {
	w := l.w
	log := filepath.Join(w.dir, "daemon.log")
	dump := func(daemon, supervisor int, j *jail) (counts [2]int, err error) {
		if err := os.Truncate(log, 0); err != nil {
			return counts, err
		}
		if err := syscall.Kill(supervisor, syscall.SIGABRT); err != nil {
			return counts, err
		}
		if err := j.ended(patience); err != nil {
			return counts, err
		}
		if err := syscall.Kill(daemon, syscall.SIGABRT); err != nil {
			return counts, err
		}
		if err := within(ctx, patience, "the daemon ends", func() bool { return !runs(daemon) }); err != nil {
			return counts, err
		}
		b, err := os.ReadFile(log)
		counts = [2]int{strings.Count(string(b), "\ngoroutine "), strings.Count(j.stderr(), "\ngoroutine ")}
		return counts, err
	}
	busy, err := dump(w.daemonPID(), l.target.cmd.Process.Pid, l.target)
	if err != nil {
		return err
	}
	if err := w.startDaemon(ctx); err != nil {
		return err
	}
	fresh, err := w.jailed(jailApp, "--no-prompt")
	if err != nil {
		return err
	}
	defer fresh.end()
	if _, err := fresh.reply(ctx, "ready", patience); err != nil {
		return err
	}
	quiet, err := dump(w.daemonPID(), fresh.cmd.Process.Pid, fresh)
	if err != nil {
		return err
	}
	for i, name := range []string{"the daemon", "the supervisor"} {
		w.note("%s: %d goroutines, a fresh one %d", name, busy[i], quiet[i])
		if busy[i] > quiet[i]+12 {
			w.wrong(grown, "%s has %d goroutines, a fresh one %d", name, busy[i], quiet[i])
		}
	}
	return nil
}
