package jail

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

const (
	maxDeeds   = 4096        // of one second, and of all that is not told yet
	flushAfter = time.Second // what has happened is told then
	seldomer   = time.Minute // what goes on and on is told of that seldom in the end
	maxMessage = 32 << 10    // bytes of events that are told at once
	namesTold  = 8           // of an address
)

// deeds counts what was decided without a question, for the history. The same
// call of the same thread again costs a look into a map: it allocates nothing,
// reads no file and no clock. The first of a second costs what it takes to find
// out which program it is, which may end any moment. What is told is put
// together elsewhere, once a second.
type deeds struct {
	p    *policy
	tell func(api.Report) error

	mu      sync.Mutex
	counts  map[deed]*tally
	lookups map[row]*tally
	armed   bool // somebody will flush
	lost    int

	flushing sync.Mutex // held while one flush tells; above mu
	rows     map[row]*owed
}

// deed is what is counted together at first: a key that is made fast.
type deed struct {
	tid   int
	op    rules.Op
	proto rules.Proto
	addr  netip.AddrPort
	unix  string
	allow bool
	by    *rules.Rule
	why   string
}

// tally is how often. What makes it up is from the first call.
type tally struct {
	deed
	count   int
	first   time.Time
	request rules.Request
	pid     int
	exe     string
}

// row is what is told of together.
type row struct {
	what, exe, why string
	rule           string // its id, "": none, or one of the run's own
	dest           rules.Destination
	allow          bool
}

// owed is what is still to be told of a row, and when that is due.
type owed struct {
	event api.HistoryEvent
	due   time.Time
	every time.Duration
}

// note counts a call. It waits for nothing.
func (d *deeds) note(c *interpose.Call, r *rules.Request, allow bool, by *rules.Rule, why string) {
	k := deed{c.TID, r.Op, r.Proto, r.Addr, r.Unix, allow, by, why}
	if d.again(&k) {
		return
	}
	t := &tally{deed: k, count: 1, first: time.Now(), request: *r, pid: processOf(c), exe: r.Exe}
	if t.exe == "" {
		t.exe = c.Exe()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = make(map[deed]*tally)
	}
	if old := d.counts[k]; old != nil {
		old.count++
		return
	}
	d.counts[k] = t
	d.armLocked()
}

// processOf returns the process of a thread, or 0. A signal reaches a thread only
// by its own process, tgkill(2): the first thread is known without reading its
// status, for which the kernel adds up its memory.
func processOf(c *interpose.Call) int {
	if unix.Tgkill(c.TID, c.TID, 0) == nil {
		return c.TID
	}
	return c.PID()
}

// again counts a call that there is a tally of, or no room for one.
func (d *deeds) again(k *deed) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.counts[*k]; t != nil {
		t.count++
		return true
	}
	if len(d.counts) >= maxDeeds {
		d.lost++
		return true
	}
	return false
}

// armLocked has what was counted told soon.
func (d *deeds) armLocked() {
	if !d.armed {
		d.armed = true
		time.AfterFunc(flushAfter, func() { d.flush(false) })
	}
}

// noteLookup counts a name that was not looked up. Who asked is not known.
func (d *deeds) noteLookup(dest rules.Destination, why grounds) {
	if why.asked {
		return
	}
	k := row{what: "look up", why: because(false, why.by, why.why), rule: ruleOf(why.by), dest: dest}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.lookups[k]
	switch {
	case t != nil:
	case len(d.lookups) >= maxDeeds:
		d.lost++
		return
	default:
		if d.lookups == nil {
			d.lookups = make(map[row]*tally)
		}
		t = &tally{first: time.Now()}
		d.lookups[k] = t
		d.armLocked()
	}
	t.count++
}

// flush tells the daemon what is due, or everything when the jail ends. What it
// cannot be told is told later.
func (d *deeds) flush(all bool) {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	d.mu.Lock()
	counts, lookups, lost := d.counts, d.lookups, d.lost
	d.counts, d.lookups, d.lost, d.armed = nil, nil, 0, false
	d.mu.Unlock()
	now := time.Now()
	for _, t := range counts {
		lost += d.add(d.row(t), t, now)
	}
	for k, t := range lookups {
		lost += d.add(k, t, now)
	}
	gone := false
	for _, r := range reportsOf(d.due(now, all), lost) {
		if gone = gone || d.tell(r) != nil; gone {
			d.keep(r)
		}
	}
	if len(d.rows) > 0 && !all {
		d.mu.Lock()
		d.armLocked()
		d.mu.Unlock()
	}
}

// row returns where a call belongs.
func (d *deeds) row(t *tally) row {
	return row{
		what: t.op.String(), exe: t.exe, why: because(t.allow, t.by, t.why), rule: ruleOf(t.by),
		dest: d.p.destination(&t.request, t.allow), allow: t.allow,
	}
}

