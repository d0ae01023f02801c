package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/interpose"
)

// selfAddr is where a program in a jail connects to be told about the jail. The
// call is trapped like any other, and led to a listener of this jail's own
// supervisor: that it arrives there says whose it is, and no name, no secret and
// no peer credentials have to. Nobody can listen on port 0, so nothing is
// hidden.
//
// What is told is what the program could find out by trying, and read in the
// user's rule files. The supervisor writes, and closes: it reads nothing that
// the program sends.
var selfAddr = netip.MustParseAddrPort("127.110.106.1:0")

// isSelf says whether a call asks about the jail.
func isSelf(c *interpose.Call) bool {
	return c.Op == interpose.Connect && c.Network == interpose.TCP && c.Addr.Port() == 0 && c.Addr.Addr().Unmap() == selfAddr.Addr()
}

// Limits on what a jail may make its supervisor tell it.
const (
	maxTelling  = 4 // at once
	tellTimeout = 5 * time.Second
)

// teller tells programs in the jail about it.
type teller struct {
	mu       sync.Mutex
	listener *net.TCPListener
	clients  map[netip.AddrPort]bool // that were led here
	added    chan struct{}           // closed with the next one
}

// leadSelf has a call made to the teller.
func (p *policy) leadSelf(c *interpose.Call) interpose.Verdict {
	to, err := p.teller.addr(p)
	if err != nil {
		p.say(fmt.Sprintf("netjail: error: %v: %s cannot be told what it may do", err, p.cfg.App))
		return interpose.Deny
	}
	c.Lead = &interpose.Lead{To: to, Bound: p.teller.expect}
	return interpose.Allow
}

// addr returns where it listens, from the first call on.
func (t *teller) addr(p *policy) (netip.AddrPort, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener == nil {
		l, err := p.gate.listenLoopback()
		if err != nil {
			return netip.AddrPort{}, err
		}
		t.listener, t.clients, t.added = l, make(map[netip.AddrPort]bool), make(chan struct{})
		go t.serve(l, p)
	}
	return t.listener.Addr().(*net.TCPAddr).AddrPort(), nil
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// expect takes note of a socket that was led here.
func (t *teller) expect(local netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.clients) >= 2*maxTelling {
		clear(t.clients) // of calls that came to nothing
	}
	t.clients[netip.AddrPortFrom(local.Addr().Unmap(), local.Port())] = true
	close(t.added)
	t.added = make(chan struct{})
}

// serve tells until the process ends.
func (t *teller) serve(l *net.TCPListener, p *policy) {
	slots := make(chan struct{}, maxTelling)
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			defer c.Close()
			if t.led(c) {
				_ = c.SetDeadline(time.Now().Add(tellTimeout))
				_ = json.NewEncoder(c).Encode(p.tellSelf())
			}
		}()
	}
}

// led says whether a connection was led here. It may be accepted a little
// before that is known.
func (t *teller) led(c *net.TCPConn) bool {
	timeout := time.NewTimer(time.Second)
	defer timeout.Stop()
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	for {
		t.mu.Lock()
		ok, added := t.clients[from], t.added
		delete(t.clients, from)
		t.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-added:
		case <-timeout.C:
			return false
		}
	}
}

// tellSelf is what is told. Rules of other apps are not in a supervisor.
func (p *policy) tellSelf() api.Self {
	out := api.Self{App: p.cfg.App, Guard: string(p.link.s.guard.Kind), Mode: p.cfg.mode(), Rules: []api.Rule{}}
	f := p.inForce.Load()
	if f == nil {
		return out
	}
	out.Blocklist = f.List != nil
	now := time.Now()
	for _, r := range f.Set.Rules() {
		if r.Active(now) && (r.App == "" || r.App == p.cfg.App) {
			out.Rules = append(out.Rules, api.FromRule(&r))
		}
	}
	return out
}

// mode says what becomes of what no rule speaks of.
func (c *Config) mode() string {
	switch {
	case c.Monitor:
		return api.ModeMonitor
	case c.Ask:
		return api.ModeAsk
	}
	return api.ModeDeny
}

// maxSelf bounds what a supervisor is listened to.
const maxSelf = 64 << 20

// ErrNotInside is that of AskSelf outside of a jail.
var ErrNotInside = errors.New("this is not in a jail")

// AskSelf asks for what may be done in the jail that this process is in.
func AskSelf() (self api.Self, err error) {
	if !Nested() {
		return self, ErrNotInside
	}
	c, err := net.DialTimeout("tcp4", selfAddr.String(), tellTimeout)
	if err != nil {
		return self, fmt.Errorf("ask the supervisor: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * tellTimeout))
	if err := json.NewDecoder(io.LimitReader(c, maxSelf)).Decode(&self); err != nil {
		return self, fmt.Errorf("ask the supervisor: %w", err)
	}
	return self, nil
}
