package names

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Limits on what one answer is remembered by. Honest ones stay far below.
const (
	maxAddrs   = 1024
	maxAliases = 8
)

// answer is what an answer says about a name.
type answer struct {
	name    string   // that was asked for
	aliases []string // that it leads through
	addrs   []netip.Addr
	ttl     time.Duration
}

// parseAnswer reads the addresses of the question's name. Only records on the
// chain of aliases that begins there count: a server may add what it likes.
// Of records that name no address nothing is read but their length, so that a
// new type is no obstacle.
func parseAnswer(raw []byte, p *packet) (answer, error) {
	a := answer{name: hostOf(p)}
	if p.Class != dns.ClassINET && p.Class != dns.ClassANY || count(raw, 0) != 1 {
		return a, nil
	}
	c := chain{next: make(map[string]link), found: make(map[string]*found)}
	off := p.question
	for range count(raw, 1) {
		r, err := readRecord(raw, off)
		if err == nil {
			err = c.add(raw, r, p.Type)
		}
		if err != nil {
			if raw[2]&flagTC != 0 {
				break // the program asks again, over TCP
			}
			return a, fmt.Errorf("answer about %s: %w", p.Name, err)
		}
		off = r.end
	}
	c.follow(p.Name, &a)
	return a, nil
}

// hostOf is the host that a question is about: HTTPS records of other ports than
// 443 are at a name of their own (RFC 9460, 2.3).
func hostOf(p *packet) string {
	name := p.Name
	if p.Type == dns.TypeHTTPS || p.Type == dns.TypeSVCB {
		for strings.HasPrefix(name, "_") {
			_, rest, ok := strings.Cut(name, ".")
			if !ok {
				break
			}
			name = rest
		}
	}
	return name
}

// chain holds the records of an answer by their owners.
type chain struct {
	next  map[string]link
	found map[string]*found
	addrs int
}

type link struct {
	target string
	ttl    uint32
}

type found struct {
	addrs []netip.Addr
	ttl   uint32
}

// add notes what one record says.
func (c *chain) add(raw []byte, r record, asked uint16) error {
	address := r.typ == dns.TypeA || r.typ == dns.TypeAAAA || r.typ == dns.TypeHTTPS || r.typ == dns.TypeSVCB
	if !address && r.typ != dns.TypeCNAME || r.class != dns.ClassINET {
		return nil
	}
	name, _, err := dns.UnpackDomainName(raw, r.owner)
	if err != nil {
		return err
	}
	name = canonical(name)
	if r.typ == dns.TypeCNAME {
		target, end, err := dns.UnpackDomainName(raw[:r.end], r.data)
		if err != nil {
			return err
		}
		if end != r.end {
			return fmt.Errorf("alias of %d bytes", r.end-r.data)
		}
		if _, ok := c.next[name]; !ok {
			c.next[name] = link{canonical(target), r.ttl}
		}
		return nil
	}
	addrs, err := addresses(raw, r)
	if err != nil || r.typ != asked && asked != dns.TypeANY {
		return err
	}
	f := c.found[name]
	if f == nil {
		f = &found{ttl: r.ttl}
		c.found[name] = f
	}
	f.ttl = min(f.ttl, r.ttl)
	for _, addr := range addrs {
		if c.addrs < maxAddrs {
			c.addrs++
			f.addrs = append(f.addrs, addr)
		}
	}
	return nil
}

// addresses reads the addresses that a record is about.
func addresses(raw []byte, r record) ([]netip.Addr, error) {
	data := raw[r.data:r.end]
	switch r.typ {
	case dns.TypeA, dns.TypeAAAA:
		addr, ok := netip.AddrFromSlice(data)
		if !ok || addr.Is4() != (r.typ == dns.TypeA) {
			return nil, fmt.Errorf("address of %d bytes", len(data))
		}
		return []netip.Addr{addr}, nil
	}
	h := dns.RR_Header{Rrtype: r.typ, Class: r.class, Rdlength: uint16(len(data))}
	rr, _, err := dns.UnpackRRWithHeader(h, raw[:r.end], r.data)
	if err != nil {
		return nil, err
	}
	var params []dns.SVCBKeyValue
	switch rr := rr.(type) {
	case *dns.HTTPS:
		params = rr.Value
	case *dns.SVCB:
		params = rr.Value
	}
	var list []netip.Addr
	for _, kv := range params {
		switch kv := kv.(type) {
		case *dns.SVCBIPv4Hint:
			list = appendIPs(list, kv.Hint)
		case *dns.SVCBIPv6Hint:
			list = appendIPs(list, kv.Hint)
		}
	}
	return list, nil
}

func appendIPs(list []netip.Addr, ips []net.IP) []netip.Addr {
	for _, ip := range ips {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, addr)
		}
	}
	return list
}

// follow collects what is on the chain that begins at name.
func (c *chain) follow(name string, a *answer) {
	ttl := uint32(1<<31 - 1)
	for range len(c.next) + 1 { // a loop ends here
		if f := c.found[name]; f != nil {
			a.addrs = append(a.addrs, f.addrs...)
			ttl = min(ttl, seconds(f.ttl))
			delete(c.found, name)
		}
		l, ok := c.next[name]
		if !ok {
			break
		}
		name = l.target
		ttl = min(ttl, seconds(l.ttl))
		if len(a.aliases) < maxAliases {
			a.aliases = append(a.aliases, name)
		}
	}
	a.ttl = time.Duration(ttl) * time.Second
}

// seconds reads a time to live (RFC 2181, 8: the highest bit means zero).
func seconds(ttl uint32) uint32 {
	if ttl >= 1<<31 {
		return 0
	}
	return ttl
}
