package programs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// openPy connects to ports, of which the first listens if it has a "!", and says
// what becomes of each. A process of its own has the sockets, too.
const openPy = `
import os, socket, sys
held = []
for port in sys.argv[1:]:
    s = socket.socket()
    if port[0] == "!":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", int(port[1:])))
        s.listen()
    else:
        s.connect(("127.0.0.1", int(port)))
    held.append(s)
r, w = os.pipe()
if os.fork() == 0: # and ends with this one
    os.close(w)
    os.read(r, 1)
    os._exit(0)
print("ready", flush=True)
for line in sys.stdin:
    what, i = line.split()
    s = held[int(i)]
    s.settimeout(60)
    try:
        if what == "accept":
            held.append(s.accept()[0])
            print("accepted", flush=True)
            continue
        if what == "send":
            s.send(b"x")
        print(len(s.recv(1)), flush=True)
    except OSError as e:
        print(type(e).__name__, e.errno, flush=True)
`

// opened is a jailed program that holds connections.
type opened struct {
	t      *testing.T
	h      *e2etest.Home
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	stderr *os.File
	client *api.Client
}

// open starts one with flags, in the way that run says.
func open(t *testing.T, h *e2etest.Home, flags, run []string, script string, args ...string) *opened {
	t.Helper()
	program := append([]string{e2etest.Need(t, "python3"), "-c", script}, args...)
	x := &opened{t: t, h: h, cmd: h.Command(slices.Concat([]string{"--as", "holder"}, flags, []string{"--"}, run, program)...)}
	r, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if x.stderr, err = os.CreateTemp(t.TempDir(), "stderr"); err != nil {
		t.Fatal(err)
	}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = r, w, x.stderr
	x.in, x.out = in, bufio.NewReader(out)
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	t.Cleanup(func() {
		in.Close()
		_ = x.cmd.Process.Kill()
		_ = x.cmd.Wait()
		_, _ = io.Copy(io.Discard, x.out) // until nothing is left of it
		out.Close()
		x.stderr.Close()
	})
	return x
}

// said returns what came on standard error.
func (x *opened) said() string {
	b, err := os.ReadFile(x.stderr.Name())
	if err != nil {
		x.t.Fatal(err)
	}
	return string(b)
}

// do has the program do something and returns what it says.
func (x *opened) do(format string, args ...any) string {
	x.t.Helper()
	if format != "" {
		if _, err := fmt.Fprintf(x.in, format+"\n", args...); err != nil {
			x.t.Fatal(err)
		}
	}
	line, err := x.out.ReadString('\n')
	if err != nil {
		x.t.Fatalf("%q, %v; stderr:\n%s", line, err, x.said())
	}
	return strings.TrimSpace(line)
}

func (x *opened) netjail(args ...string) {
	x.t.Helper()
	if r := x.h.Run(args...); r.Code != 0 {
		x.t.Fatalf("netjail %v: %+v", args, r)
	}
}

// call asks the daemon for something.
func (x *opened) call(op string, args, reply any) {
	x.t.Helper()
	if x.client == nil {
		c, err := api.Dial(api.SocketPath(filepath.Join(x.h.Runtime(), "netjail")), nil)
		if err != nil {
			x.t.Fatal(err)
		}
		if err := c.Listen(); err != nil {
			x.t.Fatal(err)
		}
		x.client = c
		x.t.Cleanup(func() { c.Close() })
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), e2etest.Patience)
	defer cancel()
	if err := x.client.Call(ctx, op, args, reply); err != nil {
		x.t.Fatalf("%s: %v", op, err)
	}
}

