package tui

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// bytesText is a number of bytes that people can compare: "1.2 MB".
func bytesText(n uint64, known bool) string {
	if !known {
		return "?"
	}
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB"} {
		v /= 1000
		switch {
		case v < 9.95:
			return fmt.Sprintf("%.1f %s", v, unit)
		case v < 999.5:
			return fmt.Sprintf("%.0f %s", v, unit)
		}
	}
	return fmt.Sprintf("%.0f EB", v/1000)
}

// ageText is a time span in its largest unit: "5s", "12m", "3h", "9d".
func ageText(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func since(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return ageText(now.Sub(then))
}

// stateWord is what a flow's state means to a person.
func stateWord(f *Flow) string {
	switch f.State {
	case "ESTABLISHED":
		return "open"
	case "SYN-SENT", "SYN-RECV":
		return "opening"
	case "LISTEN":
		return "listens"
	case "UNCONNECTED":
		return "ready"
	case "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "LAST-ACK", "CLOSING", "TIME-WAIT":
		return "closing"
	}
	return strings.ToLower(f.State)
}

// endpoint is whom a flow is with, and where: "example.org:443".
func endpoint(f *Flow) string {
	far := f.Remote
	if far.Port() == 0 {
		return "on " + f.Local.String()
	}
	if len(f.Names) == 0 {
		return far.String()
	}
	return f.Names[0] + ":" + strconv.Itoa(int(far.Port()))
}

const nameUnknown = "name unknown"

// placeOf says where an address without a name is. One on the internet should
// have one.
func placeOf(a netip.Addr) string {
	switch c := rules.ClassOf(a.Unmap()); c {
	case rules.Internet:
		return nameUnknown
	case rules.NoClass:
		return ""
	default:
		return c.String()
	}
}

// service names what usually has a port. UDP is always said.
func service(f *Flow) string {
	port := f.Remote.Port()
	if f.Resolver {
		return "lookups"
	}
	if port == 0 {
		port = f.Local.Port()
	}
	name := services[port]
	if f.Network != "udp" {
		return name
	}
	if name == "https" {
		return "quic"
	}
	if name == "" || name == "dns" || name == "ntp" || name == "mdns" {
		return strings.TrimSpace("udp " + name)
	}
	return "udp"
}

// services are the few that a column of eight has room for.
var services = map[uint16]string{
	21: "ftp", 22: "ssh", 25: "smtp", 53: "dns", 80: "http", 123: "ntp", 143: "imap", 443: "https", 465: "smtps",
	587: "smtp", 631: "ipp", 853: "dns-tls", 993: "imaps", 995: "pop3s", 3306: "mysql", 3478: "stun", 5222: "xmpp",
	5353: "mdns", 5432: "postgres", 6379: "redis", 6697: "ircs", 9418: "git",
}

// plural is a number and what it counts: "1 jail", "2 jails".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// wrap breaks text at spaces into lines of at most width characters. A longer
// word begins where the one before ends, and is broken where it must be.
func wrap(text string, width int) []string {
	var lines []string
	var line []rune
	for _, word := range strings.Fields(text) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width && len(w) <= width {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		for len(line)+len(w) > width {
			n := max(0, width-len(line))
			if len(line) == 0 {
				n = max(1, n)
			}
			lines, line, w = append(lines, string(append(line, w[:n]...))), nil, w[n:]
		}
		line = append(line, w...)
	}
	if len(line) > 0 {
		lines = append(lines, string(line))
	}
	return lines
}
