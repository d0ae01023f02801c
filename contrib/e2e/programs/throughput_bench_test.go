package programs

import (
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// bulkPy sends as much as it can and prints how long that took, in seconds.
const bulkPy = `
import socket, sys, time
total, block = int(sys.argv[2]) << 20, bytes(1 << 20)
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    start = time.perf_counter()
    for _ in range(0, total, len(block)):
        s.sendall(block)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
    print(time.perf_counter() - start)
`

// BenchmarkThroughput copies a gigabyte over loopback by one TCP connection,
// without netjail and under each guard in turns, so that whatever else the
// machine does hits all of them. It reports medians: of the speed, and of what part
// of bare each reached in the same round.
func BenchmarkThroughput(b *testing.B) {
	const megabytes = 1024
	python := e2etest.Need(b, "python3")
	h := e2etest.NewHome(b)
	srv := e2etest.Serve(b, "127.0.0.1:0", func(c net.Conn) {
		defer c.Close()
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 1<<20))
	})
	client := []string{python, "-c", bulkPy, strconv.Itoa(srv.Port()), strconv.Itoa(megabytes)}
	took := make(map[string][]float64)
	names := append([]string{"bare"}, h.Guards()...)
	for b.Loop() {
		for _, name := range names {
			cmd := native(h, client...)
			if name != "bare" {
				cmd = h.Command(slices.Concat([]string{"--no-prompt", "--guard", name, "--allow", srv.Addr()}, client)...)
			}
			r := h.Finish(cmd)
			s, err := strconv.ParseFloat(strings.TrimSpace(r.Stdout), 64)
			if err != nil {
				b.Fatalf("%s: code %d, %v; stderr:\n%s", name, r.Code, err, r.Stderr)
			}
			took[name] = append(took[name], s)
		}
	}
	for _, name := range names {
		b.ReportMetric(megabytes/median(took[name]), name+"-MB/s")
		if name != "bare" {
			b.ReportMetric(median(ratios(took["bare"], took[name])), name+"/bare")
		}
	}
}

// ratios are those of what was measured in the same round.
func ratios(a, b []float64) (list []float64) {
	for i := range a {
		list = append(list, a[i]/b[i])
	}
	return list
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