// TestRevoke removes a rule, and then denies what a flag allows: of a program,
// and of one that was left behind.
func TestRevoke(t *testing.T) {
	for _, tt := range runs {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			gone, stays := e2etest.Serve(t, "127.0.0.1:0", echoing), e2etest.Serve(t, "127.0.0.1:0", echoing)
			for _, srv := range []*e2etest.Server{gone, stays} {
				if r := h.Run("rules", "add", "holder", "allow", "tcp://"+srv.Addr()); r.Code != 0 {
					t.Fatalf("%+v", r)
				}
			}
			port := func(s *e2etest.Server) string { return fmt.Sprint(s.Port()) }
			x := open(t, h, []string{"--no-prompt"}, tt.args, openPy, port(gone), port(gone), port(stays))
			if got := x.do(""); got != "ready" {
				t.Fatalf("got %q; stderr:\n%s", got, x.said())
			}
			if tt.args != nil {
				if err := x.cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				if got := x.do("send %d", i); got != "1" {
					t.Fatalf("connection %d: %s", i, got)
				}
			}
			x.netjail("rules", "remove", "holder", "tcp://"+gone.Addr())
			for i := range 2 {
				if got := x.do("read %d", i); got != "0" {
					t.Errorf("connection %d of the rule that was removed: %s, want the end", i, got)
				}
				if got := x.do("send %d", i); got != "BrokenPipeError 32" {
					t.Errorf("connection %d of the rule that was removed: %s", i, got)
				}
			}
			if got := x.do("send 2"); got != "1" {
				t.Errorf("the other connection: %s", got)
			}
			if tt.args == nil {
				want := fmt.Sprintf("netjail: ended: holder tcp://%s: the rule that allowed it was removed (2 connections)\n", gone.Addr())
				e2etest.WaitFor(t, "the line", func() bool { return strings.Contains(x.said(), "ended") })
				if got := x.said(); got != want {
					t.Errorf("stderr: %q, want %q", got, want)
				}
			}
			x.netjail("rules", "add", "holder", "deny", "127.0.0.1")
			x.netjail("rules", "remove", "holder", "tcp://"+stays.Addr())
			if got := x.do("read 2"); got != "0" {
				t.Errorf("denied: %s, want the end", got)
			}
		})
	}
}

// TestRevokeListen removes the rule of a listener, of which a client is there.
func TestRevokeListen(t *testing.T) {
	h := e2etest.NewHome(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port // free again
	l.Close()
	at := fmt.Sprintf("127.0.0.1:%d", port)
	if r := h.Run("rules", "add", "holder", "allow", "listen+tcp://"+at); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	x := open(t, h, []string{"--no-prompt"}, nil, openPy, fmt.Sprintf("!%d", port))
	if got := x.do(""); got != "ready" {
		t.Fatalf("got %q; stderr:\n%s", got, x.said())
	}
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := x.do("accept 0"); got != "accepted" {
		t.Fatal(got)
	}
	x.netjail("rules", "remove", "holder", "listen+tcp://"+at)
	if got := x.do("read 1"); got != "0" {
		t.Errorf("what it has accepted: %s, want the end", got)
	}
	if got := x.do("accept 0"); got != "OSError 22" {
		t.Errorf("accept: %s, want EINVAL", got)
	}
}

// answer answers the question about a server, as soon as it is put.
func (x *opened) answer(srv *e2etest.Server, a api.QuestionAnswer) {
	x.t.Helper()
	e2etest.WaitFor(x.t, "the question", func() bool {
		var list api.Questions
		x.call(api.OpQuestionList, nil, &list)
		for _, q := range list.Open {
			if q.Addr.IsLoopback() && q.Dest.Equal(mustParse(x.t, "tcp://"+srv.Addr())) {
				a.ID = q.ID
				x.call(api.OpQuestionAnswer, a, nil)
				return true
			}
		}
		return false
	})
}

// TestRevokeByAnswer has a program ask about a second port of a host, and people
// deny everything.
func TestRevokeByAnswer(t *testing.T) {
	for _, lifetime := range []rules.LifetimeKind{rules.Always, rules.UntilExit} {
		t.Run(rules.Lifetime{Kind: lifetime}.String(), func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv, other := e2etest.Serve(t, "127.0.0.1:0", echoing), e2etest.Listen(t)
			if r := h.Run("rules", "add", "holder", "allow", "127.0.0.2"); r.Code != 0 { // and starts the daemon
				t.Fatalf("%+v", r)
			}
			const script = `
import socket, sys
a = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
try:
    b = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    print("connected", flush=True)
except PermissionError:
    a.settimeout(60)
    print("denied, and reads", len(a.recv(1)), flush=True)
`
			x := &opened{t: t, h: h}
			x.call(api.OpQuestionWatch, api.QuestionWatch{Asks: true}, nil)
			client := x.client
			x = open(t, h, nil, nil, script, fmt.Sprint(srv.Port()), fmt.Sprint(other.Port()))
			x.client = client
			x.answer(srv, api.QuestionAnswer{Verdict: rules.Allow})
			x.answer(other, api.QuestionAnswer{Verdict: rules.Deny, Scope: notifier.Anything, Lifetime: rules.Lifetime{Kind: lifetime}})
			if got := x.do(""); got != "denied, and reads 0" {
				t.Errorf("got %q; stderr:\n%s", got, x.said())
			}
			e2etest.WaitFor(t, "the line", func() bool {
				return strings.Contains(x.said(), "netjail: ended: holder tcp://"+srv.Addr()+": denied by ")
			})
		})
	}
}

