package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortRange is the ports from First to Last, both included.
type PortRange struct {
	First, Last uint16
}

// Ports is a set of ports. Its zero value is every port. Equal sets are equal
// under ==.
type Ports struct {
	// Sorted ranges that neither touch nor overlap, four bytes each: first and
	// last, big endian. A string, so that a Destination can be a map key.
	enc string
}

// OnePort returns the set of one port. Port 0 gives every port: no rule can
// name it.
func OnePort(port uint16) Ports {
	if port == 0 {
		return Ports{}
	}
	p, _ := NewPorts(PortRange{port, port})
	return p
}

// NewPorts returns the union of the ranges, and every port if there are none.
// Port 0 and a reversed range are errors.
func NewPorts(ranges ...PortRange) (Ports, error) {
	var few [4]PortRange // on the stack
	sorted := append(few[:0], ranges...)
	slices.SortFunc(sorted, func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	merged := sorted[:0]
	for _, r := range sorted {
		if r.First == 0 {
			return Ports{}, errors.New("port 0 is no port")
		}
		if r.First > r.Last {
			return Ports{}, fmt.Errorf("port range %d-%d is reversed", r.First, r.Last)
		}
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	var short [16]byte // on the stack
	enc := short[:0]
	for _, r := range merged {
		enc = append(enc, byte(r.First>>8), byte(r.First), byte(r.Last>>8), byte(r.Last))
	}
	return Ports{string(enc)}, nil
}

// All says whether the set is every port.
func (p Ports) All() bool { return p.enc == "" }

// Has says whether port is in the set.
func (p Ports) Has(port uint16) bool {
	if p.All() {
		return true
	}
	for i := range len(p.enc) / 4 {
		if r := p.at(i); port <= r.Last {
			return port >= r.First
		}
	}
	return false
}

// Count returns how many ports the set names, and 0 if it is every port.
func (p Ports) Count() int {
	n := 0
	for i := range len(p.enc) / 4 {
		r := p.at(i)
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Ranges returns the ranges, sorted; none if the set is every port.
func (p Ports) Ranges() []PortRange {
	var ranges []PortRange
	for i := range len(p.enc) / 4 {
		ranges = append(ranges, p.at(i))
	}
	return ranges
}

// String returns for instance "80,443" or "6000-6010", and "" for every port.
func (p Ports) String() string { return string(p.appendTo(nil)) }

// appendTo appends the text of String.
func (p Ports) appendTo(b []byte) []byte {
	for i := range len(p.enc) / 4 {
		if i > 0 {
			b = append(b, ',')
		}
		r := p.at(i)
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = strconv.AppendUint(append(b, '-'), uint64(r.Last), 10)
		}
	}
	return b
}

func (p Ports) at(i int) PortRange {
	e := p.enc[4*i : 4*i+4]
	return PortRange{uint16(e[0])<<8 | uint16(e[1]), uint16(e[2])<<8 | uint16(e[3])}
}

// parsePorts reads "443", "80,443" or "6000-6010". No text is an error: it is
// a port list somebody forgot to write.
func parsePorts(s string) (Ports, error) {
	if s == "" {
		return Ports{}, errors.New("no port after the colon")
	}
	var few [4]PortRange // on the stack
	ranges := few[:0]
	for item := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		f, err := parsePort(first)
		if err != nil {
			return Ports{}, err
		}
		l, err := parsePort(last)
		if err != nil {
			return Ports{}, err
		}
		ranges = append(ranges, PortRange{f, l})
	}
	return NewPorts(ranges...)
}

func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, errors.New("a port is missing")
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("port %s is not a number", quote(s))
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s is not in 1-65535", quote(s))
	}
	return uint16(n), nil
}
