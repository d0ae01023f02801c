package ruling

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// selfFor is how long the machine's addresses are taken to stay the same.
const selfFor = 2 * time.Second

// Self knows the machine's own addresses: what listens on all of them is
// reached by any.
type Self struct {
	mu    sync.Mutex
	until time.Time
	addrs map[netip.Addr]bool
}

// Has says whether a is one of them.
func (s *Self) Has(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(s.until) {
		s.until = now.Add(selfFor)
		if list, err := net.InterfaceAddrs(); err == nil {
			s.addrs = make(map[netip.Addr]bool, len(list))
			for _, n := range list {
				if p, err := netip.ParsePrefix(n.String()); err == nil {
					s.addrs[p.Addr().Unmap()] = true
				}
			}
		}
	}
	return s.addrs[a.WithZone("")]
}