// loopPy connects to a port all the time, with several threads, each of which
// holds some connections. One to another port stays.
const loopPy = `
import collections, socket, sys, threading, time
other = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
def loop():
    held = collections.deque()
    while True:
        s = socket.socket()
        try:
            s.connect(("127.0.0.1", int(sys.argv[1])))
        except OSError:
            s.close()
            time.sleep(0.001)
            continue
        held.append(s)
        if len(held) > 10:
            held.popleft().close()
for _ in range(4):
    threading.Thread(target=loop, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    other.sendall(b"x")
    print(len(other.recv(1)), flush=True)
`

// revokeRounds is how often a rule is removed while a program connects.
const revokeRounds = 200

// TestRevokeRace: no connection outlives its rule, whenever it was made.
func TestRevokeRace(t *testing.T) {
	h := e2etest.NewHome(t)
	var now, ever atomic.Int64
	srv := e2etest.Serve(t, "127.0.0.1:0", func(c net.Conn) {
		now.Add(1)
		ever.Add(1)
		_, _ = io.Copy(io.Discard, c)
		c.Close()
		now.Add(-1)
	})
	stays := e2etest.Serve(t, "127.0.0.1:0", echoing)
	x := open(t, h, []string{"--no-prompt", "--allow", stays.Addr()}, nil, loopPy, fmt.Sprint(srv.Port()), fmt.Sprint(stays.Port()))
	if got := x.do(""); got != "ready" {
		t.Fatalf("got %q; stderr:\n%s", got, x.said())
	}
	d := mustParse(t, "tcp://"+srv.Addr())
	var longest time.Duration
	for i := range revokeRounds {
		before := ever.Load()
		x.call(api.OpRulesAdd, api.Rule{App: "holder", Verdict: rules.Allow, Dest: d, Enabled: true, Lifetime: "always"}, nil)
		e2etest.WaitFor(t, "it connects", func() bool { return ever.Load() > before+20 })
		x.call(api.OpRulesRemove, api.RuleFilter{App: "holder", Dest: &d}, nil)
		start := time.Now()
		srv.Settled(t) // what was in the queue is accepted
		e2etest.WaitFor(t, "every connection has ended", func() bool { return now.Load() == 0 })
		longest = max(longest, time.Since(start))
		if i%20 == 0 {
			time.Sleep(300 * time.Millisecond) // what would come later has come
		}
		srv.Settled(t)
		e2etest.WaitFor(t, "the server's own connection ends", func() bool { return now.Load() == 0 })
		if got := x.do("send"); got != "1" {
			t.Fatalf("round %d: the other connection: %s", i, got)
		}
	}
	t.Logf("%d connections were made, and all ended %v after their rule was removed, or before", ever.Load(), longest)
}

func mustParse(t *testing.T, text string) rules.Destination {
	t.Helper()
	d, err := rules.ParseDestination(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
