package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// service answers one connection: answer returns lines.
func service(t *testing.T, answer func(Request) string) (path string) {
	t.Helper()
	path = t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for s := bufio.NewScanner(c); s.Scan(); {
			var r Request
			if err := json.Unmarshal(s.Bytes(), &r); err != nil {
				t.Errorf("%s: %v", s.Bytes(), err)
			}
			fmt.Fprint(c, answer(r))
		}
	}()
	return path
}

func dial(t *testing.T, path string) *Conn {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var dest = Dest{Proto: "tcp", Addr: netip.MustParseAddr("192.0.2.1"), Port: 443}

func TestReplies(t *testing.T) {
	var mu sync.Mutex // a message with rights is nothing that the race detector knows
	var all []Request
	requests := func() []Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
	c := dial(t, service(t, func(r Request) string {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r)
		if r.Op == OpDeny {
			return fmt.Sprintf(`{"id":%d,"error":"no"}`+"\n", r.ID)
		}
		return `{"dropped":{"proto":"udp","addr":"192.0.2.2","port":53}}` + "\n" + fmt.Sprintf(`{"id":%d}`+"\n", r.ID)
	}))
	if err := c.Allow(make([]Dest, MaxDests+1)...); err != nil {
		t.Error(err)
	}
	if err := c.Deny(dest); err == nil || err.Error() != "deny: no" {
		t.Errorf("got %v, want what the guard says", err)
	}
	got := requests()
	if len(got) != 3 || len(got[0].Dests) != MaxDests || len(got[1].Dests) != 1 || got[2].Dests[0] != dest {
		t.Errorf("got %d requests, want many destinations in two", len(got))
	}
	to, server := netip.MustParseAddrPort("127.0.0.1:5300"), netip.MustParseAddrPort("192.0.2.1:53")
	err := c.Lead(to, server)
	if got = requests(); err != nil || got[3].To != to || len(got[3].Servers) != 1 || got[3].Servers[0] != server {
		t.Errorf("got %+v, %v", got[3], err)
	}
	want := Dest{Proto: "udp", Addr: netip.MustParseAddr("192.0.2.2"), Port: 53}
	if d := <-c.Dropped(); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
}

// TestGone: whoever waits hears of the end, and whoever comes later.
func TestGone(t *testing.T) {
	for _, last := range []string{"", "nonsense\n", `{"error":"too many"}` + "\n"} {
		path := service(t, func(Request) string { return last })
		c := dial(t, path)
		if last == "" {
			c.Close()
		}
		first := c.Allow(dest)
		second := c.Allow(dest)
		if first == nil || second == nil || last != `{"error":"too many"}`+"\n" && !errors.Is(second, ErrClosed) {
			t.Errorf("after %q: got %v, then %v", last, first, second)
		}
		if _, ok := <-c.Dropped(); ok {
			t.Errorf("after %q: something was dropped", last)
		}
	}
	if _, err := Dial(t.TempDir() + "/none"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody listens: got %v", err)
	}
}

// TestHandOver hands a connection over in the middle of a line.
func TestHandOver(t *testing.T) {
	n := 0
	path := service(t, func(r Request) string {
		if n++; n == 1 {
			return fmt.Sprintf(`{"id":%d}`+"\n"+`{"dropped":{"proto":"udp",`, r.ID)
		}
		return `"addr":"192.0.2.2","port":53}}` + "\n" + fmt.Sprintf(`{"id":%d}`+"\n", r.ID)
	})
	c := dial(t, path)
	if err := c.Allow(dest); err != nil {
		t.Fatal(err)
	}
	f, rest, err := c.HandOver()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Allow(dest); !errors.Is(err, ErrClosed) {
		t.Errorf("handed over: got %v", err)
	}
	next, err := Resume(f, rest)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := next.Allow(dest); err != nil {
		t.Error(err)
	}
	if d := <-next.Dropped(); d.Port != 53 {
		t.Errorf("got %+v", d)
	}
	next.Close()
	<-next.ended
	if _, _, err := next.HandOver(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
}
