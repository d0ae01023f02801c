package rules

import "net/netip"

// Class groups addresses by who can be behind them.
type Class uint8

const (
	NoClass   Class = iota // not an address
	Localhost              // 127.0.0.0/8, ::1
	LAN                    // private, unique local, link-local, carrier-grade NAT
	Internet               // every other address
	Multicast              // 224.0.0.0/4, ff00::/8, 255.255.255.255
)

// String returns "localhost", "lan", "internet" or "multicast"; a Destination
// writes it with an @.
func (c Class) String() string { return word(classWords, uint8(c)) }

// MarshalText returns the text of String; an unknown class is an error.
func (c Class) MarshalText() ([]byte, error) {
	return marshalWord("class", classWords, uint8(c))
}

// UnmarshalText reads what MarshalText writes.
func (c *Class) UnmarshalText(text []byte) error {
	return unmarshalWord(c, "class", classWords, text)
}

var (
	cgnat     = netip.MustParsePrefix("100.64.0.0/10")
	broadcast = netip.MustParseAddr("255.255.255.255")
	loopback4 = netip.MustParseAddr("127.0.0.1")
)

// metadata holds the addresses at which clouds hand credentials to whoever
// asks: a rule must name one to allow it.
var metadata = [...]netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, GCP, OpenStack
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS tasks
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("fd00:ec2::254"),   // AWS over IPv6
}

// IsMetadata says whether a is the address of a cloud metadata service.
func IsMetadata(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, m := range metadata {
		if a == m {
			return true
		}
	}
	return false
}

// ClassOf returns the class of an address. A zone does not matter, and a
// v4-mapped address has the class of the IPv4 address in it.
func ClassOf(a netip.Addr) Class {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return NoClass
	case a.IsLoopback():
		return Localhost
	case a.IsMulticast(), a == broadcast:
		return Multicast
	case a.IsPrivate(), a.IsLinkLocalUnicast(), a.Is4() && cgnat.Contains(a):
		return LAN
	}
	return Internet
}

// Canonical returns the address that the kernel really talks to: a v4-mapped
// address is the IPv4 address in it, and the unspecified address is the
// loopback of its family. It keeps the zone. It is not for the local address
// of a Listen, where unspecified means every address.
func Canonical(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(canonicalAddr(ap.Addr()), ap.Port())
}

func canonicalAddr(a netip.Addr) netip.Addr {
	a = a.Unmap()
	switch {
	case !isUnspecified(a):
		return a
	case a.Is4():
		return loopback4
	}
	return netip.IPv6Loopback()
}

// isUnspecified is Addr.IsUnspecified for addresses with a zone too.
func isUnspecified(a netip.Addr) bool {
	return a.WithZone("").IsUnspecified()
}

// Destination returns the narrowest destination that covers the request, the
// one to write into a rule for "exactly this". Port 0 and an interface name
// that no rule can spell are left out, which covers every port or interface.
func (r *Request) Destination() Destination {
	if r.Unix != "" {
		return Destination{Host: Host{Kind: HostUnix, Name: r.Unix}}
	}
	d := Destination{Listen: r.Op == Listen, Proto: r.Proto}
	a := r.Addr.Addr().Unmap()
	if !d.Listen {
		a = canonicalAddr(a)
	}
	if checkZone(a.Zone()) != nil {
		a = a.WithZone("")
	}
	d.Host = addrHost(a)
	if r.Proto != ICMP {
		d.Ports = OnePort(r.Addr.Port())
	}
	return d
}
