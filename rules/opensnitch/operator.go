package opensnitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/netjail/netjail/rules"
)

// conditions are what the operators of one rule ask for together.
type conditions struct {
	set    map[string]bool // operands that were met
	path   string
	hosts  []rules.Host
	proto  rules.Proto
	family int // 4, 6, or 0
	ports  rules.Ports
	never  bool
}

// operator understands what a rule asks for.
func (r *imported) operator(o *jsonOperator, cfg *Config) {
	members := []jsonOperator{*o}
	if o.Type == "list" || o.Operand == "list" {
		if o.Type != "list" || o.Operand != "list" {
			r.refuse("operator of type %q and operand %q", clip(o.Type), clip(o.Operand))
			return
		}
		members = o.List
		if len(members) == 0 && o.Data != "" { // as it was written before 1.0
			if err := json.Unmarshal([]byte(o.Data), &members); err != nil {
				r.refuse("the list in its data: %v", err)
				return
			}
			if err := strict([]byte(o.Data), &[]jsonOperator{}); err != nil {
				r.refuse("the list in its data: %v", err)
				return
			}
		}
		if len(members) == 0 {
			r.refuse("an empty list of operators, which is met by everything")
			return
		}
	}
	c := conditions{set: make(map[string]bool)}
	for i := range members {
		if err := c.add(&members[i], cfg); err != nil {
			r.refuse("%s %s: %v", clip(members[i].Type), clip(members[i].Operand), err)
		}
	}
	r.take(&c)
}

// take keeps the conditions; where they cannot be said exactly an allow is
// refused, and a deny denies more.
func (r *imported) take(c *conditions) {
	r.known = scope{path: c.path, hosts: c.hosts, proto: c.proto, ports: c.ports, never: c.never}
	if c.never {
		r.refuse("a rule of another user")
	}
	if c.path != "" {
		if err := rules.CheckAppName(rules.AppName(c.path)); err != nil {
			r.refuse("%v", err)
		}
	}
	if c.family == 0 {
		return
	}
	if len(c.hosts) == 0 {
		all := map[int]string{4: "0.0.0.0/0", 6: "::/0"}[c.family]
		r.known.hosts = []rules.Host{{Kind: rules.HostPrefix, Prefix: netip.MustParsePrefix(all)}}
		return
	}
	for _, h := range c.hosts {
		switch {
		case h.Kind == rules.HostName || h.Kind == rules.HostSuffix:
			if !r.deny {
				r.refuse(`protocol: "tcp" is TCP over IPv4 only, and a name may have addresses of both kinds`)
				return
			}
			r.remark("denies the name over IPv4 and IPv6; OpenSnitch's rule was for one of them")
		case familyOf(h) != c.family:
			r.refuse("protocol and address are of different families: it is never met")
		}
	}
}

func familyOf(h rules.Host) int {
	a := h.Addr
	if h.Kind == rules.HostPrefix {
		a = h.Prefix.Addr()
	}
	if a.Is4() {
		return 4
	}
	return 6
}

var (
	errTwice  = errors.New("given twice")
	errType   = errors.New("this type of operator is not known to netjail for it")
	errNoSuch = errors.New("netjail has no such condition")
)

// unsupported says why operands that netjail does not have cannot be left out.
var unsupported = map[string]string{
	"process.hash.md5":  "a checksum is met by every program where OpenSnitch has none at hand",
	"process.hash.sha1": "a checksum is met by every program where OpenSnitch has none at hand",
	"lists.domains":     "import its files with netjail blocklist add",
	"lists.hash.md5":    "a checksum is met by every program where OpenSnitch has none at hand",
}

// add understands one operator.
func (c *conditions) add(o *jsonOperator, cfg *Config) error {
	if len(o.List) > 0 || o.Type == "list" || o.Operand == "list" {
		return errors.New("a list in a list")
	}
	if o.Operand == "true" {
		return nil
	}
	if c.set[o.Operand] {
		return errTwice
	}
	c.set[o.Operand] = true
	switch o.Operand {
	case "process.path":
		return c.addPath(o)
	case "protocol":
		return c.addProtocol(o)
	case "dest.port":
		return c.addPort(o)
	case "dest.ip", "dest.network", "dest.host":
		if len(c.hosts) > 0 {
			return errors.New("two conditions about the destination")
		}
		h, err := hostOf(o)
		if err == nil {
			c.hosts = []rules.Host{h}
		}
		return err
	case "user.id":
		uid, err := strconv.Atoi(o.Data)
		if o.Type != "simple" || err != nil {
			return errType
		}
		c.never = uid != cfg.UID
		return nil
	}
	if why := unsupported[o.Operand]; why != "" {
		return errors.New(why)
	}
	return errNoSuch
}

