package daemon

import (
	"bytes"
	"context"
	"encoding/json"
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

// listing is a jail's connections, as they arrive. They are passed on as they
// are: to read ten thousand and write them again takes the longest of all.
type listing struct {
	request uint64
	begun   time.Time
	parts   int
	bytes   int
	flows   []byte // in JSON, without brackets
	count   int    // of them
	last    part
	done    chan struct{} // closed behind the last part
}

// part is an api.Flows.
type part struct {
	Request uint64          `json:"request"`
	Count   int             `json:"count"`
	Flows   json.RawMessage `json:"flows"`
	Last    bool            `json:"last"`
	Problem string          `json:"problem"`
	More    int             `json:"more"`
	Unseen  int             `json:"unseen"`
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
	p, err := decode[part](m)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.listing
	if l == nil || l.request != p.Request {
		return &api.Error{Text: m.Op + ": nobody waits for it", Code: api.CodeNotFound}
	}
	l.parts++
	l.add(&p)
	if p.Last {
		p.More += l.last.More
		l.last = p
		close(l.done)
		t.listing = nil
	}
	return nil
}

// add adds the flows of a part, while there is room for them.
func (l *listing) add(p *part) {
	list, ok := bytes.CutPrefix(p.Flows, []byte("["))
	if list = bytes.TrimSuffix(list, []byte("]")); !ok || len(list) == 0 {
		return
	}
	if l.bytes += len(list); l.bytes > maxListing {
		l.last.More += p.Count
		return
	}
	if len(l.flows) > 0 {
		l.flows = append(l.flows, ',')
	}
	l.flows = append(l.flows, list...)
	l.count += p.Count
}

// progress says how many parts of a listing have come.
func (t *tasks) progress(l *listing) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return l.parts
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
