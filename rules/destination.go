package rules

import (
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// Destination is what a rule speaks of: where an app may connect or send, or,
// with Listen, on which local address it may receive.
//
// Equal destinations are equal under == and may be map keys. The zero value
// covers nothing. The grammar is that of ParseDestination.
type Destination struct {
	Listen bool
	Proto  Proto
	Host   Host
	Ports  Ports
}

// HostKind says what the host part of a destination is, from nothing to the
// narrowest.
type HostKind uint8

const (
	HostNone   HostKind = iota // covers nothing
	HostAny                    // @any: every IP address and name
	HostClass                  // @localhost, @lan, @internet, @multicast
	HostPrefix                 // 192.0.2.0/24
	HostSuffix                 // *.example.org, or .example.org with Apex
	HostName                   // example.org
	HostAddr                   // 192.0.2.7
	HostUnix                   // unix:/path, unix:@abstract
)

// Host is the host part of a destination; ParseDestination and ParseHost make
// it. Only the field that its Kind names is set.
type Host struct {
	Kind   HostKind
	Class  Class        // of HostClass
	Prefix netip.Prefix // of HostPrefix: masked, more than one address, never v4-mapped
	Addr   netip.Addr   // of HostAddr: never v4-mapped
	Name   string       // of HostName and HostSuffix: lower case, no dot at either end; of HostUnix: "/path" or "@abstract"
	Apex   bool         // of HostSuffix: Name itself is covered too
}

// addrHost returns the host of one address.
func addrHost(a netip.Addr) Host {
	if !a.IsValid() {
		return Host{}
	}
	return Host{Kind: HostAddr, Addr: a}
}

// String returns the host as a destination spells it, without brackets.
func (h Host) String() string {
	var short [64]byte // on the stack
	return string(h.appendTo(short[:0]))
}

// appendTo appends the text of String.
func (h *Host) appendTo(b []byte) []byte {
	switch h.Kind {
	case HostAny:
		return append(b, "@any"...)
	case HostClass:
		return append(append(b, '@'), h.Class.String()...)
	case HostPrefix:
		return h.Prefix.AppendTo(b)
	case HostSuffix:
		if !h.Apex {
			b = append(b, '*')
		}
		return append(append(b, '.'), h.Name...)
	case HostName:
		return append(b, h.Name...)
	case HostAddr:
		return h.Addr.AppendTo(b)
	case HostUnix:
		return appendUnix(append(b, "unix:"...), h.Name)
	}
	return b
}

// is6 says whether the host needs brackets before a port.
func (h *Host) is6() bool {
	return h.Kind == HostAddr && h.Addr.Is6() || h.Kind == HostPrefix && h.Prefix.Addr().Is6()
}

// IsZero says whether d is the zero value, which covers nothing.
func (d Destination) IsZero() bool { return d == Destination{} }

// Equal says whether d and o cover the same in the same way. It is d == o.
func (d Destination) Equal(o Destination) bool { return d == o }

// String returns the canonical spelling, which ParseDestination reads back to
// an equal value, and "" for the zero value.
func (d Destination) String() string {
	var short [64]byte // on the stack
	return string(d.appendTo(short[:0]))
}

// appendTo appends the text of String.
func (d *Destination) appendTo(b []byte) []byte {
	if d.Host.Kind == HostNone || d.Host.Kind == HostUnix {
		return d.Host.appendTo(b)
	}
	b = d.appendScheme(b)
	switch {
	case d.Ports.All():
		return d.Host.appendTo(b)
	case d.Host.is6():
		b = append(d.Host.appendTo(append(b, '[')), ']')
	default:
		b = d.Host.appendTo(b)
	}
	return d.Ports.appendTo(append(b, ':'))
}

func (d *Destination) appendScheme(b []byte) []byte {
	if d.Listen {
		b = append(b, "listen"...)
		if d.Proto == AnyProto {
			return append(b, "://"...)
		}
		b = append(b, '+')
	} else if d.Proto == AnyProto {
		return b
	}
	return append(append(b, d.Proto.String()...), "://"...)
}

// MarshalText returns the text of String.
func (d Destination) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// AppendText appends the text of String.
func (d Destination) AppendText(b []byte) ([]byte, error) { return d.appendTo(b), nil }

// UnmarshalText reads what MarshalText writes: no text is the zero value.
func (d *Destination) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Destination{}
		return nil
	}
	v, err := ParseDestination(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// appendUnix writes an AF_UNIX name, which may hold any byte, as printable
// text: %XX for what is not printable, for the comma that separates
// destinations, the space, and % itself.
func appendUnix(b []byte, name string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if plainUnix(r, n) {
			b = append(b, name[i:i+n]...)
			i += n
			continue
		}
		for _, c := range []byte(name[i : i+n]) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
		i += n
	}
	return b
}

func plainUnix(r rune, size int) bool {
	if r == utf8.RuneError && size == 1 {
		return false
	}
	return strconv.IsPrint(r) && r != ' ' && r != ',' && r != '%'
}
