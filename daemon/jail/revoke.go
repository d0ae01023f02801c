package jail

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/daemon/ruling"
)

// lookLater is when what is open is looked at once more. A descriptor that was
// just being passed on belonged to no process.
const lookLater = 250 * time.Millisecond

// maxRounds bounds how often what is open is looked at in a row, while there is
// something to end or processes come and go.
const maxRounds = 8

// revoker ends what is open and not covered by the rules any more. It works in
// the background: rules never wait for it.
//
// It finds what some process of the jail has, in the jail's network namespace. What is
// in a message that nobody has received yet, in a process that may not be looked
// into, or a ping socket, it does not find.
type revoker struct {
	s     *supervisor
	later time.Duration
	pids  func() []int // of the jail

	mu   sync.Mutex
	past []*force // in force before, and not looked back at
	busy bool     // somebody does

	owed []*bill // calls were under way when it looked

	older   []*force // of whose calls some were not done at the last look back; for who is busy
	waiting sync.WaitGroup

	looking sync.Mutex
	said    map[string]bool // lines that are worth saying once
}

func (v *revoker) init(s *supervisor) {
	v.s, v.later, v.said = s, lookLater, make(map[string]bool)
	v.pids = func() []int { return descendants(s.keeper()) }
	s.policy.replaced = func(old *force) { v.replaced(old) }
}

// replaced takes note of what is in force no more. It does not wait.
func (v *revoker) replaced(old ...*force) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.past = append(v.past, old...)
	if !v.busy && len(v.past) > 0 {
		v.busy = true
		go v.run()
	}
}

// run looks back until there is nothing left to look back at. Rules that come
// meanwhile are looked at together.
func (v *revoker) run() {
	for past := v.next(0); past != nil; past = v.next(len(past)) {
		v.revoke(past)
	}
}

// next returns what to look back at after the first n. When the program has
// ended all that is left is for a successor, those among it.
func (v *revoker) next(n int) []*force {
	over := v.s.over()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !over {
		v.past = v.past[n:]
	}
	if over || len(v.past) == 0 {
		v.busy = false
		return nil
	}
	return v.past
}

// revoke ends what past let through and what is in force now does not. Calls
// that past has decided about may still be on their way.
func (v *revoker) revoke(past []*force) {
	var narrowed []*force
	for i, f := range past {
		next := v.s.policy.inForce.Load()
		if i+1 < len(past) {
			next = past[i+1]
		}
		if f.narrows(next, time.Now()) {
			narrowed = append(narrowed, f)
		}
	}
	v.older = slices.DeleteFunc(append(v.older, past...), func(f *force) bool { return !underWay(f) })
	if len(narrowed) == 0 {
		v.s.gate.revised()
		return
	}
	b := &bill{past: narrowed, ended: make(map[uint64]bool)}
	v.look(b)
	if len(v.older) > 0 { // when it looked
		v.mu.Lock()
		v.owed = append(v.owed, b)
		v.mu.Unlock()
		older := slices.Clone(v.older)
		v.waiting.Go(func() { v.await(b, older) })
	}
	time.AfterFunc(v.later, func() { v.look(b) })
}

// await looks again when no call that older has decided about is under way.
func (v *revoker) await(b *bill, older []*force) {
	for slices.ContainsFunc(older, underWay) {
		if v.s.over() {
			return // and owes it: a successor looks
		}
		time.Sleep(time.Millisecond)
	}
	v.look(b)
	over := v.s.over()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !over {
		v.owed = slices.DeleteFunc(v.owed, func(o *bill) bool { return o == b })
	}
}

// underWay says whether calls that f has decided about are not done.
func underWay(f *force) bool { return f.calls.Load() > 0 }

// bill is what past rules still owe: to end what they let through.
type bill struct {
	past      []*force
	ended     map[uint64]bool // flows, by cookie
	listeners []flows.Flow    // of those
}

