package jail

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/notifier/terminal"
)

// tty asks on the terminal that the jail was started from. A nil *tty asks
// nobody.
type tty struct {
	file   *os.File
	prompt *terminal.Prompter
	link   *link

	mu    sync.Mutex
	shown map[string]context.CancelCauseFunc // by question
	over  []string                           // the questions that are shown no more, the latest ones
	wg    sync.WaitGroup
}

// maxOver is how many questions are remembered for changes that come late.
const maxOver = 256

// openTTY returns nil where there is no terminal.
func openTTY(l *link) *tty {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	return &tty{
		file: file, link: l, shown: make(map[string]context.CancelCauseFunc),
		prompt: terminal.New(file, terminal.Options{NoColor: plain}),
	}
}

// close takes the questions down and gives the terminal back.
func (t *tty) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	for _, cancel := range t.shown {
		cancel(nil)
	}
	t.mu.Unlock()
	t.wg.Wait()
	t.file.Close()
}

// show asks q on a terminal that there is, in a goroutine that ends when the
// question is taken down. One that is shown already has changed; one that is
// over stays so: the daemon may not know yet.
func (t *tty) show(q notifier.Question) {
	t.mu.Lock()
	shown, over := t.shown[q.ID] != nil, slices.Contains(t.over, q.ID)
	t.mu.Unlock()
	switch {
	case over:
	case shown:
		t.prompt.Update(q)
	case t.lent():
		t.take(q.ID, nil)
		go t.link.answer(api.OpTerminal, api.TerminalAnswer{Question: q.ID, Gone: true})
	default:
		t.ask(q)
	}
}

func (t *tty) ask(q notifier.Question) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	t.shown[q.ID] = cancel
	t.wg.Go(func() {
		a, err := t.prompt.Ask(ctx, q)
		t.take(q.ID, nil)
		if errors.Is(err, context.Canceled) {
			return
		}
		t.link.answer(api.OpTerminal, api.TerminalAnswer{Question: q.ID, Answer: a, Gone: err != nil})
	})
}

// take takes a question down, for a reason that is shown.
func (t *tty) take(id string, why error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.takeLocked(id, why)
}

// drop takes every question down: the daemon that asked them has gone, and its
// successor asks anew.
func (t *tty) drop() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.shown {
		t.takeLocked(id, notifier.ErrClosed)
	}
}

func (t *tty) takeLocked(id string, why error) {
	if cancel := t.shown[id]; cancel != nil {
		cancel(why)
		delete(t.shown, id)
	}
	if !slices.Contains(t.over, id) {
		t.over = append(t.over, id)
		t.over = t.over[max(0, len(t.over)-maxOver):]
	}
}

// lent says whether a shell in the jail has given the terminal to a job of its
// own. Nobody is asked there: to take it from the job would stop the job, and
// leave the shell with modes that are ours.
func (t *tty) lent() bool {
	group, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	if err != nil || group == unix.Getpgrp() {
		return false
	}
	for _, pid := range descendants(unix.Getpid()) {
		if g, err := unix.Getpgid(pid); err == nil && g == group {
			return true
		}
	}
	return false
}

func (t *tty) suspend() {
	if t != nil {
		t.prompt.Suspend()
	}
}

func (t *tty) resume() {
	if t != nil {
		t.prompt.Resume()
	}
}

// foreground says whether our process group is the one that the terminal sends
// its signals to.
func (t *tty) foreground() bool {
	file, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer file.Close()
	group, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
