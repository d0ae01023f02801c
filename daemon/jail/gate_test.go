package jail

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/interpose"
)

// guardian stands for the guard service: it does whatever it is asked, and
// remembers what.
type guardian struct {
	t    *testing.T
	conn net.Conn

	mu   sync.Mutex
	said []string
}

// newGuarded returns a supervisor like newRevoked's behind a guard.
func newGuarded(t *testing.T, texts ...string) (*supervisor, *guardian, *written) {
	t.Helper()
	s, w := newRevoked(t)
	s.put(t, texts...)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "guard"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := client.Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g := &guardian{t: t}
	if g.conn, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); g.serve() }()
	s.gate = newGate(s, c)
	s.policy.gate = s.gate
	followed := make(chan struct{})
	go func() { defer close(followed); s.gate.follow() }()
	t.Cleanup(func() {
		s.gate.close()
		g.conn.Close()
		<-done
		<-followed
		s.policy.reports.saying.Wait()
	})
	return s, g, w
}

func (g *guardian) serve() {
	for lines := bufio.NewScanner(g.conn); lines.Scan(); {
		var r client.Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			g.t.Error(err)
			return
		}
		g.mu.Lock()
		for _, d := range r.Dests {
			g.said = append(g.said, strings.TrimSuffix(fmt.Sprintf("%s %s %s %d", r.Op, d.Proto, d.Addr, d.Port), " 0"))
		}
		g.mu.Unlock()
		fmt.Fprintf(g.conn, "{\"id\":%d}\n", r.ID)
	}
}

// take returns what was asked since.
func (g *guardian) take() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	said := strings.Join(g.said, "; ")
	g.said = nil
	return said
}

// drop tells of a packet.
func (g *guardian) drop(proto, addr string, port int) {
	fmt.Fprintf(g.conn, "{\"dropped\":{\"proto\":%q,\"addr\":%q,\"port\":%d}}\n", proto, addr, port)
}

// asked waits until something was asked.
func (g *guardian) asked(want string) {
	g.t.Helper()
	var said string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if said += g.take(); said == want {
			return
		} else if said != "" && !strings.HasPrefix(want, said) {
			break
		} else if said != "" && !strings.HasSuffix(said, "; ") && said != want {
			said += "; "
		}
	}
	g.t.Errorf("asked %q, want %q", said, want)
}

// decided has the policy decide as a supervisor does.
func decided(t *testing.T, s *supervisor, c *interpose.Call) interpose.Verdict {
	t.Helper()
	v := s.policy.Check(c)
	c.Done()
	if v != interpose.Wait {
		return v
	}
	v = s.policy.Decide(t.Context(), c)
	c.Done()
	return v
}

func TestGateOpens(t *testing.T) {
	s, g, _ := newGuarded(t, "allow 192.0.2.1:443", "allow udp://192.0.2.0/24:53000")
	c := call(t, "192.0.2.1:443")
	if v := s.policy.Check(c); v != interpose.Wait {
		t.Errorf("before the guard knows: %v, want to wait for it", v)
	}
	c.Done()
	for range 3 {
		if v := decided(t, s, c); v != interpose.Allow {
			t.Errorf("got %v", v)
		}
	}
	if v := s.policy.Check(c); v != interpose.Allow {
		t.Errorf("when the guard knows: %v", v)
	}
	c.Done()
	if said := g.take(); said != "allow tcp 192.0.2.1 443" {
		t.Errorf("asked the guard: %q", said)
	}
	for _, denied := range []string{"192.0.2.1:80", "192.0.2.2:443"} {
		if v := decided(t, s, call(t, denied)); v != interpose.Deny {
			t.Errorf("%s: %v", denied, v)
		}
	}
	if said := g.take(); said != "" {
		t.Errorf("asked the guard: %q", said)
	}
	udp := call(t, "192.0.2.7:53000")
	udp.Network, udp.Op = interpose.UDP, interpose.Send
	if v := decided(t, s, udp); v != interpose.Allow {
		t.Errorf("got %v", v)
	}
	if said := g.take(); said != "allow udp 192.0.2.7 53000" {
		t.Errorf("asked the guard: %q", said)
	}
}

