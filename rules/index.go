package rules

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// entry is one rule in an index.
type entry struct {
	rank  rank
	order int // in the Set: among equals the first one is named
	rule  *Rule
}

func (e *entry) before(o *entry) bool {
	if o == nil {
		return true
	}
	return e.rank > o.rank || e.rank == o.rank && e.order < o.order
}

// better returns the entry that comes first; either may be nil.
func better(a, b *entry) *entry {
	if a == nil || b != nil && b.before(a) {
		return b
	}
	return a
}

// betterAcross is better for a prefix rule and a wildcard rule.
func betterAcross(a, b *entry) *entry {
	if a == nil || b == nil {
		return better(a, b)
	}
	x, y := *a, *b
	x.rank, y.rank = x.rank.withoutSub(), y.rank.withoutSub()
	if y.before(&x) {
		return b
	}
	return a
}

// bucket is rules with one host, the best first.
type bucket []entry

func (b bucket) find(q *Request, now time.Time) *entry {
	for i := range b {
		if b[i].rule.speaksOf(q, now) {
			return &b[i]
		}
	}
	return nil
}

// named is find for a name. If a public name has an address that it should not
// have, only rules that say so allow it.
func (b bucket) named(q *Request, now time.Time, public bool) *entry {
	for i := range b {
		if b[i].covers(public) && b[i].rule.speaksOf(q, now) {
			return &b[i]
		}
	}
	return nil
}

func (e *entry) covers(public bool) bool {
	return !public || e.rule.Local || e.rule.Verdict != Allow
}

// scope is the key of an index: whose rules, and in which direction.
type scope struct {
	app    string
	listen bool
}

// index finds the rules of one scope by host.
type index struct {
	addrs    map[netip.Addr]bucket
	names    map[string]bucket
	unix     map[string]bucket
	suffixes map[string]bucket // by the name after "*." or "."
	least    int               // labels of any of these names
	most     int
	v4, v6   prefixes
	classes  [Multicast + 1]bucket
	any      bucket

	addressed []*Rule // allow or ask about addresses beyond this machine
}

func newIndex() *index {
	return &index{
		addrs:    make(map[netip.Addr]bucket),
		names:    make(map[string]bucket),
		unix:     make(map[string]bucket),
		suffixes: make(map[string]bucket),
	}
}

func (x *index) add(e entry) {
	h := &e.rule.Dest.Host
	if e.rule.Verdict != Deny && h.addressed() {
		x.addressed = append(x.addressed, e.rule)
	}
	switch h.Kind {
	case HostAddr:
		x.addrs[h.Addr] = append(x.addrs[h.Addr], e)
	case HostName:
		x.names[h.Name] = append(x.names[h.Name], e)
	case HostUnix:
		x.unix[h.Name] = append(x.unix[h.Name], e)
	case HostSuffix:
		n := labels(h.Name)
		if x.most = max(x.most, n); x.least == 0 || n < x.least {
			x.least = n
		}
		x.suffixes[h.Name] = append(x.suffixes[h.Name], e)
	case HostPrefix:
		if a := h.Prefix.Addr(); a.Is4() {
			x.v4 = x.v4.add(e)
		} else if a.Is6() {
			x.v6 = x.v6.add(e)
		}
	case HostClass:
		if h.Class <= Multicast {
			x.classes[h.Class] = append(x.classes[h.Class], e)
		}
	case HostAny:
		x.any = append(x.any, e)
	}
}

// sort puts the best rule of every bucket first.
func (x *index) sort() {
	for _, m := range []map[string]bucket{x.names, x.unix, x.suffixes} {
		for _, b := range m {
			b.sort()
		}
	}
	for _, b := range x.addrs {
		b.sort()
	}
	x.v4, x.v6 = x.v4.sort(), x.v6.sort()
	for _, b := range x.classes {
		b.sort()
	}
	x.any.sort()
}

func (b bucket) sort() {
	slices.SortFunc(b, func(a, c entry) int {
		if a.before(&c) {
			return -1
		}
		return 1
	})
}

// byAddr finds the best rule of exactly this address. A rule without a zone
// speaks of every zone.
func (x *index) byAddr(q *Request, a netip.Addr, now time.Time) *entry {
	e := x.addrs[a].find(q, now)
	if bare := a.WithZone(""); bare != a {
		e = better(e, x.addrs[bare].find(q, now))
	}
	return e
}

// bySuffix finds the best rule of a wildcard that covers the name: one with
// more labels beats whatever else one with fewer has.
func (x *index) bySuffix(q *Request, name string, now time.Time, public bool) *entry {
	for b, below := range x.above(name) {
		for i := range b {
			if (below || b[i].rule.Dest.Host.Apex) && b[i].covers(public) && b[i].rule.speaksOf(q, now) {
				return &b[i]
			}
		}
	}
	return nil
}

// above yields the wildcards of name and of each domain it is below, the
// longest first: of those that have as many labels as some wildcard.
func (x *index) above(name string) iter.Seq2[bucket, bool] {
	return func(yield func(bucket, bool) bool) {
		domain, n := lastLabels(name, x.most)
		for ; n > 0 && n >= x.least; n-- {
			if b := x.suffixes[domain]; b != nil && !yield(b, len(domain) < len(name)) {
				return
			}
			_, domain, _ = strings.Cut(domain, ".")
		}
	}
}

// lastLabels returns the last labels of a name, at most n, and how many these
// are.
func lastLabels(name string, n int) (last string, count int) {
	if n == 0 {
		return "", 0
	}
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] != '.' {
			continue
		}
		if count++; count == n {
			return name[i+1:], n
		}
	}
	return name, count + 1
}
