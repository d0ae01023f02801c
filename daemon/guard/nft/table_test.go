package nft

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func open(t testing.TB) *Table {
	t.Helper()
	tbl, err := Open(Group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tbl.Close() })
	do(t, tbl.Reset(nil))
	return tbl
}

// jail has a cgroup that there is not: the kernel does not get that far.
func jail(id string, level int) Jail {
	return Jail{ID: id, Cgroup: 1<<40 + uint64(id[0]), Level: level}
}

func dest(network uint8, addr string, port uint16, timeout time.Duration) Dest {
	return Dest{Network: network, Addr: netip.MustParseAddr(addr), Port: port, Timeout: timeout}
}

func do(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// golden compares with a file in testdata. How long an element has left, and who
// owns the table, differs from run to run.
func golden(t *testing.T, name string) {
	t.Helper()
	got := regexp.MustCompile(` expires [0-9a-z]+`).ReplaceAllString(ruleset(t), "")
	got = regexp.MustCompile(`(?m)^table inet netjail \{ # .*$`).ReplaceAllString(got, "table inet netjail {")
	got = regexp.MustCompile(`(?m)^\tflags (owner|0x).*\n(\n)?`).ReplaceAllString(got, "")
	path := filepath.Join("testdata", name+".nft")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// TestRuleset reads back, by nft(8), what was made.
func TestRuleset(t *testing.T) {
	tbl := open(t)
	golden(t, "empty")
	a, b := jail("a1", 2), jail("b2", 3)
	do(t, tbl.Add(a), tbl.Add(b))
	golden(t, "added")
	do(t,
		tbl.Allow(a, []Dest{
			dest(TCP, "192.0.2.1", 443, 0), dest(UDP, "192.0.2.1", 53, time.Hour), dest(TCP, "2001:db8::1", 443, time.Minute),
			dest(ICMP, "192.0.2.1", 0, 0), dest(ICMPv6, "2001:db8::1", 0, 0), dest(UDP, "127.0.0.1", 5353, 0),
		}),
		tbl.Listen(a, []Dest{{Network: TCP, Port: 8080}, {Network: UDP, Port: 5000}}),
		tbl.Deny(a, []Dest{dest(TCP, "2001:db8::1", 443, 0), dest(TCP, "198.51.100.1", 80, time.Minute)}),
		tbl.Unlisten(a, []Dest{{Network: UDP, Port: 5000}, {Network: UDP, Port: 5001}}),
	)
	golden(t, "told")
	do(t,
		tbl.Allow(a, []Dest{dest(TCP, "2001:db8::1", 443, 2*time.Minute), dest(UDP, "192.0.2.1", 53, 0)}),
		tbl.Deny(a, []Dest{dest(TCP, "192.0.2.1", 443, 0)}),
	)
	golden(t, "changed")
	do(t, tbl.Forget(a, []Dest{
		dest(UDP, "192.0.2.1", 53, 0), dest(TCP, "192.0.2.1", 443, 0), dest(TCP, "2001:db8::1", 443, 0),
		dest(TCP, "203.0.113.1", 80, 0), // of which nothing was said
	}))
	golden(t, "forgotten")
	do(t, tbl.Shut(a))
	golden(t, "shut")
	do(t, tbl.Remove(a), tbl.Shut(b), tbl.Remove(b))
	golden(t, "removed")
	do(t, tbl.Add(a))
	do(t, tbl.Reset([]Jail{b}))
	golden(t, "reset")
	do(t, tbl.Reset(nil))
	golden(t, "empty")
}

// TestLeadRuleset reads back how jails are led.
func TestLeadRuleset(t *testing.T) {
	tbl := open(t)
	tbl.zone = 0
	a, b := jail("a1", 2), jail("b2", 3)
	do(t, tbl.Add(a), tbl.Add(b))
	do(t,
		tbl.Lead(a, leadTo("127.0.0.1:5300", "192.0.2.53:53", "127.0.0.53:53")),
		tbl.Lead(a, leadTo("[::1]:5301", "[2001:db8::53]:53")),
		tbl.Lead(b, leadTo("127.0.0.1:5302", "192.0.2.53:53")),
	)
	golden(t, "led")
	do(t, tbl.Lead(a, leadTo("127.0.0.1:5303", "192.0.2.53:53", "192.0.2.54:53")))
	golden(t, "ledanew")
	do(t, tbl.Shut(a), tbl.Remove(a), tbl.Shut(b))
	golden(t, "ledshut")
	do(t, tbl.Reset(nil))
	golden(t, "empty")
}

func leadTo(to string, servers ...string) Lead {
	l := Lead{User: 1000, To: netip.MustParseAddrPort(to)}
	for _, s := range servers {
		l.Servers = append(l.Servers, netip.MustParseAddrPort(s))
	}
	return l
}

// TestAlone reads back what there is of a jail that is alone, and waits until it
// is closed because nobody keeps it.
func TestAlone(t *testing.T) {
	tbl := open(t)
	a := Jail{ID: "a1", Level: Alone, Resolver: 5300}
	do(t, tbl.Add(a), tbl.Keep(a))
	golden(t, "alone")
	do(t,
		tbl.Lead(a, leadTo("127.0.0.1:5300", "192.0.2.53:53", "127.0.0.53:53")),
		tbl.Lead(a, leadTo("[::1]:5300", "[2001:db8::53]:53")),
		tbl.Lead(a, leadTo("127.0.0.1:5301", "192.0.2.54:53")),
	)
	golden(t, "aloneled")
	do(t, tbl.Shut(a), tbl.Keep(a))
	golden(t, "aloneshut")
	if testing.Short() {
		return
	}
	time.Sleep(Grace + time.Second)
	if got := ruleset(t); strings.Contains(got, "goto jail-a1") {
		t.Errorf("it is open:\n%s", got)
	}
	do(t, tbl.Keep(a))
	if got := ruleset(t); strings.Count(got, "goto jail-a1") != 4 {
		t.Errorf("it is not open again:\n%s", got)
	}
	do(t, tbl.Reset(nil))
}

// TestFailure: what fails changes nothing, and the next thing is done.
func TestFailure(t *testing.T) {
	tbl := open(t)
	a := jail("a1", 2)
	none := ruleset(t)
	if err := tbl.Allow(a, []Dest{dest(TCP, "192.0.2.1", 443, 0)}); err == nil {
		t.Error("a jail that there is not was allowed something")
	}
	if err := tbl.Shut(a); err == nil {
		t.Error("a jail that there is not was shut")
	}
	if got := ruleset(t); got != none {
		t.Errorf("got %s, want %s", got, none)
	}
	do(t, tbl.Add(a), tbl.Allow(a, []Dest{dest(TCP, "192.0.2.1", 443, 0)}))
	before := ruleset(t)
	if err := tbl.Add(jail("a1", 3)); err == nil {
		t.Error("a jail was added twice")
	}
	if got := ruleset(t); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
	do(t, tbl.Add(jail("b2", 3)))
	if got := ruleset(t); !strings.Contains(got, "level 3") {
		t.Errorf("level 3 is not looked at:\n%s", got)
	}
}

// TestFull fills a set. To deny goes on then, and to deny what is not there.
func TestFull(t *testing.T) {
	tbl := open(t)
	a := jail("a1", 2)
	do(t, tbl.Add(a))
	var many []Dest
	addr := netip.MustParseAddr("10.0.0.0")
	for range MaxAllowed {
		addr = addr.Next()
		many = append(many, Dest{Network: TCP, Addr: addr, Port: 443})
	}
	start := time.Now()
	do(t, tbl.Allow(a, many))
	t.Logf("%d elements in %v", len(many), time.Since(start))
	one := []Dest{dest(TCP, "192.0.2.1", 443, 0)}
	if err := tbl.Allow(a, one); !errors.Is(err, ErrFull) {
		t.Errorf("one more: got %v, want %v", err, ErrFull)
	}
	do(t, tbl.Deny(a, one), tbl.Deny(a, many[:1]), tbl.Allow(a, many[1:2]))
	do(t, tbl.Allow(a, one))
	if err := tbl.Allow(a, many[:1]); !errors.Is(err, ErrFull) {
		t.Errorf("one more: got %v, want %v", err, ErrFull)
	}
	if got := ruleset(t, "list", "set", "inet", Name, "jail-a1-deny4"); !strings.Contains(got, "10.0.0.1 . tcp") {
		t.Errorf("what could not be allowed is not denied any more:\n%s", got)
	}
	do(t, tbl.Forget(a, many[:2]), tbl.Allow(a, many[:1]))
}

// TestOwned: nobody else flushes the table, and it stays when its owner ends,
// for the next one.
func TestOwned(t *testing.T) {
	tbl := open(t)
	if err := tbl.own(); errors.Is(err, errNotOwned) {
		t.Skip("this kernel has no tables that persist (Linux 6.9)")
	}
	do(t, tbl.Add(jail("a1", 2)))
	before := ruleset(t, "list", "table", "inet", Name)
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Errorf("nft flush ruleset: %v %s", err, out)
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", Name).CombinedOutput(); err == nil {
		t.Errorf("nft deletes the table: %s", out)
	}
	if after := ruleset(t, "list", "table", "inet", Name); after != before {
		t.Errorf("got\n%s\nwant\n%s", after, before)
	}
	do(t, tbl.Close())
	if got := ruleset(t); !strings.Contains(got, "jail-a1") {
		t.Errorf("without its owner the table is\n%s", got)
	}
	next, err := Open(Group)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	do(t, next.Reset([]Jail{jail("a1", 2)}), next.Add(jail("b2", 2)))
}

// TestPlain does without an owned table, as before Linux 6.9.
func TestPlain(t *testing.T) {
	tbl, err := Open(Group)
	if err != nil {
		t.Fatal(err)
	}
	defer tbl.Close()
	tbl.Plain()
	out, err := exec.Command("nft", "delete", "table", "inet", Name).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "No such file") {
		t.Fatalf("nft: %v %s", err, out)
	}
	do(t, tbl.Reset(nil), tbl.Add(jail("a1", 2)))
	if got := ruleset(t); strings.Contains(got, "flags owner") {
		t.Errorf("the table is owned:\n%s", got)
	}
	if err := tbl.Add(jail("a1", 2)); err == nil {
		t.Error("a jail was added twice")
	}
	do(t, tbl.Allow(jail("a1", 2), []Dest{dest(TCP, "192.0.2.1", 443, 0)}))
	do(t, tbl.Reset([]Jail{jail("a1", 2)}))
	golden(t, "plain")
	if gone, err := tbl.Gone(); gone || err != nil {
		t.Errorf("the table is gone: %v, %v", gone, err)
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", Name).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v %s", err, out)
	}
	if gone, err := tbl.Gone(); !gone || err != nil {
		t.Errorf("the table was deleted: got %v, %v", gone, err)
	}
	do(t, tbl.Reset([]Jail{jail("a1", 2)}))
	golden(t, "plain")
	ruleset(t, "delete", "table", "inet", Name)
}

