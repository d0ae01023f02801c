package names

import (
	"cmp"
	"container/heap"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long a name is remembered. Programs keep addresses for longer than they
// are told to: browsers a minute, Java forever.
const (
	minTTL = 5 * time.Minute
	maxTTL = 24 * time.Hour
)

// putOff is how much later a name is forgotten each time that its address is
// found in use.
const putOff = 10 * time.Second

// Limits of a Map. What is soonest to expire makes room.
const (
	maxPairs = 16384 // names of addresses
	maxNames = 256   // of one address
)

// Map remembers which names the answers to a jail gave to which addresses. The
// zero value is ready. Addresses may be v4-mapped and may have zones.
//
// A program in the jail decides what is asked, so what it makes the map do is
// bounded: an answer costs O(log n) for each of its addresses.
type Map struct {
	// Used says whether a connection uses an address; nil: none does. The names
	// of such an address are kept, so that people see where the connection
	// goes, but cease to count for new ones all the same. It is called with
	// the Map locked. What does not know at once may say that one does.
	Used func(netip.Addr) bool

	mu    sync.Mutex
	pairs map[pair]*entry
	hosts map[netip.Addr]*host
	queue queue
}

type pair struct {
	addr  netip.Addr
	name  string
	alias bool
}

type entry struct {
	pair
	seen  time.Time // when it was last in an answer
	until time.Time // when it ceases to count
	due   time.Time // when it is forgotten, unless a connection uses the address
	place int       // in the queue
	slot  int       // in the host's entries
}

type host struct{ entries []*entry }

// Name is a name of an address, for people to see.
type Name struct {
	Name  string
	Alias bool // nobody asked for it: a name that was asked for leads there
	Live  bool // it still counts
}

// Names returns the live names of an address, those that the program asked
// for, the one of the latest answer first. The names they lead through are not
// among them: a rule is about what was asked for.
func (m *Map) Names(addr netip.Addr, now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[plain(addr)]
	if h == nil {
		return nil
	}
	var live []*entry
	for _, e := range h.entries {
		if !e.alias && e.until.After(now) {
			live = append(live, e)
		}
	}
	slices.SortFunc(live, latest)
	var list []string
	for _, e := range live {
		list = append(list, e.name)
	}
	return list
}

// Known returns all that is remembered of an address: names that were asked for
// first, and those of later answers first.
func (m *Map) Known(addr netip.Addr, now time.Time) []Name {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	h := m.hosts[plain(addr)]
	if h == nil {
		return nil
	}
	var list []Name
	for _, e := range slices.SortedFunc(slices.Values(h.entries), latest) {
		list = append(list, Name{Name: e.name, Alias: e.alias, Live: e.until.After(now)})
	}
	return list
}

func latest(a, b *entry) int {
	if a.alias != b.alias {
		if b.alias {
			return -1
		}
		return 1
	}
	return cmp.Or(b.seen.Compare(a.seen), strings.Compare(a.name, b.name))
}

// Record remembers what an answer to a query says. It is for answers that came
// from where the caller trusts; that it is the answer to this query is checked.
func (m *Map) Record(query, reply []byte, now time.Time) error {
	p, err := parseQuery(query)
	if err != nil {
		return err
	}
	if !answers(reply, p.id(), p.asked()) {
		return errors.New("answer to another question")
	}
	a, err := parseAnswer(reply, p)
	if err != nil {
		return err
	}
	m.record(a, now)
	return nil
}

func (m *Map) record(a answer, now time.Time) {
	if len(a.addrs) == 0 {
		return
	}
	until := now.Add(min(max(a.ttl, minTTL), maxTTL))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	for _, addr := range a.addrs {
		addr = plain(addr)
		if !nameable(addr) {
			continue
		}
		for _, alias := range a.aliases {
			if alias != a.name {
				m.put(pair{addr, alias, true}, now, until)
			}
		}
		m.put(pair{addr, a.name, false}, now, until)
	}
}

// Lease is a name of an address, and until when it counts: what another
// process's Map needs to go on.
type Lease struct {
	Addr  netip.Addr `json:"addr"`
	Name  string     `json:"name"`
	Alias bool       `json:"alias,omitempty"`
	Seen  time.Time  `json:"seen"`
	Until time.Time  `json:"until"`
}

// Leases returns all that is remembered: what does not count any more, too,
// while a connection uses it.
func (m *Map) Leases(now time.Time) []Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	var list []Lease
	for _, e := range m.queue {
		list = append(list, Lease{e.addr, e.name, e.alias, e.seen, e.until})
	}
	return list
}

// Take adds the leases of another Map. What does not count any more is
// forgotten unless a connection uses it here.
func (m *Map) Take(list []Lease, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range list {
		if !l.Until.After(now.Add(maxTTL)) && nameable(l.Addr) {
			m.put(pair{plain(l.Addr), l.Name, l.Alias}, l.Seen, l.Until)
		}
	}
}

// nameable says whether an answer may name an address. That a public name leads
// to this machine or its networks is the business of rules.
func nameable(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !addr.IsMulticast()
}

func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func (m *Map) host(addr netip.Addr) *host {
	h := m.hosts[addr]
	if h == nil {
		if m.hosts == nil {
			m.hosts = make(map[netip.Addr]*host)
			m.pairs = make(map[pair]*entry)
		}
		h = new(host)
		m.hosts[addr] = h
	}
	return h
}

func (m *Map) put(p pair, now, until time.Time) {
	if strings.ContainsRune(p.name, '\\') {
		return // no host's name
	}
	if e := m.pairs[p]; e != nil {
		e.seen = now
		if until.After(e.until) {
			e.until, e.due = until, until
			heap.Fix(&m.queue, e.place)
		}
		return
	}
	h := m.host(p.addr)
	switch {
	case len(h.entries) >= maxNames:
		m.forget(slices.MinFunc(h.entries, func(a, b *entry) int { return a.due.Compare(b.due) }))
	case len(m.queue) >= maxPairs:
		m.forget(m.queue[0])
	}
	h = m.host(p.addr) // it may just have lost its last name
	e := &entry{pair: p, seen: now, until: until, due: until, slot: len(h.entries)}
	h.entries = append(h.entries, e)
	m.pairs[p] = e
	heap.Push(&m.queue, e)
}

// expire forgets what is due, or puts it off while a connection uses it. Each
// name was added once, so this costs no more than adding it did, and little more
// for what is in use.
func (m *Map) expire(now time.Time) {
	for len(m.queue) > 0 && !m.queue[0].due.After(now) {
		e := m.queue[0]
		if m.Used == nil || !m.Used(e.addr) {
			m.forget(e)
			continue
		}
		e.due = now.Add(putOff)
		heap.Fix(&m.queue, 0)
	}
}

func (m *Map) forget(e *entry) {
	heap.Remove(&m.queue, e.place)
	delete(m.pairs, e.pair)
	h := m.hosts[e.addr]
	last := h.entries[len(h.entries)-1]
	h.entries[e.slot], last.slot = last, e.slot
	h.entries[len(h.entries)-1] = nil
	h.entries = h.entries[:len(h.entries)-1]
	if len(h.entries) == 0 {
		delete(m.hosts, e.addr)
	}
}

// queue is a heap: what is due first is first.
type queue []*entry

var _ heap.Interface = (*queue)(nil)

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
