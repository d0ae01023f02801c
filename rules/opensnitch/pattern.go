package opensnitch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/netjail/netjail/rules"
)

// hostOf understands a condition about the destination.
func hostOf(o *jsonOperator) (rules.Host, error) {
	switch o.Operand + " " + o.Type {
	case "dest.ip simple":
		a, err := netip.ParseAddr(strings.ToLower(o.Data))
		if err != nil || a.String() != strings.ToLower(o.Data) || a.Zone() != "" {
			return rules.Host{}, fmt.Errorf("%q is not an address as OpenSnitch writes it", clip(o.Data))
		}
		return addressed(netip.PrefixFrom(a, a.BitLen()))
	case "dest.ip regexp":
		return octets(o)
	case "dest.network network":
		if p, err := netip.ParsePrefix(o.Data); err == nil {
			return addressed(p)
		}
		return rules.Host{}, fmt.Errorf("%q is not a network: what the names LAN and MULTICAST stand for is kept in OpenSnitch's settings", clip(o.Data))
	case "dest.host simple":
		if o.Sensitive && o.Data != strings.ToLower(o.Data) {
			return rules.Host{}, errors.New("capital letters that have to be met: names are known in small ones")
		}
		return named(strings.ToLower(o.Data), o)
	case "dest.host regexp":
		return wildcard(o)
	}
	return rules.Host{}, errType
}

var errUnspecified = errors.New("the unspecified address is this machine to netjail")

// addressed returns the host of a prefix.
func addressed(p netip.Prefix) (rules.Host, error) {
	switch {
	case p.Addr().Is4In6():
		return rules.Host{}, errors.New("an IPv4 address written as IPv6")
	case p.IsSingleIP() && p.Addr().IsUnspecified():
		return rules.Host{}, errUnspecified
	}
	return rules.ParseHost(p.Masked().String())
}

// named returns the host of a name that is written out.
func named(name string, o *jsonOperator) (rules.Host, error) {
	if name == "" {
		return rules.Host{}, errors.New("no name: it is met where no name of the address is known, which no rule of netjail's can say")
	}
	h, err := rules.ParseHost(name)
	if err == nil && (h.Kind != rules.HostName || h.Name != name) {
		err = fmt.Errorf("%q is not a name", clip(o.Data))
	}
	return h, err
}

// literal returns what a pattern stands for that is anchored at both ends and
// has no operators: ^/usr/bin/curl$.
func literal(o *jsonOperator) (string, bool) {
	s, ok := strings.CutPrefix(o.Data, "^")
	if s, ok = cutEnd(s, ok); !ok {
		return "", false
	}
	return unquote(s)
}

// unquote takes the backslashes before . - / and _ away; ok is false if the
// pattern has anything else that is not written for itself.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`.-/_+`, s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '/':
			b.WriteByte(c)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// Beginnings of patterns that a wildcard of netjail's is. A dot meets all but a
// line's end, which no name has, so that what begins with .* is as good as
// anchored.
var (
	withApex = []string{`^(|.*\.)`, `^(.*\.|)`, `^(.*\.)?`}
	below    = []string{`^.*\.`, `.*\.`, `\.`, `^.+\.`}
)

// wildcard returns the host of a pattern that is one name, or a domain.
func wildcard(o *jsonOperator) (rules.Host, error) {
	if o.Data == "^$" {
		return named("", o)
	}
	if s, ok := literal(o); ok {
		if o.Sensitive && s != strings.ToLower(s) {
			return rules.Host{}, errors.New("capital letters that have to be met: names are known in small ones")
		}
		return named(strings.ToLower(s), o)
	}
	for _, form := range []struct {
		starts []string
		prefix string
	}{{withApex, "."}, {below, "*."}} {
		for _, start := range form.starts {
			rest, ok := strings.CutPrefix(o.Data, start)
			if rest, ok = cutEnd(rest, ok); !ok {
				continue
			}
			name, ok := unquote(rest)
			if !ok || o.Sensitive && name != strings.ToLower(name) {
				continue
			}
			h, err := named(strings.ToLower(name), o)
			if err != nil {
				return h, err
			}
			return rules.ParseHost(form.prefix + h.Name)
		}
	}
	return rules.Host{}, patternError(o)
}

// octets returns the prefix of a pattern such as ^192\.168\..*, which has to be
// anchored: 192\.168\. is met by 1.192.168.1, too.
func octets(o *jsonOperator) (rules.Host, error) {
	s, ok := strings.CutPrefix(o.Data, "^")
	if !ok {
		return rules.Host{}, patternError(o)
	}
	if whole, ok := literal(o); ok {
		return hostOf(&jsonOperator{Type: "simple", Operand: o.Operand, Data: whole})
	}
	s = strings.TrimSuffix(strings.TrimSuffix(s, "$"), ".*")
	if strings.HasSuffix(o.Data, "$") && !strings.HasSuffix(o.Data, ".*$") {
		return rules.Host{}, patternError(o)
	}
	s, ok = strings.CutSuffix(s, `\.`)
	parts := strings.Split(s, `\.`)
	if !ok || len(parts) > 3 {
		return rules.Host{}, patternError(o)
	}
	text := strings.Join(parts, ".") + strings.Repeat(".0", 4-len(parts))
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() || a.String() != text {
		return rules.Host{}, patternError(o)
	}
	return addressed(netip.PrefixFrom(a, 8*len(parts)))
}

// patternError says why a pattern cannot be taken.
func patternError(o *jsonOperator) error {
	pattern := clip(o.Data)
	if !o.Sensitive {
		for _, class := range []string{`\D`, `\S`, `\W`, `\B`} {
			if strings.Contains(o.Data, class) {
				return fmt.Errorf("pattern %q: without \"sensitive\" OpenSnitch reads %s as %s", pattern, class, strings.ToLower(class))
			}
		}
	}
	switch {
	case o.Operand == "process.path" && (strings.Contains(o.Data, ".mount_") || strings.Contains(o.Data, "snap")):
		return fmt.Errorf("pattern %q: the path of an AppImage or a snap changes; netjail's rules are of the app's name", pattern)
	case !strings.HasPrefix(o.Data, "^") || !strings.HasSuffix(o.Data, "$") && !strings.HasSuffix(o.Data, ".*"):
		return fmt.Errorf("pattern %q: not anchored at both ends, it is met by more than it looks like", pattern)
	}
	return fmt.Errorf("pattern %q is neither one name nor a domain to netjail", pattern)
}
