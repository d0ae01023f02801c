package flows

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkList lists ten thousand connections of a process that has both ends
// of half of them.
func BenchmarkList(b *testing.B) {
	const connections = 10_000
	need := uint64(connections + 1000)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if limit.Cur < need {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(need, limit.Max)}); err != nil {
			b.Fatalf("descriptors: %v", err)
		}
	}
	l := listen(b, "tcp4", "127.0.0.1:0")
	for range connections / 2 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
	}
	list := func(b *testing.B, l *Lister) {
		list, err := l.List([]int{os.Getpid()}, time.Now())
		if err != nil || len(list.Flows) < connections {
			b.Fatalf("%d connections, %v", len(list.Flows), err)
		}
	}
	b.Run("first", func(b *testing.B) {
		measure(b, func() { list(b, new(Lister)) })
	})
	b.Run("again", func(b *testing.B) {
		var l Lister
		list(b, &l)
		measure(b, func() { list(b, &l) })
	})
}

// measure also reports what a listing takes of a processor, which others use
// as well.
func measure(b *testing.B, list func()) {
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		list()
	}
	perList := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
	b.ReportMetric(perList(b.Elapsed()), "ms/list")
	b.ReportMetric(perList(used()-before), "cpu-ms/list")
}