// TestGateCheck: a call that the guard knows costs no allocation.
func TestGateCheck(t *testing.T) {
	s, _, _ := newGuarded(t, "allow 192.0.2.1:443")
	c := call(t, "192.0.2.1:443")
	if v := decided(t, s, c); v != interpose.Allow {
		t.Fatal(v)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if s.policy.Check(c) != interpose.Allow {
			t.Error("not allowed")
		}
		c.Done()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGateListens(t *testing.T) {
	s, g, _ := newGuarded(t, "allow listen+tcp://127.0.0.1:8080", "allow listen+tcp://0.0.0.0")
	at := func(addr string) *interpose.Call {
		c := call(t, addr)
		c.Op = interpose.Listen
		return c
	}
	if v := decided(t, s, at("127.0.0.1:8080")); v != interpose.Allow {
		t.Errorf("got %v", v)
	}
	if said := g.take(); !strings.HasPrefix(said, "listen tcp") || !strings.HasSuffix(said, " 8080") {
		t.Errorf("asked the guard: %q", said)
	}
	// A port of the kernel's choice is known when it was chosen.
	c := at("0.0.0.0:0")
	if v := decided(t, s, c); v != interpose.Allow || c.Lead == nil {
		t.Fatalf("got %v, lead %v", v, c.Lead)
	}
	if said := g.take(); said != "" {
		t.Errorf("asked the guard: %q", said)
	}
	c.Lead.Bound(netip.MustParseAddrPort("0.0.0.0:4711"))
	if said := g.take(); !strings.HasSuffix(said, " 4711") {
		t.Errorf("asked the guard: %q", said)
	}
}

// TestGateReviews: what rules allow no more is closed, and what people allowed
// once stays until it is denied.
func TestGateReviews(t *testing.T) {
	s, g, _ := newGuarded(t, "allow 192.0.2.1:443", "allow 192.0.2.2:443", "allow 192.0.2.3:443")
	for _, a := range []string{"192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"} {
		if v := decided(t, s, call(t, a)); v != interpose.Allow {
			t.Fatal(a, v)
		}
	}
	once := s.policy.request(s.policy.inForce.Load(), call(t, "192.0.2.4:443"))
	if err := s.gate.let(&once, &grounds{asked: true}); err != nil {
		t.Fatal(err)
	}
	g.take()
	s.put(t, "allow 192.0.2.1:443", "deny 192.0.2.2:443")
	s.settled(t)
	got := g.take()
	for _, want := range []string{"deny tcp 192.0.2.2 443", "deny tcp 192.0.2.3 443; forget tcp 192.0.2.3 443"} {
		if !strings.Contains(got, want) {
			t.Errorf("asked the guard %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "tcp 192.0.2.1") || strings.Contains(got, "192.0.2.4") || strings.Contains(got, "forget tcp 192.0.2.2") {
		t.Errorf("asked the guard %q", got)
	}
	s.put(t, "allow 192.0.2.2:443", "deny 192.0.2.4:443")
	s.settled(t)
	got = g.take()
	for _, want := range []string{"deny tcp 192.0.2.1 443; forget tcp 192.0.2.1 443", "deny tcp 192.0.2.4 443", "forget tcp 192.0.2.2 443"} {
		if !strings.Contains(got, want) {
			t.Errorf("asked the guard %q, want %q in it", got, want)
		}
	}
	if v := s.policy.Check(call(t, "192.0.2.1:443")); v == interpose.Allow {
		t.Error("what was closed is allowed")
	}
}

// TestGateDropped: what no call was seen of is decided when it was dropped.
func TestGateDropped(t *testing.T) {
	s, g, w := newGuarded(t, "allow udp://192.0.2.1:9000")
	g.drop("udp", "192.0.2.1", 9000)
	g.asked("allow udp 192.0.2.1 9000")
	g.drop("udp", "192.0.2.2", 9000)
	g.asked("deny udp 192.0.2.2 9000")
	s.policy.reports.saying.Wait()
	if !strings.Contains(w.String(), "netjail: denied: curl send udp://192.0.2.2:9000") {
		t.Errorf("it says %q", w)
	}
	// A rule that comes is foreseen if it names one port, and else has it dropped
	// again, and so decided.
	s.put(t, "allow udp://192.0.2.2")
	s.settled(t)
	g.asked("deny udp 192.0.2.1 9000; forget udp 192.0.2.1 9000; forget udp 192.0.2.2 9000")
	g.drop("udp", "192.0.2.2", 9000)
	g.asked("allow udp 192.0.2.2 9000")
	g.drop("", "192.0.2.2", 9000)
	g.drop("udp", "", 9000)
}

// TestGateForesees: messages go to what rules name, and to the addresses of what
// they name, from the first on.
func TestGateForesees(t *testing.T) {
	s, g, _ := newGuarded(t, "allow udp://192.0.2.1:53000-53001", "allow 192.0.2.2", "allow tcp://192.0.2.3:443", "allow udp://a.org:443", "deny udp://192.0.2.1:53001", "allow 192.0.2.128/25:443 off")
	if err := s.gate.renew(); err != nil {
		t.Fatal(err)
	}
	g.asked("allow udp 192.0.2.1 53000; allow udp 192.0.2.2 53000; allow udp 192.0.2.2 53001; allow icmp 192.0.2.2; allow udp 192.0.2.2 443")
	addrs := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}
	s.policy.dns.known.Take([]names.Lease{{Name: "a.org", Addr: addrs[0], Seen: time.Now(), Until: time.Now().Add(time.Hour)}}, time.Now())
	if err := s.gate.foresee(addrs...); err != nil {
		t.Fatal(err)
	}
	g.asked("allow udp 198.51.100.1 443")
}

// TestGateGone: without the guard nothing is allowed, and that is told.
func TestGateGone(t *testing.T) {
	s, g, w := newGuarded(t, "allow 192.0.2.1:443")
	g.conn.Close()
	c := call(t, "192.0.2.1:443")
	if v := decided(t, s, c); v != interpose.Deny {
		t.Errorf("got %v", v)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(w.String(), "netjail: error: the guard has gone") && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(w.String(), "curl has no network any more") {
		t.Errorf("it says %q", w)
	}
}

// TestGateHandOver: a successor's gate knows what to take back.
func TestGateHandOver(t *testing.T) {
	s, g, _ := newGuarded(t, "allow 192.0.2.1:443")
	if v := decided(t, s, call(t, "192.0.2.1:443")); v != interpose.Allow {
		t.Fatal(v)
	}
	once := s.policy.request(s.policy.inForce.Load(), call(t, "192.0.2.4:443"))
	if err := s.gate.let(&once, &grounds{asked: true}); err != nil {
		t.Fatal(err)
	}
	g.take()
	files, e, err := s.gate.handOver()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	e = new(estate)
	if err := json.Unmarshal(b, e); err != nil {
		t.Fatal(err)
	}
	next, _ := newRevoked(t)
	next.put(t, "allow 192.0.2.1:443")
	next.gate = heirGate(next)
	next.policy.gate = next.gate
	if err := next.gate.take(files, e); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); next.gate.follow() }()
	t.Cleanup(func() { next.gate.close(); <-done })
	next.put(t)
	next.settled(t)
	g.asked("deny tcp 192.0.2.1 443; forget tcp 192.0.2.1 443")
	if v := decided(t, next, call(t, "192.0.2.4:443")); v != interpose.Deny {
		t.Errorf("got %v", v)
	}
}

// TestInherits finds the sockets that a guard does not know.
func TestInherits(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if (&Config{Keep: []int{int(null.Fd())}}).inherits() {
		t.Error("a file is no socket")
	}
	if !(&Config{Keep: []int{int(null.Fd()), int(f.Fd())}}).inherits() {
		t.Error("a socket was not found")
	}
}

// TestRefusesUnix finds the rules for which messages stay trapped.
func TestRefusesUnix(t *testing.T) {
	for text, want := range map[string]bool{
		"allow 192.0.2.1": false, "deny 192.0.2.1": false, "allow unix:/run/x": false, "deny unix:/run/x": true, "ask unix:@x": true,
	} {
		s, _ := newRevoked(t)
		s.put(t, text)
		if got := s.policy.inForce.Load().refusesUnix(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
