package terminal

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
)

const shown = "log question shown id="

func TestKeys(t *testing.T) {
	const to = "tcp://192.0.2.7:443 by terminal"
	cases := []struct{ keys, report, screen string }{
		{"a", "allow once " + to, "> a\r\nnetjail: allowed 192.0.2.7 once, no rule written\r\n"},
		{"e", "allow exit " + to, "> e\r\nnetjail: allowed 192.0.2.7 until curl exits\r\n"},
		{"h", "allow 1h " + to, "> h\r\nnetjail: allowed 192.0.2.7 for 1 hour, rule written\r\n"},
		{"A", "allow always " + to, "> A\r\nnetjail: allowed 192.0.2.7 always, rule written\r\n"},
		{"d", "deny once " + to, "> d\r\nnetjail: denied 192.0.2.7 once, no rule written\r\n"},
		{"E", "deny exit " + to, "> E\r\nnetjail: denied 192.0.2.7 until curl exits\r\n"},
		{"H", "deny 1h " + to, "> H\r\nnetjail: denied 192.0.2.7 for 1 hour, rule written\r\n"},
		{"D", "deny always " + to, "> D\r\nnetjail: denied 192.0.2.7 always, rule written\r\n"},
		{"\x04", "deny once " + to, "> d\r\nnetjail: denied 192.0.2.7 once, no rule written\r\n"},
		{"a\r", "allow once " + to, "> a\r\nnetjail: allowed 192.0.2.7 once, no rule written\r\n"},
	}
	p := startFront(t)
	found := p.modes()
	for _, c := range cases {
		p.do("ask 1")
		p.report(shown + "1")
		p.expect("netjail: curl wants to connect to 192.0.2.7 port 443 (https, tcp)\r\n")
		p.press(c.keys)
		p.report("answer 1: " + c.report)
		p.expect(c.screen)
		p.wantModes(found)
	}
}

// TestNoKeys: what is not a single key of ours answers nothing. The last key
// is the positive control.
func TestNoKeys(t *testing.T) {
	p := startFront(t)
	p.do("ask 1")
	p.report(shown + "1")
	for _, keys := range []string{"\x1b[A", "\x1b[D", "\x1bOA", "Allow", "aa", "\x1b[200~a\x1b[201~", "日a", "\x1ba", "sA", "s\rA"} {
		p.press(keys)
		if before := p.report("log input ignored"); len(before) != 0 {
			t.Errorf("%q: got %q", keys, before)
		}
	}
	p.press("e")
	p.report("answer 1: allow exit")
}

// TestTypedAhead: what was typed before the question was shown answers
// nothing.
func TestTypedAhead(t *testing.T) {
	p := startFront(t)
	p.press("A")
	p.expect("A") // echoed: it is in the terminal's input
	p.do("ask 1")
	p.report(shown + "1")
	p.press("d")
	if before := p.report("answer 1: deny once"); len(before) != 0 {
		t.Errorf("got %q before the answer", before)
	}
}

func TestClosedElsewhere(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1")
	p.report(shown + "1")
	if got := p.modes(); got.Lflag&(unix.ICANON|unix.ECHO) != 0 || got.Lflag&unix.ISIG == 0 {
		t.Errorf("modes while asking: got %#x, want ISIG alone of ISIG, ICANON, ECHO", got.Lflag)
	}
	p.do("cancel 1")
	p.report("end 1: answered elsewhere")
	p.expect("> \r\nnetjail: answered elsewhere\r\n")
	p.wantModes(found)
}

// TestOneAtATime: a second question waits for its turn, and can be closed
// while it does.
func TestOneAtATime(t *testing.T) {
	p := startFront(t)
	p.do("ask 1")
	p.report(shown + "1")
	p.do("ask 2")
	p.do("ask 3")
	p.do("cancel 3")
	p.report("end 3: answered elsewhere")
	if n := strings.Count(p.rest(), "wants to connect"); n > 1 {
		t.Errorf("%d questions are on the screen, want 1", n)
	}
	p.press("a")
	p.expect("netjail: allowed 192.0.2.7 once")
	p.expect("curl wants to connect") // the second, in its turn
	p.reportAll(shown+"2", "answer 1: allow once")
	p.press("d")
	p.report("answer 2: deny once")
}

