package terminal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wait bounds what should come soon. A test that reaches it has failed.
const wait = time.Minute

// pty is a terminal with a front on it, seen from the person's side.
type pty struct {
	t        *testing.T
	master   *os.File
	fd       int // of master, which must stay with the poller to be closed under a read
	commands *os.File
	reports  chan string

	mu     sync.Mutex
	screen strings.Builder
	more   chan struct{} // one token when the screen has grown
	read   int           // how much of the screen was expected so far
}

// openPTY returns a new terminal's two ends.
func openPTY(t *testing.T) (master *os.File, fd int, slave *os.File) {
	t.Helper()
	var err error
	fd, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open /dev/ptmx: %v", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock terminal: %v", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("get terminal number: %v", err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, fd, slave
}

// startFront runs a front on a new terminal.
func startFront(t *testing.T) *pty {
	t.Helper()
	master, fd, slave := openPTY(t)
	cmdR, cmdW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	repR, repW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	slave.Fd() // blocking, as a shell hands it on
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=front")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{cmdR, repW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmdR.Close()
	repW.Close()
	p := &pty{t: t, master: master, fd: fd, commands: cmdW, reports: make(chan string, 100), more: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(p.readScreen)
	wg.Go(func() {
		defer close(p.reports)
		for lines := bufio.NewScanner(repR); lines.Scan(); {
			p.reports <- lines.Text()
		}
	})
	t.Cleanup(func() {
		cmdW.Close()
		slave.Close()
		cmd.Process.Kill()
		cmd.Wait()
		wg.Wait()
		repR.Close()
		if t.Failed() {
			t.Logf("screen:\n%q", p.screen.String())
		}
	})
	return p
}

func (p *pty) readScreen() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.screen.Write(buf[:n])
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

// expect waits until the screen shows text after what was expected before,
// and returns what stands before it.
func (p *pty) expect(text string) string {
	p.t.Helper()
	timeout := time.After(wait)
	for {
		p.mu.Lock()
		rest := p.screen.String()[p.read:]
		p.mu.Unlock()
		if before, _, ok := strings.Cut(rest, text); ok {
			p.read += len(before) + len(text)
			return before
		}
		select {
		case <-p.more:
		case <-timeout:
			p.t.Fatalf("no %q on the screen, but %q", text, rest)
		}
	}
}

// all is what the screen has ever shown.
func (p *pty) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// rest is what the screen shows after what was expected before.
func (p *pty) rest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()[p.read:]
}

// report waits for the front's next report with this beginning and returns the
// ones before it.
func (p *pty) report(want string) (before []string) {
	p.t.Helper()
	timeout := time.After(wait)
	for {
		select {
		case got, ok := <-p.reports:
			if !ok {
				p.t.Fatalf("no report %q, but %q and the end", want, before)
			}
			if strings.HasPrefix(got, want) {
				return before
			}
			before = append(before, got)
		case <-timeout:
			p.t.Fatalf("no report %q, but %q", want, before)
		}
	}
}

// reportAll waits for reports with these beginnings, in any order.
func (p *pty) reportAll(want ...string) {
	p.t.Helper()
	for len(want) > 0 {
		select {
		case got := <-p.reports:
			want = slices.DeleteFunc(want, func(w string) bool { return strings.HasPrefix(got, w) })
		case <-time.After(wait):
			p.t.Fatalf("no reports %q", want)
		}
	}
}

// do gives the front a command.
func (p *pty) do(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.commands, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

// press types keys.
func (p *pty) press(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) modes() unix.Termios {
	p.t.Helper()
	m, err := unix.IoctlGetTermios(p.fd, unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return *m
}

// setModes changes the modes as a program on the terminal would.
func (p *pty) setModes(m unix.Termios) {
	p.t.Helper()
	if err := unix.IoctlSetTermios(p.fd, unix.TCSETS, &m); err != nil {
		p.t.Fatal(err)
	}
}

// resize gives the terminal another size, as its window would.
func (p *pty) resize(width, height uint16) {
	p.t.Helper()
	if err := unix.IoctlSetWinsize(p.fd, unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) wantModes(want unix.Termios) {
	p.t.Helper()
	if got := p.modes(); got != want {
		p.t.Errorf("terminal modes: got %+v, want %+v", got, want)
	}
}
