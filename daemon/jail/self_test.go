package jail

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/interpose"
	"github.com/netjail/netjail/rules"
)

// selfPolicy is that of a jail of curl's, with rules of others beside its own.
func selfPolicy(t *testing.T) *policy {
	t.Helper()
	s, err := newSupervisor(Config{App: "curl", Runtime: t.TempDir()}, "jail", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []rules.Rule
	for _, app := range []string{"curl", "", "wget"} {
		d, err := rules.ParseDestination("of-" + app + "x.example.org")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rules.Rule{App: app, Verdict: rules.Allow, Dest: d})
	}
	if err := s.policy.take(api.Snapshot{Rules: api.FromRules(list)}); err != nil {
		t.Fatal(err)
	}
	s.guard.Kind = guard.Strict
	return s.policy
}

// lead has a call led as the supervisor would.
func lead(t *testing.T, p *policy, addr string) *interpose.Call {
	t.Helper()
	c := &interpose.Call{Op: interpose.Connect, Network: interpose.TCP, Addr: netip.MustParseAddrPort(addr)}
	if v := p.Check(c); v != interpose.Wait {
		t.Fatalf("%s: checked %v, want to be decided", addr, v)
	}
	if v := p.Decide(t.Context(), c); v != interpose.Allow || c.Lead == nil {
		t.Fatalf("%s: decided %v, led %v", addr, v, c.Lead)
	}
	return c
}

func TestSelf(t *testing.T) {
	p := selfPolicy(t)
	for _, addr := range []string{"127.110.106.1:0", "[::ffff:127.110.106.1]:0"} {
		c := lead(t, p, addr)
		conn, err := net.Dial("tcp4", c.Lead.To.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c.Lead.Bound(conn.LocalAddr().(*net.TCPAddr).AddrPort())
		// Nothing of what the program says is read.
		if _, err := conn.Write([]byte(strings.Repeat(`{"op":"rules.add"}`+"\n", 100))); err != nil {
			t.Log(err) // it may have been told already
		}
		var self api.Self
		if err := json.NewDecoder(conn).Decode(&self); err != nil {
			t.Fatal(err)
		}
		if self.App != "curl" || self.Mode != api.ModeDeny || self.Guard == "" || len(self.Rules) != 2 {
			t.Errorf("told %+v", self)
		}
		for _, r := range self.Rules {
			if r.App == "wget" {
				t.Errorf("told of another's rule %v", r.Dest)
			}
		}
	}
	if n := len(p.inForce.Load().Set.Rules()); n != 3 {
		t.Errorf("%d rules in force, want the 3 there were", n)
	}
}

// TestSelfNotOthers connects without having been led.
func TestSelfNotOthers(t *testing.T) {
	p := selfPolicy(t)
	c := lead(t, p, selfAddr.String())
	conn, err := net.Dial("tcp4", c.Lead.To.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if b, _ := io.ReadAll(conn); len(b) > 0 {
		t.Errorf("told a stranger %q", b)
	}
}

// TestSelfAlone: only this connect is led there.
func TestSelfAlone(t *testing.T) {
	p := selfPolicy(t)
	for _, c := range []interpose.Call{
		{Op: interpose.Connect, Network: interpose.UDP, Addr: selfAddr},
		{Op: interpose.Connect, Network: interpose.TCP, Addr: netip.MustParseAddrPort("127.110.106.2:0")},
		{Op: interpose.Connect, Network: interpose.TCP, Addr: netip.MustParseAddrPort("127.110.106.1:80")},
		{Op: interpose.Listen, Network: interpose.TCP, Addr: selfAddr},
		{Op: interpose.Send, Network: interpose.TCP, Addr: selfAddr},
	} {
		if isSelf(&c) {
			t.Errorf("%+v is led", c)
		}
	}
	if p.teller.listener != nil {
		t.Error("it listens before anybody asks")
	}
}
