package rules

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// prefixes is the prefix rules of one family. Of two prefixes one is in the
// other or they are apart. So where they are sorted by their first addresses,
// the wider first, the narrowest that holds an address is the last that does not
// begin behind it, or one around that.
type prefixes []prefixNode

type prefixNode struct {
	first, last wide
	around      int // the number of the narrowest prefix around it, or -1
	rules       bucket
}

// wide is an address as a number.
type wide struct{ hi, lo uint64 }

func (w wide) cmp(o wide) int {
	switch {
	case w.hi < o.hi || w.hi == o.hi && w.lo < o.lo:
		return -1
	case w == o:
		return 0
	}
	return 1
}

func wideOf(a netip.Addr) wide {
	if a.Is4() {
		b := a.As4()
		return wide{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// add adds a rule. Before the next one is looked for, sort has to be called.
func (p prefixes) add(e entry) prefixes {
	prefix := e.rule.Dest.Host.Prefix
	first, bits := wideOf(prefix.Masked().Addr()), prefix.Bits()
	if prefix.Addr().Is4() {
		bits += 96
	}
	last := wide{first.hi | ^uint64(0)>>min(bits, 64), first.lo | ^uint64(0)>>max(bits-64, 0)}
	return append(p, prefixNode{first, last, -1, bucket{e}})
}

func (p prefixes) sort() prefixes {
	slices.SortStableFunc(p, func(a, b prefixNode) int {
		if c := a.first.cmp(b.first); c != 0 {
			return c
		}
		return b.last.cmp(a.last)
	})
	all := p[:0]
	for _, node := range p {
		if n := len(all); n > 0 && all[n-1].first == node.first && all[n-1].last == node.last {
			all[n-1].rules = append(all[n-1].rules, node.rules...)
			continue
		}
		node.around = all.holding(len(all)-1, node.first)
		all = append(all, node)
	}
	for _, node := range all {
		node.rules.sort()
	}
	return all
}

// holding returns the number of the narrowest prefix that holds an address: i,
// which does not begin behind it, or one around that, or -1.
func (p prefixes) holding(i int, a wide) int {
	for i >= 0 && p[i].last.cmp(a) < 0 {
		i = p[i].around
	}
	return i
}

// find finds the best rule of a prefix that holds the address: a longer prefix
// beats whatever else a shorter one's rule has.
func (p prefixes) find(q *Request, a wide, now time.Time) *entry {
	low, high := 0, len(p)
	for low < high {
		if middle := (low + high) / 2; p[middle].first.cmp(a) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for i := p.holding(low-1, a); i >= 0; i = p[i].around {
		if e := p[i].rules.find(q, now); e != nil {
			return e
		}
	}
	return nil
}

// byPrefix finds the best rule of a prefix that holds the address.
func (x *index) byPrefix(q *Request, a netip.Addr, now time.Time) *entry {
	if a.Is4() {
		return x.v4.find(q, wideOf(a), now)
	}
	return x.v6.find(q, wideOf(a), now)
}
