package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/origin"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// TestDescribe has a package manager that takes its time: the question is put
// without what it says, which is added later.
func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	gate := filepath.Join(dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	rpm := filepath.Join(dir, "rpm")
	if err := os.WriteFile(rpm, fmt.Appendf(nil, "#!/bin/sh\nread x < %s\necho tool\n", gate), 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dest, err := rules.ParseDestination("tcp://192.0.2.7:443")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(Config{ConfigDir: dir, StateDir: dir, Log: slog.New(slog.DiscardHandler)})
	s.origin = origin.New(origin.Config{Home: "/nonexistent", DpkgInfo: dir + "/none", Rpm: rpm, DataDirs: []string{}})
	defer s.history.Close()
	defer s.wg.Wait()
	defer s.queue.Close()

	q := notifier.Question{App: "app", Dest: dest, Exe: exe, PID: os.Getpid(), About: notifier.About{Title: "forged"}}
	s.describe(t.Context(), &jail{}, &q)
	if q.About != (notifier.About{}) {
		t.Errorf("at once: got %+v, want nothing", q.About)
	}
	s.wg.Go(func() { _, _ = s.queue.Ask(t.Context(), q, []notifier.Prompter{silent{}}) })
	for !s.queue.Asks(q) {
		time.Sleep(time.Millisecond)
	}
	joined := q
	s.describe(t.Context(), &jail{}, &joined) // does not wait
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	want := notifier.About{Package: "tool", Origin: notifier.FromPackage}
	for deadline := time.Now().Add(time.Minute); s.queue.Open()[0].About != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("later: got %+v, want %+v", s.queue.Open()[0].About, want)
		}
	}
}

// silent is a prompter at which nobody answers.
type silent struct{}

func (silent) Ask(ctx context.Context, _ notifier.Question) (notifier.Answer, error) {
	<-ctx.Done()
	return notifier.Answer{}, context.Cause(ctx)
}
