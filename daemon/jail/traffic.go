package jail

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/flows"
	"github.com/netjail/netjail/notifier"
)

// traffic is what a jail has open, as the kernel tells of it.
type traffic struct {
	s       *supervisor
	network atomic.Pointer[flows.Network] // the jail's, nil: this one
	lister  flows.Lister
	uses    uses
}

func (t *traffic) init(s *supervisor) {
	t.s = s
	t.uses.look = func() { _, _ = t.list() }
	s.policy.dns.known.Used = t.uses.has
}

// list lists what the processes of the jail have open.
func (t *traffic) list() (flows.Listing, error) {
	var list flows.Listing
	err := errNotRunning
	if t.s.ready() {
		t.lister.Network = t.network.Load()
		list, err = t.lister.List(descendants(t.s.keeper()), time.Now())
	}
	t.note(list.Flows)
	return list, err
}

// note keeps the names of what is in use.
func (t *traffic) note(list []flows.Flow) {
	used := make(map[netip.Addr]bool)
	for _, f := range list {
		used[f.Remote.Addr().WithZone("")] = true
	}
	t.uses.note(used, time.Now())
}

// perform does what the daemon asks for, and answers. What comes when the
// program has ended is a successor's to do, if there is one: the daemon asks
// that when this process is gone.
func (t *traffic) perform(event string, task api.Task) {
	if t.s.over() {
		return
	}
	if event == api.EventFlows {
		t.tell(task.Request)
		return
	}
	err := t.s.stopAll
	if event == api.EventEnd {
		err = func() error { return t.end(task.Flow) }
	}
	done := api.Done{Request: task.Request}
	if err := err(); err != nil {
		done.Error = &api.Error{Text: err.Error()}
		if errors.Is(err, flows.ErrGone) {
			done.Error.Code = api.CodeNotFound
		}
	}
	t.s.link.answer(api.OpDone, done)
}

// tell answers in parts: what comes meanwhile does not wait for all of them,
// and the daemon takes no larger messages from anybody.
func (t *traffic) tell(request uint64) {
	c := t.s.link.current()
	if c == nil {
		return
	}
	_ = c.Tell(api.OpFlows, api.Flows{Request: request}) // it is heard: a long list takes its time
	list, err := t.list()
	names := make(map[netip.Addr][]string)
	for part := range slices.Chunk(list.Flows, api.MaxFlows) {
		out := api.Flows{Request: request, Count: len(part), Flows: make([]api.Flow, len(part))}
		for i := range part {
			out.Flows[i] = t.describe(&part[i], names)
		}
		if c.Tell(api.OpFlows, out) != nil {
			return // nobody waits any more
		}
	}
	last := api.Flows{Request: request, Last: true, More: list.More, Unseen: list.Unseen}
	if err != nil {
		last.Problem = err.Error()
	}
	_ = c.Tell(api.OpFlows, last)
}

// describe puts a flow into the words of package api. It keeps the names of
// addresses in names.
func (t *traffic) describe(f *flows.Flow, names map[netip.Addr][]string) api.Flow {
	out := api.Flow{
		ID: idOf(f), Network: f.Network, Local: zoned(f.Local), State: f.State,
		PID: f.PID, Program: notifier.Clean(f.Program, 60), Inode: f.Inode,
		Sent: f.Sent, Received: f.Received, Known: f.Known, Since: f.Since,
	}
	if f.Remote.Port() == 0 && f.Remote.Addr().IsUnspecified() {
		return out
	}
	out.Remote = zoned(f.Remote)
	dns := &t.s.policy.dns
	if out.Resolver = dns.resolver.At(f.Network, f.Remote); out.Resolver {
		return out
	}
	addr := f.Remote.Addr().WithZone("")
	list, ok := names[addr]
	if !ok {
		list = dns.shown(addr)
		names[addr] = list
	}
	out.Names = list
	return out
}

// idOf names a flow. Only the supervisor reads it.
func idOf(f *flows.Flow) string { return strconv.FormatUint(f.Cookie, 16) }

// end ends the flow that has an id now.
func (t *traffic) end(id string) error {
	list, err := t.list()
	for i := range list.Flows {
		if f := &list.Flows[i]; idOf(f) == id {
			return flows.End(*f)
		}
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("no process has connection %s: %w", notifier.Clean(id, 40), flows.ErrGone)
}

// usesFor is how long what is in use is taken to stay the same.
const usesFor = 5 * time.Second

// uses knows which addresses connections use.
type uses struct {
	look func() // ends in note

	mu      sync.Mutex
	addrs   map[netip.Addr]bool
	until   time.Time
	looking bool
}

// has says whether a connection uses an address. It does not wait: until it is
// known it says so.
func (u *uses) has(a netip.Addr) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Now().Before(u.until) {
		return u.addrs[a]
	}
	if !u.looking {
		u.looking = true
		go u.look()
	}
	return true
}

// note takes what is in use at a time.
func (u *uses) note(addrs map[netip.Addr]bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addrs, u.until, u.looking = addrs, now.Add(usesFor), false
}
