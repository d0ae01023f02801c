package interpose

import (
	"sync"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// maxReplays bounds how many results are kept.
const maxReplays = 1024

// replay keeps results that did not reach their callers. Before Linux 5.19,
// which knows WAIT_KILLABLE_RECV, any signal takes a caller away from a call
// that is being performed, and after the handler it comes with the same call
// again: that one gets the result, or a message would be sent twice and a
// connected socket be connected once more. Its zero value keeps nothing.
//
// What it cannot see is an answer that the kernel took when the signal was
// there already, and drops: then the call is performed again.
type replay struct {
	on bool

	mu      sync.Mutex
	results map[uint32]undelivered   // by thread
	busy    map[uint32]chan struct{} // by thread: closed when its call has been answered
}

type undelivered struct {
	data sys.Data
	resp sys.Resp
}

func newReplay(on bool) replay {
	return replay{on: on, results: make(map[uint32]undelivered), busy: make(map[uint32]chan struct{})}
}

// note keeps the answer to k.
func (p *replay) note(k *call, r sys.Resp) {
	if !p.on || r.Flags != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.results) >= maxReplays {
		clear(p.results)
	}
	p.results[k.n.PID] = undelivered{k.n.Data, r}
}

// begin says that a call is being handled, until end is called for it. If it
// was performed already, begin returns the answer instead. Whatever else a
// thread does next shows that a call does not come again; it may do so before
// another receiver has found out that the answer does not reach it.
func (p *replay) begin(n *sys.Notif) (r sys.Resp, again bool) {
	if !p.on {
		return r, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.busy[n.PID] != nil {
		c := p.busy[n.PID]
		p.mu.Unlock()
		<-c
		p.mu.Lock()
	}
	if r, again = p.takeLocked(n); again {
		return r, true
	}
	p.busy[n.PID] = make(chan struct{})
	return r, false
}

func (p *replay) end(n *sys.Notif) {
	if !p.on {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.busy[n.PID])
	delete(p.busy, n.PID)
}

func (p *replay) takeLocked(n *sys.Notif) (sys.Resp, bool) {
	u, ok := p.results[n.PID]
	delete(p.results, n.PID)
	u.resp.ID = n.ID
	return u.resp, ok && u.data == n.Data
}
