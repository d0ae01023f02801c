package names

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookEvery) // until it is looked at again
}

func TestServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	servers := Servers(path)
	check := func(want ...string) {
		t.Helper()
		var list []netip.AddrPort
		for _, s := range want {
			list = append(list, netip.MustParseAddrPort(s))
		}
		if got := servers(); !slices.Equal(got, list) {
			t.Errorf("got %v, want %v", got, list)
		}
	}
	check("127.0.0.1:53")
	write(t, path, "# x\nnameserver 192.0.2.1\nnameserver fe80::1%lo\nnameserver nonsense\nsearch a.org\n", epoch)
	check("192.0.2.1:53", "[fe80::1%lo]:53")
	write(t, path, "nameserver ::ffff:192.0.2.9\nnameserver 0.0.0.0\n", epoch.Add(time.Second))
	check("192.0.2.9:53", "127.0.0.1:53")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookEvery)
	check("127.0.0.1:53")
}

func TestHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	hosts := Hosts(path)
	check := func(addr string, want ...string) {
		t.Helper()
		if got := hosts(netip.MustParseAddr(addr)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
	check("192.0.2.1")
	write(t, path, "127.0.0.1 localhost\n192.0.2.1 NAS.lan. nas # mine\n0.0.0.0 ads.org\nfe80::1%eth0 r\nbad line\n", epoch)
	check("192.0.2.1", "nas.lan", "nas")
	check("::ffff:192.0.2.1", "nas.lan", "nas")
	check("fe80::1%lo", "r")
	check("0.0.0.0")
	find := HostAddr(path)
	if a, ok := find("nas"); !ok || a.String() != "192.0.2.1" {
		t.Errorf("nas: got %v, %v, want 192.0.2.1", a, ok)
	}
	if a, ok := find("ads.org"); ok {
		t.Errorf("ads.org: got %v, want none", a)
	}
	write(t, path, "192.0.2.1 other\n", epoch)
	check("192.0.2.1", "other")
}
