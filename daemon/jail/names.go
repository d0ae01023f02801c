package jail

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/netjail/netjail/rules"
)

// names says which of the names that rules speak of an address has. They are
// looked up once, when the rules come into force.
type names struct {
	done chan struct{} // closed when the lookups are over

	mu     sync.Mutex
	byAddr map[netip.Addr][]string
	known  map[string]bool
}

// lookupTimeout bounds the lookups of one set of rules.
const lookupTimeout = 5 * time.Second

// resolve looks up the exact names of list, but for those that old knows.
func resolve(list []rules.Rule, old *names) *names {
	n := &names{done: make(chan struct{}), byAddr: make(map[netip.Addr][]string), known: make(map[string]bool)}
	if old != nil {
		old.mu.Lock()
		for a, l := range old.byAddr {
			n.byAddr[a] = slices.Clone(l)
		}
		for name := range old.known {
			n.known[name] = true
		}
		old.mu.Unlock()
	}
	var ask []string
	for i := range list {
		if h := list[i].Dest.Host; h.Kind == rules.HostName && !n.known[h.Name] && !slices.Contains(ask, h.Name) {
			ask = append(ask, h.Name)
		}
	}
	if len(ask) == 0 {
		close(n.done)
		return n
	}
	go n.lookup(ask)
	return n
}

func (n *names) lookup(ask []string) {
	defer close(n.done)
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, name := range ask {
		wg.Go(func() {
			addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
			n.mu.Lock()
			defer n.mu.Unlock()
			n.known[name] = err == nil
			for _, a := range addrs {
				a = a.Unmap()
				n.byAddr[a] = append(n.byAddr[a], name)
			}
		})
	}
}

// ready says whether the lookups are over.
func (n *names) ready() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// wait waits for the lookups, or for ctx.
func (n *names) wait(ctx context.Context) {
	select {
	case <-n.done:
	case <-ctx.Done():
	}
}

// of returns the names of a.
func (n *names) of(a netip.Addr) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byAddr[a]
}

// interfaceName returns the name of the interface with an index, or the index.
func interfaceName(index string) string {
	i, err := strconv.Atoi(index)
	if err != nil {
		return index
	}
	ifi, err := net.InterfaceByIndex(i)
	if err != nil {
		return index
	}
	return ifi.Name
}
