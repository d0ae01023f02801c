package desk

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// frontEnd is contrib/frontend/ask.py at work.
type frontEnd struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex
	out bytes.Buffer
}

// Write takes what it prints.
func (f *frontEnd) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(b)
}

func newFrontEnd(t *testing.T, h *e2etest.Home) *frontEnd {
	t.Helper()
	f := &frontEnd{t: t, cmd: exec.Command("/usr/bin/python3", "../../frontend/ask.py")}
	f.cmd.Env, f.cmd.Stdout, f.cmd.Stderr = h.Env, f, os.Stderr
	var err error
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	f.wait("netjail: waiting for questions")
	return f
}

// wait waits until it has printed text, and forgets what it printed so far.
func (f *frontEnd) wait(text string) {
	f.t.Helper()
	e2etest.WaitFor(f.t, "the front end says "+text, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !strings.Contains(f.out.String(), text) {
			return false
		}
		f.out.Reset()
		return true
	})
}

func (f *frontEnd) say(text string) {
	f.t.Helper()
	if _, err := io.WriteString(f.in, text+"\n"); err != nil {
		f.t.Fatal(err)
	}
}

func (f *frontEnd) stop() {
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
}

func readDir(name string) (names []string, err error) {
	list, err := os.ReadDir(name)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names, err
}