// TestTakenTerminal: while a program has the terminal in a mode of its own,
// nothing is shown and no key is taken.
func TestTakenTerminal(t *testing.T) {
	for name, flags := range map[string]uint32{"screen": unix.ICANON | unix.ECHO | unix.ISIG, "password": unix.ECHO} {
		t.Run(name, func(t *testing.T) {
			p := startFront(t)
			found := p.modes()
			taken := found
			taken.Lflag &^= flags
			p.setModes(taken)
			p.do("ask 1")
			p.report("log terminal id=1 free=false")
			p.press("A")
			p.do("ask 2") // and closed again without having been shown
			p.do("cancel 2")
			p.report("end 2")
			p.wantModes(taken)
			if got := p.rest(); got != "" {
				t.Errorf("on the screen: %q, want nothing", got)
			}
			p.setModes(found)
			p.report(shown + "1")
			p.press("d")
			p.report("answer 1: deny once")
			p.wantModes(found)
		})
	}
}

// TestTakenAway: a program takes the terminal while a question is shown, and
// puts back our modes when it ends, for those it had found.
func TestTakenAway(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1")
	p.report(shown + "1")
	ours := p.modes()
	raw := ours
	raw.Cc[unix.VMIN] = 1
	p.setModes(raw)
	p.report("log terminal id=1 free=false")
	p.press("A")
	p.do("cancel 1")
	p.report("end 1: answered elsewhere")
	p.wantModes(raw)
	p.setModes(ours)
	p.do("ask 2")
	p.report(shown + "2")
	p.press("d")
	p.report("answer 2: deny once")
	p.wantModes(found)
}

// TestSameModes: a program that reads single keys as we do is not taken for us.
func TestSameModes(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1")
	p.report(shown + "1")
	p.press("a")
	p.report("answer 1: allow once")
	theirs := singleKeys(found)
	theirs.Cc[unix.VEOL2] = found.Cc[unix.VEOL2]
	p.setModes(theirs)
	p.do("ask 2")
	p.report("log terminal id=2 free=false")
	p.do("suspend")
	p.report("suspended")
	p.wantModes(theirs)
}

// TestBackground: in the background the front neither asks nor is stopped.
func TestBackground(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("background")
	p.report("background: <nil>")
	p.do("ask 1")
	p.report("log terminal id=1 free=false")
	p.wantModes(found)
	p.do("foreground")
	p.report("foreground: <nil>")
	p.report(shown + "1")

	p.do("background")
	p.report("background: <nil>")
	p.report("log terminal id=1 free=false")
	p.setModes(found) // as a shell does with a job that stopped
	p.do("foreground")
	p.report("foreground: <nil>")
	p.report(shown + "1")
	p.press("a")
	p.report("answer 1: allow once")
	p.wantModes(found)
}

func TestSuspend(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1")
	p.report(shown + "1")
	p.press("\x1a") // Ctrl-Z reaches the group
	p.report("signal stopped")
	p.do("suspend")
	p.report("suspended")
	p.wantModes(found)
	p.press("A")
	p.expect("A")
	p.resize(40, 20) // in another window, or by another program
	p.do("resume")
	p.report(shown + "1")
	p.expect("netjail: curl wants to connect to\r\n    192.0.2.7 port 443 (https, tcp)\r\n")
	p.press("\x03")
	p.report("signal interrupt")
	p.press("d")
	p.report("answer 1: deny once")
	p.wantModes(found)
	p.do("resume") // without a question
	p.do("suspend")
	p.report("suspended")
}

func TestHangUp(t *testing.T) {
	for _, when := range []string{"shown", "waiting"} {
		t.Run(when, func(t *testing.T) {
			p := startFront(t)
			if when == "waiting" {
				raw := p.modes()
				raw.Lflag &^= unix.ICANON
				p.setModes(raw)
			}
			p.do("ask 1")
			if when == "waiting" {
				p.report("log terminal id=1 free=false")
			} else {
				p.report(shown + "1")
			}
			p.master.Close()
			p.report("end 1: ")
		})
	}
}

func TestNobody(t *testing.T) {
	var none *Prompter
	_, _, slave := openPTY(t)
	for name, p := range map[string]*Prompter{
		"nil prompter": none, "nil file": New(nil, Options{}), "not our terminal": New(slave, Options{}),
	} {
		if _, err := p.Ask(t.Context(), testQuestion()); !errors.Is(err, notifier.ErrNobody) {
			t.Errorf("%s: got %v, want %v", name, err, notifier.ErrNobody)
		}
		p.Suspend()
		p.Resume()
	}
	flags, err := unix.FcntlInt(slave.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("terminal flags: got %#x, %v, want a blocking descriptor", flags, err)
	}
}
