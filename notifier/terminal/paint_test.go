package terminal

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScope changes what the answer is about, which the next question does not
// remember.
func TestScope(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1 named")
	p.report(shown + "1")
	p.expect("about: (www.example.org)  ")
	for _, want := range []string{
		"(example.org and below)  anything  192.0.2.7\r\n  always writes: netjail rules add curl allow tcp://.example.org:80\r\n",
		"  (anything)  192.0.2.7\r\n  always writes: netjail rules add curl allow @any (or deny",
		"  (192.0.2.7)\r\n  always writes: netjail rules add curl allow tcp://192.0.2.7:80\r\n",
		"(www.example.org)  ",
		"(example.org and below)  ",
	} {
		p.press("s")
		p.expect("> s\r\nnetjail: curl wants to connect")
		p.expect(want)
		if before := p.report(shown + "1"); len(before) != 0 {
			t.Errorf("got %q before it is shown again", before)
		}
	}
	p.press("A")
	p.report("answer 1: allow always tcp://.example.org:80 by terminal")
	p.expect("> A\r\nnetjail: allowed .example.org always, rule written\r\n")
	p.wantModes(found)
	p.do("ask 2 named")
	p.report(shown + "2")
	p.expect("about: (www.example.org)  ")
	p.press("D")
	p.report("answer 2: deny always tcp://www.example.org:80 by terminal")
}

// TestAgain: a key that answers nothing brings the question back.
func TestAgain(t *testing.T) {
	p := startFront(t)
	p.do("ask 1")
	p.report(shown + "1")
	p.expect("\r\n> ")
	for _, key := range []string{"\r", "?", " ", "x", "é", "r", "\r\n"} {
		p.press(key)
		if before := p.report(shown + "1"); len(before) != 0 {
			t.Errorf("%q: got %q before it is shown again", key, before)
		}
		p.expect("netjail: curl wants to connect to")
		block := p.expect("\r\n> ")
		if got, want := strings.Contains(block, help), key == "?"; got != want {
			t.Errorf("%q: help is shown: %v, want %v", key, got, want)
		}
	}
	p.press("d")
	p.report("answer 1: deny once")
	p.expect("netjail: denied")
	if strings.Contains(p.all(), "\x1b") {
		t.Error("there are escape sequences on a screen that is to have none")
	}
}

// TestResize: a window that has got another size shows the question anew, once
// it keeps that.
func TestResize(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1")
	p.report(shown + "1")
	p.expect("  [a] allow once  [e] until curl exits  [h] 1 hour")
	p.expect("\r\n> ")
	for width := uint16(79); width >= 30; width-- {
		p.resize(width, 24)
	}
	p.report(shown + "1")
	for !strings.Contains(p.expect("\r\n> "), "\r\n  [e] allow until curl exits\r\n") {
		p.report(shown + "1") // the machine was slow, and it was drawn in between
	}
	p.resize(30, 10)
	p.report(shown + "1")
	p.press("e")
	p.report("answer 1: allow exit")
	p.expect("> e\r\nnetjail: allowed 192.0.2.7\r\n    until curl exits\r\n")
	p.wantModes(found)
}

var wants = regexp.MustCompile(`wants (\d+) more hosts`)

