package names

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
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
