package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// parseServers lists the name servers of a resolv.conf(5).
func parseServers(text string) (list []netip.Addr) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// tryServers looks for a way to the name servers. Those on this machine are
// connected to; nothing is sent to others.
func tryServers(ctx context.Context, v *visit) Result {
	const without = "names: programs in a jail find no host by its name"
	text, err := v.read("/etc/resolv.conf")
	list := parseServers(text)
	detail := servers(list)
	if len(list) == 0 {
		list = []netip.Addr{netip.AddrFrom4(loopback)} // resolv.conf(5)
		detail = "/etc/resolv.conf names none, so 127.0.0.1"
		if err != nil {
			detail = fmt.Sprintf("%v, so 127.0.0.1", err)
		}
	}
	if v.inside {
		return ok(detail)
	}
	var errs []string
	for _, a := range list {
		network := "udp" // a connect sends nothing
		if a.IsLoopback() {
			network = "tcp"
		}
		c, err := new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(a, 53).String())
		if err == nil {
			c.Close()
			return ok(detail)
		}
		errs = append(errs, symbol(err))
	}
	return lost(fmt.Sprintf("%s: %s", detail, strings.Join(slices.Compact(errs), ", ")), without, "put the address of a name server in /etc/resolv.conf: nameserver ADDRESS")
}

func servers(list []netip.Addr) string {
	var s []string
	for _, a := range list {
		switch text := a.String(); text {
		case "127.0.0.53", "127.0.0.54":
			s = append(s, text+" (systemd-resolved)")
		default:
			s = append(s, text)
		}
	}
	return strings.Join(s, ", ")
}

// source is one of the services in nsswitch.conf(5).
type source struct {
	name string
	ends bool // the search ends when it is not available
}

// parseHosts reads the line about hosts.
func parseHosts(text string) (list []source, found bool) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		db, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.TrimSpace(db) != "hosts" {
			continue
		}
		for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
			if actions, ok := strings.CutPrefix(rest, "["); ok {
				actions, rest, _ = strings.Cut(actions, "]")
				if len(list) > 0 {
					list[len(list)-1].ends = endsUnavailable(actions)
				}
				continue
			}
			n := strings.IndexAny(rest, " \t[")
			if n < 0 {
				n = len(rest)
			}
			list = append(list, source{name: rest[:n]})
			rest = rest[n:]
		}
		return list, true
	}
	return nil, false
}

// endsUnavailable reads actions, such as "!UNAVAIL=return".
func endsUnavailable(actions string) (ends bool) {
	for _, a := range strings.Fields(strings.ToUpper(actions)) {
		status, action, _ := strings.Cut(a, "=")
		status, not := strings.CutPrefix(status, "!")
		if (status == "UNAVAIL") != not {
			ends = action == "RETURN"
		}
	}
	return ends
}

// refusedSource says whether a service looks names up through a socket that is
// refused to a jail: it is not available there.
func refusedSource(name string) bool {
	return name == "resolve" || name == "mymachines" || strings.HasPrefix(name, "mdns")
}

func tryNsswitch(_ context.Context, v *visit) Result {
	text, err := v.read("/etc/nsswitch.conf")
	if err != nil {
		return ok("none: names come from files and DNS")
	}
	r := nsswitch(text)
	if r.State == OK && (v.exists("/run/nscd/socket") || v.exists("/var/run/nscd/socket")) {
		r.Detail += "; nscd is refused to a jail, and not needed"
	}
	return r
}

// nsswitch says whether libc comes to DNS in a jail.
func nsswitch(text string) Result {
	list, found := parseHosts(text)
	if !found {
		return ok("no line for hosts: names come from files and DNS")
	}
	var all, refused []string
	for _, s := range list {
		all = append(all, s.name)
	}
	line := "hosts: " + strings.Join(all, " ")
	for _, s := range list {
		switch {
		case s.name == "dns" && len(refused) > 0:
			return ok(fmt.Sprintf("%s (refused to a jail: %s; dns follows)", line, strings.Join(refused, " ")))
		case s.name == "dns":
			return ok(line)
		case refusedSource(s.name):
			if refused = append(refused, s.name); s.ends {
				return noDNS(line, refused)
			}
		}
	}
	if len(refused) > 0 {
		return noDNS(line, refused)
	}
	return ok(line + " (no dns, in a jail as outside)")
}

func noDNS(line string, refused []string) Result {
	return lost(fmt.Sprintf("%s (refused to a jail: %s; dns does not follow)", line, strings.Join(refused, " ")),
		"names: programs that use the C library find no host by its name in a jail",
		"in /etc/nsswitch.conf: hosts: files resolve [!UNAVAIL=return] dns")
}
