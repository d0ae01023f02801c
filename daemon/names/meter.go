package names

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Limits on what may be said in names within the window. A page loads from a
// few dozen names, seldom more than twenty of one domain; apt and npm ask for a
// handful, however often. Whoever carries data in names needs a new one for
// every 100 bytes or so: at most 200 of them, or 16 KB, get out before somebody
// is asked.
const (
	window        = 10 * time.Minute
	maxDistinct   = 200      // names below one domain
	maxBits       = 16 << 13 // said to one domain: 16 KB
	maxEverywhere = 4096     // names of all domains, so that many domains do not help, and what is kept is bounded
)

// Meter counts how much a jail says to whom in the names that it asks for. The
// zero value is ready.
//
// A name that was not asked for before says as much as its part below the
// registrable domain is long. One that was says only which of the known ones
// it is: a program that asks for one name all day says nothing. Types and the
// case of letters speak too, as servers pass them on.
type Meter struct {
	mu        sync.Mutex
	seed      maphash.Seed
	now, past *tallies // of the current half of the window, and of the one before
}

// tallies count during half a window.
type tallies struct {
	since   time.Time
	domains map[string]*tally
	names   int // of all domains
}

type tally struct {
	names   map[uint64]struct{} // by hash: they are only compared
	types   map[uint16]struct{}
	queries int
	bits    int
}

// Usage is what was said to a domain within the window.
type Usage struct {
	Queries int
	Names   int // distinct
	Bytes   int
}

// Count notes that a query is passed on.
func (m *Meter) Count(q Query, now time.Time) {
	domain := registrable(q.Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	t := m.now.domains[domain]
	if t == nil {
		if len(m.now.domains) >= maxEverywhere {
			return
		}
		t = &tally{names: make(map[uint64]struct{}), types: make(map[uint16]struct{})}
		m.now.domains[domain] = t
	}
	t.queries++
	t.bits += q.spelling
	if _, ok := t.types[q.Type]; ok {
		t.bits += choice(len(t.types))
	} else if t.bits += 16; len(t.types) < maxDistinct {
		t.types[q.Type] = struct{}{}
	}
	known, distinct := m.known(domain, q.Name)
	if known {
		t.bits += choice(distinct)
		return
	}
	t.bits += 8 * (len(q.Name) - len(domain))
	if m.now.names < maxEverywhere {
		t.names[m.hash(q.Name)] = struct{}{}
		m.now.names++
	}
}

// choice is how many bits it says to ask for one of n names.
func choice(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// Over says whether asking for a name would be more than what is usual, and for
// which domain: the name's registrable one, or "." if it is all of them
// together. Names asked for before stay below the limits on distinct names.
func (m *Meter) Over(name string, now time.Time) (domain string, over bool) {
	domain = registrable(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	known, distinct := m.known(domain, name)
	said := m.said(domain)
	switch {
	case said >= maxBits, !known && distinct >= maxDistinct:
		return domain, true
	case !known && m.now.names+m.past.names >= maxEverywhere:
		return ".", true
	}
	return "", false
}

// Usage returns what was said to the registrable domain of a name.
func (m *Meter) Usage(name string, now time.Time) Usage {
	domain := registrable(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	_, distinct := m.known(domain, name)
	u := Usage{Names: distinct, Bytes: (m.said(domain) + 7) / 8}
	for _, half := range []*tallies{m.now, m.past} {
		if t := half.domains[domain]; t != nil {
			u.Queries += t.queries
		}
	}
	return u
}

func (m *Meter) said(domain string) (n int) {
	for _, half := range []*tallies{m.now, m.past} {
		if t := half.domains[domain]; t != nil {
			n += t.bits
		}
	}
	return n
}

// known says whether a name was asked for, and how many of its domain were. No
// name is in both halves: it is added where it is not known.
func (m *Meter) known(domain, name string) (known bool, distinct int) {
	h := m.hash(name)
	for _, half := range []*tallies{m.now, m.past} {
		if t := half.domains[domain]; t != nil {
			_, ok := t.names[h]
			known = known || ok
			distinct += len(t.names)
		}
	}
	return known, distinct
}

func (m *Meter) hash(name string) uint64 { return maphash.String(m.seed, name) }

// turn begins a new half of the window when it is time.
func (m *Meter) turn(now time.Time) {
	if m.now == nil {
		m.seed = maphash.MakeSeed()
		m.now, m.past = newTallies(now), newTallies(now)
	}
	switch age := now.Sub(m.now.since); {
	case age >= window:
		m.now, m.past = newTallies(now), newTallies(now)
	case age >= window/2:
		m.now, m.past = newTallies(now), m.now
	}
}

func newTallies(now time.Time) *tallies {
	return &tallies{since: now, domains: make(map[string]*tally)}
}

// registrable is the domain that somebody could own: one label below a public
// suffix. A dot within a label must not look like the end of one, or every such
// name would be a domain of its own.
func registrable(name string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.ReplaceAll(name, `\.`, `\-`))
	if err != nil {
		return name
	}
	return name[len(name)-len(domain):]
}