// TestUpdate: a list that grows is drawn anew, but not each time, and an answer
// is about what was drawn.
func TestUpdate(t *testing.T) {
	p := startFront(t)
	begun := time.Now()
	p.do("ask 1 2")
	p.report(shown + "1")
	p.expect("netjail: firefox wants 2 more hosts\r\n")
	for n := 3; n <= 40; n++ {
		p.do("update 1 %d", n)
	}
	p.expect("netjail: firefox wants 40 more hosts\r\n")
	p.report(shown + "1")
	took := time.Since(begun)
	p.press("e")
	p.report("answer 1: allow exit through 40 ")
	p.expect("netjail: allowed all until firefox exits")
	if n := strings.Count(p.all(), "wants"); n > 2+int(took/calm) {
		t.Errorf("drawn %d times in %v", n, took)
	}

	p.do("ask 2 5")
	p.report(shown + "2")
	p.do("update 2 6")
	p.press("a")
	for answer := ""; !strings.HasPrefix(answer, "answer 2: "); {
		select {
		case answer = <-p.reports:
		case <-time.After(wait):
			t.Fatal("no answer")
		}
		if strings.HasPrefix(answer, "answer 2: ") {
			all, _, _ := strings.Cut(p.all(), "\r\n> a")
			drawn := wants.FindAllStringSubmatch(all, -1)
			want := fmt.Sprintf("answer 2: allow once through %s review false by terminal", drawn[len(drawn)-1][1])
			if answer != want {
				t.Errorf("got %q, want %q", answer, want)
			}
		} else if answer == shown+"2" {
			p.press("a") // it was drawn before the key came
		}
	}
	p.expect("netjail: allowed all once")
	p.do("update 2 7") // too late
	p.do("update 9 7") // of nothing
	p.do("ask 3 1")
	p.report(shown + "3")
	p.press("r")
	p.report("answer 3: deny once through 1 review true by terminal")
}

// TestUpdateUnseen: what is not worth a drawing, or must not be drawn, is not.
func TestUpdateUnseen(t *testing.T) {
	p := startFront(t)
	found := p.modes()
	p.do("ask 1 2")
	p.report(shown + "1")
	p.do("ask 2 3")
	p.do("update 2 4")
	p.do("update 1 2 9") // only calls
	raw := p.modes()
	raw.Lflag &^= unix.ISIG
	p.setModes(raw)
	p.report("log terminal id=1 free=false")
	before := p.all()
	p.do("update 1 3")
	p.do("ask 3") // and closed again, so that the update was taken
	p.do("cancel 3")
	p.report("end 3")
	time.Sleep(calm + 2*tick) // time to do what is wrong
	p.wantModes(raw)
	if got := p.all(); got != before {
		t.Errorf("drawn for other calls, or below a program: %q", got[len(before):])
	}
	p.setModes(found)
	p.report(shown + "1")
	p.expect("firefox wants 3 more hosts")
	p.press("d")
	p.report("answer 1: deny once through 3")
	p.expect("firefox wants 4 more hosts") // in its turn
	p.report(shown + "2")
	p.press("E")
	p.report("answer 2: deny exit through 4")
	p.expect("netjail: denied all until firefox exits")
}

// TestReading: keys do not count at once when a question has changed or come in
// the place of another one.
func TestReading(t *testing.T) {
	_, _, slave := openPTY(t)
	p := New(slave, Options{})
	w, err := newWaker()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	now := time.Now()
	for _, c := range []struct {
		name string
		left time.Time // when another one was taken down
		old  int       // hosts in the list that was drawn; 0: none
		new  int
		want time.Duration
	}{
		{"first", time.Time{}, 0, 2, 0},
		{"again", time.Time{}, 2, 2, 0},
		{"longer", time.Time{}, 2, 3, reading},
		{"shorter", time.Time{}, 3, 2, 0},
		{"after another", now.Add(-calm / 2), 0, 2, reading},
		{"long after another", now.Add(-calm), 0, 2, 0},
	} {
		s := &session{Prompter: p, w: w, newest: summaryQuestion(c.new)}
		p.left = c.left
		if c.old != 0 {
			s.q, s.drawn = summaryQuestion(c.old), now.Add(-calm)
		}
		if done, err := s.draw(now); !done || err != nil {
			t.Fatalf("%s: %v, %v", c.name, done, err)
		}
		if got := s.opens.Sub(s.drawn); got != c.want || !s.on || s.shown {
			t.Errorf("%s: keys count after %v, want %v", c.name, got, c.want)
		}
	}
}