// TestLeadFull: a jail has so many servers, and the last to be led to stands when
// there are more.
func TestLeadFull(t *testing.T) {
	tbl := open(t)
	a := jail("a1", 2)
	before := ruleset(t)
	if err := tbl.Lead(a, leadTo("127.0.0.1:53", "192.0.2.1:53")); err == nil {
		t.Error("a jail that there is not was led")
	}
	if got := ruleset(t); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
	many := leadTo("127.0.0.1:53")
	for addr := netip.MustParseAddr("10.0.0.0"); len(many.Servers) < MaxLed; addr = addr.Next() {
		many.Servers = append(many.Servers, netip.AddrPortFrom(addr, 53))
	}
	do(t, tbl.Add(a), tbl.Lead(a, many), tbl.Lead(a, many))
	before = ruleset(t)
	for _, l := range []Lead{leadTo("127.0.0.1:54", "192.0.2.1:53"), leadTo("[::1]:54", "[2001:db8::1]:53")} {
		if err := tbl.Lead(a, l); !errors.Is(err, ErrFull) {
			t.Errorf("one more: got %v, want %v", err, ErrFull)
		}
	}
	if got := ruleset(t); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
}

func TestCheckLead(t *testing.T) {
	for _, tt := range []struct {
		to, server string
		ok         bool
	}{
		{"127.0.0.1:5300", "192.0.2.1:53", true},
		{"127.1.2.3:5300", "127.0.0.53:53", true},
		{"[::1]:5300", "[2001:db8::1]:53", true},
		{"192.0.2.2:5300", "192.0.2.1:53", false},
		{"0.0.0.0:5300", "192.0.2.1:53", false},
		{"[2001:db8::2]:5300", "[2001:db8::1]:53", false},
		{"[::ffff:127.0.0.1]:5300", "192.0.2.1:53", false},
		{"[::1%lo]:5300", "[2001:db8::1]:53", false},
		{"127.0.0.1:0", "192.0.2.1:53", false},
		{"127.0.0.1:5300", "192.0.2.1:0", false},
		{"127.0.0.1:5300", "[2001:db8::1]:53", false},
		{"127.0.0.1:5300", "[::ffff:192.0.2.1]:53", false},
		{"[::1]:5300", "192.0.2.1:53", false},
		{"[::1]:5300", "[fe80::1%lo]:53", false},
	} {
		l := leadTo(tt.to, tt.server)
		if err := l.Check(); (err == nil) != tt.ok {
			t.Errorf("%s to %s: got %v", tt.server, tt.to, err)
		}
	}
	none, many := leadTo("127.0.0.1:53"), leadTo("127.0.0.1:53")
	many.Servers = make([]netip.AddrPort, MaxLed+1)
	if none.Check() == nil || many.Check() == nil || (&Lead{Servers: none.Servers}).Check() == nil {
		t.Error("none, too many, or to nobody: got no error")
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		dest  Dest
		local bool
		ok    bool
	}{
		{"tcp", dest(TCP, "192.0.2.1", 443, 0), false, true},
		{"udp6", dest(UDP, "2001:db8::1", 53, time.Hour), false, true},
		{"ping", dest(ICMP, "192.0.2.1", 0, 0), false, true},
		{"ping6", dest(ICMPv6, "2001:db8::1", 0, 0), false, true},
		{"port", Dest{Network: TCP, Port: 80}, true, true},
		{"nothing", Dest{}, false, false},
		{"no port", dest(TCP, "192.0.2.1", 0, 0), false, false},
		{"no address", Dest{Network: TCP, Port: 80}, false, false},
		{"port with address", dest(TCP, "192.0.2.1", 80, 0), true, false},
		{"ping to a port", dest(ICMP, "192.0.2.1", 80, 0), false, false},
		{"ping of the other family", dest(ICMP, "2001:db8::1", 0, 0), false, false},
		{"ping6 of the other family", dest(ICMPv6, "192.0.2.1", 0, 0), false, false},
		{"ping as a port", Dest{Network: ICMP}, true, false},
		{"v4-mapped", dest(TCP, "::ffff:192.0.2.1", 443, 0), false, false},
		{"zone", dest(TCP, "fe80::1%1", 443, 0), false, false},
		{"sctp", dest(132, "192.0.2.1", 443, 0), false, false},
		{"negative", dest(TCP, "192.0.2.1", 443, -1), false, false},
		{"for ever", dest(TCP, "192.0.2.1", 443, 1<<63-1), false, false},
	}
	for _, tt := range tests {
		if err := tt.dest.Check(tt.local); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