// addPath takes a path that is written out, whatever its letters: one that
// differs in their case only is another file.
func (c *conditions) addPath(o *jsonOperator) error {
	path := o.Data
	switch o.Type {
	case "simple":
	case "regexp":
		s, ok := literal(o)
		if !ok {
			return patternError(o)
		}
		path = s
	default:
		return errType
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%q is not an absolute path", clip(path))
	}
	c.path = path
	return nil
}

// protocols are OpenSnitch's words: one for each family.
var protocols = map[string]struct {
	proto  rules.Proto
	family int
}{
	"tcp": {rules.TCP, 4}, "tcp6": {rules.TCP, 6}, "^tcp6?$": {rules.TCP, 0}, "^(tcp|tcp6)$": {rules.TCP, 0},
	"udp": {rules.UDP, 4}, "udp6": {rules.UDP, 6}, "^udp6?$": {rules.UDP, 0}, "^(udp|udp6)$": {rules.UDP, 0},
	"icmp": {rules.ICMP, 4}, "icmp6": {rules.ICMP, 6}, "^icmp6?$": {rules.ICMP, 0},
}

func (c *conditions) addProtocol(o *jsonOperator) error {
	p, ok := protocols[o.Data]
	if regexp := strings.HasPrefix(o.Data, "^"); !ok || regexp != (o.Type == "regexp") || !regexp && o.Type != "simple" {
		return fmt.Errorf("%q is not tcp, tcp6, udp, udp6 or icmp, nor ^tcp6?$ or ^udp6?$", clip(o.Data))
	}
	c.proto, c.family = p.proto, p.family
	return nil
}

func (c *conditions) addPort(o *jsonOperator) (err error) {
	var list []string
	switch o.Type {
	case "simple":
		list = []string{o.Data}
	case "range":
		first, last, ok := strings.Cut(strings.ReplaceAll(o.Data, " ", ""), "-")
		if !ok || !isPort(first) || !isPort(last) {
			return fmt.Errorf("%q is not a range of ports", clip(o.Data))
		}
		list = []string{first + "-" + last}
	case "regexp":
		s, ok := strings.CutPrefix(o.Data, "^")
		if s, ok = cutEnd(s, ok); !ok {
			return patternError(o)
		}
		if inner, ok := strings.CutPrefix(s, "("); ok {
			s = strings.TrimSuffix(inner, ")")
			list = strings.Split(s, "|")
		} else {
			list = []string{s}
		}
	default:
		return errType
	}
	for _, p := range list {
		if o.Type != "range" && !isPort(p) {
			return fmt.Errorf("%q is not a port", clip(o.Data))
		}
	}
	d, err := rules.ParseDestination("@any:" + strings.Join(list, ","))
	if err != nil {
		return err
	}
	c.ports = d.Ports
	return nil
}

func cutEnd(s string, ok bool) (string, bool) {
	s, end := strings.CutSuffix(s, "$")
	return s, ok && end
}

// isPort says whether s is how OpenSnitch writes a port.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// domain is the port of lookups, of which OpenSnitch takes the name that is
// looked up for the destination.
const domain = 53

// destinations says in netjail's words where a rule leads.
func (r *imported) destinations() {
	k := &r.known
	hosts := k.hosts
	if len(hosts) == 0 {
		hosts = []rules.Host{{Kind: rules.HostAny}}
	}
	if k.proto == rules.ICMP && !k.ports.All() {
		r.refuse("icmp has no ports")
		return
	}
	for _, h := range hosts {
		named := h.Kind == rules.HostName || h.Kind == rules.HostSuffix
		lookups := !k.ports.All() && k.ports.Has(domain)
		switch {
		case named && lookups && k.ports.Count() == 1:
			r.refuse("port 53 of a name: OpenSnitch means lookups of the name, whichever server is asked")
		case named && r.deny && (lookups || k.ports.All() && k.proto == rules.UDP):
			r.refuse("it denies lookups of the name and only some connections to it: netjail refuses a lookup where every connection is denied")
		}
		d := rules.Destination{Host: h, Proto: k.proto, Ports: k.ports}
		if again, err := rules.ParseDestination(d.String()); err != nil || again != d {
			r.refuse("destination %s cannot be written: %v", clip(d.String()), err)
			return
		}
		k.dests = append(k.dests, d)
	}
}
