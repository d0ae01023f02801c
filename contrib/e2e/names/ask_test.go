package names

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// screen collects what a terminal is sent.
type screen struct {
	tty *os.File // our end

	mu   sync.Mutex
	text strings.Builder
}

// newScreen makes a terminal, and returns the other end, too.
func newScreen(t *testing.T) (*screen, *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{tty: ours}
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return // nobody has the other end
			}
		}
	})
	t.Cleanup(func() {
		theirs.Close()
		reader.Wait()
		ours.Close()
		if t.Failed() {
			t.Logf("the screen:\n%s", s.text.String())
		}
	})
	return s, theirs
}

func (s *screen) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

// ready says whether a question waits for a key.
func (s *screen) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.HasSuffix(s.text.String(), "\n> ")
}

// asks is what every question has.
var asks = regexp.MustCompile(`wants to (.*)`)

// TestQuestion answers the question about a name. The lookup and the connection
// that follows are one question.
func TestQuestion(t *testing.T) {
	e2etest.Need(t, "curl")
	for _, tt := range []struct{ key, says, want string }{
		{"a", "allowed a.example.org once", "hello\n"}, {"d", "denied a.example.org once", ""},
	} {
		t.Run(tt.says, func(t *testing.T) {
			x := newTrial(t)
			s, tty := newScreen(t)
			cmd := x.h.Command("--", "curl", "-s", "http://a.example.org/")
			cmd.Stdin = tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			done := make(chan outcome, 1)
			go func() { done <- x.observe(t, cmd) }()
			pressed := time.Time{}
			e2etest.WaitFor(t, "the question is answered", func() bool {
				// What is typed before the question is ready is thrown away.
				if s.has("wants to connect to a.example.org") && time.Since(pressed) > 500*time.Millisecond {
					_, _ = s.tty.WriteString(tt.key)
					pressed = time.Now()
				}
				return s.has(tt.says)
			})
			got := <-done
			got.printed(t, tt.want)
			got.onlyAsked(t, "a.example.org")
			s.mu.Lock()
			defer s.mu.Unlock()
			if m := asks.FindAllString(s.text.String(), -1); len(m) != 1 || !strings.Contains(m[0], "connect to a.example.org port 80") {
				t.Errorf("questions %q, want one about the name", m)
			}
		})
	}
}

// TestDomain allows a whole domain: the next name below it is no question, and
// another domain's is.
func TestDomain(t *testing.T) {
	e2etest.Need(t, "curl")
	x := newTrial(t)
	s, tty := newScreen(t)
	cmd := x.h.Command("--", "sh", "-c", "curl -s http://a.example.org/ && curl -s http://b.example.org/ && curl -s http://www.search.org/")
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	done := make(chan outcome, 1)
	go func() { done <- x.observe(t, cmd) }()
	for _, press := range []struct{ key, when, says string }{
		{"s", "  [s] about: (a.example.org)  example.org and below  anything  198.51.100.1", "  [s] about: a.example.org  (example.org and below)"},
		{"A", "always writes: netjail rules add sh allow tcp://.example.org:80\r\n", "netjail: allowed .example.org always, rule written"},
		{"d", "  [s] about: (www.search.org)  search.org and below", "netjail: denied www.search.org once, no rule written"},
	} {
		e2etest.WaitFor(t, "the screen shows "+press.when, func() bool { return s.has(press.when) && s.ready() })
		_, _ = s.tty.WriteString(press.key)
		e2etest.WaitFor(t, "the screen shows "+press.says, func() bool { return s.has(press.says) })
	}
	got := <-done
	got.printed(t, "hello\nhello\n")
	got.onlyAsked(t, "a.example.org", "b.example.org", "www.search.org")
	if r := x.h.Run("rules", "list"); !strings.Contains(r.Stdout, "allow    tcp://.example.org:80  always") || strings.Count(r.Stdout, "\n") != 2 {
		t.Errorf("the rules are, after one answer for ever:\n%s", r.Stdout)
	}
}
