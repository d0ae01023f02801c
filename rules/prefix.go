package rules

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// prefixes is the prefix rules of one family by length, the longest first. A
// table per length, with plain integers as keys: hashing a netip.Prefix costs
// four times as much, and a request asks for up to 33 of them.
type prefixes[K comparable] []prefixTable[K]

type prefixTable[K comparable] struct {
	bits int
	at   map[K]bucket
}

func (p prefixes[K]) add(bits int, key K, e entry) prefixes[K] {
	i, found := slices.BinarySearchFunc(p, bits, func(t prefixTable[K], bits int) int {
		return bits - t.bits
	})
	if !found {
		p = slices.Insert(p, i, prefixTable[K]{bits, make(map[K]bucket)})
	}
	p[i].at[key] = append(p[i].at[key], e)
	return p
}

func (p prefixes[K]) sort() {
	for _, t := range p {
		for _, b := range t.at {
			b.sort()
		}
	}
}

// byPrefix finds the best rule of a prefix that holds the address: a longer
// prefix beats whatever else a shorter one's rule has.
func (x *index) byPrefix(q *Request, a netip.Addr, now time.Time) *entry {
	if a.Is4() {
		key := bits4(a)
		for i := range x.v4 {
			if e := x.v4[i].at[mask4(key, x.v4[i].bits)].find(q, now); e != nil {
				return e
			}
		}
		return nil
	}
	key := bits6(a)
	for i := range x.v6 {
		if e := x.v6[i].at[mask6(key, x.v6[i].bits)].find(q, now); e != nil {
			return e
		}
	}
	return nil
}

func bits4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func bits6(a netip.Addr) [2]uint64 {
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func mask4(key uint32, bits int) uint32 { return key &^ (^uint32(0) >> bits) }

func mask6(key [2]uint64, bits int) [2]uint64 {
	return [2]uint64{key[0] &^ (^uint64(0) >> min(bits, 64)), key[1] &^ (^uint64(0) >> max(bits-64, 0))}
}
