package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxDestination = 512      // bytes of one destination
	maxList        = 64 << 10 // bytes of a list of them
	maxName        = 253      // bytes of a DNS name
	maxLabel       = 63       // bytes of one of its labels
	maxUnix        = 108      // bytes of sun_path
)

var errTooLong = fmt.Errorf("longer than %d bytes", maxDestination)

// ParseDestination reads [proto://]host[:ports].
//
// The protocol is tcp, udp or icmp, and every one if it is missing; listen://,
// listen+tcp:// and listen+udp:// speak of a local address to receive on. The
// host is
//
//	example.org            this name
//	*.example.org          every name below it, at any depth
//	.example.org           both
//	192.0.2.7, 2001:db8::1 this address; [2001:db8::1] before a port
//	192.0.2.0/24           these addresses; [2001:db8::/64] before a port
//	@localhost @lan @internet @multicast @any
//	unix:/path unix:@name  an AF_UNIX socket, odd bytes written as %XX
//
// and for listen:// it may be empty or * for @any. Ports are a list of numbers
// and ranges, 80,443,6000-6010; none means all.
func ParseDestination(s string) (Destination, error) {
	d, err := parseDestination(s)
	var canonical [maxDestination]byte // on the stack
	if err == nil && len(d.appendTo(canonical[:0])) > maxDestination {
		err = errTooLong
	}
	if err != nil {
		return Destination{}, fmt.Errorf("destination %s: %w", quote(s), err)
	}
	return d, nil
}

// ParseDestinations reads a list separated by commas. An element that is only
// a port or a range of ports belongs to the destination before it:
// "example.org:80,443,other.org:22" is two destinations.
func ParseDestinations(s string) ([]Destination, error) {
	if len(s) > maxList {
		return nil, fmt.Errorf("destinations %s: longer than %d bytes", quote(s), maxList)
	}
	var texts []string
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if n := len(texts); n > 0 && isPortItem(item) {
			texts[n-1] += "," + item
			continue
		}
		texts = append(texts, item)
	}
	list := make([]Destination, 0, len(texts))
	for _, text := range texts {
		d, err := ParseDestination(text)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// ParseHost reads the host part of a destination, without brackets or ports.
func ParseHost(s string) (Host, error) {
	d, err := ParseDestination(s)
	if err != nil {
		return Host{}, err
	}
	if d.Listen || d.Proto != AnyProto || !d.Ports.All() {
		return Host{}, fmt.Errorf("host %s: has a protocol or a port", quote(s))
	}
	return d.Host, nil
}

// isPortItem says whether a list element can only be a port or a range.
func isPortItem(s string) bool {
	return s != "" && strings.Trim(s, "0123456789-") == ""
}

func parseDestination(s string) (Destination, error) {
	if len(s) > maxDestination {
		return Destination{}, errTooLong
	}
	if s == "" {
		return Destination{}, errors.New("empty")
	}
	if len(s) >= 5 && strings.EqualFold(s[:5], "unix:") {
		h, err := parseUnix(s[5:])
		return Destination{Host: h}, err
	}
	if err := checkText(s); err != nil {
		return Destination{}, err
	}
	d, rest, err := parseScheme(s)
	if err != nil {
		return Destination{}, err
	}
	host, ports, hasPorts, err := splitPorts(rest)
	if err != nil {
		return Destination{}, err
	}
	if hasPorts {
		if d.Proto == ICMP {
			return Destination{}, errors.New("icmp has no ports")
		}
		if d.Ports, err = parsePorts(ports); err != nil {
			return Destination{}, err
		}
	}
	if host, err = asciiHost(host); err != nil {
		return d, err
	}
	d.Host, err = parseHost(host, d.Listen)
	return d, err
}

func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return errors.New("holds a space or a control character")
		}
	}
	return nil
}

// asciiHost returns the form of an international name that DNS knows, with its
// wildcard.
func asciiHost(host string) (string, error) {
	if strings.IndexFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return host, nil
	}
	name := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	wildcard := host[:len(host)-len(name)]
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("not a name: %w", err)
	}
	return wildcard + ascii, nil
}

// parseScheme reads what stands before the host.
func parseScheme(s string) (Destination, string, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return Destination{}, s, nil
	}
	scheme = strings.ToLower(scheme)
	var d Destination
	switch scheme {
	case "listen":
		return Destination{Listen: true}, rest, nil
	case "http":
		return d, "", errors.New("http is no protocol of a destination: write the host and :80")
	case "https":
		return d, "", errors.New("https is no protocol of a destination: write the host and :443")
	}
	proto, listen := strings.CutPrefix(scheme, "listen+")
	d.Listen = listen
	switch proto {
	case "tcp":
		d.Proto = TCP
	case "udp":
		d.Proto = UDP
	case "icmp":
		d.Proto = ICMP
	default:
		return d, "", fmt.Errorf("protocol %s is not tcp, udp, icmp, listen, listen+tcp or listen+udp", quote(scheme))
	}
	return d, rest, nil
}

// splitPorts separates host and ports. Without brackets two colons make it an
// IPv6 address, which then has no ports.
func splitPorts(s string) (host, ports string, hasPorts bool, err error) {
	if !strings.HasPrefix(s, "[") {
		if strings.Count(s, ":") > 1 {
			return s, "", false, nil
		}
		host, ports, hasPorts = strings.Cut(s, ":")
		return host, ports, hasPorts, nil
	}
	host, rest, found := strings.Cut(s[1:], "]")
	if !found {
		return "", "", false, errors.New("no ] after [")
	}
	if !strings.Contains(host, ":") {
		return "", "", false, fmt.Errorf("%s is no IPv6 address: brackets are only for those", quote(host))
	}
	bits, ports, hasPorts := strings.Cut(rest, ":")
	if bits != "" && (bits[0] != '/' || strings.Contains(host, "/")) {
		return "", "", false, fmt.Errorf("%s after ] is not a port", quote(rest))
	}
	return host + bits, ports, hasPorts, nil
}

