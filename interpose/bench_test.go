package interpose

import (
	"context"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkConnect is a UDP connect that is allowed at once, from the program's
// call until it goes on. Only the supervisor's allocations are seen: the program is
// another process.
func BenchmarkConnect(b *testing.B) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	const first = 1000 // when maps and stacks have their size
	env := append(os.Environ(), "NETJAIL_VICTIM=connects", "NETJAIL_VICTIM_CALLS="+strconv.Itoa(first+b.N))
	p, err := start(&Command{Path: exe, Args: []string{exe}, Env: env})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	s := NewSupervisor(p.TakeListener(), policy{check: func(*Call) Verdict {
		if n++; n == first {
			b.ReportAllocs()
			b.ResetTimer()
		}
		return Allow
	}}, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	e, err := p.Wait()
	b.StopTimer()
	if err != nil || e.Status != unix.WaitStatus(0) {
		b.Fatal(e, err)
	}
	if err := <-served; err != nil {
		b.Fatal(err)
	}
}
