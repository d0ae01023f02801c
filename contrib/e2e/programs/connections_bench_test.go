package programs

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
	"github.com/netjail/netjail/daemon/api"
)

// manyPy opens connections and keeps them.
const manyPy = `
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print("ready", flush=True)
sys.stdin.read()
`

// BenchmarkConnections has a client list ten thousand connections of a jail,
// through the daemon.
func BenchmarkConnections(b *testing.B) {
	const connections = 10_000
	python := e2etest.Need(b, "python3")
	h := e2etest.NewHome(b)
	srv := e2etest.Serve(b, "127.0.0.1:0", func(c net.Conn) {
		defer c.Close()
		_, _ = c.Read(make([]byte, 1))
	})
	cmd := h.Command("--no-prompt", "--allow", "127.0.0.1", "--", python, "-c", manyPy, strconv.Itoa(srv.Port()), strconv.Itoa(connections))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.Fatalf("got %q, %v", line, err)
	}
	c, err := api.Dial(api.SocketPath(filepath.Join(h.Runtime(), "netjail")), nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	for b.Loop() {
		var list api.Connections
		if err := c.Call(ctx, api.OpConnections, nil, &list); err != nil || len(list.Jails) != 1 || len(list.Jails[0].Flows) != connections {
			b.Fatalf("%v, %d jails", err, len(list.Jails))
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/list")
}
