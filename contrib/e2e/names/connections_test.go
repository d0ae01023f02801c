package names

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
	"github.com/netjail/netjail/daemon/api"
)

// holderPy connects to a name over TCP, and to a name server over UDP.
const holderPy = `
import socket, sys
c = socket.create_connection(("alias.example.org", 80))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect((sys.argv[1], 53))
print("ready", flush=True)
sys.stdin.read()
`

// openerPy connects to names, and says of each what it reads.
const openerPy = `
import socket, sys
held = [socket.create_connection((name, 80)) for name in sys.argv[1:]]
print("ready", flush=True)
for line in sys.stdin:
    s = held[int(line)]
    s.settimeout(60)
    try:
        if len(s.recv(1)) == 0:
            print("ended", flush=True)
    except OSError as e:
        print(e, flush=True)
`

// TestRevokeName removes the rule of a name, and then denies another: only their
// connections end.
func TestRevokeName(t *testing.T) {
	python := e2etest.Need(t, "python3")
	x := newTrial(t)
	x.run(t, "rules", "add", "opener", "allow", "a.example.org", "one.example.org", "alias.example.org")
	cmd := x.h.Command("--no-prompt", "--as", "opener", "--", python, "-c", openerPy, "a.example.org", "one.example.org", "alias.example.org")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	want := func(what, line string) {
		t.Helper()
		if got, err := lines.ReadString('\n'); got != line+"\n" {
			t.Fatalf("%s: got %q, %v, want %q", what, got, err, line)
		}
	}
	want("at first", "ready")
	x.run(t, "rules", "remove", "opener", "a.example.org")
	fmt.Fprintln(in, 0)
	want("the rule is removed", "ended")
	x.run(t, "rules", "add", "opener", "deny", "one.example.org")
	fmt.Fprintln(in, 1)
	want("denied", "ended")
	if n := openTo(t, x.h, "198.51.100.3:80"); n != 1 {
		t.Errorf("%d connections are open that no change was about, want 1", n)
	}
	in.Close()
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	said := stderr.String()
	for _, line := range []string{
		"netjail: ended: opener tcp://a.example.org:80: the rule that allowed it was removed (1 connection)\n",
		"netjail: ended: opener tcp://one.example.org:80: denied by ",
	} {
		if strings.Count(said, line) != 1 {
			t.Errorf("stderr:\n%s\nwant once %q", said, line)
		}
	}
	if n := strings.Count(said, "\n"); n != 2 {
		t.Errorf("stderr:\n%s\nwant two lines", said)
	}
}

// openTo counts the connections of the only jail to an address that carry data
// still.
func openTo(t *testing.T, h *e2etest.Home, addr string) (n int) {
	t.Helper()
	c, err := api.Dial(api.SocketPath(filepath.Join(h.Runtime(), "netjail")), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	var list api.Connections
	if err := c.Call(ctx, api.OpConnections, nil, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Jails) != 1 {
		t.Fatalf("got %+v, want one jail", list)
	}
	for _, f := range list.Jails[0].Flows {
		if f.Remote.String() == addr && f.State == "ESTABLISHED" {
			n++
		}
	}
	return n
}

// TestConnectionNames finds the name that the program asked for in the list of
// its connections, and not the one that leads to the address.
func TestConnectionNames(t *testing.T) {
	python := e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	cmd := h.Command("--no-prompt", "--allow", "alias.example.org", "--", python, "-c", holderPy, dnsServer)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	c, err := api.Dial(api.SocketPath(filepath.Join(h.Runtime(), "netjail")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	var list api.Connections
	if err := c.Call(ctx, api.OpConnections, nil, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Jails) != 1 || len(list.Jails[0].Flows) != 2 {
		t.Fatalf("got %+v, want two connections", list)
	}
	flows := list.Jails[0].Flows
	slices.SortFunc(flows, func(a, b api.Flow) int { return len(b.Names) - len(a.Names) })
	tcp, udp := flows[0], flows[1]
	if !slices.Equal(tcp.Names, []string{"alias.example.org"}) || tcp.Remote.String() != "198.51.100.3:80" || tcp.Resolver {
		t.Errorf("got %+v", tcp)
	}
	if udp.Network != "udp" || !udp.Resolver || udp.Names != nil || !udp.Remote.Addr().IsLoopback() {
		t.Errorf("got %+v", udp)
	}
}
