package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
)

const (
	// listTime is how long a supervisor may say nothing when it is asked for the
	// connections of its jail. All are asked at once.
	listTime = time.Second

	// listAllTime is how long it may take to say all.
	listAllTime = 5 * time.Second

	// controlTime is how long a supervisor has to end something.
	controlTime = 5 * time.Second

	// maxConnections bounds a list of all jails' connections, in bytes as the
	// supervisors sent them: with what is added it has to fit into MaxLine.
	maxConnections = 8 << 20
)

// supervising returns one supervisor for each jail, the jail started first at
// the front. A jail that is being handed over has two, of which the later one
// goes on.
func (s *server) supervising() []*jail {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := make(map[string]*jail)
	for j := range s.jails {
		if o := latest[j.reg.Jail]; o == nil || j.started.After(o.started) {
			latest[j.reg.Jail] = j
		}
	}
	list := make([]*jail, 0, len(latest))
	for _, j := range latest {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *jail) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.reg.Jail, b.reg.Jail))
	})
	return list
}

// connections lists what all jails have open. One that does not answer in time
// is said not to.
func (s *server) connections(ctx context.Context) connections {
	ctx, cancel := context.WithTimeout(ctx, listAllTime)
	defer cancel()
	list := s.supervising()
	answers := make([]*listing, len(list))
	failed := make([]error, len(list))
	var wg sync.WaitGroup
	for i, j := range list {
		wg.Go(func() {
			failed[i] = s.lastOf(j, func(j *jail) (err error) {
				answers[i], err = j.list(ctx)
				return err
			})
		})
	}
	wg.Wait()
	return merge(list, answers, failed)
}

var errSuspended = errors.New("it is suspended")

// list asks a supervisor for the connections of its jail. One that is suspended
// with its program is not sent what it would have to answer later.
func (j *jail) list(ctx context.Context) (*listing, error) {
	if suspended(j.pid) {
		return nil, errSuspended
	}
	l, ask := j.tasks.join(time.Now())
	if ask {
		_ = event(j.conn, api.EventFlows, api.Task{Request: l.request}) // or the connection ends
	}
	tick := time.NewTicker(listTime)
	defer tick.Stop()
	for parts := 0; ; {
		select {
		case <-l.done:
			return l, nil
		case <-j.gone:
			return nil, errLeft
		case <-ctx.Done():
			return nil, errNoAnswer
		case <-tick.C:
		}
		before := parts
		if parts = j.tasks.progress(l); parts > before {
			continue
		}
		if suspended(j.pid) {
			return nil, errSuspended
		}
		return nil, errNoAnswer
	}
}

// connections is an api.Connections whose flows are JSON already.
type connections struct {
	Jails []jailConnections `json:"jails"`
}

type jailConnections struct {
	api.JailConnections
	Flows json.RawMessage `json:"flows"` // hides the other
}

// merge puts the answers of jails together. Where all of them are too much the
// largest are left out, so that no jail can hide another.
func merge(list []*jail, answers []*listing, failed []error) connections {
	out := connections{Jails: make([]jailConnections, len(list))}
	var order []int
	for i, j := range list {
		t := &out.Jails[i]
		t.App, t.Jail, t.Flows = j.reg.App, j.reg.Jail, json.RawMessage("[]")
		if failed[i] != nil {
			t.Silent, t.Problem = true, failed[i].Error()
			continue
		}
		last := &answers[i].last
		t.Problem, t.More, t.Unseen = last.Problem, last.More, last.Unseen
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(answers[a].flows), len(answers[b].flows)) })
	room := maxConnections
	for _, i := range order {
		t, l := &out.Jails[i], answers[i]
		if room -= len(l.flows); room < 0 {
			t.More += l.count
			continue
		}
		t.Flows = slices.Concat([]byte("["), l.flows, []byte("]"))
	}
	return out
}

// control ends one connection of a jail, or everything in it.
func (s *server) control(ctx context.Context, m *api.Message) error {
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	if m.Op == api.OpStop {
		what, err := decode[api.JailStop](m)
		if err != nil {
			return err
		}
		return s.stop(ctx, what.Jail)
	}
	what, err := decode[api.FlowEnd](m)
	if err != nil {
		return err
	}
	j, err := s.find(what.Jail)
	if err != nil {
		return err
	}
	return s.lastOf(j, func(j *jail) error {
		if suspended(j.pid) {
			return &api.Error{Text: j.reg.App + ": " + errSuspended.Error(), Hint: "continue it first, or stop it", Code: api.CodeInvalid}
		}
		return j.do(ctx, api.EventEnd, api.Task{Flow: what.ID})
	})
}

// stop ends everything in a jail. One that ends before its supervisor can
// answer is stopped.
func (s *server) stop(ctx context.Context, id string) error {
	j, err := s.find(id)
	if err != nil {
		return err
	}
	err = s.lastOf(j, func(j *jail) error {
		if suspended(j.pid) {
			_ = unix.Kill(j.pid, unix.SIGCONT) // it would not hear of it
		}
		return j.do(ctx, api.EventStop, api.Task{})
	})
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// lastOf asks a jail's supervisor for something, and its successor when it has
// gone meanwhile. When there is none the error is errLeft.
func (s *server) lastOf(j *jail, ask func(*jail) error) error {
	for {
		err := ask(j)
		if !errors.Is(err, errLeft) {
			return err
		}
		next, notFound := s.find(j.reg.Jail)
		if notFound != nil || next == j {
			return err
		}
		j = next
	}
}

// find returns the supervisor of a jail.
func (s *server) find(id string) (*jail, error) {
	for _, j := range s.supervising() {
		if j.reg.Jail == id {
			return j, nil
		}
	}
	return nil, &api.Error{Text: "no such jail", Hint: "netjail status", Code: api.CodeNotFound}
}
