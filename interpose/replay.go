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
type replay struct {
	on bool

	mu      sync.Mutex
	results map[uint32]undelivered // by thread
}

type undelivered struct {
	data sys.Data
	resp sys.Resp
}

// note keeps the answer to k.
func (p *replay) note(k *call, r sys.Resp) {
	if !p.on || r.Flags != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.results == nil {
		p.results = make(map[uint32]undelivered)
	}
	if len(p.results) >= maxReplays {
		clear(p.results)
	}
	p.results[k.n.PID] = undelivered{k.n.Data, r}
}

// take returns the answer to a call that was performed already. Whatever else
// a thread does next shows that it does not come again.
func (p *replay) take(n *sys.Notif) (sys.Resp, bool) {
	if !p.on {
		return sys.Resp{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.results[n.PID]
	delete(p.results, n.PID)
	u.resp.ID = n.ID
	return u.resp, ok && u.data == n.Data
}
