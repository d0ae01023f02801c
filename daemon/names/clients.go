package names

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	maxClients = 4096
	// awaitClient is how long a connection may be there before the supervisor,
	// which made it, says whose it is.
	awaitClient = 500 * time.Millisecond
)

// clients are the sockets of the jail that were led here, by their addresses.
// Nobody else is served. The one not heard of for the longest makes room.
type clients struct {
	mu     sync.Mutex
	known  map[client]*list.Element // of *session
	recent list.List
	added  chan struct{} // closed at the next registration, if somebody waits
}

type client struct {
	tcp   bool
	local netip.AddrPort
}

type session struct {
	client
	server netip.AddrPort
}

// expect registers a socket, or says that it asks another server from now on.
func (c *clients) expect(who client, server netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[who]; e != nil {
		e.Value = &session{who, server}
		c.recent.MoveToFront(e)
	} else {
		if c.known == nil {
			c.known = make(map[client]*list.Element)
		}
		if len(c.known) >= maxClients {
			old := c.recent.Back()
			delete(c.known, c.recent.Remove(old).(*session).client)
		}
		c.known[who] = c.recent.PushFront(&session{who, server})
	}
	if c.added != nil {
		close(c.added)
		c.added = nil
	}
}

// server says which server a client asks, and that it was heard of.
func (c *clients) server(who client) (netip.AddrPort, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.known[who]
	if e == nil {
		return netip.AddrPort{}, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*session).server, true
}

// look is server for others than the client: it was not heard of.
func (c *clients) look(who client) (netip.AddrPort, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.known[who]
	if e == nil {
		return netip.AddrPort{}, false
	}
	return e.Value.(*session).server, true
}

// take waits for a client to be registered, and forgets it: another connection
// from the same address is another client.
func (c *clients) take(ctx context.Context, who client) (netip.AddrPort, bool) {
	ctx, cancel := context.WithTimeout(ctx, awaitClient)
	defer cancel()
	for {
		c.mu.Lock()
		if e := c.known[who]; e != nil {
			delete(c.known, who)
			s := c.recent.Remove(e).(*session)
			c.mu.Unlock()
			return s.server, true
		}
		if c.added == nil {
			c.added = make(chan struct{})
		}
		added := c.added
		c.mu.Unlock()
		select {
		case <-added:
		case <-ctx.Done():
			return netip.AddrPort{}, false
		}
	}
}