func parseHost(s string, listen bool) (Host, error) {
	switch {
	case listen && (s == "" || s == "*"):
		return Host{Kind: HostAny}, nil
	case s == "":
		return Host{}, errors.New("no host: @any is every host")
	case s == "*":
		return Host{}, errors.New(`"*" is no host: write @any for every host, or *.example.org`)
	case s[0] == '@':
		return parseClass(strings.ToLower(s))
	case strings.Contains(s, "/"):
		return parsePrefix(s, listen)
	case strings.Contains(s, ":"):
		return parseAddr(s, listen)
	}
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if endsInNumber(s) {
		return parseAddr(s, listen)
	}
	if listen {
		return Host{}, errors.New("a listen host is a local address: write 127.0.0.1, ::1, @localhost or @any")
	}
	return parseName(s)
}

func parseClass(s string) (Host, error) {
	switch s {
	case "@any":
		return Host{Kind: HostAny}, nil
	case "@localhost":
		return Host{Kind: HostClass, Class: Localhost}, nil
	case "@lan":
		return Host{Kind: HostClass, Class: LAN}, nil
	case "@internet":
		return Host{Kind: HostClass, Class: Internet}, nil
	case "@multicast":
		return Host{Kind: HostClass, Class: Multicast}, nil
	}
	return Host{}, fmt.Errorf("class %s is not @localhost, @lan, @internet, @multicast or @any", quote(s))
}

func parseAddr(s string, listen bool) (Host, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if strings.Contains(s, ":") {
			return Host{}, fmt.Errorf("%s is not an IPv6 address (a port after one needs brackets: [::1]:443)", quote(s))
		}
		return Host{}, fmt.Errorf("%s is not an IPv4 address", quote(s))
	}
	if err := checkZone(a.Zone()); err != nil {
		return Host{}, err
	}
	if listen {
		return addrHost(a.Unmap()), nil
	}
	return addrHost(canonicalAddr(a)), nil
}

// checkZone refuses what Linux allows in an interface name but a destination
// needs for itself.
func checkZone(zone string) error {
	for i := range len(zone) {
		if c := zone[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/:,[]%", c) >= 0 {
			return fmt.Errorf("zone %s is not an interface name", quote(zone))
		}
	}
	return nil
}

// parsePrefix reads a CIDR. Host bits are masked; one of full length is the
// address it holds, so that the two spellings are one rule.
func parsePrefix(s string, listen bool) (Host, error) {
	text, _, _ := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return Host{}, fmt.Errorf("%s is not an address: only addresses take a /, a destination has no path", quote(text))
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Host{}, fmt.Errorf("%s is not a prefix: want an address without a zone and at most /%d", quote(s), a.BitLen())
	}
	if a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p.IsSingleIP() {
		return parseAddr(p.Addr().String(), listen)
	}
	return Host{Kind: HostPrefix, Prefix: p.Masked()}, nil
}

// endsInNumber says whether programs take the name for an IPv4 address:
// getaddrinfo reads 127.1, 0x7f.1 and 2130706433.
func endsInNumber(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	if last == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

func parseName(s string) (Host, error) {
	h := Host{Kind: HostName, Name: s}
	if rest, ok := strings.CutPrefix(s, "*."); ok {
		h = Host{Kind: HostSuffix, Name: rest}
	} else if rest, ok := strings.CutPrefix(s, "."); ok {
		h = Host{Kind: HostSuffix, Name: rest, Apex: true}
	}
	if err := checkName(h.Name); err != nil {
		return Host{}, err
	}
	if h.Kind == HostSuffix && !strings.Contains(h.Name, ".") && !slices.Contains(privateNames, h.Name) {
		return Host{}, fmt.Errorf("%s covers a whole top-level domain: name the domain (*.example.%s), or write @any", quote(s), h.Name)
	}
	return h, nil
}

func checkName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("a name is at most %d bytes long", maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return errors.New("a name has no empty label")
		}
		if len(label) > maxLabel {
			return fmt.Errorf("label %s is longer than %d bytes", quote(label), maxLabel)
		}
		if strings.Contains(label, "*") {
			return errors.New("* stands only for everything below a name: *.example.org")
		}
		for i := range len(label) {
			if !isNameByte(label[i]) {
				return fmt.Errorf("%s is not a host name", quote(s))
			}
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// parseUnix reads what follows "unix:".
func parseUnix(s string) (Host, error) {
	if s == "" || s == "/" || s == "@" || s[0] != '/' && s[0] != '@' || strings.HasPrefix(s, "//") {
		return Host{}, errors.New("want unix:/path or unix:@name")
	}
	name, err := unescapeUnix(s)
	if err != nil {
		return Host{}, err
	}
	if len(name) > maxUnix {
		return Host{}, fmt.Errorf("a socket's name is at most %d bytes long", maxUnix)
	}
	if name[0] == '/' && strings.IndexByte(name, 0) >= 0 {
		return Host{}, errors.New("a path has no NUL")
	}
	return Host{Kind: HostUnix, Name: name}, nil
}

func unescapeUnix(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '%':
			if i+3 > len(s) {
				return "", errors.New("% wants two hexadecimal digits")
			}
			c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", errors.New("% wants two hexadecimal digits")
			}
			b.WriteByte(byte(c))
			i += 3
			continue
		case r == utf8.RuneError && n == 1, !strconv.IsPrint(r):
			return "", errors.New("holds a byte that is not printable: write it as %XX")
		}
		b.WriteString(s[i : i+n])
		i += n
	}
	return b.String(), nil
}