// add adds what was counted to its row, and returns how many calls there was no
// room for.
func (d *deeds) add(k row, t *tally, now time.Time) (lost int) {
	w := d.rows[k]
	if w == nil {
		if len(d.rows) >= maxDeeds {
			return t.count
		}
		if d.rows == nil {
			d.rows = make(map[row]*owed)
		}
		w = &owed{every: flushAfter}
		d.rows[k] = w
	}
	w.add(k.event(t, now))
	return 0
}

// event is what was counted as the daemon is told of it. When the last of
// several calls was is known to a second.
func (k *row) event(t *tally, now time.Time) api.HistoryEvent {
	e := api.HistoryEvent{
		Time: now, First: t.first, Count: t.count, PID: t.pid, Exe: k.exe, What: k.what, Dest: k.dest,
		Names: namesOf(t.request.Names), Why: k.why, Rule: k.rule,
	}
	if k.allow {
		e.Verdict = rules.Allow
	}
	if t.request.Unix == "" {
		e.Addr = t.request.Addr.Addr()
	}
	if t.count == 1 {
		e.Time = t.first
	}
	return e
}

// add adds an event of the same row.
func (w *owed) add(e api.HistoryEvent) {
	if w.event.Count == 0 {
		w.event = e
		return
	}
	count, last := w.event.Count+e.Count, w.event.Time
	if e.First.Before(w.event.First) {
		w.event = e
	}
	w.event.Count = count
	if last.After(w.event.Time) {
		w.event.Time = last
	}
	if e.Time.After(w.event.Time) {
		w.event.Time = e.Time
	}
}

// keep takes back a report that nobody has heard.
func (d *deeds) keep(r api.Report) {
	for _, e := range r.Events {
		k := row{what: e.What, exe: e.Exe, why: e.Why, rule: e.Rule, dest: e.Dest, allow: e.Verdict == rules.Allow}
		if w := d.rows[k]; w != nil {
			w.add(e)
		}
	}
	d.mu.Lock()
	d.lost += r.Lost
	d.mu.Unlock()
}

// due takes the events that are to be told now, the oldest first, and forgets
// rows that nothing has happened of for a while.
func (d *deeds) due(now time.Time, all bool) (list []api.HistoryEvent) {
	for k, w := range d.rows {
		switch {
		case w.event.Count > 0 && (all || !now.Before(w.due)):
			list = append(list, w.event)
			w.event.Count = 0
			w.due = now.Add(w.every - flushAfter/2)
			w.every = min(2*w.every, seldomer)
		case w.event.Count == 0 && now.After(w.due):
			delete(d.rows, k)
		}
	}
	slices.SortFunc(list, func(a, b api.HistoryEvent) int { return a.Time.Compare(b.Time) })
	return list
}

// reportsOf makes reports that fit into messages.
func reportsOf(list []api.HistoryEvent, lost int) (out []api.Report) {
	r, size := api.Report{Lost: lost}, 0
	for _, e := range list {
		n := textOf(&e)
		if size+n > maxMessage && len(r.Events) > 0 {
			out = append(out, r)
			r, size = api.Report{}, 0
		}
		size += n
		r.Events = append(r.Events, e)
	}
	if len(r.Events) > 0 || r.Lost > 0 {
		out = append(out, r)
	}
	return out
}

// textOf is about how long an event is in a message. JSON makes some bytes six
// times as long, for which a message has room.
func textOf(e *api.HistoryEvent) int {
	n := 300 + len(e.Exe) + len(e.Why) + len(e.Dest.Host.Name)
	for _, name := range e.Names {
		n += len(name)
	}
	return n
}

// namesOf returns some names of an address. What JSON makes six times as long is
// no host's name.
func namesOf(names []string) (list []string) {
	for _, name := range names {
		if len(list) < namesTold && !strings.ContainsAny(name, "<>&") {
			list = append(list, name)
		}
	}
	return list
}

// ruleOf names a rule that is in a file.
func ruleOf(r *rules.Rule) string {
	if r == nil || r.Source.File == "" {
		return ""
	}
	return r.ID()
}

// because says which rule it was, or why there was none.
func because(allow bool, by *rules.Rule, why string) string {
	switch {
	case by == nil:
		return notifier.Clean(why, 300)
	case allow:
		return "allowed by " + origin(by)
	}
	return "denied by " + origin(by)
}

// destination returns what a call was about as people name it: what is refused
// as it was refused, what is allowed by the name that the program looked up
// last.
func (p *policy) destination(r *rules.Request, allow bool) rules.Destination {
	if f := p.inForce.Load(); !allow && f != nil {
		return p.named(f, r)
	}
	for i := range len(r.Names) {
		i := (r.Own + i) % len(r.Names) // what was looked up comes before what is in a file
		one := *r
		one.Names, one.Own = r.Names[i:i+1], min(1, max(0, r.Own-i))
		if d, ok := one.NamedDestination(); ok {
			return d
		}
	}
	return r.Destination()
}