// look looks at all that is open, and ends what has to be. Each process is looked
// at anew: who has a socket may have changed.
func (v *revoker) look(b *bill) {
	v.looking.Lock()
	defer v.looking.Unlock()
	v.s.gate.revised()
	var failed error
	unseen := 0
	for range maxRounds {
		if !v.s.ready() {
			return
		}
		pids := v.pids()
		lister := flows.Lister{Network: v.s.traffic.network.Load()}
		list, err := lister.List(pids, time.Now())
		var again bool
		again, failed = v.settle(b, list.Flows)
		failed, unseen = errors.Join(err, failed), list.Unseen
		if !again && slices.Equal(pids, v.pids()) {
			break
		}
	}
	if unseen > 0 {
		v.once("unseen", fmt.Sprintf("netjail: warning: %d processes of %s cannot be looked into: what they have open and no rule allows any more is not ended", unseen, v.s.cfg.App))
	}
	if failed != nil {
		v.once(failed.Error(), "netjail: error: what no rule allows any more may still be open: "+failed.Error())
	}
}

// once says a line if it was not said before.
func (v *revoker) once(key, text string) {
	if !v.said[key] {
		v.said[key] = true
		v.say(text)
	}
}

// say does not wait: a line on the terminal may block.
func (v *revoker) say(text string) { v.s.policy.reports.saying.Go(func() { v.s.line(text) }) }

// settle ends what is covered no more. again says that there was something.
func (v *revoker) settle(b *bill, list []flows.Flow) (again bool, failed error) {
	counts := make(map[loss]int)
	j := judge{p: v.s.policy, now: v.s.policy.inForce.Load(), past: b.past, at: time.Now(), exe: executables()}
	for i := range list {
		f := &list[i]
		l, ok := j.flow(f)
		if !ok {
			l, ok = j.client(f, b.listeners)
		}
		if !ok {
			continue
		}
		first := !b.ended[f.Cookie]
		again = again || first
		if err := flows.End(*f); errors.Is(err, flows.ErrGone) {
			continue // or passed on: the next round tells
		} else if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		b.ended[f.Cookie] = true
		if !first {
			continue // it ends in its own time
		}
		if f.State == flows.StateListen {
			b.listeners = append(b.listeners, *f)
			counts[l] += 0
		} else {
			counts[l]++
		}
	}
	var lines []string
	for l, n := range counts {
		lines = append(lines, endedLine(v.s.cfg.App, l, n))
	}
	if slices.Sort(lines); len(lines) > 0 {
		v.say(strings.Join(lines, "\n"))
	}
	return again, failed
}

// judge decides about what is open.
type judge struct {
	p    *policy
	now  *force
	past []*force
	at   time.Time
	exe  func(pid int) string
}

func (j *judge) flow(f *flows.Flow) (loss, bool) {
	r, ok := j.p.opened(f, j.exe)
	if !ok {
		return loss{}, false
	}
	at := ruling.Place{Server: ruling.ToServer(&r) && j.p.system(r.Addr)}
	// A socket of UDP may have a port without having asked for it.
	return j.now.lost(j.past, &r, at, j.at, f.State == flows.StateUnconnected)
}

// client decides about a connection that one of listeners, which have been
// ended, may have accepted. They may be allowed again by now.
func (j *judge) client(f *flows.Flow, listeners []flows.Flow) (loss, bool) {
	for i := range listeners {
		if by := &listeners[i]; accepted(f, by) {
			return j.flow(by)
		}
	}
	return loss{}, false
}

// snapshots returns all by which something may have been decided that nobody has
// looked back at, for a successor: it may have newer rules already.
func (v *revoker) snapshots() (list []api.Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*force
	for _, b := range v.owed {
		all = append(all, b.past...)
	}
	for _, f := range append(append(all, v.past...), v.s.policy.inForce.Load()) {
		list = append(list, api.Snapshot{Rules: api.FromRules(f.rules), Blocklist: f.path})
	}
	return list
}

// resume looks back for a predecessor.
func (v *revoker) resume(list []api.Snapshot) {
	var past []*force
	for _, snap := range list {
		if f, _ := v.s.policy.newForce(snap); f != nil { // without its blocklist, it refused less
			past = append(past, f)
		}
	}
	v.replaced(past...)
}
