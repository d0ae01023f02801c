package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// maxListing bounds what is kept of one supervisor's answer, in bytes as they
// came.
const maxListing = 8 << 20

// staleAfter is when a listing that was not finished is asked for again. A
// supervisor that does not know the event never finishes it.
const staleAfter = 10 * time.Second

// tasks are what a supervisor has been asked to do and has not answered yet.
type tasks struct {
	mu      sync.Mutex
	last    uint64 // number of a request
	waiting map[uint64]chan error
	listing *listing // the one under way, which all who ask meanwhile wait for
}

// listing is a jail's connections, as they arrive.
type listing struct {
	request uint64
	begun   time.Time
	bytes   int
	flows   []api.Flow
	last    api.Flows
	done    chan struct{} // closed behind the last part
}

// join returns the listing under way, or a new one that has to be asked for.
func (t *tasks) join(now time.Time) (l *listing, ask bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listing != nil && now.Sub(t.listing.begun) < staleAfter {
		return t.listing, false
	}
	t.last++
	t.listing = &listing{request: t.last, begun: now, done: make(chan struct{})}
	return t.listing, true
}

// flows takes a part of a listing.
func (t *tasks) flows(m *api.Message) error {
	part, err := decode[api.Flows](m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.listing
	if l == nil || l.request != part.Request {
		return &api.Error{Text: m.Op + ": nobody waits for it", Code: api.CodeNotFound}
	}
	if l.bytes += len(m.Data); l.bytes <= maxListing {
		l.flows = append(l.flows, part.Flows...)
	} else {
		l.last.More += len(part.Flows)
	}
	if part.Last {
		part.More += l.last.More
		l.last = part
		close(l.done)
		t.listing = nil
	}
	return nil
}

// begin returns what the answer to a new request comes through. end has to be
// called when nobody waits for it any more.
func (t *tasks) begin() (request uint64, answer <-chan error, end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[uint64]chan error)
	}
	t.last++
	request = t.last
	c := make(chan error, 1)
	t.waiting[request] = c
	return request, c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting, request)
	}
}

// done takes the answer to a request.
func (t *tasks) done(m *api.Message) error {
	d, err := decode[api.Done](m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.waiting[d.Request]
	if c == nil {
		return &api.Error{Text: m.Op + ": nobody waits for it", Code: api.CodeNotFound}
	}
	delete(t.waiting, d.Request)
	if d.Error != nil {
		c <- d.Error
	} else {
		c <- nil
	}
	return nil
}

var (
	errNoAnswer = errors.New("its supervisor does not answer")
	errLeft     = errors.New("its supervisor has gone")
)

// do asks a supervisor for something and waits for the answer.
func (j *jail) do(ctx context.Context, name string, task api.Task) error {
	request, answer, end := j.tasks.begin()
	defer end()
	task.Request = request
	_ = event(j.conn, name, task) // or the connection ends
	select {
	case err := <-answer:
		return err
	case <-j.gone:
		return errLeft
	case <-ctx.Done():
		return errNoAnswer
	}
}
