package names

import (
	"bufio"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// file is what is read from a file, and read again soon after it has changed.
type file[T any] struct {
	path  string
	parse func(io.Reader) T

	mu     sync.Mutex
	looked time.Time   // at the file
	stamp  fs.FileInfo // of what was read, or nil
	value  T
}

// lookEvery is how long a file is taken to be as it was: each call of a program
// asks for its value, and to look takes a system call.
const lookEvery = 100 * time.Millisecond

func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.value
	}
	f.looked = time.Now()
	now, err := os.Stat(f.path)
	if err != nil {
		f.stamp = nil
		f.value = f.parse(strings.NewReader(""))
		return f.value
	}
	if f.stamp != nil && os.SameFile(now, f.stamp) && now.ModTime().Equal(f.stamp.ModTime()) && now.Size() == f.stamp.Size() {
		return f.value
	}
	var r io.Reader = strings.NewReader("")
	if file, err := os.Open(f.path); err == nil {
		defer file.Close()
		r = file
	}
	// If it changed between the two looks, the next one finds out.
	f.stamp, f.value = now, f.parse(io.LimitReader(r, maxFile))
	return f.value
}

// maxFile bounds what is read of one file: hosts files may be lists of a
// million names.
const maxFile = 64 << 20

// Servers returns a function that lists the servers in a file like
// /etc/resolv.conf as it was a moment before each call.
func Servers(path string) func() []netip.AddrPort {
	f := &file[[]netip.AddrPort]{path: path, parse: parseServers}
	return f.get
}

func parseServers(r io.Reader) []netip.AddrPort {
	var list []netip.AddrPort
	if conf, err := dns.ClientConfigFromReader(r); err == nil {
		for _, s := range conf.Servers {
			if addr, err := netip.ParseAddr(s); err == nil {
				list = append(list, dialable(netip.AddrPortFrom(addr, 53)))
			}
		}
	}
	if len(list) == 0 {
		list = []netip.AddrPort{netip.AddrPortFrom(loopback4, 53)} // resolv.conf(5)
	}
	return list
}

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// dialable is where a packet to an address goes.
func dialable(a netip.AddrPort) netip.AddrPort {
	addr := a.Addr().Unmap()
	if addr.IsUnspecified() {
		if addr = loopback6; a.Addr().Unmap().Is4() {
			addr = loopback4
		}
	}
	return netip.AddrPortFrom(addr, a.Port())
}

// maxHostsNames is how many names one address may have in a hosts file.
const maxHostsNames = 64

// Hosts returns a function that lists the names of an address in a file like
// /etc/hosts as it was a moment before each call. Names of 0.0.0.0 and :: are left out: it is
// where lists of unwanted names lead.
func Hosts(path string) func(netip.Addr) []string {
	f := &file[map[netip.Addr][]string]{path: path, parse: parseHosts}
	return func(addr netip.Addr) []string { return f.get()[plain(addr)] }
}

// HostAddr returns a function that finds an address of a name in a file like
// /etc/hosts as it was a moment before each call: the first of its IPv4 addresses, if any.
func HostAddr(path string) func(name string) (netip.Addr, bool) {
	f := &file[map[netip.Addr][]string]{path: path, parse: parseHosts}
	return func(name string) (found netip.Addr, ok bool) {
		for addr, list := range f.get() {
			if slices.Contains(list, name) && (!ok || addr.Less(found)) {
				found, ok = addr, true
			}
		}
		return found, ok
	}
}

func parseHosts(r io.Reader) map[netip.Addr][]string {
	names := make(map[netip.Addr][]string)
	for s := bufio.NewScanner(r); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.IsUnspecified() {
			continue
		}
		addr = plain(addr)
		for _, name := range fields[1:] {
			if name = canonical(name); len(names[addr]) < maxHostsNames {
				names[addr] = append(names[addr], strings.Clone(name))
			}
		}
	}
	return names
}
